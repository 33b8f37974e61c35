"""Many batches, and large ones."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import threading
import time

import harness

from bench.api import Api
from bench.figures import Bar, Figure, percentile
from bench.job import served
from bench.lines import sized, three_sizes

SMALL_LINES = 10
# So many have an order out at once.
CLIENTS = 32
# Of a sync on the slow disk.
SLEEP_MS = 5


@dataclasses.dataclass
class Ordered:
    """What a crowd of clients saw."""

    batches: int
    seconds: float
    p50_ms: float
    p99_ms: float
    uploads_per_second: float
    syncs: int

    @property
    def per_second(self):
        return self.batches / self.seconds


def small_batches(world):
    seen = world.times(lambda: ordered(world, world.size(5_000, 40)), lambda one: one.seconds)
    what = f"{seen[0].batches:,} batches of {SMALL_LINES} lines, {CLIENTS} clients"
    note = f"p50 {seen[0].p50_ms:.0f} ms; files uploaded before, {seen[0].uploads_per_second:,.0f}/s"
    return [
        Figure("13", what, "batches/s", [one.per_second for one in seen], bar=Bar(200, 1_000), note=note),
        Figure("13", "p99 from create to completed", "ms", [one.p99_ms for one in seen], bar=Bar(250, 50, at_least=False)),
    ]


def ordered(world, batches, clients=CLIENTS, sleep_ms=None):
    """Each client has one batch at a time; their files are uploaded before."""
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(world.passing_folder("small")) / "data"
        upstream = stack.enter_context(world.upstream())
        counted = (lambda: 0) if sleep_ms is None else stack.enter_context(world.counted_syncs(sleep_ms))
        server = stack.enter_context(world.server(data, upstream))
        command = world.command_of_yardstick("order", server.address, batches, SMALL_LINES, clients)
        crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        uploaded = crowd.stdout.readline()
        syncs = counted()
        rest, _ = crowd.communicate("\n")
        if crowd.returncode != 0:
            raise RuntimeError(f"the crowd ended with {crowd.returncode}, the server said:\n{server.said()[-4000:]}")
        uploading, told = json.loads(uploaded)["seconds"], json.loads(rest)
        return Ordered(batches, told["seconds"], told["p50_ms"], told["p99_ms"], batches / uploading, counted() - syncs)


def slow_disk(world):
    """Rows 1 and 13 at a smaller size, on this disk and on one whose sync takes so much longer."""
    lines, batches = world.size(100_000, 2_000), world.size(400, 20)
    slow, usual = world.pairs(lambda: served(world, lines, sleep_ms=SLEEP_MS), lambda: served(world, lines, sleep_ms=0))
    slow_crowd, usual_crowd = world.pairs(
        lambda: ordered(world, batches, sleep_ms=SLEEP_MS), lambda: ordered(world, batches, sleep_ms=0)
    )
    speeds = [[job.lines_per_second for job in side] for side in (slow, usual)]
    crowds = [[one.per_second for one in side] for side in (slow_crowd, usual_crowd)]
    bar, usually = Bar(0.5, 0.8), "this disk"
    return [
        Figure("15", f"`serve`, {lines:,} lines, each sync {SLEEP_MS} ms longer", "lines/s", *speeds, usually, bar),
        Figure("15", f"{batches:,} batches of {SMALL_LINES} lines, likewise", "batches/s", *crowds, usually, bar),
    ]


def large(world):
    lines = three_sizes(world)[-1]
    job = sized(world, lines)
    looks = [seconds * 1000 for seconds in job.look_seconds]
    count, list_ms, note = listed(world, world.size(100_000, 200))
    return [
        Figure("10", f"create a batch of {lines:,} lines", "ms", [job.create_seconds * 1000], bar=Bar(50, 25, at_least=False)),
        Figure("10", "its status while it runs, p99", "ms", [percentile(looks, 99)], bar=Bar(5, 2.5, at_least=False),
               note=f"{len(looks):,} calls, p50 {percentile(looks, 50):.1f} ms"),
        Figure("10", f"list of 100 among {count:,} batches, p99", "ms", [percentile(list_ms, 99)], bar=Bar(20, 10, at_least=False), note=note),
    ]


def listed(world, batches):
    """How long a list takes from any place among so many."""
    with world.passing_folder("crowd") as folder, world.upstream() as upstream, world.server(folder / "data", upstream) as server:
        made = world.yardstick("crowd", server.address, batches, CLIENTS)
        with Api(server.address) as api:
            harness.until("the last is validated", lambda: ended(api), seconds=600, pause=0.2)
            list_ms = [pages_ms for _ in range(world.size(20, 1)) for pages_ms in pages(api, pages=10)]
    return batches, list_ms, f"all of them failed in validation; made at {batches / made['seconds']:,.0f}/s"


def ended(api):
    return api.get("/v1/batches?limit=1")["data"][0]["status"] == "failed"


def pages(api, pages):
    """The first pages, one after the other, in milliseconds."""
    after = ""
    for _ in range(pages):
        begun = time.perf_counter()
        page = api.get(f"/v1/batches?limit=100{after}")
        yield (time.perf_counter() - begun) * 1000
        if not page["has_more"]:
            return
        after = f"&after={page['last_id']}"


def restart(world):
    """Killed when half of the lines are done, and started again: until the first line is sent, five times.

    Each batch has a model of its own, so that all are under way at once: those of one model are done one after
    the other.
    """
    batches, lines = world.size(100, 4), world.size(50_000, 1_000)
    with world.passing_folder("restart") as folder:
        data, port = folder / "data", harness.free_port()
        # A small job, too, is to be caught half done.
        slow = world.size([], ["--latency", "20ms"])
        with listening_upstream(port, slow) as upstream, world.server(data, upstream, permits=4) as server:
            states = half_done(server, files_of_their_own_models(world.input(lines, 300), folder, batches))
        begun = [restarted(world, data, port) for _ in range(world.size(5, 1))]
    what = f"restart with {batches} batches of {lines:,} lines, half of them done, to the first line sent"
    return [Figure("11", what, "s", begun, bar=Bar(1.0, 0.2, at_least=False), note=states)]


@contextlib.contextmanager
def listening_upstream(port, flags=()):
    """Always at one port: another address would be another upstream."""
    with harness.service(["sim", "--answer-bytes", "500", *flags], "/sim/stats", port) as started:
        yield started


def files_of_their_own_models(source, folder, count):
    """One after the other, each gone when the next is asked for."""
    content = source.read_bytes()
    model = json.loads(content[: content.index(b"\n")])["body"]["model"]
    named = json.dumps(model).encode()
    path = folder / "input.jsonl"
    for number in range(count):
        path.write_bytes(content.replace(named, json.dumps(f"{model}-{number}").encode()))
        yield path
    path.unlink()


def half_done(server, sources):
    """Kills the server once half of all lines are done; says how far the batches were."""
    with Api(server.address) as api:
        files = [api.upload(source) for source in sources]
        names = [api.create(file)["id"] for file in files]

        def counts():
            return [api.get(f"/v1/batches/{name}") for name in names]

        def is_half_done():
            found = counts()
            done = sum(batch["request_counts"]["completed"] for batch in found)
            total = sum(batch["request_counts"]["total"] for batch in found)
            return total and done * 2 >= total and all(batch["request_counts"]["total"] for batch in found) and found

        found = harness.until("half is done", is_half_done, seconds=900, pause=0.1)
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    begun = sum(0 < batch["request_counts"]["completed"] < batch["request_counts"]["total"] for batch in found)
    return f"{begun} of {len(names)} batches were half done, the others done or untouched"


def restarted(world, data, port):
    """Seconds from the start of the process to its first request, as the upstream saw it."""
    with listening_upstream(port) as upstream:
        seen = FirstRequest(upstream.address)
        begun = time.perf_counter()
        with world.server(data, upstream) as server:
            moment = seen.wait()
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
        return moment - begun


class FirstRequest:
    """Asks an upstream again and again whether it was asked."""

    def __init__(self, address):
        self.api, self.moment = Api(address), None
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.api.get("/sim/stats")["requests"]:
                self.moment = time.perf_counter()
                return
            time.sleep(0.001)

    def wait(self):
        self.thread.join()
        self.api.connection.close()
        if self.moment is None:
            raise RuntimeError("nothing was sent within two minutes of the start")
        return self.moment
