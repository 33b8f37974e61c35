"""When to kill: at any time, or as soon as a state is seen that was hit least.

What a kill has hit is read from the folder afterwards; looking is only for aiming.
"""

import contextlib
import os
import pathlib
import sqlite3
import time

STATES = ("validating", "running", "sealing", "finalizing", "cancelling")

# A new batch is among the youngest, and a scan of all would grow with the run.
YOUNG = "key > (SELECT max(key) - 100 FROM batches)"
LOOKS = {
    "validating": f"SELECT 1 FROM batches WHERE {YOUNG} AND state = 'validating' AND held_by IS NOT NULL",
    "finalizing": f"SELECT 1 FROM batches WHERE {YOUNG} AND state = 'finalizing'",
    "cancelling": f"SELECT 1 FROM batches WHERE {YOUNG} AND state = 'running' AND ending = 'cancelled'",
}
RUNNING = "SELECT id FROM batches WHERE state = 'running'"

# Between two looks, and between two looks for the folders in which segments are being sealed.
LOOK = 0.001
FOLDERS = 0.05
# A state that does not come is not waited for longer.
PATIENCE = 5.0


class Watch:
    """Looks into the folder of a living process without getting in its way."""

    def __init__(self, data):
        self.data = pathlib.Path(data)
        self.catalog = None
        self.folders = {}
        self.folders_at = 0.0

    def sees(self, state):
        try:
            if self.catalog is None:
                # Read-only: the last one to close a catalog otherwise tidies it up.
                place = f"file:{self.data / 'catalog.db'}?mode=ro"
                self.catalog = sqlite3.connect(place, uri=True, timeout=0)
            return self.sees_sealing() if state == "sealing" else self.sees_row(LOOKS[state])
        except (sqlite3.Error, OSError):
            return False  # Not there yet, or busy: the next look is a millisecond away.

    def sees_row(self, look):
        return self.catalog.execute(look).fetchone() is not None

    def sees_sealing(self):
        """A blob has just got its name, and its row follows."""
        if time.monotonic() > self.folders_at + FOLDERS:
            self.folders_at = time.monotonic()
            batches = self.data / "blobs/batches"
            # Those of one segment have no folder of their own.
            found = [batches, *(batches / row[0] / "segments" for row in self.catalog.execute(RUNNING))]
            self.folders = {folder: self.folders.get(folder) or changed(folder) for folder in found}
        return any(before and changed(folder) != before for folder, before in self.folders.items())

    def close(self):
        if self.catalog is not None:
            self.catalog.close()


def changed(folder):
    with contextlib.suppress(OSError):
        return os.stat(folder).st_mtime_ns
    return None


def choose(chance, hits, aims):
    """How long to let a life go on, and the state to wait for then, if any."""
    draw = chance.random()
    if draw < 0.05:
        return chance.uniform(0, 0.15), None  # While it starts.
    if draw < 0.4:
        return chance.uniform(0.5, 4), None
    rarest = min(aims, key=lambda state: (hits[state], chance.random()))
    return chance.uniform(0.5, 2.5), None if rarest == "running" else rarest


def wait(chance, watch, after, state, goes_on):
    """Until the moment has come; false if the process is not there any more, or the time is over."""
    end = time.monotonic() + after
    while time.monotonic() < end:
        if not goes_on():
            return False
        time.sleep(min(0.01, max(0.0, end - time.monotonic())))
    end = time.monotonic() + PATIENCE
    while state and time.monotonic() < end and not watch.sees(state):
        if not goes_on():
            return False
        time.sleep(LOOK)
    if state:
        # Not always at the same place behind the sight.
        time.sleep(chance.choice((0, 0, 0.001, 0.003)))
    return goes_on()
