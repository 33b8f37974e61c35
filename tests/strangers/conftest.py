import os
import pathlib
import sys

import pytest

# LiteLLM asks the internet for prices when it is imported, unless it is told to take those that it brings along.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "client"))

import harness  # noqa: E402  (needs the path)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with harness.serve(tmp_path_factory.mktemp("serve") / "data") as started:
        yield started


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "job.jsonl"
    path.write_bytes(b"".join(harness.request(n, "say") for n in range(3)))
    return path
