"""A job of any size through a provider's limits: each shard keeps to them, each row comes back in its place, and the
memory stays flat."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest

import harness
import remote

ROWS, LINE_BYTES = 120_001, 3_750
# Seen: 35 MB, and 48 MB with the ids of five million rows. With a thread more for files now and then it was 88.
MEMORY_BYTES = 70_000_000

# Limits of every kind: by lines, by bytes, tight and wide.
PROFILES = ["openai", "azure", "dashscope", "doubleword", "groq", "nebius", "siliconflow", "together"]

CUSTOM_ID = re.compile(rb'"custom_id": ?"row-0*(\d+)"')


def written(path, rows, line_bytes):
    """A file of so many different rows of this length."""
    head = b'{"custom_id": "row-%09d", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "demo-small", '
    head += b'"messages": [{"role": "user", "content": "%09d '
    tail = b'"}]}}\n'
    length = line_bytes - len(head % (0, 0) + tail)
    filler = (b"Which of these labels suits the text that follows? " * length)[:length]
    with open(path, "wb") as file:
        for number in range(1, rows + 1):
            file.write(head % (number, number) + filler + tail)
    return path


@pytest.fixture(scope="module")
def big_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("size") / "job.jsonl"
    yield written(path, ROWS, LINE_BYTES)
    path.unlink()


def limits_of(name):
    return json.loads(harness.ditto("providers", name, "--json").stdout)


def run(file, name, folder, seconds):
    """The job through a provider with these limits: its peak of memory, and the provider's bill."""
    limits = limits_of(name)
    profiles = folder / "profiles.toml"
    profiles.write_text(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in remote.QUICK.items()))
    refuses = [f"max-lines:{limits['max_lines']}", f"max-bytes:{limits['max_file_bytes']}"]
    refuses.append(f"max-line-bytes:{limits['max_line_bytes']}")
    to = ["--provider", name, "--api-key-env", remote.KEY, "--profiles", profiles]
    with harness.sim("--batch-pace", remote.PACE, "--batch-fail", ",".join(refuses)) as provider:
        command = ["run", file, *to, "--base-url", provider.base_url]
        peak, took = measured(command, folder / "said", seconds)
        bill = remote.bill(provider)
    assert all(batch["total"] <= limits["max_lines"] for batch in bill["batches"])
    assert {batch["status"] for batch in bill["batches"]} == {"completed"}
    print(f"{name}: {len(bill['batches'])} batches, {took:.0f} s, peak {peak / 1e6:.0f} MB")
    return peak, bill


def measured(command, said, seconds):
    """The peak of memory and the seconds of a command that succeeds."""
    began, peak = time.monotonic(), 0
    with open(said, "wb") as log:
        command = [harness.binary(), *map(str, command)]
        env = os.environ | {remote.KEY: "sk-simulated"}
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
    try:
        while running.poll() is None:
            peak = max(peak, harness.peak_memory(running.pid))
            assert time.monotonic() - began < seconds, said.read_text()[-2000:]
            time.sleep(0.05)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0, said.read_text()[-2000:]
    return peak, time.monotonic() - began


def ids(path):
    with open(path, "rb") as file:
        for line in file:
            yield int(CUSTOM_ID.search(line).group(1))


def hold(file, rows, name, folder, seconds):
    # The job's folder is beside its input.
    folder.mkdir(exist_ok=True)
    own = folder / "job.jsonl"
    os.link(file, own)
    peak, bill = run(own, name, folder, seconds)
    output, errors = folder / "job.output.jsonl", folder / "job.errors.jsonl"
    assert all(found == wanted for found, wanted in zip(ids(output), range(1, rows + 1), strict=True))
    assert errors.read_bytes() == b""
    assert harness.ditto("verify", own, output, errors, timeout=seconds).returncode == 0
    assert (bill["billed"], bill["billed_distinct"]) == (rows, rows)
    assert 0 < peak < MEMORY_BYTES, peak
    shutil.rmtree(folder)


def test_120_001_rows_come_back_in_their_places_in_little_memory(big_file, tmp_path):
    hold(big_file, ROWS, "openai", tmp_path, 120)


@pytest.mark.long
@pytest.mark.parametrize("name", PROFILES)
def test_120_001_rows_keep_to_the_limits_of_each_provider(name, big_file, tmp_path):
    hold(big_file, ROWS, name, tmp_path, 300)


@pytest.mark.long
def test_five_million_rows_take_no_more_memory_than_a_hundred_thousand(tmp_path):
    rows = 5_000_000
    file = written(tmp_path / "job.jsonl", rows, 800)
    # One shard of millions, and a hundred of fifty thousand.
    for name in ("nebius", "openai"):
        hold(file, rows, name, tmp_path / name, 900)
