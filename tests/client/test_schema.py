"""The server against its own description: schemathesis makes requests out of `/openapi.json`, good and bad ones."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

import harness

KEY = "sk-test-0123456789abcdef"
# Requests for each call and phase; the seed makes them the same each time, as far as ids are.
FEW, MANY = 25, 250
SEED = 1
# What names something, a cursor or a range, is right only for what is there; the schema cannot know that.
UNKNOWABLE = "positive_data_acceptance"


def attacked(tmp_path, examples, timeout):
    """Runs schemathesis against a server with keys. How many requests it made."""
    keys = tmp_path / "keys"
    keys.write_text(f"tenant:{KEY}\n")
    keys.chmod(0o600)
    command = [str(pathlib.Path(sys.executable).with_name("schemathesis")), "run"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--seed", str(SEED), "-n", str(examples)]
    command += ["--exclude-checks", UNKNOWABLE, "--continue-on-failure", "--request-timeout", "30", "--no-color"]
    with harness.serve(tmp_path / "data", "--api-key-file", str(keys)) as server:
        document = f"http://{server.address}/openapi.json"
        # Its files go where it runs.
        done = subprocess.run(
            [*command, document], cwd=tmp_path, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        assert server.get("/healthz") == {"status": "ok"}
        said = server.said()
        assert "panicked" not in said and "internal error" not in said, said[-4_000:]
    return int(re.search(r"(\d+) generated", done.stdout)[1])


def test_no_request_out_of_the_description_is_answered_otherwise(tmp_path):
    assert attacked(tmp_path, FEW, timeout=300) > 300


@pytest.mark.long
def test_nor_is_any_of_many_more(tmp_path):
    assert attacked(tmp_path, MANY, timeout=1_800) > 3_000


def test_the_description_needs_no_key_and_names_every_tool_what_it_needs(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"tenant:{KEY}\n")
    keys.chmod(0o600)
    with harness.serve(tmp_path / "data", "--api-key-file", str(keys)) as server:
        document = server.get("/openapi.json")
    assert document["openapi"] == "3.1.0"
    assert document["security"] == [{"key": []}]
    assert set(document["paths"]["/v1/batches"]) == {"get", "post"}
    assert KEY not in json.dumps(document)
