"""The lines of result files. What the upstream answered stands as it came."""

import json

from .content import HEADERS, without_etag
from .row import Row


def file_of(batch, which, server=lambda w: w):
    """The file's lines, in which a 2xx answer is only said to be one: its text is the upstream's."""

    def ask(world):
        answer = without_etag(server(world).get(f"/v1/files/{batch(world)[which]}/content"))
        lines = [json.loads(line) for line in answer.content.splitlines()]
        for line in lines:
            if line["response"] and line["response"]["status_code"] == 200:
                assert line["response"]["body"]["object"] == "chat.completion"
                line["response"]["body"] = "the answer"
        answer.content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        answer.raw_headers["content-length"] = str(len(answer.content))
        return answer

    return ask


def line(number, response, error=None):
    return {"id": f"batch_req_BATCH_{number}", "custom_id": f"row-{number}", "response": response, "error": error}


def answered(status, body):
    return {"status_code": status, "request_id": "REQUEST", "body": body}


def headers(which):
    """Those of a file that is called after its batch."""
    disposition = f'attachment; filename="BATCH_{which}.jsonl"'
    return HEADERS | {"content-type": "application/jsonl", "content-disposition": disposition}


CANCELLED = {
    "code": "batch_cancelled",
    "message": "This request was not executed because the batch was cancelled.",
}
EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
REFUSED = {
    "error": {
        "message": "Simulated fault 400: a bad request.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_value",
    }
}

ROWS = [
    Row(
        "output",
        "The output file",
        "a line for each answer, in any order; `error` is null",
        "spec",
        file_of(lambda w: w.completed, "output_file_id"),
        200,
        [line(n, answered(200, "the answer")) for n in (1, 2, 3)],
        headers=headers("output"),
        ours="the same, in the order of the input",
    ),
    Row(
        "errors-refused",
        "The error file of a line that the upstream refused",
        "the error stands in `response.body`; `error` is null",
        "captured",
        file_of(lambda w: w.uneven, "error_file_id"),
        200,
        [line(2, answered(400, REFUSED))],
        headers=headers("error"),
        against="an HTTP failure is in `response.body` (captured) against in `error` (spec, DeepInfra); "
        "it is in the error file (captured) against in the output file (Morph)",
    ),
    Row(
        "errors-expired",
        "The error file of a line that was not run in time",
        "`response` is null, `error.code` is `batch_expired`, with this text",
        "spec",
        file_of(lambda w: w.expired, "error_file_id", lambda w: w.keyed),
        200,
        [line(3, None, EXPIRED)],
        headers=headers("error"),
    ),
    Row(
        "errors-cancelled",
        "The error file of a line that was cancelled",
        "`response` is null, `error.code` is `batch_cancelled`; the text is not known",
        "inferred",
        file_of(lambda w: w.cancelled, "error_file_id"),
        200,
        [line(3, None, CANCELLED)],
        headers=headers("error"),
        ours="the code is the same; the text is one that others use",
    ),
]
