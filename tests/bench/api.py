"""The server's API as a bench calls it: few calls, each timed, no package in between."""

import http.client
import json
import socket
import time

# What the official Python package sends with each call.
OFFICIAL_HEADERS = {
    "accept": "application/binary",
    "accept-encoding": "gzip, deflate",
    "authorization": "Bearer unused",
    "user-agent": "OpenAI/Python",
    "x-stainless-async": "false",
    "x-stainless-lang": "python",
    "x-stainless-retry-count": "0",
}

BOUNDARY = b"cut"
BEFORE_FILE = (
    b'--cut\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--cut\r\ncontent-disposition: form-data; name="file"; filename="bench.jsonl"\r\n\r\n'
)
AFTER_FILE = b"\r\n--cut--\r\n"

READ_BYTES = 1 << 20


class Api:
    """One connection."""

    def __init__(self, address):
        self.address = address
        host, _, port = address.partition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=600)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body):
        return self.call("POST", path, json.dumps(body).encode(), {"content-type": "application/json"})

    def call(self, method, path, body=None, headers={}):
        self.connection.request(method, path, body, headers)
        return self.answer(f"{method} {path}")

    def answer(self, asked):
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{asked}: {answer.status} {content.decode()}")
        return json.loads(content)

    def upload(self, path):
        """The id of the file that was made of it."""
        length = len(BEFORE_FILE) + path.stat().st_size + len(AFTER_FILE)
        self.connection.putrequest("POST", "/v1/files")
        self.connection.putheader("content-type", f"multipart/form-data; boundary={BOUNDARY.decode()}")
        self.connection.putheader("content-length", str(length))
        self.connection.endheaders()
        with open(path, "rb") as file:
            self.connection.send(BEFORE_FILE)
            self.connection.sock.sendfile(file)
            self.connection.send(AFTER_FILE)
        return self.answer(f"upload {path.name}")["id"]

    def create(self, file):
        endpoint = "/v1/chat/completions"
        return self.post("/v1/batches", {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"})

    def until_completed(self, batch, pause, seconds, looks=None):
        """The batch once it is; how long each look took goes to `looks`."""
        end = time.monotonic() + seconds
        while True:
            begun = time.perf_counter()
            found = self.get(f"/v1/batches/{batch}")
            if looks is not None:
                looks.append(time.perf_counter() - begun)
            if found["status"] == "completed":
                return found
            if found["status"] not in ("validating", "in_progress", "finalizing") or time.monotonic() > end:
                raise RuntimeError(f"it should be completed by now: {found}")
            time.sleep(pause)


def downloaded_bytes(address, path, headers=OFFICIAL_HEADERS):
    """Reads an answer to its end and drops it; its length."""
    host, _, port = address.partition(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in {"host": address, **headers}.items())
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{head}connection: close\r\n\r\n".encode())
        buffer, length, first = bytearray(READ_BYTES), 0, b""
        while got := connection.recv_into(buffer):
            if not length:
                first = bytes(buffer[:got])
            length += got
    head, _, _ = first.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{path}: {head.decode()}")
    return length - len(head) - 4
