"""Files that come in parts."""

import hashlib

from .row import Row, error, file
from .world import part, rows

CONTENT = rows("say", "say")
CUT = len(CONTENT) // 3
NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"


def upload(**changes):
    return {
        "id": "UPLOAD",
        "object": "upload",
        "bytes": len(CONTENT),
        "created_at": "TIME",
        "filename": "job.jsonl",
        "purpose": "batch",
        "status": "pending",
        "expires_at": "TIME+3600",
        "file": None,
    } | changes


def description(**changes):
    return {"filename": "job.jsonl", "purpose": "batch", "bytes": len(CONTENT), "mime_type": "text/jsonl"} | changes


def begin(world, **changes):
    """The path of a pending upload."""
    return f"/v1/uploads/{world.post('/v1/uploads', description(**changes)).json['id']}"


def add(world, path, content=CONTENT):
    form = part('name="data"; filename="upload"', content) + b"--XbX--\r\n"
    return world.send("POST", f"{path}/parts", form, {"content-type": "multipart/form-data; boundary=XbX"})


def completed(world, order=(0, 1), **more):
    """The answer to a completion of two parts in this order."""
    path = begin(world)
    parts = [add(world, path, content).json["id"] for content in (CONTENT[:CUT], CONTENT[CUT:])]
    return world.post(f"{path}/complete", {"part_ids": [parts[n] for n in order]} | more)


def cancelled(world):
    path = begin(world)
    world.post(f"{path}/cancel")
    return path


def completed_again(world, **more):
    """The answer to a second completion, alike but for this."""
    path = begin(world)
    parts = {"part_ids": [add(world, path, content).json["id"] for content in (CONTENT[:CUT], CONTENT[CUT:])]}
    world.post(f"{path}/complete", parts)
    return world.post(f"{path}/complete", parts | more)


def completed_path(world):
    return f"/v1/uploads/{completed(world).json['id']}"


def cancel_of_completed(world):
    path = completed_path(world)
    return world.post(f"{path}/cancel")


def refused(name, behaviour, openai, source, ask, message, param=None, code=None, ours="refused", status=400):
    return Row(f"uploads-{name}", behaviour, openai, source, ask, status, error(message, param, code), ours=ours)


ROWS = [
    Row(
        "uploads-create",
        "`POST /v1/uploads`",
        "200 and the Upload, `pending`; it expires an hour later",
        "spec",
        lambda w: w.post("/v1/uploads", description()),
        200,
        upload(),
        against="`batch` is among the purposes (spec) and of no use there under 200 MB (spec)",
    ),
    Row(
        "uploads-part",
        "`POST /v1/uploads/{id}/parts`",
        "200 and the part",
        "spec",
        lambda w: add(w, begin(w)),
        200,
        {"id": "PART", "object": "upload.part", "created_at": "TIME", "upload_id": "UPLOAD"},
    ),
    Row(
        "uploads-complete",
        "`POST /v1/uploads/{id}/complete`",
        "200 and the Upload, `completed`, with its `file`",
        "spec",
        completed,
        200,
        upload(status="completed", file=file(bytes=len(CONTENT))),
    ),
    Row(
        "uploads-cancel",
        "`POST /v1/uploads/{id}/cancel`",
        "200 and the Upload, `cancelled`",
        "spec",
        lambda w: w.post(f"{begin(w)}/cancel"),
        200,
        upload(status="cancelled"),
    ),
    refused(
        "bytes",
        "Parts that are not as long together as was declared",
        "refused; the text is not known",
        "spec",
        lambda w: completed(w, order=(0,)),
        f"These parts have {CUT} bytes together, and the upload was created for {len(CONTENT)}.",
        "part_ids",
        "invalid_value",
        ours="refused; it can be completed again with all",
    ),
    refused(
        "md5",
        "An `md5` that is not the file's",
        "refused; the text is not known",
        "spec",
        lambda w: completed(w, md5="0" * 32),
        f"The md5 of these parts in this order is {hashlib.md5(CONTENT).hexdigest()}, and not {'0' * 32}. "
        "Nothing was changed: the upload can be completed with the right parts.",
        "md5",
        "checksum_mismatch",
    ),
    refused(
        "md5-again",
        "The same of an upload that is completed already",
        "unknown",
        "unknown",
        lambda w: completed_again(w, md5="0" * 32),
        f"The md5 of these parts in this order is {hashlib.md5(CONTENT).hexdigest()}, and not {'0' * 32}. "
        "Nothing was changed: the upload is completed, with the file that they have made.",
        "md5",
        "checksum_mismatch",
    ),
    refused(
        "first-line",
        "Parts in an order in which the first line is no JSON",
        "unknown",
        "unknown",
        lambda w: completed(w, order=(1, 0)),
        f"{NOT_JSONL}: the first line is not valid JSON",
    ),
    refused(
        "extension",
        "A batch input that is called `job.json`",
        "unknown",
        "unknown",
        lambda w: w.post("/v1/uploads", description(filename="job.json")),
        NOT_JSONL,
        ours="refused at once, as an upload in one piece is",
    ),
    refused(
        "part-unknown",
        "A part that does not exist",
        "refused; the text is not known",
        "spec",
        lambda w: w.post(f"{begin(w)}/complete", {"part_ids": ["part_none"]}),
        "The upload 'UPLOAD' has no part 'part_none'.",
        "part_ids",
        "invalid_value",
    ),
    refused(
        "unknown",
        "An upload that does not exist",
        "404; the text is not known",
        "spec",
        lambda w: w.post("/v1/uploads/upload_none/cancel"),
        "No such Upload object: upload_none",
        "id",
        ours="404, with the text of files",
        status=404,
    ),
    refused(
        "part-late",
        "A part for an upload that was cancelled",
        "refused; no part may be added then",
        "spec",
        lambda w: add(w, cancelled(w)),
        "Cannot add a part to an upload with status 'cancelled'.",
    ),
    refused(
        "cancel-late",
        "Cancel of an upload that is completed",
        "refused; no upload may be cancelled then",
        "spec",
        cancel_of_completed,
        "Cannot cancel an upload with status 'completed'.",
    ),
]
