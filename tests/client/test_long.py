"""The long form: sizes and repetitions that take minutes. `scripts/test --long` runs it."""

import random
import shutil
import signal
import time

import openai
import pytest

import harness
import recorded
import test_serve
from test_run import PERMITS, Job

pytestmark = pytest.mark.long

MEMORY_BYTES = 120_000_000

LEASE_SECONDS = 30
GRACE_SECONDS = 25


@pytest.fixture(scope="module")
def big_file(tmp_path_factory):
    """50,000 lines, 200 MB: the largest file that OpenAI takes."""
    path = tmp_path_factory.mktemp("big") / "job.jsonl"
    return harness.samples(path, "synthetic", "-n", 50_000, "--line-bytes", 4000)


def test_run_keeps_its_memory_on_a_large_file(big_file):
    job = Job(big_file)
    running = job.start("--upstream", "sim")
    peak = 0
    while running.poll() is None:
        peak = max(peak, harness.peak_memory(running.pid))
        time.sleep(0.02)

    assert running.returncode == 0
    assert 0 < peak < MEMORY_BYTES
    job.assert_conserved()


def test_serve_keeps_its_memory_on_a_large_file(big_file, tmp_path):
    with harness.serve(tmp_path / "data") as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="unused")
        file = client.files.create(file=big_file, purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        harness.until("the end", lambda: client.batches.retrieve(batch.id).status == "completed", seconds=600)
        output = client.batches.retrieve(batch.id).output_file_id
        with client.files.with_streaming_response.content(output) as content:
            lines = sum(chunk.count(b"\n") for chunk in content.iter_bytes())

        assert lines == 50_000
        assert 0 < harness.peak_memory(server.pid) < MEMORY_BYTES


def test_killed_twenty_times_on_the_way_it_asks_no_recorded_row_twice(debian_rows, tmp_path):
    job = Job(shutil.copy(debian_rows, tmp_path / "job.jsonl"))
    chance = random.Random(20)
    kills = unrecorded = 0
    with harness.sim("--latency", "80ms") as upstream:
        flags = ("--upstream", upstream.base_url, "--concurrency", str(PERMITS))
        for _ in range(20):
            more = upstream.get("/sim/stats")["requests"] + chance.randrange(1, 95)
            victim = job.start(*flags)
            harness.until(
                f"{more} requests",
                lambda: victim.poll() is not None or upstream.get("/sim/stats")["requests"] >= more,
            )
            victim.send_signal(signal.SIGKILL)
            if victim.wait() == -signal.SIGKILL:
                kills += 1
                unrecorded += upstream.get("/sim/stats")["distinct"] - recorded.rows(job.folder)

        done = job.run(*flags)
        stats = upstream.get("/sim/stats")

    assert done.returncode == 0, done.stderr
    assert kills >= 15, "most runs ended before they could be killed"
    assert stats["answered_distinct"] == 2000
    # What was asked again is at most what had been asked and not recorded at one of the kills.
    assert stats["requests"] - stats["distinct"] <= unrecorded
    job.assert_conserved()


def test_frozen_for_longer_than_its_lease_the_server_goes_on_and_asks_no_recorded_row_twice(tmp_path):
    rows = test_serve.write_rows(tmp_path / "job.jsonl", (f"row {n}" for n in range(3000)))
    with harness.sim("--latency", "40ms") as upstream:
        flags = ("--upstream", upstream.base_url, *test_serve.FLAGS)
        with harness.serve(tmp_path / "data", *flags) as server:
            client = test_serve.Client(server)
            batch = client.order(rows)
            harness.until("a third", lambda: upstream.get("/sim/stats")["answered"] >= 1000)
            server.process.send_signal(signal.SIGSTOP)
            frozen = time.monotonic() + LEASE_SECONDS + 5
            harness.until("the lease is over", lambda: time.monotonic() > frozen)
            server.process.send_signal(signal.SIGCONT)
            client.finished(batch)
        stats = upstream.get("/sim/stats")

    # Nobody took its segments meanwhile: what was in flight had its answer waiting.
    assert (stats["requests"], stats["asked_more_than_once"]) == (3000, 0)


def test_a_grace_that_ends_before_the_lines_in_flight_is_said_and_keeps_what_was_recorded(tmp_path):
    rows = test_serve.held_up(tmp_path / "job.jsonl")
    with harness.sim() as upstream:
        flags = ("--upstream", upstream.base_url, *test_serve.FLAGS)
        with harness.serve(tmp_path / "data", *flags) as server:
            batch = test_serve.Client(server).order(rows)
            test_serve.hanging(upstream, PERMITS)
            told = time.monotonic()
            server.process.terminate()
            assert server.process.wait(GRACE_SECONDS + 10) == 1
            assert time.monotonic() - told > GRACE_SECONDS - 1
        with harness.serve(tmp_path / "data", *flags) as server:
            test_serve.Client(server).finished(batch)
        stats = upstream.get("/sim/stats")

    assert stats["asked_more_than_once"] == PERMITS
    assert stats["answered_more_than_once"] == 0
