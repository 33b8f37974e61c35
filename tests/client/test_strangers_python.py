"""Each call that the official `openai` package has for files and batches, sync and async, against `ditto-batch serve`.

Only the base URL and the key are ours. Each answer is held strictly against the package's own types.
"""

import asyncio
import hashlib
import io

import openai
import pytest
from openai.types import Batch, FileDeleted, FileObject, Upload
from openai.types.uploads import UploadPart

import driver as drivers
import harness
from driver import strict, strict_list
from dropping import dropping

CHAT = "/v1/chat/completions"
TERMINAL = ("completed", "failed", "expired", "cancelled")
MANY = 250
TENANT_BYTES = 4_000_000

KEYS = {f"{tenant}-{kind.name}": f"sk-{tenant}-{kind.name}-0123456789" for tenant in ("own", "many", "full") for kind in drivers.KINDS}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers")
    keys, config = folder / "keys", folder / "config.toml"
    keys.write_text("".join(f"{tenant}:{key}\n" for tenant, key in KEYS.items()))
    config.write_text(f"[tenants.'*']\nstored_bytes = {TENANT_BYTES}\n[space]\nfree = []\n")
    with harness.serve(folder / "data", "--api-key-file", keys, "--config", config) as started:
        yield started


@pytest.fixture(scope="module", params=drivers.KINDS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def connect(server, kind):
    """Clients of a tenant, or with a key that is nobody's; closed in the end."""
    made = []

    def connected(tenant, base_url=server.base_url, **options):
        made.append(kind(base_url, KEYS.get(f"{tenant}-{kind.name}", tenant), **options))
        return made[-1]

    yield connected
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def own(connect):
    return connect("own")


@pytest.fixture(scope="module")
def many(connect):
    """A tenant with more batches than two full pages; all over one file of one line."""
    client = connect("many")
    file = upload(client, "one.jsonl", harness.request(1, "say"))
    client.made = [create(client, file.id).id for _ in range(MANY)]
    return client


def upload(client, name, content, **more):
    files = client.client.files.with_raw_response
    return strict(FileObject, client.done(files.create(file=(name, content), purpose="batch", **more)))


def three(client):
    return upload(client, "three.jsonl", b"".join(harness.request(n, "say") for n in range(3)))


def create(client, file_id, **more):
    more = {"endpoint": CHAT, "completion_window": "24h"} | more
    return strict(Batch, client.done(client.client.batches.with_raw_response.create(input_file_id=file_id, **more)))


def retrieve(client, batch_id):
    return strict(Batch, client.done(client.client.batches.with_raw_response.retrieve(batch_id)))


def finished(client, batch_id):
    def terminal():
        batch = retrieve(client, batch_id)
        return batch if batch.status in TERMINAL else None

    return harness.until(f"the end of {batch_id}", terminal)


def ids(objects):
    return [found.id for found in objects]


# Files.


def test_each_way_to_give_a_file_gives_the_same_file(own, tmp_path):
    content = harness.request(1, "say")
    path = tmp_path / "job.jsonl"
    path.write_bytes(content)
    named = io.BytesIO(content)
    named.name = "job.jsonl"
    ways = [path, path.open("rb"), named, ("job.jsonl", content), ("job.jsonl", content, "application/jsonl")]

    files = own.client.files
    made = [strict(FileObject, own.done(files.with_raw_response.create(file=way, purpose="batch"))) for way in ways]

    assert {(file.filename, file.bytes, file.purpose, file.status) for file in made} == {
        ("job.jsonl", len(content), "batch", "processed")
    }
    assert {own.done(files.content(file.id)).content for file in made} == {content}


def test_a_file_lives_as_long_as_was_asked(own):
    short = upload(own, "a.jsonl", b"{}", expires_after={"anchor": "created_at", "seconds": 3600})
    usual = upload(own, "a.jsonl", b"{}")

    assert short.expires_at - short.created_at == 3600
    assert usual.expires_at - usual.created_at == 30 * 24 * 3600


def test_a_file_is_retrieved_waited_for_and_deleted(own):
    file = three(own)
    files = own.client.files

    assert strict(FileObject, own.done(files.with_raw_response.retrieve(file.id))) == file
    assert own.done(files.wait_for_processing(file.id)).status == "processed"
    deleted = strict(FileDeleted, own.done(files.with_raw_response.delete(file.id)))
    assert (deleted.id, deleted.deleted) == (file.id, True)
    with pytest.raises(openai.NotFoundError):
        own.done(files.retrieve(file.id))


def test_content_is_read_whole_raw_streamed_and_to_a_file(own, tmp_path):
    content = b"".join(harness.request(n, "say") for n in range(500))
    file = upload(own, "job.jsonl", content)
    files = own.client.files

    whole = own.done(files.content(file.id))
    raw = own.done(files.with_raw_response.content(file.id))
    status, headers, streamed = own.streamed(files.with_streaming_response.content(file.id))
    whole.write_to_file(tmp_path / "whole.jsonl")

    assert whole.content == raw.http_response.content == streamed == content
    assert (tmp_path / "whole.jsonl").read_bytes() == content
    assert (status, headers["content-length"]) == (200, str(len(content)))
    assert own.done(files.retrieve_content(file.id)) == content.decode()


def test_files_are_paged_to_the_end_each_once_and_newest_first(connect):
    client = connect("many")
    made = [upload(client, f"{n}.jsonl", b"{}").id for n in range(MANY)]

    listed = ids(client.each(client.client.files.list(limit=100, purpose="batch")))
    oldest = ids(client.each(client.client.files.list(limit=100, order="asc", purpose="batch")))

    assert [found for found in listed if found in set(made)] == made[::-1]
    assert oldest == listed[::-1]
    page = client.done(client.client.files.with_raw_response.list(limit=100))
    assert len(strict_list(client.page[FileObject], page).data) == 100


def test_a_loop_that_deletes_what_it_lists_walks_to_the_end(connect):
    client = connect("own")
    for n in range(25):
        upload(client, f"{n}.jsonl", b"{}")

    for file in client.each(client.client.files.list(limit=10)):
        client.done(client.client.files.delete(file.id))

    assert ids(client.each(client.client.files.list())) == []


# Files that come in parts.


def test_a_file_in_parts_is_made_part_by_part_and_is_a_file_like_any_other(own):
    content = b"".join(harness.request(n, "say") for n in range(3))
    pieces = [content[:100], content[100:]]
    uploads = own.client.uploads.with_raw_response
    pending = begin(own, content)
    made = [
        strict(UploadPart, own.done(own.client.uploads.parts.with_raw_response.create(pending.id, data=piece)))
        for piece in pieces
    ]

    md5 = hashlib.md5(content).hexdigest()
    done = strict(Upload, own.done(uploads.complete(pending.id, part_ids=ids(made), md5=md5)))

    assert (pending.status, pending.file, done.status) == ("pending", None, "completed")
    assert own.done(own.client.files.content(done.file.id)).content == content
    assert finished(own, create(own, done.file.id).id).request_counts.completed == 3


def test_a_file_is_cut_into_parts_by_the_package_itself(own, tmp_path):
    path = tmp_path / "chunked.jsonl"
    path.write_bytes(b"".join(harness.request(n, "say") for n in range(300)))

    done = own.done(
        own.client.uploads.upload_file_chunked(file=path, mime_type="text/jsonl", purpose="batch", part_size=10_000)
    )

    assert (done.status, done.file.filename, done.file.bytes) == ("completed", path.name, path.stat().st_size)


def test_an_upload_that_was_cancelled_takes_no_part(own):
    pending = begin(own, b"{}")
    cancelled = strict(Upload, own.done(own.client.uploads.with_raw_response.cancel(pending.id)))

    assert cancelled.status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        own.done(own.client.uploads.parts.create(pending.id, data=b"{}"))
    with pytest.raises(openai.NotFoundError):
        own.done(own.client.uploads.cancel("upload_none"))


def begin(client, content):
    uploads = client.client.uploads.with_raw_response
    about = {"filename": "parts.jsonl", "purpose": "batch", "mime_type": "text/jsonl"}
    return strict(Upload, client.done(uploads.create(bytes=len(content), **about)))


# Batches.


def test_a_batch_is_made_run_and_read(own):
    created = create(
        own,
        three(own).id,
        metadata={"job": "seven"},
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )
    batch = finished(own, created.id)
    output = strict(FileObject, own.done(own.client.files.with_raw_response.retrieve(batch.output_file_id)))
    rows = harness.parsed_lines(own.done(own.client.files.content(output.id)).content)

    assert (created.status, created.metadata) == ("validating", {"job": "seven"})
    assert (batch.status, batch.error_file_id) == ("completed", None)
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    assert (output.purpose, output.expires_at - output.created_at) == ("batch_output", 7200)
    assert [row["custom_id"] for row in rows] == ["row-0", "row-1", "row-2"]


def test_a_bad_file_fails_its_batch_with_the_packages_own_errors(own):
    batch = finished(own, create(own, upload(own, "bad.jsonl", b"{}\nnonsense\n").id).id)

    assert (batch.status, batch.errors.object) == ("failed", "list")
    assert {(fault.line, fault.code) for fault in batch.errors.data} >= {(2, "invalid_json_line")}


def test_batches_are_paged_to_the_end_while_new_ones_arrive(many):
    file_id = retrieve(many, many.made[0]).input_file_id
    listed, arrived = [], 0
    for batch in many.each(many.client.batches.list(limit=50)):
        listed.append(batch.id)
        if len(listed) % 25 == 0:
            create(many, file_id)
            arrived += 1

    assert [found for found in listed if found in set(many.made)] == many.made[::-1]
    assert len(listed) == len(set(listed))
    assert arrived >= 10
    page = many.done(many.client.batches.with_raw_response.list(limit=100))
    assert len(strict_list(many.page[Batch], page).data) == 100
    assert len(many.done(many.client.batches.list()).data) == 20


def test_a_batch_that_runs_is_cancelled_and_cancelled_again(own):
    hanging = b"".join(harness.request(n, "sim: delay 1s") for n in range(2000))
    batch_id = create(own, upload(own, "slow.jsonl", hanging).id).id
    harness.until("lines in flight", lambda: retrieve(own, batch_id).status == "in_progress")
    cancel = own.client.batches.with_raw_response.cancel

    first = strict(Batch, own.done(cancel(batch_id)))
    batch = finished(own, batch_id)
    again = strict(Batch, own.done(cancel(batch_id)))

    assert first.status in ("cancelling", "cancelled")
    assert batch.status == again.status == "cancelled"
    assert batch.cancelling_at <= batch.cancelled_at
    assert batch.error_file_id


# Errors, as the package's own classes.


def test_what_is_not_there_is_a_not_found_error(own):
    calls = [
        lambda api: api.files.retrieve("file-none"),
        lambda api: api.files.content("file-none"),
        lambda api: api.files.delete("file-none"),
        lambda api: api.batches.retrieve("batch_none"),
        lambda api: api.batches.cancel("batch_none"),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError) as refused:
            own.done(call(own.client))
        assert refused.value.type == "invalid_request_error"
        assert refused.value.request_id


def test_a_wrong_request_is_a_bad_request_error_with_its_param_and_code(own):
    with pytest.raises(openai.BadRequestError) as window:
        create(own, three(own).id, completion_window="1h")
    assert (window.value.param, window.value.code) == ("completion_window", "invalid_value")
    with pytest.raises(openai.BadRequestError) as limit:
        own.done(own.client.batches.list(limit=101))
    assert (limit.value.param, limit.value.code) == ("limit", "integer_above_max_value")


def test_a_cancel_that_comes_too_late_is_a_conflict_error_at_once(own):
    batch = finished(own, create(own, three(own).id).id)

    with pytest.raises(openai.ConflictError) as late:
        own.done(own.client.batches.cancel(batch.id))

    assert late.value.body["message"] == "Cannot cancel a batch with status 'completed'."
    assert late.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_key_of_nobody_is_an_authentication_error_and_is_not_told_back(connect):
    stranger = connect("sk-nobody-0123456789")

    with pytest.raises(openai.AuthenticationError) as refused:
        stranger.done(stranger.client.files.list())

    assert refused.value.code == "invalid_api_key"
    assert "0123456789" not in str(refused.value)


def test_a_tenant_that_has_all_it_may_have_gets_a_rate_limit_error_at_once(connect):
    full = connect("full")
    row = harness.request(1, "x" * 1000)
    large = row * (TENANT_BYTES // 2 // len(row) + 1)
    upload(full, "large.jsonl", large)

    with pytest.raises(openai.RateLimitError) as refused:
        upload(full, "large.jsonl", large)

    assert (refused.value.type, refused.value.code) == ("insufficient_quota", "storage_limit_exceeded")
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"


# Answers that are lost on their way.


def test_of_a_hundred_creates_whose_first_answer_is_lost_there_are_a_hundred_batches(server, connect, kind):
    """Ten users at once, each of whom sends the same body ten times."""
    file_id = three(connect("own")).id
    with dropping(server.address) as (base_url, dropped):
        client = connect("own", base_url)
        made = hundred(client, file_id)

    assert len(dropped) == len(set(made)) == 100
    listed = client_batches(connect("own"), file_id)
    assert sorted(listed) == sorted(made)


def hundred(client, file_id):
    def body(user):
        return {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", "metadata": {"user": user}}

    async def ten(user):
        return [(await client.client.batches.create(**body(user))).id for _ in range(10)]

    def ten_in_turn(user):
        return [client.client.batches.create(**body(user)).id for _ in range(10)]

    async def all_in_threads():
        return await asyncio.gather(*(asyncio.to_thread(ten_in_turn, str(user)) for user in range(10)))

    async def all_in_tasks():
        return await asyncio.gather(*(ten(str(user)) for user in range(10)))

    tens = asyncio.run(all_in_threads()) if client.name == "sync" else client.done(all_in_tasks())
    return sum(tens, [])


def client_batches(client, file_id):
    return [batch.id for batch in client.each(client.client.batches.list(limit=100)) if batch.input_file_id == file_id]
