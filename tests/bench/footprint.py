"""What a job leaves and takes beside its time: disk, memory, calls to the system."""

from bench import crowds
from bench.figures import Bar, Figure
from bench.job import served
from bench.lines import serve_pairs

# 5 million of them are 8 GB.
LARGE_LINE_BYTES = 1_600


def disk(world):
    """Of the jobs of rows 1 and 2."""
    jobs, _ = serve_pairs(world)
    written = [job.written_bytes / job.output_bytes for job in jobs]
    grown = [job.catalog_bytes / job.lines for job in jobs]
    return [
        Figure("8", "bytes written to disk for a byte of output", "", written, bar=Bar(2.3, 2.1, at_least=False)),
        Figure("8", "catalog growth for a million lines", "MB", grown, bar=Bar(1.0, 0.3, at_least=False)),
    ]


def memory(world):
    lines = world.size(5_000_000, 2_000)
    job = served(world, lines, LARGE_LINE_BYTES, passing=True)
    what = f"peak memory of `serve`, {lines:,} lines ({lines * LARGE_LINE_BYTES / 1e9:.1f} GB)"
    return [Figure("9", what, "MB", [job.peak_bytes / 1e6], bar=Bar(150, 80, at_least=False), note=f"{job.lines_per_second:,.0f} lines/s")]


def calls(world):
    lines = world.size(200_000, 3_000)
    jobs = world.times(lambda: served(world, lines, sleep_ms=0, count_syscalls=True), lambda job: job.seconds)
    syncs = [job.syncs / job.lines * 1000 for job in jobs]
    counted = [job.syscalls / job.lines for job in jobs if job.syscalls is not None]
    a_batch = crowds.ordered(world, batches=world.size(1_000, 20), clients=100, sleep_ms=0)
    what = "syscalls for a line (`perf stat`, the whole process)"
    return [
        Figure("14", "syncs for 1,000 lines at full speed", "", syncs, bar=Bar(20, 5, at_least=False)),
        Figure("14", "syncs for a 10-line batch, 100 at once", "", [a_batch.syncs / a_batch.batches], bar=Bar(6, 3, at_least=False)),
        Figure("14", what, "", counted, bar=Bar(8, 4, at_least=False), note="" if counted else "`perf` cannot count them here"),
    ]
