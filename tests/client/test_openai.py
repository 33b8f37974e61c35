"""The official `openai` package against `ditto-batch serve`: only the base URL and the key are ours."""

import json

import openai
import pytest
from openai.pagination import SyncCursorPage
from openai.types import Batch, FileDeleted, FileObject
from openai.types.chat import ChatCompletion

import harness

CHAT = "/v1/chat/completions"
TERMINAL = ("completed", "failed", "expired", "cancelled")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with harness.serve(tmp_path_factory.mktemp("serve") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def client(server):
    return client_of(server)


def client_of(server):
    return openai.OpenAI(base_url=server.base_url, api_key="unused")


def strict(kind, raw):
    """The answer as the package's own type, with no coercion: a number in quotes is a failure."""
    return kind.model_validate_json(raw.http_response.text, strict=True)


def upload(client, path):
    file = strict(FileObject, client.files.with_raw_response.create(file=path, purpose="batch"))
    assert file.bytes == path.stat().st_size
    assert file.filename == path.name
    assert file.purpose == "batch"
    return file


def create(client, file_id, **more):
    more = {"endpoint": CHAT, "completion_window": "24h"} | more
    return strict(Batch, client.batches.with_raw_response.create(input_file_id=file_id, **more))


def retrieve(client, batch_id):
    return strict(Batch, client.batches.with_raw_response.retrieve(batch_id))


def finished(client, batch_id):
    def terminal():
        batch = retrieve(client, batch_id)
        return batch if batch.status in TERMINAL else None

    return harness.until(f"the end of {batch_id}", terminal)


def download(client, file_id, path):
    """The lines of a result file, which must be as long as its file object says; none if there is none."""
    if not file_id:
        return []
    file = strict(FileObject, client.files.with_raw_response.retrieve(file_id))
    assert file.purpose == "batch_output"
    client.files.content(file_id).write_to_file(path)
    assert path.stat().st_size == file.bytes
    return harness.json_lines(path)


def ids(rows):
    return [row["custom_id"] for row in rows]


def test_two_thousand_rows_come_back_once_each_and_in_order(client, debian_rows, tmp_path):
    file = upload(client, debian_rows)
    created = create(client, file.id, metadata={"purpose": "conformance"})
    assert created.status == "validating"
    assert created.metadata == {"purpose": "conformance"}

    batch = finished(client, created.id)

    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"total": 2000, "completed": 2000, "failed": 0}
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
    output = download(client, batch.output_file_id, tmp_path / "output.jsonl")
    errors = download(client, batch.error_file_id, tmp_path / "errors.jsonl")
    assert ids(output) == ids(harness.json_lines(debian_rows))
    assert errors == []


def test_each_answer_is_a_chat_completion_with_one_of_the_labels(client, three_rows, tmp_path):
    batch = finished(client, create(client, upload(client, three_rows).id).id)

    output = download(client, batch.output_file_id, tmp_path / "output.jsonl")
    prompts = [row["body"]["messages"][-1]["content"] for row in harness.json_lines(three_rows)]
    for row, prompt in zip(output, prompts, strict=True):
        answer = ChatCompletion.model_validate_json(json.dumps(row["response"]["body"]), strict=True)
        labels = prompt.split("Labels: ")[1].split("\n")[0].split(", ")
        assert answer.choices[0].message.content in labels
        assert row["response"]["status_code"] == 200
        assert row["error"] is None


def test_the_input_comes_back_byte_for_byte(client, debian_rows):
    file = upload(client, debian_rows)

    assert client.files.content(file.id).read() == debian_rows.read_bytes()


def test_a_cut_download_can_be_resumed(client, debian_rows):
    file = upload(client, debian_rows)
    whole = client.files.with_raw_response.content(file.id).http_response
    headers = {"Range": "bytes=1000-", "If-Range": whole.headers["etag"]}

    rest = client.files.with_raw_response.content(file.id, extra_headers=headers).http_response

    assert rest.status_code == 206
    assert rest.headers["content-range"] == f"bytes 1000-{file.bytes - 1}/{file.bytes}"
    assert rest.content == debian_rows.read_bytes()[1000:]


def test_batches_are_listed_page_by_page_each_once_and_newest_first(client, three_rows):
    file = upload(client, three_rows)
    created = [create(client, file.id).id for _ in range(30)]

    listed = [batch.id for batch in client.batches.list(limit=7)]

    assert len(listed) == len(set(listed)) >= 30
    assert listed[:30] == created[::-1]
    page = strict(SyncCursorPage[Batch], client.batches.with_raw_response.list(limit=7))
    assert len(page.data) == 7 and page.has_more is True
    for batch_id in created:
        finished(client, batch_id)


def test_files_are_listed_page_by_page_by_purpose(client, three_rows):
    uploaded = [upload(client, three_rows).id for _ in range(5)]

    listed = [file.id for file in client.files.list(purpose="batch", limit=2)]

    assert len(listed) == len(set(listed))
    assert listed[:5] == uploaded[::-1]
    page = strict(SyncCursorPage[FileObject], client.files.with_raw_response.list(limit=2, order="asc"))
    assert len(page.data) == 2 and page.data[0].created_at <= page.data[1].created_at


def test_a_deleted_file_is_gone(client, three_rows):
    file = upload(client, three_rows)

    deleted = strict(FileDeleted, client.files.with_raw_response.delete(file.id))

    assert deleted.id == file.id and deleted.deleted is True
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


def test_results_can_be_deleted_and_the_batch_stays(client, three_rows):
    batch = finished(client, create(client, upload(client, three_rows).id).id)

    client.files.delete(batch.output_file_id)
    client.files.delete(batch.input_file_id)

    assert retrieve(client, batch.id).status == "completed"


def test_a_cancelled_batch_keeps_its_answers_and_accounts_for_every_row(debian_rows, tmp_path):
    with harness.serve(tmp_path / "data", "--sim-latency", "200ms") as slow:
        client = client_of(slow)
        batch_id = create(client, upload(client, debian_rows).id).id
        harness.until("fifty answers", lambda: retrieve(client, batch_id).request_counts.completed >= 50)

        cancelling = strict(Batch, client.batches.with_raw_response.cancel(batch_id))
        assert cancelling.status in ("cancelling", "cancelled")
        batch = finished(client, batch_id)
        again = strict(Batch, client.batches.with_raw_response.cancel(batch_id))
        output = download(client, batch.output_file_id, tmp_path / "output.jsonl")
        errors = download(client, batch.error_file_id, tmp_path / "errors.jsonl")

    assert batch.status == again.status == "cancelled"
    assert batch.request_counts.model_dump() == {"total": 2000, "completed": len(output), "failed": 0}
    assert 50 <= len(output) < 2000
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    assert sorted(ids(output) + ids(errors)) == sorted(ids(harness.json_lines(debian_rows)))


def test_a_bad_file_fails_the_batch_with_every_fault_that_check_names(client, fault_rows):
    check = harness.ditto("check", fault_rows, "--json")
    named = [json.loads(line) for line in check.stdout.splitlines()]

    batch = finished(client, create(client, upload(client, fault_rows).id).id)

    assert batch.status == "failed"
    assert batch.request_counts.model_dump() == {"total": 0, "completed": 0, "failed": 0}
    assert not batch.output_file_id and not batch.error_file_id
    told = [(error.line, error.code, error.param) for error in batch.errors.data]
    assert told == [(fault["line"], fault["code"], fault["param"]) for fault in named]
    assert [line for line, _, _ in told] == list(range(2, 14))


def test_what_does_not_exist_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as file:
        client.files.retrieve("file-none")
    assert file.value.body["message"] == "No such File object: file-none"
    with pytest.raises(openai.NotFoundError) as batch:
        client.batches.retrieve("batch_none")
    assert batch.value.body["message"] == "No batch found with id 'batch_none'."
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel("batch_none")
    with pytest.raises(openai.NotFoundError):
        client.files.delete("file-none")


def test_a_request_that_is_wrong_is_a_bad_request(client, three_rows):
    file_id = upload(client, three_rows).id

    with pytest.raises(openai.BadRequestError) as endpoint:
        client.batches.create(input_file_id=file_id, endpoint="/v1/nope", completion_window="24h")
    assert (endpoint.value.code, endpoint.value.param) == ("invalid_value", "endpoint")
    with pytest.raises(openai.BadRequestError) as metadata:
        client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h", metadata={"tags": ["a"]})
    assert (metadata.value.code, metadata.value.param) == ("invalid_type", "metadata.tags")


def test_a_completed_batch_cannot_be_cancelled_and_the_client_is_told_not_to_retry(client, three_rows):
    batch = finished(client, create(client, upload(client, three_rows).id).id)

    with pytest.raises(openai.ConflictError) as conflict:
        client.batches.cancel(batch.id)

    assert conflict.value.body["message"] == "Cannot cancel a batch with status 'completed'."
    assert conflict.value.response.headers["x-should-retry"] == "false"


def test_the_same_idempotency_key_creates_one_batch(client, three_rows):
    file_id = upload(client, three_rows).id
    key = {"Idempotency-Key": f"once-{file_id}"}

    first = create(client, file_id, extra_headers=key)
    second = create(client, file_id, extra_headers=key)

    assert first.id == second.id
    with pytest.raises(openai.ConflictError):
        create(client, file_id, extra_headers=key, metadata={"another": "body"})


def test_every_answer_carries_a_request_id(client, three_rows):
    raw = client.files.with_raw_response.create(file=three_rows, purpose="batch")

    assert raw.headers["x-request-id"]


def test_the_models_of_the_upstream_are_listed(client):
    assert [model.id for model in client.models.list()]


def test_results_are_followed_on_the_command_line_and_failed_rows_run_again(tmp_path):
    rows = [b'sim: 400' if n == 7 else b'Labels: a, b' for n in range(1, 41)]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(harness.request(n, text.decode()) for n, text in enumerate(rows, 1)))
    with harness.serve(tmp_path / "data", "--sim-latency", "30ms", "--concurrency", "4") as server:
        call = lambda *args: harness.ditto(*args, "--base-url", server.base_url)
        file = json.loads(call("files", "upload", path).stdout)["id"]
        batch = json.loads(call("batches", "create", file).stdout)["id"]
        followed = call("batches", "results", batch, "--follow")
        assert followed.returncode == 0, followed.stderr
        found = harness.parsed_lines(followed.stdout.encode())
        assert sorted(int(row["id"].rpartition("_")[2]) for row in found) == list(range(1, 41))
        cursor = followed.stderr.rsplit("--after ", 1)[1].split()[0]
        rest = call("batches", "results", batch, "--after", cursor)
        assert (rest.returncode, rest.stdout) == (0, "")

        again = json.loads(call("batches", "retry", batch, "--only", "bad_request").stdout)
        assert again["ditto"]["retry_of"] == batch
        assert call("batches", "wait", again["id"]).returncode == 9
        nothing = call("batches", "retry", batch, "--only", "expired")
        assert nothing.returncode != 0 and "Nothing to retry" in nothing.stderr
        unknown = call("batches", "retry", batch, "--only", "often")
        assert unknown.returncode == 2 and "rate_limited" in unknown.stderr
