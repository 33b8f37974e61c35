"""One row of docs/reference/compatibility.md: what OpenAI does, what we do, and the request that shows it."""

import dataclasses
from collections.abc import Callable

JSON_HEADERS = {"content-type": "application/json", "x-request-id": "REQUEST"}
# What says that trying again is of no use; the official packages obey it.
FINAL = {"x-should-retry": "false"}


@dataclasses.dataclass(frozen=True)
class Row:
    """`body` and `headers` are all of what is answered; ids and times are written as their kinds."""

    name: str
    behaviour: str
    openai: str
    source: str
    ask: Callable
    status: int
    body: object
    ours: str = "the same"
    headers: dict = dataclasses.field(default_factory=dict)
    # The words of the sources that disagree, where they do: the page lists these rows by themselves.
    against: str = ""

    def expected_headers(self):
        merged = JSON_HEADERS | (FINAL if 400 <= self.status < 500 else {}) | self.headers
        return {name: value for name, value in merged.items() if value is not None}


def error(message, param=None, code=None, type="invalid_request_error"):
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def file(**changes):
    return {
        "id": "FILE",
        "object": "file",
        "bytes": 2,
        "created_at": "TIME",
        "expires_at": "TIME+2592000",
        "filename": "job.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    } | changes


def batch(**changes):
    """A batch that has just been made; with `expires_at` where the window of the server expires."""
    return {
        "id": "BATCH",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": None,
        "errors": None,
        "input_file_id": "FILE",
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": "TIME",
        "in_progress_at": None,
        "expires_at": "TIME+86400",
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": None,
        "metadata": None,
    } | changes


def counts(total, completed, failed):
    return {"total": total, "completed": completed, "failed": failed}


def usage(input_tokens, output_tokens):
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


def failed(*faults):
    return batch(status="failed", failed_at="TIME", usage=usage(0, 0), errors={"object": "list", "data": list(faults)})


def fault(code, message, param=None, line=None):
    return {"code": code, "message": message, "param": param, "line": line}


def listed(*objects, has_more=False):
    ids = [found["id"] for found in objects] or [None]
    return {"object": "list", "data": list(objects), "first_id": ids[0], "last_id": ids[-1], "has_more": has_more}


def cannot_find(file_id):
    message = f"Cannot find file {file_id}, or this key does not have access to it."
    return fault("invalid_request", message, "file_id")
