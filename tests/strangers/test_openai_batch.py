"""Parasail's `openai-batch`, unmodified: it sends its input as bytes, so that the file is called `upload`."""

import subprocess
import sys

import openai_batch
import pytest
from openai_batch.providers import get_provider_by_base_url

import harness


@pytest.fixture
def provider(server):
    ours = get_provider_by_base_url(server.base_url)
    ours.api_key = "unused"
    return ours


def test_a_file_is_submitted_waited_for_and_downloaded(rows, provider, tmp_path):
    output = tmp_path / "output.jsonl"
    with openai_batch.Batch(str(rows), output_file=output, provider=provider) as job:
        batch, answers, errors = job.submit_wait_download(interval=0.1, metadata={"job": "seven"})

    assert (batch.status, batch.metadata, errors) == ("completed", {"job": "seven"}, None)
    assert [row["custom_id"] for row in harness.parsed_lines(answers.read_bytes())] == ["row-0", "row-1", "row-2"]


def test_a_batch_that_the_command_line_made_is_taken_up_again(rows, provider, server, tmp_path):
    command = [sys.executable, "-m", "openai_batch.run", rows, "--base-url", server.base_url, "--api-key", "unused"]
    done = subprocess.run([*command, "--create"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    batch_id = next(word.rstrip(".") for word in done.stdout.split() if word.startswith("batch_"))

    job = openai_batch.Batch(batch_id=batch_id, output_file=tmp_path / "output.jsonl", provider=provider)
    harness.until("the end", lambda: job.status().status == "completed")
    answers, _ = job.download()

    assert len(harness.json_lines(answers)) == 3
