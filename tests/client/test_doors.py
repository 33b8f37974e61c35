"""Who is let in: keys that are made, rotated and revoked beside a running server."""

import json
import urllib.error
import urllib.request

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
        assert "without keys" in server.said()
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
        assert "nobody may connect" in server.said()
        assert status(server) == 401


def test_what_is_not_there_is_3_and_what_has_ended_is_5(tmp_path):
    assert "no catalog" in keys(tmp_path / "none", "list", code=3).stderr
    assert not (tmp_path / "none").exists()
    made = create(tmp_path / "data", "a")
    keys(tmp_path / "data", "revoke", "key_no", code=3)
    keys(tmp_path / "data", "revoke", made["id"])
    keys(tmp_path / "data", "rotate", made["id"], code=5)
    keys(tmp_path / "data", "create", "--tenant", "a b", code=2)
