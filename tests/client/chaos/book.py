"""What became of each line, from kill to kill: recorded, asked, answered, given up.

The laws are checked here. A line that was recorded at a kill stays recorded, as what it was, and is
not asked again; and nothing is answered twice that was not in flight at a kill.
"""

import array
import collections
import threading

from chaos.remains import ANSWER, ERROR
from chaos.sim import ANSWERED, ASKED, GIVEN_UP

# A journal record's head and the least that a result line of ours has.
LEAST_RECORD = 44 + 300
# Appended but not durable: the server sends nothing while it has this much.
UNRECORDED_BYTES = 4 << 20
UNRECORDED_LINES = UNRECORDED_BYTES // LEAST_RECORD

SOMETHING = 3
KINDS = {0: "nothing", ANSWER: "an answer", ERROR: "an error", SOMETHING: "something"}


class Book:
    """The lines of all batches in front of one simulator."""

    def __init__(self, sim, laws):
        self.sim = sim
        self.laws = laws
        self.lock = threading.RLock()
        self.open = {}
        self.closed = set()
        self.lines = 0
        self.batches = 0
        self.asked = 0
        self.paid_twice = 0

    def take_down(self, kill, batches):
        """What a kill left of each batch. In flight are the lines whose answer was on its way, and
        those that were answered and not recorded."""
        with self.lock:
            for batch in batches:
                if batch.id in self.closed or batch.total == 0:
                    continue
                lines = self.open.setdefault(batch.id, Lines(batch.id, batch.total))
                counts = self.sim.lines(lines.prefix, lines.total)
                if batch.ended:
                    # Its files are there, and its segments are not any more.
                    lines.end(counts[ASKED])
                else:
                    lines.take_down(kill, batch.kinds(), counts, self.laws)

    def close(self, batch_id, total, results):
        """A batch has ended with these results: the kind of each line by its number. `None`: it
        ended before it ran, and no line of it may have been asked."""
        with self.lock:
            lines = self.open.pop(batch_id, None) or Lines(batch_id, total)
            self.closed.add(batch_id)
            counts = self.sim.lines(lines.prefix, total)
            lines.close(results, counts, self.laws)
            self.batches += 1
            self.lines += total if results else 0
            self.asked += sum(counts[ASKED])
            self.paid_twice += sum(count - 1 for count in counts[ANSWERED] if count > 1)

    def balance(self):
        """Every request that the simulator saw was for a line in here, and none came after its end."""
        for batch_id in self.open:
            self.laws.broken(f"{batch_id} never ended")
        requests = self.sim.stats()["requests"]
        if not self.open and requests != self.asked:
            self.laws.broken(f"{requests} requests were sent, {self.asked} for lines that had no result yet")


class Lines:
    """The lines of one batch. Arrays, since there are millions: place n is line n."""

    def __init__(self, batch_id, total):
        self.id = batch_id
        self.prefix = f"batch_req_{batch_id.removeprefix('batch_')}_"
        self.total = total
        self.kinds = bytearray(total + 1)
        # How often a line had been asked at the first kill that found it recorded.
        self.asked = array.array("I", bytes(4 * (total + 1)))
        # At the last kill, whatever became of the line.
        self.answered = [0] * (total + 1)
        self.given_up = [0] * (total + 1)
        # (kill, line, how often it had been asked) of those in flight.
        self.flights = []

    def take_down(self, kill, kinds, counts, laws):
        asked, answered, given_up = counts[ASKED], counts[ANSWERED], counts[GIVEN_UP]
        for line in range(1, self.total + 1):
            if self.kinds[line]:
                if self.kinds[line] != kinds[line]:
                    laws.lost(f"{self.prefix}{line} was recorded before kill {kill.number}")
                continue
            if kinds[line]:
                self.kinds[line] = kinds[line]
                self.asked[line] = asked[line]
                continue
            if given_up[line] > self.given_up[line]:
                kill.in_flight += 1
            elif answered[line] > self.answered[line]:
                kill.unrecorded += 1
            else:
                continue
            self.flights.append((kill, line, asked[line]))
        self.answered, self.given_up = answered, given_up

    def end(self, asked):
        """The batch has its result files: every line of it is recorded, as what will be seen there."""
        for line in range(1, self.total + 1):
            if not self.kinds[line]:
                self.kinds[line] = SOMETHING
                self.asked[line] = asked[line]

    def close(self, results, counts, laws):
        asked = counts[ASKED]
        if results is None:
            if any(asked):
                laws.broken(f"{self.id} ended before it ran, but lines of it were asked")
            return
        exposed = collections.Counter(line for _, line, _ in self.flights)
        for line in range(1, self.total + 1):
            if results[line] == ANSWER and counts[ANSWERED][line] == 0:
                laws.broken(f"{self.prefix}{line} has an answer that nobody gave")
            if counts[ANSWERED][line] > 1 + exposed[line]:
                laws.bought_twice(f"{self.prefix}{line} was answered {counts[ANSWERED][line]} times, "
                                  f"but in flight at {exposed[line]} kills")
            if not self.kinds[line]:
                continue
            if self.kinds[line] not in (SOMETHING, results[line]):
                laws.lost(f"{self.prefix}{line} was recorded as {KINDS[self.kinds[line]]}, "
                          f"but it ended as {KINDS[results[line]]}")
            if asked[line] != self.asked[line]:
                laws.asked_again(f"{self.prefix}{line} was recorded when it had been asked "
                                 f"{self.asked[line]} times, and {asked[line]} times at the end")
        for kill, line, before in self.flights:
            kill.asked_again += asked[line] > before


