"""Kills, laws and quotas: what is printed, and whether it is enough."""

import collections
import statistics
import sys
import threading
import time

import harness
from chaos import moments
from chaos.book import UNRECORDED_LINES
from chaos.victims import PERMITS

# For each three minutes.
KILLS = 20
LINES = 200_000
IN_FLIGHT = 0.8
# Of one kind of breach: more of the same tell nothing new.
SHOWN = 10


class Kill:
    def __init__(self, number, victim, states):
        self.number = number
        self.victim = victim
        self.states = states
        # Lines whose answer was on its way, and lines that were answered and not recorded.
        self.in_flight = 0
        self.unrecorded = 0
        # Of these two: lines that were asked again.
        self.asked_again = 0

    @property
    def exposed(self):
        return self.in_flight + self.unrecorded


class Laws:
    """What was found broken, said at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.closed = False

    def close(self):
        """The processes are being stopped: what their ends break now breaks no law."""
        self.closed = True

    def broken(self, sentence, kind="broken"):
        with self.lock:
            if self.closed:
                return
            self.counts[kind] += 1
            if self.counts[kind] <= SHOWN:
                print(f"BROKEN: {sentence}", file=sys.stderr, flush=True)

    def lost(self, sentence):
        self.broken(sentence, "lost")

    def bought_twice(self, sentence):
        self.broken(sentence, "bought twice")

    def asked_again(self, sentence):
        self.broken(sentence, "asked again")


class World:
    """The clock, the chance and the count of everything."""

    def __init__(self, seed, minutes, verbose):
        self.seed = seed
        self.minutes = minutes
        self.verbose = verbose
        self.laws = Laws()
        self.lock = threading.Lock()
        self.kills = []
        self.restarts = collections.defaultdict(list)
        self.endings = collections.Counter()
        self.started = time.monotonic()

    def chance_for(self, name):
        """Each has its own: then one thread's draws do not depend on another's speed."""
        return harness.random.Random(f"{self.seed}-{name}")

    def time_is_up(self):
        return time.monotonic() > self.started + 60 * self.minutes

    def hits(self, victim):
        with self.lock:
            return collections.Counter(state for kill in self.kills if kill.victim == victim for state in kill.states)

    def killed(self, victim, states):
        with self.lock:
            self.kills.append(Kill(len(self.kills) + 1, victim, states))
            return self.kills[-1]

    def judge(self, kill):
        """At a kill no more may be in the air than there are permits, and beside them what is appended
        and not durable."""
        permits = PERMITS[kill.victim]
        if kill.in_flight > permits:
            self.laws.broken(f"kill {kill.number}: {kill.in_flight} lines were in flight, permits are {permits}")
        if kill.exposed > permits + UNRECORDED_LINES:
            self.laws.broken(f"kill {kill.number}: {kill.exposed} lines were sent and not recorded")
        if self.verbose:
            states = ", ".join(sorted(kill.states)) or "idle"
            print(f"{time.monotonic() - self.started:6.1f} s  kill {kill.number} of {kill.victim}: {states}; "
                  f"{kill.in_flight} in flight, {kill.unrecorded} answered and not recorded", file=sys.stderr)

    def restarted(self, victim, seconds):
        if seconds is None:
            self.laws.broken(f"{victim} sent nothing after a restart")
            return
        with self.lock:
            self.restarts[victim].append(seconds)

    def ended(self, status):
        with self.lock:
            self.endings[status] += 1

    # The report.

    def print(self, books, stats):
        self.print_kills()
        lines, batches = sum(book.lines for book in books.values()), sum(book.batches for book in books.values())
        endings = ", ".join(f"{status} {count}" for status, count in sorted(self.endings.items()))
        print(f"lines: {lines:,} in {batches:,} batches and jobs (of the batches: {endings})")
        print(f"lost: {self.laws.counts['lost']}")
        print(f"recorded lines asked again: {self.laws.counts['asked again']}")
        self.print_exposed()
        print(f"answers bought twice: {sum(book.paid_twice for book in books.values()):,} "
              f"(of lines not in flight at a kill: {self.laws.counts['bought twice']})")
        for victim, seconds in sorted(self.restarts.items()):
            print(f"from restart to first dispatch, {victim}: median {1000 * statistics.median(seconds):.0f} ms, "
                  f"longest {1000 * max(seconds):.0f} ms ({len(seconds)} restarts with lines to send)")
        print("faults met: " + ", ".join(f"{fault} {count:,}" for fault, count in sorted(faults(stats).items())))

    def print_kills(self):
        of = collections.Counter(kill.victim for kill in self.kills)
        by_state = collections.Counter(state for kill in self.kills for state in kill.states)
        print(f"kills: {len(self.kills)} ({of['serve']} of serve, {of['run']} of run); with lines in flight: "
              f"{self.aloft()} ({percent(self.aloft(), len(self.kills))})")
        print("  by state: " + ", ".join(f"{state} {by_state[state]}" for state in moments.STATES))

    def print_exposed(self):
        asked_again, exposed = (sum(getattr(kill, name) for kill in self.kills) for name in ("asked_again", "exposed"))
        print(f"lines in flight at a kill: {exposed:,}, of these asked again: {asked_again:,}")
        for victim, permits in PERMITS.items():
            kills = [kill for kill in self.kills if kill.victim == victim]
            worst = max(kills, key=lambda kill: kill.exposed, default=Kill(0, victim, ()))
            print(f"  at one kill of {victim} at most {worst.exposed}: {worst.in_flight} unanswered (permits {permits}), "
                  f"{worst.unrecorded} answered and not recorded (bound {UNRECORDED_LINES:,}: 4 MiB)")

    def aloft(self):
        return sum(kill.exposed > 0 for kill in self.kills)

    def missed(self, books):
        """The quotas that were not reached: then it proves less than it says."""
        share = self.minutes / 3
        by_state = {state for kill in self.kills for state in kill.states}
        aloft, lines = self.aloft(), sum(book.lines for book in books.values())
        if len(self.kills) < KILLS * share:
            yield f"{len(self.kills)} kills, {KILLS * share:.0f} are wanted"
        if aloft < IN_FLIGHT * len(self.kills):
            yield f"{percent(aloft, len(self.kills))} of the kills met lines in flight, {IN_FLIGHT:.0%} are wanted"
        if lines < LINES * min(share, 1):
            yield f"{lines:,} lines, {LINES * min(share, 1):,.0f} are wanted"
        for state in moments.STATES:
            if state not in by_state:
                yield f"no kill hit {state}"


def faults(stats):
    """Refusals by status and spoilt answers by kind, of all simulators."""
    met = collections.Counter()
    for one in stats:
        met.update({status: count for status, count in one["by_status"].items() if status != "200"})
        met.update(one["by_fault"])
    return met


def percent(part, whole):
    return f"{part / whole:.0%}" if whole else "0 %"
