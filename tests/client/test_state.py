"""A data folder that is damaged, foreign or in use: one sentence, exit 5, and nothing is changed."""

import shutil
import sqlite3

import pytest

import harness
from test_backup import content
from test_cli import said_once
from test_openai import client_of, create, finished, upload


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, three_rows):
    """A folder with a finished batch, that nobody uses."""
    data = tmp_path_factory.mktemp("state") / "data"
    with harness.serve(data) as server:
        client = client_of(server)
        finished(client, create(client, upload(client, three_rows).id).id)
    # All of it in one file: damage to that must not be mended from SQLite's log.
    catalog = sqlite3.connect(data / "catalog.db")
    catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    catalog.close()
    assert not (data / "catalog.db-wal").exists()
    return data


@pytest.fixture
def data(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "data")


def garbage(catalog):
    catalog.write_bytes(b"not a database " * 500)


def cut_in_the_middle(catalog):
    catalog.write_bytes(catalog.read_bytes()[: catalog.stat().st_size // 2])


def written_over_in_the_middle(catalog):
    whole = catalog.read_bytes()
    middle = len(whole) // 2 // 4096 * 4096
    catalog.write_bytes(whole[:middle] + b"\xa5" * 4096 + whole[middle + 4096 :])


def of_another_program(catalog):
    catalog.unlink()
    with sqlite3.connect(catalog) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    theirs.close()


def newer(catalog):
    with sqlite3.connect(catalog) as ours:
        ours.execute("PRAGMA user_version = 99")
    ours.close()
    for side in catalog.parent.glob("catalog.db-*"):
        side.unlink()


def gone(catalog):
    catalog.unlink()


def emptied(catalog):
    catalog.write_bytes(b"")


@pytest.mark.parametrize(
    "damage, words",
    [
        (garbage, ("damaged", "backup")),
        (cut_in_the_middle, ("damaged", "backup")),
        (written_over_in_the_middle, ("damaged", "backup")),
        (of_another_program, ("another program", "another data folder")),
        (newer, ("newer release", "schema 99")),
        (gone, ("is gone", "backup")),
        (emptied, ("is gone", "backup")),
    ],
)
def test_a_catalog_that_cannot_be_used_is_refused_and_nothing_is_changed(damage, words, data):
    damage(data / "catalog.db")
    before = content(data)

    done = serve(data)

    assert done.returncode == 5
    assert said_once(done, "nothing was changed", *words)
    assert len(done.stderr.splitlines()) == 1
    assert content(data) == before


def test_a_folder_in_use_is_refused_with_the_process_that_has_it(data):
    with harness.serve(data) as owner:
        done = serve(data)

        assert done.returncode == 5
        assert said_once(done, "in use by another process", f"pid {owner.pid}", "nothing was changed")
        assert owner.answers("/readyz")


def serve(data):
    address = f"127.0.0.1:{harness.free_port()}"
    return harness.ditto("serve", "--listen", address, "--data", data, "--upstream", "sim", timeout=20)
