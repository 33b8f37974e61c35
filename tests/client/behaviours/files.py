"""Uploads, and files as objects."""

from .row import Row, error, file
from .world import rows

NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"
FORM = "multipart/form-data; boundary=XbX"
ANCHOR = {"expires_after[anchor]": "created_at"}
BOTH_SPELLINGS = "`expires_after[anchor]` (spec, SDK) against `expires_after.anchor` (Azure's samples)"
BOUNDS = "3,600 to 2,592,000 s (spec) against 1,209,600 to 2,592,000 s (Azure)"


def lifetime(seconds):
    return lambda w: w.upload(**ANCHOR, **{"expires_after[seconds]": seconds})


def same_upload_twice(world):
    first, second = (world.upload(name="once.jsonl", idempotency_key="once") for _ in range(2))
    assert first.json["id"] == second.json["id"]
    return second


def deleted(world):
    file_id = world.upload().json["id"]
    world.delete(f"/v1/files/{file_id}")
    return file_id


def delete_output(world):
    batch = world.run(rows("say")).json
    return world.delete(f"/v1/files/{batch['output_file_id']}")



def delete_input_of_a_running_batch(world):
    file_id = world.upload(rows("sim: delay 1s")).json["id"]
    batch_id = world.create(file_id).json["id"]
    answer = world.delete(f"/v1/files/{file_id}")
    assert world.ended(batch_id).json["request_counts"]["completed"] == 1
    return answer


DELETED = {"id": "FILE", "object": "file", "deleted": True}

ROWS = [
    Row(
        "upload",
        "`POST /v1/files` with `purpose` `batch`",
        "200 and the File; it lives 30 days",
        "captured",
        lambda w: w.upload(),
        200,
        file(),
        against="`status` is required (spec's schema) against absent (spec's examples)",
    ),
    Row(
        "upload-file-first",
        "The file stands before the fields of the form",
        "taken",
        "SDK",
        lambda w: w.upload(file_first=True),
        200,
        file(),
    ),
    Row(
        "upload-lifetime",
        "`expires_after[anchor]`, `expires_after[seconds]`",
        "`expires_at` is so much after `created_at`",
        "spec",
        lifetime("3600"),
        200,
        file(expires_at="TIME+3600"),
        against=BOTH_SPELLINGS,
        ours="the same; both spellings are taken",
    ),
    Row(
        "upload-lifetime-dots",
        "The same with dots, as Azure's samples write it",
        "unknown",
        "unknown",
        lambda w: w.upload(**{"expires_after.anchor": "created_at", "expires_after.seconds": "3600"}),
        200,
        file(expires_at="TIME+3600"),
        ours="taken",
    ),
    Row(
        "upload-lifetime-json",
        "`expires_after` as one JSON field",
        "unknown",
        "unknown",
        lambda w: w.upload(expires_after='{"anchor":"created_at","seconds":3600}'),
        200,
        file(expires_at="TIME+3600"),
        ours="taken",
    ),
    Row(
        "upload-lifetime-short",
        "A lifetime under an hour",
        "refused; an hour is the least",
        "spec",
        lifetime("3599"),
        400,
        error(
            "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got 3599 instead.",
            "expires_after.seconds",
            "integer_below_min_value",
        ),
        against=BOUNDS,
    ),
    Row(
        "upload-lifetime-long",
        "A lifetime over 30 days",
        "refused; 30 days are the most",
        "spec",
        lifetime("2592001"),
        400,
        error(
            "Invalid 'expires_after.seconds': integer above maximum value. Expected a value <= 2592000, but got 2592001 instead.",
            "expires_after.seconds",
            "integer_above_max_value",
        ),
    ),
    Row(
        "upload-lifetime-anchor",
        "Another anchor than `created_at`",
        "refused; it is the only one",
        "spec",
        lambda w: w.upload(**{"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}),
        400,
        error("Invalid value: 'now'. Supported values are: 'created_at'.", "expires_after.anchor", "invalid_value"),
    ),
    Row(
        "upload-without-purpose",
        "No `purpose`",
        "refused; it is required",
        "spec",
        lambda w: w.upload(purpose=None),
        400,
        error("Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter"),
    ),
    Row(
        "upload-without-file",
        "No `file`",
        "refused; it is required",
        "spec",
        lambda w: w.upload(name=None),
        400,
        error("Missing required parameter: 'file'.", "file", "missing_required_parameter"),
    ),
    Row(
        "upload-purpose-unknown",
        "A `purpose` that does not exist",
        "refused",
        "spec",
        lambda w: w.upload(purpose="lunch"),
        400,
        error(
            "Invalid value: 'lunch'. Supported values are: 'assistants', 'batch', 'fine-tune', 'vision', 'user_data', and 'evals'.",
            "purpose",
            "invalid_value",
        ),
        against="four purposes (spec of uploads) against six (SDK)",
    ),
    Row(
        "upload-purpose-other",
        "`purpose` `user_data`",
        "taken, whatever its name and content; it does not expire",
        "spec",
        lambda w: w.upload(b"no JSON", name="notes.txt", purpose="user_data"),
        200,
        file(bytes=7, filename="notes.txt", purpose="user_data", expires_at=None),
    ),
    Row(
        "upload-extension",
        "A batch input that is called `job.json`",
        "400 with this message, and a `detail` beside `error`",
        "captured",
        lambda w: w.upload(name="job.json"),
        400,
        error(NOT_JSONL),
        ours="the same message, without `detail`",
    ),
    Row(
        "upload-no-extension",
        "A batch input whose name has no extension, as SDKs call bytes without a name",
        "unknown; `openai-batch`, made for OpenAI, sends all its files so",
        "SDK",
        lambda w: w.upload(name="upload"),
        200,
        file(filename="upload"),
        ours="taken",
    ),
    Row(
        "upload-empty",
        "An empty batch input",
        "400 about the format",
        "captured",
        lambda w: w.upload(b""),
        400,
        error(f"{NOT_JSONL}: the file is empty"),
        ours="the same; it says why",
    ),
    Row(
        "upload-first-line",
        "A batch input whose first line is no JSON",
        "400 about the format",
        "captured",
        lambda w: w.upload(b"id,text\n{}\n"),
        400,
        error(f"{NOT_JSONL}: the first line is not valid JSON"),
        ours="the same; it says why",
    ),
    Row(
        "upload-later-line",
        "A batch input whose second line is no JSON",
        "taken; its batch fails",
        "captured",
        lambda w: w.upload(b"{}\nid,text\n"),
        200,
        file(bytes=11),
    ),
    Row(
        "upload-lifetime-twice",
        "A lifetime in both spellings, which differ",
        "unknown",
        "unknown",
        lambda w: w.upload(**ANCHOR, **{"expires_after[seconds]": "3600", "expires_after.seconds": "7200"}),
        400,
        error("The form has more than one part 'expires_after.seconds'.", "expires_after.seconds"),
        ours="refused, as any field that stands twice",
    ),
    Row(
        "upload-key-again",
        "A field `idempotency_key` before the file, and the same upload again",
        "no such field is documented",
        "unknown",
        same_upload_twice,
        200,
        file(filename="once.jsonl"),
        ours="the file of the first, for 24 hours; the header works too",
    ),
    Row(
        "upload-compressed",
        "An upload with `Content-Encoding: gzip`",
        "unknown",
        "unknown",
        lambda w: w.send("POST", "/v1/files", b"", {"content-type": FORM, "content-encoding": "gzip"}),
        415,
        error(
            "Unsupported encoding of the body: 'gzip'. Send it as it is, not compressed.",
            None,
            "unsupported_content_encoding",
        ),
        headers={"accept-encoding": "identity"},
        ours="refused",
    ),
    Row(
        "upload-no-form",
        "A body that is no form",
        "unknown",
        "unknown",
        lambda w: w.post("/v1/files", {"purpose": "batch"}),
        415,
        error(
            "An upload is a form: 'Content-Type: multipart/form-data' with a boundary.", None, "unsupported_content_type"
        ),
        ours="refused",
    ),
    Row(
        "file",
        "`GET /v1/files/{id}`",
        "200 and the File",
        "spec",
        lambda w: w.get(f"/v1/files/{w.upload().json['id']}"),
        200,
        file(),
    ),
    Row(
        "file-unknown",
        "A file that does not exist",
        "404 with this message and `param` `id`",
        "captured",
        lambda w: w.get("/v1/files/file-none"),
        404,
        error("No such File object: file-none", "id"),
    ),
    Row(
        "delete",
        "`DELETE /v1/files/{id}`",
        "200 and `deleted: true`",
        "spec",
        lambda w: w.delete(f"/v1/files/{w.upload().json['id']}"),
        200,
        DELETED,
    ),
    Row(
        "delete-again",
        "The same again",
        "404",
        "captured",
        lambda w: w.delete(f"/v1/files/{deleted(w)}"),
        404,
        error("No such File object: FILE", "id"),
    ),
    Row(
        "delete-output",
        "Deleting the output file of an ended batch",
        "allowed",
        "captured",
        delete_output,
        200,
        DELETED,
    ),
    Row(
        "delete-input",
        "Deleting the input of a batch that runs",
        "unknown",
        "unknown",
        delete_input_of_a_running_batch,
        200,
        DELETED,
        ours="allowed; the batch keeps the bytes and ends",
    ),
]
