"""What was found broken, said at once and counted."""

import collections
import sys
import threading

# Of one kind of breach: more of the same tell nothing new.
SHOWN = 10


class Laws:
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
