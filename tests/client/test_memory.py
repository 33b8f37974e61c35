"""One budget of memory: large answers go by way of the disk, however many are in flight at once."""

import json
import time

import openai
import pytest

import harness

# Its budget is 256 MiB; beside it there are the program itself and the buffers of its connections.
MEMORY_BYTES = 350_000_000
SLOTS = 64


def answers_of(size, rows, folder):
    """A batch of so many rows whose answers have this size; what it left, and the peak."""
    file = folder / "job.jsonl"
    message = [{"role": "user", "content": f"sim: body {size}"}]
    rows = [
        {"custom_id": f"row-{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": message}}
        for n in range(rows)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with harness.sim() as upstream:
        flags = ("--upstream", upstream.base_url, "--concurrency", str(SLOTS))
        with harness.serve(folder / "data", *flags) as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="unused")
            uploaded = client.files.create(file=file, purpose="batch")
            batch = client.batches.create(
                input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            ended = harness.until("the end", lambda: completed(client, batch.id), seconds=300)
            lengths = result_lines(client, ended.output_file_id or ended.error_file_id)
            peak = harness.peak_memory(server.pid)
    print(f"{len(rows)} answers of {size}: peak {peak / 1e6:.0f} MB")
    assert 0 < peak < MEMORY_BYTES, peak
    return ended.request_counts, lengths


def completed(client, batch):
    batch = client.batches.retrieve(batch)
    return batch if batch.status == "completed" else None


def result_lines(client, file):
    """The lengths of its lines, of which none is held."""
    lengths, line = [], 0
    with client.files.with_streaming_response.content(file) as content:
        for chunk in content.iter_bytes(1 << 20):
            first, *more = chunk.split(b"\n")
            line += len(first)
            for start in more:
                lengths.append(line)
                line = len(start)
    assert line == 0, "the file ends with a line break"
    return lengths


def test_answers_of_megabytes_are_answered_in_little_memory(tmp_path):
    counts, lengths = answers_of("3mb", 2 * SLOTS, tmp_path)

    assert counts.completed == 2 * SLOTS
    assert all(3_000_000 <= length < 3_001_000 for length in lengths)


@pytest.mark.long
def test_sixty_four_answers_of_40_mb_at_once_are_answered_in_little_memory(tmp_path):
    counts, lengths = answers_of("40mb", SLOTS, tmp_path)

    assert counts.completed == SLOTS
    assert all(40_000_000 <= length < 40_001_000 for length in lengths)


@pytest.mark.long
def test_sixty_four_answers_over_the_limit_are_named_in_little_memory(tmp_path):
    counts, lengths = answers_of("100mb", SLOTS, tmp_path)

    assert (counts.completed, counts.failed) == (0, SLOTS)
    # Of each, the first 64 KiB.
    assert all(65_536 <= length < 68_000 for length in lengths)
