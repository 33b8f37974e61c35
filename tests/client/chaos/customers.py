"""Who wants batches done: each customer orders one after the other and looks at what comes back.

A customer outlives the server. It asks again until it is answered, and creates with an idempotency
key, so that a create whose answer a kill has swallowed makes no second batch.
"""

import http.client
import json
import pathlib
import time
import uuid

from chaos import inputs

# Between two tries while the server is away, and between two looks at a batch.
AGAIN = 0.05
LOOK = 0.1
# A server is away for as long as it takes to start; and a batch ends some time after the last kill.
PATIENCE = 180


class Away(Exception):
    """Nobody answered for too long."""


class Client:
    """The calls that are needed, each made again until it is answered."""

    def __init__(self, serve):
        self.serve = serve

    def json(self, method, path, body=None, **headers):
        headers["Content-Type"] = "application/json"
        return json.loads(self.call(method, path, json.dumps(body) if body is not None else None, headers)[1])

    def upload(self, content):
        boundary = uuid.uuid4().hex
        fields = f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' \
                 f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="job.jsonl"\r\n\r\n'
        body = fields.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return json.loads(self.call("POST", "/v1/files", body, headers)[1])["id"]

    def content(self, file_id):
        return self.call("GET", f"/v1/files/{file_id}/content")[1] if file_id else b""

    def call(self, method, path, body=None, headers=None):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                status, content = self.ask(method, path, body, headers or {})
                if status < 500 and status not in (408, 429):
                    return status, content
            except (OSError, http.client.HTTPException):
                pass  # Killed, or not there yet.
            time.sleep(AGAIN)
        raise Away(f"{method} {path} was not answered for {PATIENCE} s")

    def ask(self, method, path, body, headers):
        if self.serve.address is None:
            raise ConnectionRefusedError
        connection = http.client.HTTPConnection(*self.serve.address, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Customer:
    def __init__(self, world, serve, book, name, sizes, cancels):
        self.world = world
        self.client = Client(serve)
        self.book = book
        self.name = name
        self.sizes = sizes
        self.cancels = cancels
        self.chance = world.chance_for(name)
        self.folder = pathlib.Path(serve.folder) / name

    def work(self):
        self.folder.mkdir()
        while not self.world.time_is_up():
            # Small files are as frequent as large ones.
            least, most = self.sizes
            count = round(least * (most / least) ** self.chance.random())
            self.order(inputs.rows(self.chance, count, faulty=self.chance.random() < 0.15))

    def order(self, rows):
        file_id = self.client.upload(b"".join(rows))
        batch = self.create(file_id)
        if self.chance.random() < self.cancels:
            time.sleep(self.chance.expovariate(2))
            # Too late is no fault: then it is a batch like the others.
            self.client.json("POST", f"/v1/batches/{batch['id']}/cancel")
        batch = self.until_it_ends(batch["id"])
        self.check(batch, rows)
        for used in (file_id, batch.get("output_file_id"), batch.get("error_file_id")):
            if used:
                self.client.call("DELETE", f"/v1/files/{used}")

    def create(self, file_id):
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return self.client.json("POST", "/v1/batches", body, **{"Idempotency-Key": uuid.uuid4().hex})

    def until_it_ends(self, batch_id):
        end = None
        while True:
            batch = self.client.json("GET", f"/v1/batches/{batch_id}")
            if batch["status"] in ("completed", "failed", "cancelled", "expired"):
                return batch
            if self.world.time_is_up():
                end = end or time.monotonic() + PATIENCE
                if time.monotonic() > end:
                    raise Away(f"{batch_id} is still {batch['status']} {PATIENCE} s after the last kill")
            time.sleep(LOOK)

    def check(self, batch, rows):
        counts = batch["request_counts"]
        self.world.ended(batch["status"])
        if batch["status"] == "failed" or counts["total"] == 0:
            return self.never_ran(batch, rows)
        output, errors = (self.client.content(batch.get(f"{kind}_file_id")) for kind in ("output", "error"))
        results = inputs.results(batch["id"], rows, output, errors, self.world.laws)
        self.book.close(batch["id"], len(rows), results)
        if batch["status"] == "completed" and counts["completed"] + counts["failed"] != len(rows):
            self.world.laws.broken(f"{batch['id']} has {len(rows)} lines and counts {counts}")
        self.verify(rows, output, errors)

    def never_ran(self, batch, rows):
        if batch["status"] == "failed" and not inputs.is_faulty(rows):
            self.world.laws.broken(f"{batch['id']} failed: {batch.get('errors')}")
        self.book.close(batch["id"], len(rows), None)

    def verify(self, rows, output, errors):
        paths = [self.folder / f"{name}.jsonl" for name in ("input", "output", "errors")]
        for path, content in zip(paths, (b"".join(rows), output, errors)):
            path.write_bytes(content)
        inputs.verify(*paths, self.world.laws)
