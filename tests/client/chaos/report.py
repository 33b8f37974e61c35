"""What a run prints at its end, and whether it was enough."""

import collections
import statistics

from chaos import moments
from chaos.book import UNRECORDED_LINES
from chaos.world import Kill

# For each three minutes.
KILLS = 20
LINES = 200_000
IN_FLIGHT = 0.8


class Report:
    def __init__(self, world, victims, books):
        self.world = world
        self.kills = world.kills
        self.permits = {kind: victim.permits for kind, victim in victims.items()}
        self.books = books

    def print(self):
        self.print_kills()
        books = self.books.values()
        lines, batches = sum(book.lines for book in books), sum(book.batches for book in books)
        endings = ", ".join(f"{status} {count}" for status, count in sorted(self.world.endings.items()))
        print(f"lines: {lines:,} in {batches:,} batches and jobs (of the batches: {endings})")
        print(f"lost: {self.world.laws.counts['lost']}")
        print(f"recorded lines asked again: {self.world.laws.counts['asked again']}")
        self.print_exposed()
        print(f"answers bought twice: {sum(book.paid_twice for book in books):,} "
              f"(of lines not in flight at a kill: {self.world.laws.counts['bought twice']})")
        for victim, seconds in sorted(self.world.restarts.items()):
            print(f"from restart to first dispatch, {victim}: median {1000 * statistics.median(seconds):.0f} ms, "
                  f"longest {1000 * max(seconds):.0f} ms ({len(seconds)} restarts with lines to send)")
        print("faults met: " + ", ".join(f"{fault} {count:,}" for fault, count in sorted(self.faults().items())))

    def print_kills(self):
        of = collections.Counter(kill.victim for kill in self.kills)
        by_state = collections.Counter(state for kill in self.kills for state in kill.states)
        print(f"kills: {len(self.kills)} ({of['serve']} of serve, {of['run']} of run); with lines in flight: "
              f"{self.aloft()} ({percent(self.aloft(), len(self.kills))})")
        print("  by state: " + ", ".join(f"{state} {by_state[state]}" for state in moments.STATES))

    def print_exposed(self):
        asked_again, exposed = (sum(getattr(kill, name) for kill in self.kills) for name in ("asked_again", "exposed"))
        print(f"lines in flight at a kill: {exposed:,}, of these asked again: {asked_again:,}")
        for victim, permits in self.permits.items():
            kills = [kill for kill in self.kills if kill.victim == victim]
            worst = max(kills, key=lambda kill: kill.exposed, default=Kill(0, victim, ()))
            print(f"  at one kill of {victim} at most {worst.exposed}: {worst.in_flight} unanswered (permits {permits}), "
                  f"{worst.unrecorded} answered and not recorded (bound {UNRECORDED_LINES:,}: 4 MiB)")

    def aloft(self):
        return sum(kill.exposed > 0 for kill in self.kills)

    def missed(self):
        """The quotas that were not reached: then it proves less than it says."""
        share = self.world.minutes / 3
        by_state = {state for kill in self.kills for state in kill.states}
        aloft, lines = self.aloft(), sum(book.lines for book in self.books.values())
        if len(self.kills) < KILLS * share:
            yield f"{len(self.kills)} kills, {KILLS * share:.0f} are wanted"
        if aloft < IN_FLIGHT * len(self.kills):
            yield f"{percent(aloft, len(self.kills))} of the kills met lines in flight, {IN_FLIGHT:.0%} are wanted"
        if lines < LINES * min(share, 1):
            yield f"{lines:,} lines, {LINES * min(share, 1):,.0f} are wanted"
        for state in moments.STATES:
            if state not in by_state:
                yield f"no kill hit {state}"

    def faults(self):
        """Refusals by status and spoilt answers by kind, of all simulators."""
        met = collections.Counter()
        for book in self.books.values():
            stats = book.sim.stats()
            met.update({status: count for status, count in stats["by_status"].items() if status != "200"})
            met.update(stats["by_fault"])
        return met


def percent(part, whole):
    return f"{part / whole:.0%}" if whole else "0 %"
