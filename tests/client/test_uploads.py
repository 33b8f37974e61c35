"""Files in parts: the official `openai` package against `ditto-batch serve`, stopped, killed and copied on the way."""

import concurrent.futures
import hashlib
import http.client
import io
import json

import openai
import pytest
from openai.types import FileObject, Upload
from openai.types.uploads import UploadPart

import harness
from test_openai import client_of, create, download, finished, ids, strict

PART = 100_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with harness.serve(tmp_path_factory.mktemp("serve") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def client(server):
    return client_of(server)


def begin(client, size, **more):
    described = {"filename": "big.jsonl", "purpose": "batch", "mime_type": "text/jsonl", "bytes": size} | more
    upload = strict(Upload, client.uploads.with_raw_response.create(**described))
    assert upload.status == "pending" and upload.file is None
    assert upload.expires_at == upload.created_at + 3600
    return upload


def add(client, upload, data):
    part = strict(UploadPart, client.uploads.parts.with_raw_response.create(upload_id=upload.id, data=data))
    assert part.upload_id == upload.id
    return part.id


def complete(client, upload, part_ids, **more):
    done = client.uploads.with_raw_response.complete(upload_id=upload.id, part_ids=part_ids, **more)
    completed = strict(Upload, done)
    assert completed.status == "completed" and completed.id == upload.id
    return completed.file


def pieces(content, size=PART):
    return [content[at : at + size] for at in range(0, len(content), size)]


def garbage(data):
    return json.loads(harness.ditto("gc", "--data", data, "--dry-run", "--json").stdout)


def test_a_large_file_in_chunks_is_a_batch_like_any_other(client, debian_rows, tmp_path):
    upload = client.uploads.upload_file_chunked(
        file=debian_rows, mime_type="text/jsonl", purpose="batch", part_size=PART
    )

    assert upload.status == "completed"
    file = strict(FileObject, client.files.with_raw_response.retrieve(upload.file.id))
    assert (file.bytes, file.filename, file.purpose) == (debian_rows.stat().st_size, debian_rows.name, "batch")
    assert client.files.content(file.id).read() == debian_rows.read_bytes()
    batch = finished(client, create(client, file.id).id)
    assert batch.status == "completed"
    output = download(client, batch.output_file_id, tmp_path / "output.jsonl")
    assert ids(output) == ids(harness.json_lines(debian_rows))


def test_a_file_lives_as_long_as_its_upload_said(client, three_rows):
    day = {"anchor": "created_at", "seconds": 86_400}
    whole = client.files.create(file=three_rows, purpose="batch", expires_after=day)
    upload = begin(client, 6, expires_after=day)

    in_parts = complete(client, upload, [add(client, upload, b"{}\n{}\n")])

    assert whole.expires_at == whole.created_at + 86_400
    assert in_parts.expires_at == in_parts.created_at + 86_400


def test_three_parts_in_reverse_order_are_the_file(client, debian_rows):
    content = debian_rows.read_bytes()
    upload = begin(client, len(content))
    parts = pieces(content, len(content) // 3 + 1)
    assert len(parts) == 3

    sent = [add(client, upload, part) for part in reversed(parts)]
    file = complete(client, upload, sent[::-1], md5=hashlib.md5(content).hexdigest())

    assert client.files.content(file.id).read() == content
    cut = {"Range": f"bytes={len(parts[0]) - 10}-{len(parts[0]) + 9}"}
    over = client.files.with_raw_response.content(file.id, extra_headers=cut).http_response
    assert over.status_code == 206
    assert over.content == parts[0][-10:] + parts[1][:10]


def test_a_wrong_md5_is_refused_and_can_be_mended(client, debian_rows):
    content = debian_rows.read_bytes()[: 3 * PART]
    upload = begin(client, len(content))
    sent = [add(client, upload, part) for part in pieces(content)]

    with pytest.raises(openai.BadRequestError) as refused:
        client.uploads.complete(upload.id, part_ids=sent, md5=hashlib.md5(b"other").hexdigest())
    assert refused.value.code == "checksum_mismatch"
    file = complete(client, upload, sent, md5=hashlib.md5(content).hexdigest())

    assert client.files.content(file.id).read() == content


def test_parts_may_be_sent_at_once(client, debian_rows):
    content = debian_rows.read_bytes()
    upload = begin(client, len(content))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda part: add(client, upload, part), pieces(content, 20_000)))
    file = complete(client, upload, sent)

    assert client.files.content(file.id).read() == content


def test_a_cancelled_upload_takes_nothing_more(client):
    upload = begin(client, 6)
    part = add(client, upload, b"{}\n{}\n")

    cancelled = strict(Upload, client.uploads.with_raw_response.cancel(upload.id))

    assert cancelled.status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        client.uploads.parts.create(upload.id, data=b"{}\n")
    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(upload.id, part_ids=[part])
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel("upload_nope")


def test_who_deletes_what_he_lists_walks_to_the_end(tmp_path, three_rows):
    with harness.serve(tmp_path / "data") as server:
        client = client_of(server)
        for _ in range(7):
            client.files.create(file=three_rows, purpose="batch")

        for file in client.files.list(limit=2):
            client.files.delete(file.id)

        assert list(client.files.list()) == []


def test_the_same_key_sends_a_file_once(client, three_rows):
    def send(content):
        return client.files.create(
            file=("job.jsonl", io.BytesIO(content)), purpose="batch", extra_headers={"Idempotency-Key": "once"}
        )

    first = send(three_rows.read_bytes())

    assert send(three_rows.read_bytes()) == first
    with pytest.raises(openai.ConflictError) as refused:
        send(three_rows.read_bytes() + b"\n")
    assert refused.value.code == "idempotency_key_reused"


def test_parts_outlive_a_stop_and_a_kill(tmp_path, debian_rows):
    content = debian_rows.read_bytes()
    parts, sent = pieces(content, len(content) // 4 + 1), []
    data = tmp_path / "data"
    with harness.serve(data) as server:
        upload = begin(client_of(server), len(content))
        sent.append(add(client_of(server), upload, parts[0]))
    with harness.serve(data) as server:
        sent.append(add(client_of(server), upload, parts[1]))
        server.process.kill()
    with harness.serve(data) as server:
        client = client_of(server)
        sent += [add(client, upload, part) for part in parts[2:]]
        file = complete(client, upload, sent, md5=hashlib.md5(content).hexdigest())
        assert client.files.content(file.id).read() == content


def test_killed_while_a_part_comes_in_the_upload_goes_on(tmp_path, debian_rows):
    content = debian_rows.read_bytes()
    data = tmp_path / "data"
    with harness.serve(data) as server:
        upload = begin(client_of(server), len(content))

        half = http.client.HTTPConnection(server.address)
        half.putrequest("POST", f"/v1/uploads/{upload.id}/parts")
        half.putheader("Content-Type", "multipart/form-data; boundary=XbX")
        half.putheader("Content-Length", str(len(content)))
        half.endheaders()
        half.send(b'--XbX\r\nContent-Disposition: form-data; name="data"; filename="p"\r\n\r\n' + content[:PART])
        harness.until("it is coming in", lambda: list(data.glob("blobs/uploads/*/*/*")))
        server.process.kill()
        half.close()
    with harness.serve(data) as server:
        client = client_of(server)
        file = complete(client, upload, [add(client, upload, content)])
        assert client.files.content(file.id).read() == content
        client.files.delete(file.id)
        # The server sweeps in rounds; what a kill has left of a part is nobody's from complete on.
        assert garbage(data)["uploads"]["objects"] <= 1
    assert harness.ditto("gc", "--data", data).returncode == 0
    assert list(data.glob("blobs/*/*")) == []


def test_killed_while_it_completes_it_is_a_file_or_can_become_one(tmp_path, debian_rows):
    content = debian_rows.read_bytes()
    data, ended = tmp_path / "data", {"before": 0, "after": 0}
    moments = [lambda: True, lambda: list(data.glob("blobs/files/*")), lambda: list(data.glob("blobs/files/*/map"))]
    for moment in moments * 4:
        with harness.serve(data) as server:
            client = client_of(server).with_options(max_retries=0)
            upload = begin(client, len(content))
            sent = [add(client, upload, part) for part in pieces(content)]
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                asked = pool.submit(complete, client, upload, sent)
                # Behind the last of them come the manifest's sync and the row.
                harness.until("the moment", lambda: moment() or asked.done(), pause=0)
                server.process.kill()
                try:
                    asked.result()
                    ended["after"] += 1
                except openai.APIConnectionError:
                    ended["before"] += 1
        with harness.serve(data) as server:
            client = client_of(server)
            # With or without the kill in between: the same parts are the same file.
            file = complete(client, upload, sent)
            assert complete(client, upload, sent).id == file.id
            assert client.files.content(file.id).read() == content
            assert [listed.id for listed in client.files.list()] == [file.id]
            client.files.delete(file.id)
    assert harness.ditto("gc", "--data", data).returncode == 0
    left = garbage(data)
    assert left["unknown"]["objects"] == left["young_unknown"]["objects"] == 0
    assert list(data.glob("blobs/uploads/*")) == []
    print(f"killed {ended}")
    assert ended["before"] > 0


def test_a_copy_of_a_running_server_has_the_parts_that_were_whole(tmp_path, debian_rows):
    content = debian_rows.read_bytes()
    first, second = pieces(content, len(content) // 2 + 1)
    data, copy = tmp_path / "data", tmp_path / "copy"
    with harness.serve(data) as server:
        client = client_of(server)
        whole = client.uploads.upload_file_chunked(file=debian_rows, mime_type="text/jsonl", purpose="batch")
        gone = begin(client, 3)
        add(client, gone, b"{}\n")
        client.uploads.cancel(gone.id)
        upload = begin(client, len(content))
        sent = [add(client, upload, first)]

        made = harness.ditto("backup", copy, "--data", data, "--json")

        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["uploads"] == 2
        # What the original does from here on is nothing to the copy.
        client.uploads.cancel(upload.id)
        client.files.delete(whole.file.id)
    with harness.serve(copy) as server:
        client = client_of(server)
        assert client.files.content(whole.file.id).read() == content
        sent.append(add(client, upload, second))
        file = complete(client, upload, sent, md5=hashlib.md5(content).hexdigest())
        assert client.files.content(file.id).read() == content
    assert not list(copy.glob(f"blobs/uploads/{gone.id}"))


def test_gc_takes_what_no_file_needs(tmp_path):
    data = tmp_path / "data"
    with harness.serve(data) as server:
        client = client_of(server)
        upload = begin(client, 3)
        used, unused = add(client, upload, b"{}\n"), add(client, upload, b"[]\n")
        complete(client, upload, [used])
        cancelled = begin(client, 3)
        add(client, cancelled, b"{}\n")
        client.uploads.cancel(cancelled.id)
        server.process.kill()

    found = garbage(data)
    gone = harness.ditto("gc", "--data", data)

    assert found["uploads"]["objects"] <= 2
    assert "uploads" in gone.stdout
    assert [path.name for path in data.glob("blobs/uploads/*/*")] == [used]
    assert not list(data.glob(f"blobs/uploads/*/{unused}"))
    assert garbage(data)["uploads"] == {"objects": 0, "bytes": 0}
