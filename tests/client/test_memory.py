"""One budget of memory: large answers go by way of the disk, however many are in flight at once."""

import openai
import pytest

import harness

# Its budget is 256 MiB; beside it there are the program itself and the buffers of its connections.
MEMORY_BYTES = 350_000_000
SLOTS = 64


def answered(script, rows, folder):
    """A batch of so many rows whose answers follow this script; the lengths of its answers' lines, and of its errors'."""
    file = folder / "job.jsonl"
    file.write_bytes(b"".join(harness.request(n, f"sim: {script}") for n in range(rows)))
    with harness.sim() as upstream:
        flags = ("--upstream", upstream.base_url, "--concurrency", str(SLOTS))
        with harness.serve(folder / "data", *flags) as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="unused")
            uploaded = client.files.create(file=file, purpose="batch")
            batch = client.batches.create(
                input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            ended = harness.until("the end", lambda: completed(client, batch.id), seconds=300)
            lengths = [result_lines(client, kind) for kind in (ended.output_file_id, ended.error_file_id)]
            peak = harness.peak_memory(server.pid)
    print(f"{rows} answers, {script}: peak {peak / 1e6:.0f} MB")
    assert 0 < peak < MEMORY_BYTES, peak
    assert [len(kind) for kind in lengths] == [ended.request_counts.completed, ended.request_counts.failed]
    return lengths


def completed(client, batch):
    batch = client.batches.retrieve(batch)
    return batch if batch.status == "completed" else None


def result_lines(client, file):
    """The lengths of its lines, of which none is held."""
    if not file:
        return []
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


# How an answer's length can be told: ahead, or by its end.
FRAMES = ["", " chunked"]


@pytest.mark.parametrize("frame", FRAMES)
def test_answers_of_megabytes_are_answered_in_little_memory(frame, tmp_path):
    answers, errors = answered(f"body 3mb{frame}", 2 * SLOTS, tmp_path)

    assert (len(answers), errors) == (2 * SLOTS, [])
    assert all(3_000_000 <= length < 3_001_000 for length in answers)


@pytest.mark.parametrize("frame", FRAMES)
def test_answers_that_break_off_are_asked_again_and_leave_no_memory_behind(frame, tmp_path):
    answers, errors = answered(f"cut body 6mb{frame} then ok body 3mb{frame}", 2 * SLOTS, tmp_path)

    assert (len(answers), errors) == (2 * SLOTS, [])
    assert all(3_000_000 <= length < 3_001_000 for length in answers)


@pytest.mark.long
@pytest.mark.parametrize("frame", FRAMES)
def test_sixty_four_answers_of_40_mb_at_once_are_answered_in_little_memory(frame, tmp_path):
    answers, errors = answered(f"body 40mb{frame}", SLOTS, tmp_path)

    assert (len(answers), errors) == (SLOTS, [])
    assert all(40_000_000 <= length < 40_001_000 for length in answers)


@pytest.mark.long
@pytest.mark.parametrize("script", ["body 100mb", "body 100mb chunked", "cut body 200mb", "cut body 200mb chunked"])
def test_sixty_four_answers_over_the_limit_are_named_in_little_memory(script, tmp_path):
    answers, errors = answered(script, SLOTS, tmp_path)

    assert (answers, len(errors)) == ([], SLOTS)
    # Of each, the first 64 KiB.
    assert all(65_536 <= length < 68_000 for length in errors)


@pytest.mark.long
@pytest.mark.parametrize("script", ["cut body 120mb chunked then ok", "cut body 60mb then ok"])
def test_sixty_four_answers_that_break_off_below_the_limit_are_asked_again_in_little_memory(script, tmp_path):
    """Nobody can tell what would have come: such an answer is none, and not one over the limit."""
    answers, errors = answered(script, SLOTS, tmp_path)

    assert (len(answers), errors) == (SLOTS, [])
