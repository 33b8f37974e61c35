"""LiteLLM's SDK, unmodified: a server of ours is to it one more address of OpenAI's API."""

import litellm
import openai
import pytest

import harness


@pytest.fixture
def ours(server):
    return {"custom_llm_provider": "openai", "api_base": server.base_url, "api_key": "unused"}


def made(rows, ours, **more):
    with rows.open("rb") as file:
        uploaded = litellm.create_file(file=file, purpose="batch", **ours)
    return litellm.create_batch(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id=uploaded.id, **more, **ours
    )


def finished(batch, ours):
    def completed():
        found = litellm.retrieve_batch(batch_id=batch.id, **ours)
        return found if found.status == "completed" else None

    return harness.until("the end", completed)


def test_a_file_becomes_a_batch_and_its_answers_come_back(rows, ours):
    created = made(rows, ours, metadata={"job": "seven"})
    batch = finished(created, ours)
    answers = harness.parsed_lines(litellm.file_content(file_id=batch.output_file_id, **ours).content)

    assert (created.status, created.metadata) == ("validating", {"job": "seven"})
    assert batch.request_counts.completed == 3
    assert batch.usage.total_tokens > 0
    assert [row["custom_id"] for row in answers] == ["row-0", "row-1", "row-2"]


def test_files_are_retrieved_listed_and_deleted(rows, ours):
    with rows.open("rb") as file:
        uploaded = litellm.create_file(file=file, purpose="batch", **ours)

    assert litellm.file_retrieve(file_id=uploaded.id, **ours).bytes == rows.stat().st_size
    assert litellm.file_content(file_id=uploaded.id, **ours).content == rows.read_bytes()
    assert uploaded.id in [file.id for file in litellm.file_list(**ours)]
    assert litellm.file_delete(file_id=uploaded.id, **ours).deleted
    with pytest.raises(openai.NotFoundError):
        litellm.file_retrieve(file_id=uploaded.id, **ours)


def test_batches_are_listed_and_cancelled(tmp_path, ours):
    slow = tmp_path / "slow.jsonl"
    slow.write_bytes(b"".join(harness.request(n, "sim: delay 1s") for n in range(500)))
    batch = made(slow, ours)

    assert batch.id in [found.id for found in litellm.list_batches(**ours).data]
    assert litellm.cancel_batch(batch_id=batch.id, **ours).status in ("cancelling", "cancelled")
