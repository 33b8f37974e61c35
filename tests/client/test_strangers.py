"""A crowd of connections that are slow on purpose, and an upload that fills the line: nobody else waits for them.

The file is also the crowd and the upload, each in a process of its own, so that they do not share an interpreter with
whoever takes the time.
"""

import contextlib
import http.client
import json
import resource
import shutil
import socket
import subprocess
import sys
import time

import pytest

import harness

GB = 1_000_000_000
MEMORY_BYTES = 250_000_000
TIMES = 20
# Idle, a look takes less than a millisecond; this many are over in a second.
LOOKS = 1000
UPLOAD_SECONDS = 1800


def meet(folder, connections, size):
    """The p99 of `GET /healthz` before and during the load, in seconds, and what the server held of memory."""
    with harness.serve(folder / "data") as server:
        idle = p99(looks(server, lambda taken: len(taken) < LOOKS))
        with crowd(server, connections):
            began = time.monotonic()
            upload = start("upload", server.address, size)
            loaded = looks(server, lambda taken: len(taken) < LOOKS or upload.poll() is None)
            seconds = time.monotonic() - began
            assert upload.wait(UPLOAD_SECONDS) == 0
        memory = harness.peak_memory(server.pid)
        [file] = server.get("/v1/files")["data"]
        assert file["bytes"] == size
    print(
        f"{connections} slow connections, {size / GB} GB in {seconds:.0f} s: p99 {1e3 * idle:.2f} ms idle, "
        f"{1e3 * p99(loaded):.2f} ms of {len(loaded)} looks, worst {1e3 * max(loaded):.0f} ms; {memory / 1e6:.0f} MB"
    )
    return idle, p99(loaded), memory


def looks(server, go_on):
    """How long each look took, on a connection of its own: one that is kept would not meet the crowd at the door."""
    taken = []
    while go_on(taken):
        began = time.perf_counter()
        connection = http.client.HTTPConnection(server.address, timeout=30)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {"status": "ok"})
        connection.close()
        taken.append(time.perf_counter() - began)
    return taken


def p99(taken):
    return sorted(taken)[len(taken) * 99 // 100]


def start(*command):
    line = [sys.executable, __file__, *map(str, command)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextlib.contextmanager
def crowd(server, connections):
    process = start("crowd", server.address, connections)
    try:
        assert process.stdout.readline() == b"there\n"
        yield
        assert process.poll() is None, "the crowd is still there"
    finally:
        process.kill()
        process.wait()


def test_two_hundred_slow_connections_and_a_large_upload_keep_nobody_waiting(tmp_path):
    idle, loaded, memory = meet(tmp_path, 200, GB // 10)

    # So short a time has few looks; what a machine does beside is not told from what we do.
    assert loaded < TIMES * max(idle, 0.001)
    assert 0 < memory < MEMORY_BYTES


@pytest.mark.long
def test_two_thousand_slow_connections_and_an_upload_of_10_gb_keep_nobody_waiting(tmp_path):
    if shutil.disk_usage(tmp_path).free < 20 * GB:
        pytest.skip("this disk has no room for 10 GB and what a server leaves free")
    idle, loaded, memory = meet(tmp_path, 2000, 10 * GB)

    assert loaded < TIMES * idle
    assert 0 < memory < MEMORY_BYTES


# The two that are processes of their own.

HEADERS = b"GET /v1/files HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
SILENCE = b""
KINDS = (HEADERS, BODY, SILENCE, HEADERS)


def be_a_crowd(address, connections):
    """So many connections, each of which sends a byte every few seconds, or none. One that is closed comes again."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, port = address.split(":")
    members = [None] * connections
    first = True
    while True:
        for index, member in enumerate(members):
            kind = KINDS[index % len(KINDS)]
            if member is None or not still_there(member, kind):
                members[index] = connect(host, int(port), kind)
            if not first:
                time.sleep(5 / connections)
        if first:
            print("there", flush=True)
            first = False


def connect(host, port, kind):
    try:
        member = socket.create_connection((host, port), timeout=10)
        member.sendall(kind)
    except OSError:
        return None
    member.setblocking(False)
    return member


def still_there(member, kind):
    try:
        while member.recv(1000):
            pass
        raise ConnectionResetError
    except BlockingIOError:
        pass
    except OSError:
        member.close()
        return False
    try:
        member.send(b" " if kind else b"")
    except OSError:
        member.close()
        return False
    return True


def upload(address, size):
    """One form, as fast as it is taken."""
    line = json.dumps({"custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "x": "y" * 850}})
    block = (line.encode() + b"\n") * 1000
    start = (
        b'--XbX\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--XbX\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n'
    )
    end = b"\r\n--XbX--\r\n"
    connection = http.client.HTTPConnection(address, timeout=UPLOAD_SECONDS)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Content-Type", "multipart/form-data; boundary=XbX")
    connection.putheader("Content-Length", str(len(start) + size + len(end)))
    connection.endheaders()
    connection.send(start)
    for offset in range(0, size, len(block)):
        connection.send(memoryview(block)[: size - offset])
    connection.send(end)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()


if __name__ == "__main__":
    match sys.argv[1:]:
        case "crowd", address, connections:
            be_a_crowd(address, int(connections))
        case "upload", address, size:
            upload(address, int(size))
