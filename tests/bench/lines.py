"""Lines a second, and what a line costs."""

import pathlib
import re
import shutil
import subprocess

from bench.figures import Bar, Figure
from bench.job import bare, ran, served
from bench.world import PERMITS

LINES = 500_000
BARE_LOOP = "bare loop"


def serve(world):
    jobs, loops = serve_pairs(world)
    speed, cost = compared(jobs, loops)
    return [
        Figure("1", "`serve`, create to completed", "lines/s", *speed, BARE_LOOP, Bar(0.50, 0.75)),
        Figure("2", "`serve`, CPU for 1,000 lines", "CPU ms", *cost, BARE_LOOP, Bar(2.5, 1.6, at_least=False)),
    ]


def serve_pairs(world):
    lines = world.size(LINES, 3_000)
    return world.once("serve", lambda: world.pairs(lambda: served(world, lines), lambda: bare(world, lines)))


def run(world):
    lines = world.size(LINES, 3_000)
    jobs, loops = world.pairs(lambda: ran(world, lines), lambda: bare(world, lines))
    speed, cost = compared(jobs, loops)
    return [
        Figure("3", "`run --upstream`, the whole process", "lines/s", *speed, BARE_LOOP, Bar(0.55, 0.80)),
        Figure("3", "`run --upstream`, CPU for 1,000 lines", "CPU ms", *cost, BARE_LOOP),
    ]


def compared(jobs, loops):
    """Lines a second and CPU a line, of ours and of the bare loop."""
    both = (jobs, loops)
    speed = [[job.lines_per_second for job in side] for side in both]
    cost = [[job.cpu_ms_per_1000 for job in side] for side in both]
    return speed, cost


def occupancy(world):
    """The second time the server finds out how many permits do well: the upstream takes so many at once, and queues the rest."""
    lines, latency_ms = world.size(20_000, 1_000), 50
    ideal = lines * latency_ms / 1000 / PERMITS
    slow = ("--latency", f"{latency_ms}ms")
    fixed = served(world, lines, upstream=slow).seconds
    found = served(world, lines, upstream=(*slow, "--capacity", f"{PERMITS}:queue"), permits=None).seconds
    what = f"{lines:,} lines of {latency_ms} ms"
    return [
        Figure("4", f"{what}, `concurrency = {PERMITS}`", "s", [fixed], [ideal], "ideal", Bar(0.97, 0.99), turned=True),
        Figure("4", f"{what}, `max_concurrency = 1024`, capacity {PERMITS}", "s", [found], [ideal], "ideal", Bar(0.90, 0.95), turned=True),
    ]


def sizes(world):
    small, middle, large = (sized(world, lines) for lines in three_sizes(world))
    jobs = [small, middle, large]
    tiny = sized(world, world.size(10_000, 500))
    note = "; ".join(f"{job.lines:,}: {job.lines_per_second:,.0f} lines/s, {job.cpu_ms_per_1000:.1f} ms, "
                     f"{job.peak_bytes / 1e6:.0f} MB" for job in [tiny, *jobs])
    bar = Bar(0.85, 0.95)
    return [
        Figure("12", "lines/s, slowest of three sizes over fastest", "", [flat(job.lines_per_second for job in jobs)], bar=bar, note=note),
        Figure("12", "CPU a line, least over most", "", [flat(job.cpu_ms_per_1000 for job in jobs)], bar=bar),
        Figure("12", "peak memory, least over most", "", [flat(job.peak_bytes for job in [tiny, *jobs])], bar=bar),
    ]


def three_sizes(world):
    return [world.size(full, short) for full, short in ((100_000, 1_000), (1_000_000, 2_000), (10_000_000, 4_000))]


def sized(world, lines):
    """One batch of so many lines; several rows read it."""
    return world.once(("sized", lines), lambda: served(world, lines, passing=lines > LINES))


def flat(values):
    values = list(values)
    return min(values) / max(values)


def yardstick_itself(world):
    """The bare loop must not be a low bar: it is held against the fastest that is known."""
    what = "the bare loop itself"
    if not shutil.which("wrk"):
        return [Figure("0", what, note="`wrk` is not here: `apt-get install wrk`")]
    lines = world.size(200_000, 3_000)
    loops, wrks = world.pairs(lambda: bare(world, lines), lambda: asked_by_wrk(world))
    values = [loop.lines_per_second for loop in loops]
    return [Figure("0", what, "requests/s", values, wrks, f"`wrk -t2 -c{PERMITS}`", Bar(0.9, 1.0))]


def asked_by_wrk(world):
    bodies, seconds = world.input(world.size(50_000, 1_000)), world.size(3, 1)
    script = pathlib.Path(__file__).with_name("bodies.lua")
    with world.upstream() as upstream:
        command = ["wrk", "-t2", f"-c{PERMITS}", f"-d{seconds}s", "-s", script, f"{upstream.base_url}/chat/completions"]
        said = subprocess.run([*command, "--", bodies], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(said)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
