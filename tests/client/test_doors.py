"""Who is let in, and how: keys that are made and ended beside a running server, TLS, what the log says of it."""

import http.client
import json
import resource
import shutil
import socket
import ssl
import urllib.error
import urllib.request

import openai
import pytest

import harness

# A change of keys is seen within one.
SECONDS = 5


def keys(data, *args, code=0):
    """`ditto-batch keys ARGS`: what it printed, as objects with `--json`."""
    done = harness.ditto("keys", *args, "--data", data)
    assert done.returncode == code, done.stderr
    return done


def create(data, tenant, *args):
    return json.loads(keys(data, "create", "--tenant", tenant, "--json", *args).stdout)


def listed(data):
    return [json.loads(line) for line in keys(data, "list", "--json").stdout.splitlines()]


def status(server, key=None, path="/v1/files"):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{server.address}{path}", headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def until_status(server, expected, key):
    harness.until(f"{expected}", lambda: status(server, key) == expected, seconds=SECONDS)


def until_said(server, words):
    harness.until(words, lambda: words in server.said())


def test_a_key_is_printed_once_alone_and_its_folder_has_only_the_hash(tmp_path):
    data = tmp_path / "data"
    done = keys(data, "create", "--tenant", "team-a", "--label", "ci")
    secret = done.stdout.removesuffix("\n")

    assert secret.startswith("sk-ditto-") and len(secret) == 61
    assert "team-a" in done.stderr and secret not in done.stderr
    [row] = listed(data)
    assert (row["tenant"], row["label"], row["shown"], row["live"]) == ("team-a", "ci", secret[:13], True)
    for_people = keys(data, "list").stdout
    assert "team-a" in for_people and "never used" in for_people and secret not in for_people
    assert all(secret[13:].encode() not in path.read_bytes() for path in data.iterdir())


def test_keys_are_made_rotated_and_revoked_without_stopping(tmp_path):
    data = tmp_path / "data"
    with harness.serve(data) as server:
        until_said(server, "without keys")
        assert status(server) == 200
        first = create(data, "team-a")
        until_status(server, 401, None)
        assert status(server, first["key"]) == 200
        assert status(server, path="/healthz") == 200

        done = keys(data, "rotate", first["id"], "--grace", "24h")
        second = done.stdout.strip()
        assert "1 day" in done.stderr
        until_status(server, 200, second)
        assert status(server, first["key"]) == 200

        keys(data, "revoke", first["id"])
        until_status(server, 401, first["key"])
        assert status(server, second) == 200
        [ended, live] = listed(data)
        assert (ended["id"], ended["live"], live["live"]) == (first["id"], False, True)

        keys(data, "revoke", live["id"])
        until_status(server, 401, second)
        assert status(server) == 401
    # What was used is written down when it stops.
    assert listed(data)[0]["last_used_at"]
    with harness.serve(data) as server:
        until_said(server, "nobody may connect")
        assert status(server) == 401


def test_what_is_not_there_is_3_and_what_has_ended_is_5(tmp_path):
    assert "no catalog" in keys(tmp_path / "none", "list", code=3).stderr
    assert not (tmp_path / "none").exists()
    made = create(tmp_path / "data", "a")
    keys(tmp_path / "data", "revoke", "key_no", code=3)
    keys(tmp_path / "data", "revoke", made["id"])
    keys(tmp_path / "data", "rotate", made["id"], code=5)
    keys(tmp_path / "data", "create", "--tenant", "a b", code=2)


TLS = harness.ROOT / "tests/tls"


def serve_tls(folder, *flags):
    """On a certificate of its own, which can be renewed."""
    for name in ("cert", "key"):
        shutil.copy(TLS / f"first-{name}.pem", folder / f"{name}.pem")
    files = ("--tls-cert", folder / "cert.pem", "--tls-key", folder / "key.pem")
    command = ["serve", "--data", folder / "data", "--upstream", "sim", *files, *flags]
    return harness.spawned(*command)


def test_over_tls_the_official_client_works_and_plain_http_does_not(tmp_path, three_rows):
    context = ssl.create_default_context(cafile=TLS / "ca.pem")
    with serve_tls(tmp_path) as server:
        until_said(server, "serving https://")
        url = f"https://localhost:{server.port}/v1"
        client = openai.OpenAI(base_url=url, api_key="unused", http_client=openai.DefaultHttpxClient(verify=context))
        file = client.files.create(file=three_rows, purpose="batch")
        assert client.files.content(file.id).read() == three_rows.read_bytes()
        with pytest.raises(http.client.BadStatusLine):
            server.get("/healthz")
        # Whoever does not know the authority is not served either.
        stranger = openai.OpenAI(base_url=url, api_key="unused", max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            stranger.models.list()
        # And who connects and says nothing keeps nobody out.
        with socket.create_connection(("127.0.0.1", server.port)):
            assert client.models.list().data


def test_a_certificate_that_cannot_be_used_is_refused_at_start(tmp_path):
    flags = ("--tls-cert", TLS / "first-cert.pem", "--tls-key")
    address = f"127.0.0.1:{harness.free_port()}"
    serve = ("serve", "--listen", address, "--data", tmp_path / "data", "--upstream", "sim", *flags)
    assert harness.ditto(*serve, TLS / "second-key.pem", timeout=20).returncode == 2
    assert harness.ditto(*serve, tmp_path / "none.pem", timeout=20).returncode == 3
    assert not (tmp_path / "data").exists()


def test_lines_of_the_log_name_the_client_and_are_not_forged(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('trusted_proxies = ["127.0.0.1"]\n')
    with harness.serve(tmp_path / "data", "--config", config) as server:
        connection = http.client.HTTPConnection(server.address)
        forged = "/v1/files/x%0aERROR%20forged%1b[31m"
        connection.request("GET", forged, headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-A": "b"})
        assert connection.getresponse().status == 404
        harness.until("its line", lambda: "203.0.113.7" in server.said())
        said = server.said()
    [line] = [line for line in said.splitlines() if "203.0.113.7" in line]
    assert "route=\"/v1/files/{id}\"" in line and "status=404" in line
    assert "forged" not in said and "6.6.6.6" not in said and "\x1b" not in said


def test_the_soft_limit_of_open_files_is_raised_at_start(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with harness.serve(tmp_path / "data") as server:
            raised, _ = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert raised == min(hard, 65_536)
