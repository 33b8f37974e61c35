"""The clock, the chance, and what has happened so far: kills, restarts, endings."""

import collections
import random
import sys
import threading
import time

from chaos.book import UNRECORDED_LINES
from chaos.laws import Laws


class World:
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
        return random.Random(f"{self.seed}-{name}")

    def time_is_up(self):
        return time.monotonic() > self.started + 60 * self.minutes

    def hits(self, victim):
        with self.lock:
            return collections.Counter(state for kill in self.kills if kill.victim == victim for state in kill.states)

    def killed(self, victim, states):
        with self.lock:
            self.kills.append(Kill(len(self.kills) + 1, victim, states))
            return self.kills[-1]

    def judge(self, kill, permits):
        """At a kill no more may be in the air than there are permits, and beside them what is appended
        and not durable."""
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
