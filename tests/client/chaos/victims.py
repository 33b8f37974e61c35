"""What is killed: a `serve`, and one `run` after the other. Each has an upstream of its own."""

import contextlib
import itertools
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import harness
from chaos import inputs, moments
from chaos.remains import Remains

# Hanging requests end by it. Long beside the latency: an answer that is on its way is not cut off.
TIMEOUT = "5s"
# Longer than anything takes here; only a process that hangs needs it.
START_SECONDS = 30
# Large beside what is sent between two kills: at the tail of a job hardly anything is in flight.
JOB_LINES = (5_000, 40_000)
# Exit code of `serve`: the port or the disk refuses.
CANNOT_LISTEN = 8


class Over(Exception):
    """The end of everything: nothing may be started any more."""


class Victim:
    """A process that is killed and given again, and what is known of its lives."""

    kind = None
    permits = 0
    # What may be waited for.
    aims = moments.STATES

    def __init__(self, world, sim, book, folder):
        self.world = world
        self.sim = sim
        self.book = book
        self.folder = pathlib.Path(folder)
        self.chance = world.chance_for(self.kind)
        self.process = None
        # Taken to start and to end, so that nothing is started behind the back of the end.
        self.lock = threading.Lock()
        self.ended = False
        self.to_send = False

    def spawn(self, *command):
        """Starts a life; its log is added to the ones before."""
        with self.lock, open(self.folder / f"{self.kind}.log", "ab") as log:
            if self.ended:
                raise Over
            line = [str(harness.binary()), *map(str, command)]
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def end(self):
        with self.lock:
            self.ended = True
            if self.process:
                self.process.kill()
                self.process.wait()

    def lives(self):
        return self.process.poll() is None

    def goes_on(self):
        return self.lives() and not self.world.time_is_up()

    def first_dispatch(self, started, before):
        """Notes the seconds from `started` to the first request at the upstream. One that ends by itself
        before is judged elsewhere."""
        seconds, lives = None, True
        while lives and seconds is None and time.monotonic() < started + START_SECONDS:
            lives = self.lives()
            if self.sim.stats()["requests"] > before:
                seconds = time.monotonic() - started
            time.sleep(0.001)
        if lives or seconds is not None:
            self.world.restarted(self.kind, seconds)

    def live(self, start):
        """One life: started, let go on for a while, killed. False: it ended by itself, or time is up."""
        started, before, watch = time.monotonic(), self.sim.stats()["requests"], moments.Watch(self.data)
        with contextlib.closing(watch):
            start()
            after, state = moments.choose(self.chance, self.world.hits(self.kind), self.aims)
            if after > 0.2 and self.to_send:
                self.first_dispatch(started, before)
            if not moments.wait(self.chance, watch, after, state, self.goes_on):
                return False
            self.process.send_signal(signal.SIGKILL)
        if self.process.wait() != -signal.SIGKILL:
            return False  # It was quicker than the signal.
        self.take_down()
        return True

    def take_down(self):
        self.sim.quiet()
        batches = self.remains.read()
        kill = self.world.killed(self.kind, {state for batch in batches for state in batch.states()})
        self.book.take_down(kill, batches)
        self.world.judge(kill, self.permits)
        self.to_send = any(batch.has_lines_to_send() for batch in batches)


class Serve(Victim):
    """A server; customers find it under `address` as soon as it lives again."""

    kind = "serve"
    permits = 64

    def __init__(self, *args):
        super().__init__(*args)
        self.data = self.folder / "data"
        self.remains = Remains(self.data)
        self.address = None

    def work(self):
        """Killed again and again until the time is up; then it lives on, for the customers' sake."""
        while not self.world.time_is_up():
            if not self.live(self.start) and not self.lives():
                if self.process.returncode == CANNOT_LISTEN:
                    continue  # Somebody else got the port.
                self.world.laws.broken(f"serve ended by itself with exit {self.process.returncode}")
                return
        if not self.lives():
            self.start()

    def start(self):
        port = harness.free_port()
        lenient = ["--lenient"] if self.chance.random() < 0.5 else []
        self.spawn("serve", "--listen", f"127.0.0.1:{port}", "--data", self.data, "--upstream",
                   self.sim.base_url, "--concurrency", self.permits, "--timeout", TIMEOUT, *lenient)
        self.address = ("127.0.0.1", port)


class Run(Victim):
    """Jobs, each killed and given again until it has ended."""

    kind = "run"
    permits = 32
    # It is validated in the first moments of its first life, and nobody cancels it.
    aims = ("running", "sealing", "finalizing")

    def work(self):
        for number in itertools.count(1):
            if self.world.time_is_up():
                return
            self.job(number)

    def job(self, number):
        lines = self.chance.randint(*JOB_LINES)
        rows = inputs.rows(self.chance, lines, faulty=self.chance.random() < 0.2)
        self.path = self.folder / f"job-{number}.jsonl"
        self.path.write_bytes(b"".join(rows))
        self.data = self.path.with_suffix(".ditto") / "data"
        self.remains = Remains(self.data)
        self.to_send = False
        while self.live(self.start):
            pass
        # Ended by itself, or the time is up: then it is let go on to its end.
        self.check(rows, self.process.wait())

    def start(self):
        self.spawn("run", self.path, "--upstream", self.sim.base_url, "--concurrency", self.permits,
                   "--timeout", TIMEOUT)

    def check(self, rows, code):
        if code not in (0, 9):
            self.world.laws.broken(f"run ended with exit {code}; see {self.folder}/run.log")
            return
        output, errors = self.path.with_suffix(".output.jsonl"), self.path.with_suffix(".errors.jsonl")
        files = output.read_bytes(), errors.read_bytes()
        batch_id = inputs.batch_of(files)
        self.book.close(batch_id, len(rows), inputs.results(batch_id, rows, *files, self.world.laws))
        inputs.verify(self.path, output, errors, self.world.laws)
        if not self.world.laws.counts:
            self.clear_away()

    def clear_away(self):
        """Half an hour of jobs would be gigabytes."""
        shutil.rmtree(self.path.with_suffix(".ditto"))
        for file in self.folder.glob(f"{self.path.stem}.*"):
            file.unlink()
