"""The long form: sizes and repetitions that take minutes. `scripts/test --long` runs it."""

import concurrent.futures
import hashlib
import json
import random
import shutil
import signal
import subprocess
import time

import openai
import pytest

import harness
import recorded
import test_serve
from test_run import PERMITS, Job

pytestmark = pytest.mark.long

MEMORY_BYTES = 120_000_000

# Seen: 10 MB at 100,000 lines, 14 MB at a million, 42 MB at ten million. One that kept only the hash
# of each id in memory would need 26 MB at a million.
VERIFY_BYTES = 24_000_000

MILLION = 1_000_000
RESULT = (
    b'{"id":"%b","custom_id":"row-%09d","response":{"status_code":200,"request_id":"r","body":{"id":"x"}},"error":null}\n'
)

LEASE_SECONDS = 30
GRACE_SECONDS = 25

# A filler reads each line, takes its `custom_id` from it, and writes an error line as long. So it is
# held against doing that one after the other: `check` of the input, which reads and parses each line,
# and a plain copy of it with one sync. Fillers do both at once, two side by side. Seen: 0.5 to 0.7 of the
# sum, a million lines a second on two cores and a virtual disk, where twice the sum is still 370,000.
FILL_SHARE = 2

# Seen: 0.9; beside two fillers where there is one, 0.85. Lines that had their turn behind those that are
# filled would get next to nothing, since one run alone is 65,536 lines.
BESIDE_SHARE = 0.6


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


def test_serve_keeps_its_memory_on_a_file_of_300_mb_in_parts(tmp_path):
    path = harness.samples(tmp_path / "job.jsonl", "synthetic", "-n", 75_000, "--line-bytes", 4000)
    size, digest, part = path.stat().st_size, hashlib.md5(), 64 << 20
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    with harness.serve(tmp_path / "data") as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="unused")
        upload = client.uploads.create(filename=path.name, purpose="batch", mime_type="text/jsonl", bytes=size)

        def send(at):
            with open(path, "rb") as file:
                file.seek(at)
                return client.uploads.parts.create(upload.id, data=file.read(part)).id

        # The last first, and two at once.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            sent = list(pool.map(send, reversed(range(0, size, part))))
        began = time.monotonic()
        completed = client.uploads.complete(upload.id, part_ids=sent[::-1], md5=digest.hexdigest())
        print(f"completed with md5 in {time.monotonic() - began:.2f} s, peak {harness.peak_memory(server.pid):,} bytes")

        read = hashlib.md5()
        with client.files.with_streaming_response.content(completed.file.id) as content:
            for chunk in content.iter_bytes():
                read.update(chunk)
        assert read.hexdigest() == digest.hexdigest()
        assert 0 < harness.peak_memory(server.pid) < MEMORY_BYTES
        batch = client.batches.create(
            input_file_id=completed.file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        harness.until("it is validated", lambda: client.batches.retrieve(batch.id).request_counts.total, seconds=600)
        assert client.batches.retrieve(batch.id).request_counts.total == 75_000
        client.batches.cancel(batch.id)


def test_a_file_of_10_gb_in_parts_is_complete_at_once_and_moves_no_bytes(spare):
    size, part = 10_000_000_000, 64 << 20
    if shutil.disk_usage(spare).free < 2 * size:
        pytest.skip("this disk has no room for 10 GB and what a server leaves free")
    line = json.dumps(dict(custom_id="x", method="POST", url="/v1/chat/completions", body=dict(model="m", x="y" * 900)))
    block = line.encode() + b"\n"

    def bytes_at(at, length):
        lines = block * (length // len(block) + 2)
        return lines[at % len(block) :][:length]

    with harness.serve(spare / "data") as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="unused")
        upload = client.uploads.create(filename="big.jsonl", purpose="batch", mime_type="text/jsonl", bytes=size)

        def send(at):
            return client.uploads.parts.create(upload.id, data=bytes_at(at, min(part, size - at))).id

        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            sent = list(pool.map(send, reversed(range(0, size, part))))
        took, began = time.monotonic() - began, time.monotonic()
        completed = client.uploads.complete(upload.id, part_ids=sent[::-1])
        at_once = time.monotonic() - began
        print(f"{len(sent)} parts in {took:.0f} s, complete in {at_once:.3f} s, {harness.peak_memory(server.pid):,} bytes")

        # Reading it all would take longer than that, even from memory.
        assert at_once < took / 100
        assert 0 < harness.peak_memory(server.pid) < MEMORY_BYTES
        assert completed.file.bytes == size
        for at in (0, part - 10, 7 * part - 1, size - 20):
            content = client.files.with_raw_response.content(
                completed.file.id, extra_headers={"Range": f"bytes={at}-{at + 19}"}
            )
            assert content.content == bytes_at(at, 20)
            assert content.headers["content-range"] == f"bytes {at}-{at + 19}/{size}"


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A million requests, and their results in another order: with our ids, and with a provider's own."""
    folder = tmp_path_factory.mktemp("million")
    harness.samples(folder / "job.jsonl", "synthetic", "-n", MILLION, "--line-bytes", 200)
    for name, result_id in (("ours", "batch_req_b_%d"), ("theirs", "req-%d")):
        with open(folder / name, "wb") as out:
            # A step that shares no factor with a million comes by every line once.
            numbers = (i * 7919 % MILLION + 1 for i in range(MILLION))
            out.writelines(RESULT % ((result_id % number).encode(), number) for number in numbers)
    return folder


@pytest.mark.parametrize("results, matched_by", [("ours", "line_number"), ("theirs", "custom_id")])
def test_verify_keeps_its_memory_on_a_million_lines(million, results, matched_by):
    command = [harness.binary(), "verify", million / "job.jsonl", million / results, "--json"]
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    peak = 0
    while running.poll() is None:
        peak = max(peak, harness.peak_memory(running.pid))
        time.sleep(0.02)
    finding = json.loads(running.stdout.read())

    assert running.returncode == 0, finding
    assert (finding["results"], finding["matched_by"]) == (MILLION, matched_by)
    assert 0 < peak < VERIFY_BYTES


@pytest.fixture(scope="module")
def millions(tmp_path_factory):
    """Three million requests, 600 MB; their error lines are as long."""
    path = tmp_path_factory.mktemp("millions") / "job.jsonl"
    yield harness.samples(path, "synthetic", "-n", 3 * MILLION, "--line-bytes", 200)
    path.unlink()


@pytest.fixture
def spare(tmp_path):
    """A folder for gigabytes, of which nothing is kept."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def cancelled(client, batch):
    """Cancels the batch; the batch in its end, and the seconds until then."""
    client.api.batches.cancel(batch)
    began = time.monotonic()

    def ended():
        seen = client.api.batches.retrieve(batch)
        return seen if seen.status == "cancelled" else None

    return harness.until("it is cancelled", ended, seconds=300), time.monotonic() - began


def seconds(*command):
    began = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def test_what_a_cancel_leaves_is_written_as_fast_as_it_can_be_read_and_written(millions, spare, capsys):
    read = seconds(harness.binary(), "check", millions)
    # One line in flight, which is answered soon: with it the grace is over.
    with harness.sim("--latency", "100ms") as upstream:
        flags = ("--upstream", upstream.base_url, "--concurrency", "1")
        with harness.serve(spare / "data", *flags) as server:
            client = test_serve.Client(server)
            batch = client.order(millions)
            harness.until("an answer", lambda: upstream.get("/sim/stats")["answered"], seconds=120)
            done, took = cancelled(client, batch)
            verified = harness.ditto("verify", batch, "--base-url", server.base_url)

    assert verified.returncode == 0, verified.stderr
    lines = 3 * MILLION - done.request_counts.completed
    write = seconds("dd", f"if={millions}", f"of={spare / 'copy'}", "bs=1M", "conv=fsync")
    with capsys.disabled():
        print(f"\n{lines} error lines in {took:.2f} s: {lines / took:,.0f} lines/s; "
              f"to read the input {read:.2f} s, to write as many bytes {write:.2f} s")
    assert took < FILL_SHARE * (read + write)


def rate(upstream, until, most=300):
    """Answers a second until this holds."""
    def answered():
        return upstream.get("/sim/stats")["answered"]

    began, before = time.monotonic(), answered()
    harness.until("the end of a measurement", until, seconds=most)
    return (answered() - before) / (time.monotonic() - began)


def for_seconds(length):
    end = time.monotonic() + length
    return lambda: time.monotonic() > end


def test_a_batch_that_is_sent_is_not_slowed_by_another_that_is_filled(millions, spare, capsys):
    sent = harness.samples(spare / "sent.jsonl", "synthetic", "-n", 400_000, "--line-bytes", 200)
    with harness.sim("--latency", "10ms") as upstream:
        with harness.serve(spare / "data", "--upstream", upstream.base_url) as server:
            client = test_serve.Client(server)
            other = client.order(millions)
            harness.until("it runs", lambda: client.api.batches.retrieve(other).in_progress_at, seconds=120)
            batch = client.order(sent)
            harness.until("so does the other", lambda: client.api.batches.retrieve(batch).request_counts.completed)
            before = rate(upstream, for_seconds(5))
            began = time.monotonic()
            client.api.batches.cancel(other)
            during = rate(upstream, lambda: client.api.batches.retrieve(other).status == "cancelled")
            took = time.monotonic() - began
            assert client.api.batches.retrieve(batch).status == "in_progress", "it did not wait for it"
            after = rate(upstream, for_seconds(5))

    with capsys.disabled():
        print(f"\n{before:,.0f} answers/s before, {during:,.0f} while {3 * MILLION / took:,.0f} lines/s "
              f"are filled, {after:,.0f} after")
    assert during > BESIDE_SHARE * min(before, after)


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
