import pytest

import harness


@pytest.fixture(scope="session")
def debian_rows(tmp_path_factory):
    """2,000 labelling requests over real texts; not to be written to."""
    return harness.samples(tmp_path_factory.mktemp("rows") / "debian.jsonl", "debian", "-n", 2000)


@pytest.fixture(scope="session")
def three_rows(tmp_path_factory, debian_rows):
    path = tmp_path_factory.mktemp("rows") / "three.jsonl"
    path.write_bytes(b"".join(debian_rows.read_bytes().splitlines(keepends=True)[:3]))
    return path


@pytest.fixture(scope="session")
def fault_rows(tmp_path_factory):
    """One good line, then twelve that each have one fault."""
    return harness.samples(tmp_path_factory.mktemp("rows") / "faults.jsonl", "faults")
