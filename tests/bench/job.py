"""One batch of one file, by `serve` and by `run`, and all that it cost."""

import contextlib
import dataclasses
import resource
import shutil
import signal
import sqlite3
import subprocess
import time

import harness

from bench import machine
from bench.api import Api
from bench.world import LINE_BYTES, PERMITS

# How long nothing takes, whatever the machine.
PATIENCE_SECONDS = 1200


@dataclasses.dataclass
class Job:
    lines: int
    seconds: float
    cpu_seconds: float
    # Of `serve` only:
    create_seconds: float = 0
    look_seconds: list = dataclasses.field(default_factory=list)
    peak_bytes: int = 0
    written_bytes: int = 0
    output_bytes: int = 0
    catalog_bytes: int = 0
    syncs: int = 0
    syscalls: int | None = None

    @property
    def lines_per_second(self):
        return self.lines / self.seconds

    @property
    def cpu_ms_per_1000(self):
        return self.cpu_seconds * 1e6 / self.lines


def served(world, lines, line_bytes=LINE_BYTES, upstream=(), permits=PERMITS, sleep_ms=None, count_syscalls=False, passing=False):
    """From create to completed. An input that is `passing` is deleted once it is uploaded: it is large."""
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(world.passing_folder("serve")) / "data"
        answering = stack.enter_context(world.upstream(*upstream))
        counted = (lambda: 0) if sleep_ms is None else stack.enter_context(world.counted_syncs(sleep_ms))
        server = stack.enter_context(world.server(data, answering, permits=permits))
        api = stack.enter_context(Api(server.address))
        source = world.input(lines, line_bytes)
        file = api.upload(source)
        if passing:
            source.unlink()
        job = watched(api, file, server.pid, lines, counted, count_syscalls)
        server.stop()
        job.catalog_bytes = catalog_bytes(data) - world.once("empty catalog", lambda: empty_catalog(world))
        return job


def watched(api, file, pid, lines, counted, count_syscalls):
    """Long ones are looked at less often, so that looking costs nothing."""
    pause = 0.005 if lines <= 100_000 else 0.02
    looks, syscalls = [], Syscalls(pid) if count_syscalls else None
    cpu, written, syncs, begun = machine.cpu_seconds(pid), machine.written_bytes(pid), counted(), time.perf_counter()
    batch = api.create(file)
    created = time.perf_counter()
    batch = api.until_completed(batch["id"], pause, PATIENCE_SECONDS, looks)
    ended = time.perf_counter()
    job = Job(lines, ended - begun, machine.cpu_seconds(pid) - cpu, created - begun, looks)
    job.syncs = counted() - syncs
    job.syscalls = syscalls.stop() if syscalls else None
    job.written_bytes = machine.written_bytes(pid) - written
    job.peak_bytes = harness.peak_memory(pid)
    job.output_bytes = api.get(f"/v1/files/{batch['output_file_id']}")["bytes"]
    if batch["request_counts"] != {"total": lines, "completed": lines, "failed": 0}:
        raise RuntimeError(f"not every line was answered: {batch}")
    return job


def catalog_bytes(data):
    """All its pages, also those that are free again. What of them is still in the WAL does not count twice, and the
    WAL's file keeps its few megabytes whatever it has held."""
    catalog = sqlite3.connect(f"file:{data / 'catalog.db'}?mode=ro", uri=True)
    with contextlib.closing(catalog):
        pages, size = (catalog.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return pages * size


def empty_catalog(world):
    with world.passing_folder("empty") as folder, world.upstream() as upstream:
        with world.server(folder / "data", upstream) as server:
            server.stop()
            return catalog_bytes(folder / "data")


def ran(world, lines):
    """The whole process, from its start to its end."""
    with world.passing_folder("run") as folder, world.upstream() as upstream:
        source = folder / "job.jsonl"
        # Not copied: the job's own files stand beside its name.
        source.hardlink_to(world.input(lines))
        before, begun = children_cpu(), time.perf_counter()
        done = harness.ditto(
            "run", source, "--upstream", upstream.base_url, "--concurrency", PERMITS, "--json", timeout=PATIENCE_SECONDS
        )
        seconds, cpu = time.perf_counter() - begun, children_cpu() - before
        if done.returncode != 0:
            raise RuntimeError(f"`run` ended with {done.returncode}: {done.stderr}")
        return Job(lines, seconds, cpu)


def children_cpu():
    """Of those that were waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def bare(world, lines):
    """The same bodies over as many connections, the answers dropped."""
    with world.upstream() as upstream:
        told = world.yardstick("ask", world.input(lines), upstream.address, PERMITS)
        return Job(told["lines"], told["seconds"], told["cpu_seconds"])


class Syscalls:
    """Counts a process's system calls from now on, by the kernel's own trace point."""

    EVENT = "raw_syscalls:sys_enter"

    def __init__(self, pid):
        self.process = None
        if self.is_there():
            command = ["perf", "stat", "-x,", "-e", self.EVENT, "-p", str(pid)]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            # It says nothing when it has begun; it has a perf event open then.
            harness.until("perf counts", lambda: self.counts(), seconds=10)

    @classmethod
    def is_there(cls):
        if not shutil.which("perf"):
            return False
        tried = subprocess.run(["perf", "stat", "-x,", "-e", cls.EVENT, "true"], capture_output=True, text=True)
        return tried.returncode == 0 and "not supported" not in tried.stderr

    def counts(self):
        opened = subprocess.run(["ls", "-l", f"/proc/{self.process.pid}/fd"], capture_output=True, text=True).stdout
        return "perf_event" in opened

    def stop(self):
        """How many there were; nothing where they could not be counted."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=20)
        return next(int(line.split(",")[0]) for line in said.splitlines() if self.EVENT in line)
