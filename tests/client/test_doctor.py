"""`ditto-batch doctor`: what it finds, and the exit code of the first that is bad."""

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time

import pytest

import harness
from test_backup import content
from test_cli import on_a_small_disk, said_once


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    with harness.serve(folder):
        pass
    return folder


def doctor(*args, env=None):
    command = [str(harness.binary()), "doctor", "--json", *map(str, args)]
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=clean | (env or {})
    )
    assert "panicked" not in done.stderr
    told = json.loads(done.stdout)
    assert told["exit"] == done.returncode
    return done.returncode, {finding["check"]: finding for finding in told["checks"]}


@contextlib.contextmanager
def endpoint(status, headers=(), body=b"{}"):
    """Something that answers each request so."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.command, self.path))
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", harness.free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_healthy_folder_and_upstream_are_ok_and_nothing_is_changed_or_sent(data):
    before = content(data)
    with harness.sim() as upstream:
        code, found = doctor("--data", data, "--upstream", f"gpu={upstream.base_url}")
        assert upstream.get("/sim/stats")["requests"] == 0

    assert code == 0
    for check in ("space", "rights", "owner", "catalog", "sync", "open files", "clock", "upstream gpu"):
        assert found[check]["verdict"] != "bad", found[check]
    assert found["rights"]["verdict"] == found["catalog"]["verdict"] == "ok"
    assert "every page is sound" in found["catalog"]["said"]
    assert content(data) == before


def test_for_people_each_check_is_a_line(data):
    done = harness.ditto("doctor", "--data", data)

    assert done.returncode == 0
    assert all(line.split()[0] in ("ok", "warn", "hint:") for line in done.stdout.splitlines())
    assert said_once(done, "checks", "0 bad")


def test_who_has_the_folder_is_told_and_a_running_server_is_asked(tmp_path):
    with harness.serve(tmp_path / "data") as server:
        code, found = doctor("--data", tmp_path / "data", "--base-url", server.base_url)

    assert code == 0
    assert f"process {server.pid}" in found["owner"]["said"]
    assert found["catalog"]["verdict"] == "ok"
    assert found["server ready"]["verdict"] == "ok"


def test_others_that_may_look_in_are_warned_of(data):
    data.chmod(0o755)

    code, found = doctor("--data", data)

    assert code == 0
    assert found["rights"]["verdict"] == "warn" and "chmod 700" in found["rights"]["hint"]


def test_a_damaged_catalog_is_a_conflict(data):
    for side in data.glob("catalog.db-*"):
        side.unlink()
    (data / "catalog.db").write_bytes(b"not a database " * 500)
    before = content(data)

    code, found = doctor("--data", data)

    assert code == 5
    assert found["catalog"]["verdict"] == "bad" and "damaged" in found["catalog"]["said"]
    assert content(data) == before


def test_a_full_disk_is_bad(three_rows, tmp_path):
    done = on_a_small_disk(tmp_path, "1m", "$DITTO doctor --json --data $DISK", three_rows)

    assert done.returncode == 8
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["checks"]}
    assert found["space"]["verdict"] == "bad"
    assert "in memory" in found["sync"]["said"]


@pytest.mark.parametrize(
    "status, headers, code, word",
    [
        (401, (), 4, "asks for a key"),
        (403, (), 4, "does not let them"),
        (302, (("location", "http://127.0.0.1:1/v1"),), 6, "redirects to"),
        (503, (), 6, "in trouble"),
        (404, (), 0, "no /v1/models"),
    ],
)
def test_what_an_upstream_answers_has_its_exit_code(status, headers, code, word, data):
    with endpoint(status, headers) as (url, asked):
        got, found = doctor("--data", data, "--upstream", f"a={url}")

    assert got == code
    assert word in found["upstream a"]["said"]
    assert asked == [("GET", "/v1/models")]


def test_a_key_that_is_not_accepted_is_told_from_one_that_is_missing(data):
    with endpoint(401) as (url, _):
        code, found = doctor("--data", data, "--upstream", f"a={url}", "--upstream-key-env", "K", env={"K": "sk-secret"})

    assert code == 4
    assert "does not know the key" in found["upstream a"]["said"]
    assert "sk-secret" not in json.dumps(found)


def test_an_upstream_that_is_away_is_away(data):
    url = f"http://127.0.0.1:{harness.free_port()}/v1"

    code, found = doctor("--data", data, "--upstream", f"a={url}")

    assert code == 6
    assert url in found["upstream a"]["said"]


def test_a_clock_that_differs_from_the_upstreams_is_warned_of(data):
    then = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 3600))
    with endpoint(200, [("date", then)], b'{"data": []}') as (url, _):
        code, found = doctor("--data", data, "--upstream", f"a={url}")

    assert code == 0
    assert found["clock"]["verdict"] == "warn" and "ahead of upstream a" in found["clock"]["said"]


def test_a_proxy_that_would_catch_the_traffic_is_named(data):
    with endpoint(200, (), b'{"data": []}') as (url, asked):
        code, found = doctor("--data", data, "--upstream", f"a={url}", env={"http_proxy": "http://u:secret@127.0.0.1:9"})

    assert code == 6 and asked == []
    assert found["proxy"]["verdict"] == "warn" and "http_proxy" in found["proxy"]["said"]
    assert "secret" not in json.dumps(found)


def test_a_folder_that_is_not_there_yet_is_fine_and_stays_away(tmp_path):
    code, found = doctor("--data", tmp_path / "later" / "data")

    assert code == 0
    assert "not there yet" in found["folder"]["said"]
    assert list(tmp_path.iterdir()) == []
