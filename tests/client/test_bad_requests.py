"""Each request of `bad_requests.json`, byte for byte, against `ditto-batch serve`: a refusal is an error envelope.

A case has `name`, `from` (whose answer it is: `spec` and `captured` are OpenAI's, `ours` where the sources are silent),
`request` (method and target; a character is a byte, so that what is not text can be asked for, too), and what must come:
`status`, `code`, `param`, `message` (a pattern for the whole of it). Besides, if wanted: `headers` (over those that every
client sends; null takes one away), `version` of HTTP, `keys` (ask the server that has keys), and one of `json`, `text`,
`base64`, `repeat` (a text, so many times) and `form` (dispositions and contents) as body.

`{file}` and `{completed}` stand for a file and a batch that has completed, `{long}` for ten thousand letters.
"""

import base64
import json
import pathlib
import re
import socket

import openai
import pytest

import harness

CASES = json.loads(pathlib.Path(__file__).with_name("bad_requests.json").read_text())
KEY = "sk-test-0123456789abcdef"
BOUNDARY = "XbX"
# The server reads on for up to 5 s before it refuses a body that does not come.
ANSWER_SECONDS = 20


class Asked:
    """The two servers, and what the cases name."""

    def __init__(self, open_server, keyed_server):
        self.open, self.keyed = open_server, keyed_server
        client = openai.OpenAI(base_url=open_server.base_url, api_key="unused")
        self.client = client
        lines = harness.request(1, "hello")
        file = client.files.create(file=("in.jsonl", lines), purpose="batch")
        self.names = {"file": file.id, "completed": self.batch(file.id), "long": "x" * 10_000}
        harness.until("the end of a batch", lambda: client.batches.retrieve(self.names["completed"]).status == "completed")

    def batch(self, file):
        endpoint = "/v1/chat/completions"
        return self.client.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h").id

    def filled(self, text):
        for name, value in self.names.items():
            text = text.replace("{%s}" % name, value)
        return text


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    keys = folder / "keys"
    keys.write_text(f"tenant:{KEY}\n")
    keys.chmod(0o600)
    with harness.serve(folder / "open") as open_server, harness.serve(
        folder / "keyed", "--api-key-file", str(keys)
    ) as keyed_server:
        yield Asked(open_server, keyed_server)


def test_there_are_cases_of_every_kind():
    names = [case["name"] for case in CASES]
    assert len(names) == len(set(names)) >= 45
    assert {case["from"] for case in CASES} == {"spec", "captured", "ours"}
    assert {case["status"] for case in CASES} >= {400, 401, 403, 404, 405, 409, 413, 415, 416}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_bad_request_gets_the_envelope(asked, case):
    server = asked.keyed if case.get("keys") else asked.open
    status, headers, body = exchange(server.port, spoken(case, asked))
    assert status == case["status"], body
    assert headers["x-request-id"].startswith("req_")
    # It is refused for good, and the official clients are told so.
    assert headers["x-should-retry"] == "false"
    if case["request"].startswith("HEAD "):
        assert body == b""
        return
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(body)
    envelope = json.loads(body)
    assert set(envelope) == {"error"} and set(envelope["error"]) == {"message", "type", "param", "code"}
    error = envelope["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", case["code"], case["param"])
    assert re.fullmatch(asked.filled(case["message"]), error["message"], re.S), error["message"]
    # Whatever was asked, the server goes on.
    assert server.get("/healthz") == {"status": "ok"}


def spoken(case, asked):
    """The request's bytes."""
    body, kind = body_of(case, asked)
    headers = {"host": "localhost", "connection": "close", "authorization": f"Bearer {KEY}"}
    if body or case["request"].startswith("POST "):
        headers["content-length"] = str(len(body))
    if kind:
        headers["content-type"] = kind
    headers |= case.get("headers", {})
    lines = [f"{asked.filled(case['request'])} HTTP/{case.get('version', '1.1')}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def body_of(case, asked):
    """The body, and the content type that goes with it."""
    if "json" in case:
        return asked.filled(json.dumps(case["json"])).encode(), "application/json"
    if "text" in case:
        return asked.filled(case["text"]).encode(), "application/json"
    if "base64" in case:
        return base64.b64decode(case["base64"]), "application/json"
    if "repeat" in case:
        text, times = case["repeat"]
        return (text * times).encode(), "application/json"
    if "form" in case:
        return form(case["form"]), f"multipart/form-data; boundary={BOUNDARY}"
    return b"", None


def form(parts):
    """A form with these parts; a part that is null stands for a form without an end."""
    out = []
    for part in parts:
        if part is None:
            return b"".join(out)
        disposition, content = part
        head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
        out.append(head.encode() + content.encode("latin-1") + b"\r\n")
    return b"".join(out) + f"--{BOUNDARY}--\r\n".encode()


def exchange(port, request):
    """Status, headers and body of the answer, read to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), headers, body
