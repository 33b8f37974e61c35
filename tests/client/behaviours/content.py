"""`GET /v1/files/{id}/content`: bytes, and parts of them."""

from .row import Row, error

HEADERS = {
    "content-type": "application/octet-stream",
    "x-content-type-options": "nosniff",
    "accept-ranges": "bytes",
    "content-disposition": 'attachment; filename="digits.txt"',
}


def etag(world):
    return world.get(world.digits).raw_headers["etag"]


def whole(world, **headers):
    """The answer without its validator, which has to be there, be strong, and be the same each time."""
    answer = world.get(world.digits, **headers)
    return without_etag(answer)


def without_etag(answer):
    tag = answer.raw_headers.pop("etag")
    assert tag.startswith('"') and tag.endswith('"') and len(tag) > 10
    return answer


ROWS = [
    Row(
        "content",
        "The content of a file",
        "200, the bytes, `Content-Length`",
        "reported",
        whole,
        200,
        b"0123456789",
        headers=HEADERS,
        ours="the same, with a strong `ETag`",
    ),
    Row(
        "content-jsonl",
        "The content of a `.jsonl` file",
        "raw bytes; the spec's type is JSON, which it is not",
        "spec",
        lambda w: without_etag(w.get(f"/v1/files/{w.upload().json['id']}/content")),
        200,
        [{}],
        headers=HEADERS
        | {"content-type": "application/jsonl", "content-disposition": 'attachment; filename="job.jsonl"'},
        ours="the bytes as `application/jsonl`",
    ),
    Row(
        "content-not-compressed",
        "With `Accept-Encoding: gzip`",
        "unknown; some servers compress, and the length no longer fits",
        "unknown",
        lambda w: whole(w, accept_encoding="gzip"),
        200,
        b"0123456789",
        headers=HEADERS,
        ours="as it is stored",
    ),
    Row(
        "content-head",
        "`HEAD`",
        "unknown",
        "unknown",
        lambda w: without_etag(w.send("HEAD", w.digits)),
        200,
        b"",
        headers=HEADERS | {"content-length": "10"},
        ours="the headers of the whole",
    ),
    Row(
        "content-range",
        "`Range: bytes=2-4`",
        "unknown; a pending change of the Python package resumes so, if the answer says that it may",
        "SDK",
        lambda w: whole(w, range="bytes=2-4"),
        206,
        b"234",
        headers=HEADERS | {"content-range": "bytes 2-4/10"},
        ours="that part",
    ),
    Row(
        "content-range-last",
        "`Range: bytes=-3`",
        "unknown",
        "unknown",
        lambda w: whole(w, range="bytes=-3"),
        206,
        b"789",
        headers=HEADERS | {"content-range": "bytes 7-9/10"},
        ours="the last three bytes",
    ),
    Row(
        "content-if-range",
        "A range with `If-Range` and the file's `ETag`",
        "unknown",
        "unknown",
        lambda w: whole(w, range="bytes=8-", if_range=etag(w)),
        206,
        b"89",
        headers=HEADERS | {"content-range": "bytes 8-9/10"},
        ours="that part",
    ),
    Row(
        "content-if-range-other",
        "A range with `If-Range` and another `ETag`",
        "unknown",
        "unknown",
        lambda w: whole(w, range="bytes=8-", if_range='"another"'),
        200,
        b"0123456789",
        headers=HEADERS,
        ours="the whole, not a part of something else",
    ),
    Row(
        "content-ranges",
        "Several ranges",
        "unknown",
        "unknown",
        lambda w: whole(w, range="bytes=0-1,3-4"),
        200,
        b"0123456789",
        headers=HEADERS,
        ours="the whole",
    ),
    Row(
        "content-range-past",
        "A range that begins past the end",
        "unknown",
        "unknown",
        lambda w: w.get(w.digits, range="bytes=99-"),
        416,
        error("The range begins past the end of the file, which has 10 bytes."),
        headers={"content-range": "bytes */10"},
        ours="refused, with the length",
    ),
    Row(
        "content-unknown",
        "The content of a file that does not exist, or no longer",
        "404 as for the file",
        "reported",
        lambda w: w.get("/v1/files/file-none/content"),
        404,
        error("No such File object: file-none", "id"),
    ),
]
