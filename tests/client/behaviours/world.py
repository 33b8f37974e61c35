"""What a behaviour is asked of: two servers and what stands on them, made when it is first asked for."""

import contextlib
import functools
import http.client
import json
import re

import harness

CHAT = "/v1/chat/completions"
TERMINAL = ("completed", "failed", "expired", "cancelled")
JSON = {"content-type": "application/json"}

KEY = "sk-alpha-0123456789"
KEYS = {"alpha": KEY, "beta": "sk-beta-0123456789", "lists": "sk-lists-0123456789", "full": "sk-full-0123456789"}
FILE_BYTES = 3_000_000
TENANT_BYTES = 4_000_000

# A full disk is another test's matter, and no row's.
SPACE = "[space]\nfree = []\n"
OPEN_CONFIG = SPACE + '[windows]\n24h = "expire"\n'
# A window short enough to be waited for.
SHORT = "4s"
KEYED_CONFIG = SPACE + f'[windows]\n24h = "keep going"\n{SHORT} = "expire"\n' + f"[limits]\nfile_bytes = {FILE_BYTES}\n[tenants.'*']\nstored_bytes = {TENANT_BYTES}\n"

ID = re.compile(r"(?<![0-9A-Za-z])(file-|batch_req_|batch_|upload_|part_)[0-9A-Za-z]{24}(?![0-9A-Za-z])")
REQUEST = re.compile(r"(?<![0-9A-Za-z_])req_(sim_)?[0-9A-Za-z]{16,}(_[0-9]+)?")
NAMES = {"file-": "FILE", "batch_": "BATCH", "batch_req_": "batch_req_BATCH", "upload_": "UPLOAD", "part_": "PART"}
# Of our time: a whole number of seconds since 1970 that no size or count of these tests reaches.
TIMES = range(1_700_000_000, 4_000_000_000)


class Answer:
    """One answer, with what changes from run to run replaced by its kind."""

    def __init__(self, status, headers, content):
        self.status = status
        self.raw_headers = headers
        self.content = content

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def headers(self):
        """All but the date and what HTTP needs for itself; the length only where the body does not show it."""
        shown = {name: kinds(value) for name, value in self.raw_headers.items() if name not in ("date", "connection")}
        if "ditto-next" in shown:
            shown["ditto-next"] = re.sub(r"^[0-9a-f]{8}\.", "MARK.", shown["ditto-next"])
        return shown

    @property
    def body(self):
        if self.raw_headers.get("content-type") == "application/json" and self.content:
            return kinds(self.json)
        if self.raw_headers.get("content-type") == "application/jsonl" and self.content:
            return [kinds(row) for row in harness.parsed_lines(self.content)] if is_rows(self.content) else self.content
        return self.content


def is_rows(content):
    with contextlib.suppress(ValueError):
        return all(isinstance(row, dict) for row in harness.parsed_lines(content))
    return False


def kinds(value):
    """The value with its ids and times replaced by what they are; a lifetime stays a number."""
    if isinstance(value, dict):
        return {kinds(key): lifetime(value) if key == "expires_at" else kinds(part) for key, part in value.items()}
    if isinstance(value, list):
        return [kinds(part) for part in value]
    if isinstance(value, str):
        return REQUEST.sub("REQUEST", ID.sub(lambda found: NAMES[found[1]], value))
    if isinstance(value, int) and value in TIMES:
        return "TIME"
    return value


def lifetime(thing):
    at = thing["expires_at"]
    return at if at is None else f"TIME+{at - thing['created_at']}"


class Server:
    def __init__(self, service, key=None):
        self.service = service
        self.key = key

    def send(self, method, path, body=None, headers=None):
        headers = {name: value for name, value in (headers or {}).items() if value is not None}
        if self.key:
            headers = {"authorization": f"Bearer {self.key}"} | headers
        with contextlib.closing(http.client.HTTPConnection(self.service.address, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())

    def get(self, path, **headers):
        return self.send("GET", path, headers=dashed(headers))

    def post(self, path, body=None, **headers):
        text = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        return self.send("POST", path, text, JSON | dashed(headers))

    def delete(self, path):
        return self.send("DELETE", path)

    def upload(self, content=b"{}", name="job.jsonl", purpose="batch", file_first=False, **fields):
        fields = fields if purpose is None else {"purpose": purpose} | fields
        parts = [part(f'name="{key}"', value.encode()) for key, value in fields.items()]
        if name is not None:
            parts.insert(0 if file_first else len(parts), part(f'name="file"; filename="{name}"', content))
        return self.send_form(parts)

    def send_form(self, parts):
        body = b"".join(parts) + b"--XbX--\r\n"
        return self.send("POST", "/v1/files", body, {"content-type": "multipart/form-data; boundary=XbX"})

    def order(self, file_id, **more):
        return {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"} | more

    def create(self, file_id, **more):
        return self.post("/v1/batches", self.order(file_id, **more))

    def batch(self, content, **more):
        """The id of a batch over these lines."""
        return self.create(self.upload(content).json["id"], **more).json["id"]

    def ended(self, batch_id):
        """The batch once it has ended."""

        def terminal():
            answer = self.get(f"/v1/batches/{batch_id}")
            return answer if answer.json["status"] in TERMINAL else None

        return harness.until(f"the end of {batch_id}", terminal)

    def run(self, content, **more):
        return self.ended(self.batch(content, **more))


def dashed(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


def part(disposition, content):
    return f"--XbX\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


def row(custom_id="row-1", text="say", **changes):
    """One line; a change to None takes the key away."""
    body = {"model": "demo-small", "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | changes
    return json.dumps({key: value for key, value in line.items() if value is not None}).encode() + b"\n"


def rows(*texts):
    return b"".join(row(f"row-{n}", text) for n, text in enumerate(texts, 1))


class World(Server):
    """The server without keys, which most behaviours are asked of; `keyed` is the one with keys and limits."""

    def __init__(self, stack, folder):
        self.stack = stack
        self.folder = folder
        # One line at a time, so that a batch can be caught between two.
        super().__init__(self.serve("open", OPEN_CONFIG, "--concurrency", "1"))

    def serve(self, name, config, *flags):
        path = self.folder / f"{name}.toml"
        path.write_text(config)
        return self.stack.enter_context(harness.serve(self.folder / name, "--config", path, *flags))

    @functools.cached_property
    def keyed_service(self):
        keys = self.folder / "keys"
        keys.write_text("".join(f"{tenant}:{key}\n" for tenant, key in KEYS.items()))
        return self.serve("keyed", KEYED_CONFIG, "--api-key-file", keys, "--concurrency", "1")

    def tenant(self, name):
        return Server(self.keyed_service, KEYS[name])

    @property
    def keyed(self):
        return self.tenant("alpha")

    def with_key(self, key):
        return Server(self.keyed_service, key)

    @functools.cached_property
    def file(self):
        return self.upload(rows("say", "say", "say")).json["id"]

    @functools.cached_property
    def completed(self):
        return self.ended(self.create(self.file).json["id"]).json

    @functools.cached_property
    def failed(self):
        return self.run(b"{}\n").json

    @functools.cached_property
    def uneven(self):
        """A batch of one line that is answered and one that is refused."""
        return self.run(rows("say", "sim: 400")).json

    @functools.cached_property
    def refused(self):
        """A batch of which no line was answered."""
        return self.run(rows("sim: 400")).json

    @functools.cached_property
    def cancelled(self):
        """A batch that was cancelled while the second of its three lines was in flight."""
        batch_id = self.batch(rows("say", "sim: delay 3s", "say"))
        path = f"/v1/batches/{batch_id}"
        harness.until("one answer", lambda: self.get(path).json["request_counts"]["completed"] == 1)
        self.first_cancel = self.post(f"{path}/cancel")
        return self.ended(batch_id).json

    @functools.cached_property
    def expired(self):
        """A batch whose window ended while the second of its three lines was in flight."""
        return self.keyed.run(rows("say", "sim: delay 7s", "say"), completion_window=SHORT).json

    @functools.cached_property
    def listed(self):
        """A tenant with three files, of which the middle one is no batch input, and three batches."""
        tenant = self.tenant("lists")
        tenant.files = [tenant.upload(purpose=purpose).json["id"] for purpose in ("batch", "user_data", "batch")]
        tenant.batches = [tenant.ended(tenant.create("file-none").json["id"]).json["id"] for _ in range(3)]
        return tenant

    @functools.cached_property
    def digits(self):
        """The path of the content of a file of ten bytes."""
        file = self.upload(b"0123456789", name="digits.txt", purpose="user_data").json["id"]
        return f"/v1/files/{file}/content"
