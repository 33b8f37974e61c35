"""Where a bench runs: its folder, its sizes, its programs, and turns of what is measured and its yardstick."""

import contextlib
import json
import mmap
import os
import pathlib
import shutil
import struct
import subprocess

import harness

ROOT = harness.ROOT
SOURCE = pathlib.Path(__file__).resolve().parent

# A row is measured so often, unless one time takes longer than this.
PAIRS = 5
ONCE_SECONDS = 15

PERMITS = 64
# The body of such a line has 600 bytes or a few more.
LINE_BYTES = 695
ANSWER_BYTES = 500


class World:
    def __init__(self, folder, target, short):
        self.folder = folder
        self.target = target
        self.short = short
        self.known = {}
        self.count = 0

    def size(self, full, short):
        return short if self.short else full

    def once(self, key, measure):
        """What several rows are read from is measured once."""
        if key not in self.known:
            self.known[key] = measure()
        return self.known[key]

    def new_folder(self, name):
        self.count += 1
        made = self.folder / f"{name}-{self.count}"
        made.mkdir()
        return made

    @contextlib.contextmanager
    def passing_folder(self, name):
        made = self.new_folder(name)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def input(self, lines, line_bytes=LINE_BYTES):
        """A batch file of so many lines; made once."""
        path = self.folder / f"{lines}x{line_bytes}.jsonl"
        if not path.exists():
            harness.samples(path, "synthetic", "-n", lines, "--line-bytes", line_bytes)
        return path

    def pairs(self, subject, yardstick):
        """Both in turns, whoever was last beginning the next: five times, or once where it takes long."""
        values, others = [], []
        for turn in range(1 if self.short else PAIRS):
            for measure, results in ((subject, values), (yardstick, others))[:: 1 if turn % 2 == 0 else -1]:
                results.append(measure())
            if values[0].seconds > ONCE_SECONDS:
                break
        return values, others

    def times(self, measure, seconds_of):
        """What has no yardstick."""
        values = []
        for _ in range(1 if self.short else PAIRS):
            values.append(measure())
            if seconds_of(values[0]) > ONCE_SECONDS:
                break
        return values

    def yardstick(self, *args):
        """What one of the bare programs tells of itself."""
        return told(self.command_of_yardstick(*args))

    def command_of_yardstick(self, *args):
        return [str(self.target / "release/examples/yardstick"), *map(str, args)]

    @contextlib.contextmanager
    def upstream(self, *flags):
        """Answers at once unless the flags say otherwise, in a process of its own."""
        with harness.sim("--answer-bytes", str(ANSWER_BYTES), *flags) as started:
            yield started

    @contextlib.contextmanager
    def server(self, data, upstream, *flags, permits=PERMITS):
        # None: they are found out.
        concurrency = ["--max-concurrency", "1024"] if permits is None else ["--concurrency", str(permits)]
        with harness.serve(data, "--upstream", upstream.base_url, *concurrency, "--log", "error", *flags) as started:
            yield started

    @contextlib.contextmanager
    def counted_syncs(self, sleep_ms=0):
        """What is started within counts its syncs here, and sleeps in each for so long."""
        counter = self.new_folder("syncs") / "count"
        counter.write_bytes(bytes(8))
        with open(counter, "rb") as file, mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ) as shared:
            wanted = {"LD_PRELOAD": str(self.sync_layer()), "SYNC_COUNT": str(counter), "SYNC_SLEEP_MS": str(sleep_ms)}
            with environment(wanted):
                yield lambda: struct.unpack("@Q", shared)[0]

    def sync_layer(self):
        """Stands between a program and its disk; built anew, which takes no time."""

        def build():
            layer = self.folder / "sync_layer.so"
            command = ["cc", "-shared", "-fPIC", "-O2", "-o", layer, SOURCE / "sync_layer.c", "-ldl"]
            subprocess.run(command, check=True)
            return layer

        return self.once("sync layer", build)


def told(command, stdin=None):
    """The JSON object on the last line that a command prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, input=stdin)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def environment(wanted):
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
