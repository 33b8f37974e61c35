"""`ditto-batch backup`: a copy of a running server goes on where the original was, and asks nothing twice."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import time

import pytest

import harness
import recorded
from test_cli import on_a_small_disk, said_once
from test_openai import CHAT, client_of, create, download, finished, retrieve, upload

PERMITS = 16
ENDED = ("completed", "failed", "cancelled", "expired")


def served(data, upstream):
    return harness.serve(data, "--upstream", upstream.base_url, "--concurrency", str(PERMITS))


def backup(data, dest, *flags):
    return harness.ditto("backup", dest, "--data", data, *flags)


def states(data):
    """The state of each batch as a catalog that nobody uses has it."""
    catalog = sqlite3.connect(f"file:{data}/catalog.db?immutable=1", uri=True)
    found = dict(catalog.execute("SELECT id, state FROM batches"))
    catalog.close()
    return found


def results(client, batch, folder):
    folder.mkdir(exist_ok=True)
    output = download(client, batch.output_file_id, folder / f"{batch.id}.output.jsonl")
    errors = download(client, batch.error_file_id, folder / f"{batch.id}.errors.jsonl")
    return output, errors


def content(folder):
    """Names, modes and hashes of all files below a folder, without what SQLite keeps beside a catalog that is read."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("catalog.db-shm", "catalog.db-wal", "hold.lock"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[str(path.relative_to(folder))] = (path.stat().st_mode, digest)
    return files


@pytest.fixture(scope="module")
def late_fault(tmp_path_factory):
    """A file that takes a while to be read, and is refused at its last line."""
    path = tmp_path_factory.mktemp("rows") / "late_fault.jsonl"
    filler = "x" * 400
    with open(path, "w") as rows:
        for number in range(60_000):
            body = {"model": "m", "messages": [{"role": "user", "content": filler}]}
            rows.write(json.dumps({"custom_id": f"r-{number}", "method": "POST", "url": CHAT, "body": body}) + "\n")
        rows.write("no request\n")
    return path


def test_a_copy_of_a_running_server_goes_on_and_asks_no_recorded_line_again(debian_rows, late_fault, three_rows, tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    with harness.sim("--latency", "40ms") as upstream:
        with served(data, upstream) as original:
            client = client_of(original)
            rows, faulty = upload(client, debian_rows), upload(client, late_fault)
            done = finished(client, create(client, upload(client, three_rows).id).id)
            dropped = create(client, rows.id).id
            harness.until("some answers", lambda: retrieve(client, dropped).request_counts.completed >= 50)
            client.batches.cancel(dropped)
            dropped = finished(client, dropped)
            before = [results(client, batch, tmp_path / "before") for batch in (done, dropped)]
            of_the_ended = upstream.get("/sim/stats")["distinct"]

            running = [create(client, rows.id).id for _ in range(2)]
            harness.until("answers", lambda: sum(retrieve(client, b).request_counts.completed for b in running) > 500)
            waiting = [create(client, faulty.id).id for _ in range(40)]
            made = backup(data, copy, "--json")
            assert made.returncode == 0, made.stderr
            # The original goes on for a while: what it answers now is lost to the copy.
            asked = upstream.get("/sim/stats")["distinct"]
            harness.until("more answers", lambda: upstream.get("/sim/stats")["distinct"] > asked + 100)
        asked = upstream.get("/sim/stats")["distinct"] - of_the_ended

        then = states(copy)
        assert {then[batch] for batch in running} == {"running"}
        assert "validating" in {then[batch] for batch in waiting}, "all were read before the backup began"
        kept = recorded.rows_of(copy)
        assert kept > 400, "hardly anything was recorded before the backup: it proves nothing"
        told = json.loads(made.stdout)
        assert told["open_batches"] == sum(state not in ENDED for state in then.values())
        assert told == json.loads((copy / "backup.json").read_text())

        with served(copy, upstream) as restored:
            client = client_of(restored)
            after = [results(client, retrieve(client, batch.id), tmp_path / "after") for batch in (done, dropped)]
            ended = [finished(client, batch) for batch in running]
            refused = [finished(client, batch) for batch in waiting]
            lines = [results(client, batch, tmp_path / "after") for batch in ended]
            source = client.files.content(rows.id).read()
        stats = upstream.get("/sim/stats")

    assert before == after
    for batch in (done, dropped):
        for kind in ("output", "errors"):
            name = f"{batch.id}.{kind}.jsonl"
            files = [tmp_path / folder / name for folder in ("before", "after")]
            assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes()
    assert source == debian_rows.read_bytes()
    assert [batch.status for batch in ended] == ["completed"] * 2
    assert {batch.status for batch in refused} == {"failed"}
    assert [(len(output), len(errors)) for output, errors in lines] == [(2000, 0)] * 2
    for batch in ended:
        verified = harness.ditto("verify", debian_rows, tmp_path / "after" / f"{batch.id}.output.jsonl")
        assert verified.returncode == 0, verified.stderr
    # What the copy asked again is what it did not hold, and not one line more.
    assert stats["asked_more_than_once"] == asked - kept


def test_a_backup_is_private_and_says_how_to_restore_it(debian_rows, tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    with harness.serve(data) as original:
        client = client_of(original)
        finished(client, create(client, upload(client, debian_rows).id).id)
    copy.mkdir()

    made = backup(data, copy)

    assert made.returncode == 0, made.stderr
    assert said_once(made, "STOP the server", "paid twice", "share their bytes")
    for path in [copy, *copy.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    names = {path.name for path in copy.iterdir()}
    assert names == {"catalog.db", "blobs", "journal", "backup.json"}
    assert not (tmp_path / "copy.partial").exists()


def test_what_is_deleted_at_the_original_stays_in_the_backup(three_rows, tmp_path):
    data, shared, own = tmp_path / "data", tmp_path / "shared", tmp_path / "own"
    with harness.serve(data) as original:
        client = client_of(original)
        batch = finished(client, create(client, upload(client, three_rows).id).id)
        kept = results(client, batch, tmp_path / "before")
    assert backup(data, shared).returncode == 0
    assert backup(data, own, "--copy").returncode == 0
    shutil.rmtree(data)

    for copy, links in ((shared, 1), (own, 1)):
        assert {path.stat().st_nlink for path in copy.rglob("*") if path.is_file()} == {links}
        with harness.serve(copy) as restored:
            client = client_of(restored)
            assert results(client, retrieve(client, batch.id), tmp_path / copy.name) == kept


def test_a_copy_beside_its_running_original_is_warned_of(three_rows, tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    with harness.serve(data):
        assert backup(data, copy).returncode == 0
        with harness.serve(copy) as both:
            # Not `seek`: the server writes where this file stands.
            assert b"paid twice" in os.pread(both.log.fileno(), 100_000, 0)


@contextlib.contextmanager
def stopped_in_the_middle(data, copy):
    """A backup that stands still on its way."""
    partial = copy.with_name(copy.name + ".partial")
    command = [harness.binary(), "backup", str(copy), "--data", str(data), "--copy"]
    making = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not (partial / "catalog.snapshot").exists() and time.monotonic() < end:
            pass
        making.send_signal(signal.SIGSTOP)
        assert partial.exists() and not copy.exists(), "it ended before it could be stopped"
        yield making
    finally:
        making.kill()
        making.wait()


def test_killed_in_the_middle_it_leaves_no_backup_and_the_server_tidies_up(debian_rows, late_fault, tmp_path):
    data, copy, partial = tmp_path / "data", tmp_path / "copy", tmp_path / "copy.partial"
    with harness.sim("--latency", "5ms") as upstream, served(data, upstream) as original:
        client = client_of(original)
        for _ in range(3):
            upload(client, late_fault)
        with stopped_in_the_middle(data, copy) as victim:
            # While it holds the folder nothing is removed: every sealed segment's part stays.
            batch = finished(client, create(client, upload(client, debian_rows).id).id)
            assert batch.status == "completed"
            assert list((data / "journal").iterdir()), "parts were removed under a backup"
            victim.kill()
            assert victim.wait() == -signal.SIGKILL
        harness.until("the parts are removed", lambda: not list((data / "journal").iterdir()))

        assert not copy.exists() and not (partial / "catalog.db").exists()
        opened = harness.ditto("serve", "--listen", f"127.0.0.1:{harness.free_port()}", "--data", partial, "--upstream", "sim")
        assert opened.returncode == 5
        assert said_once(opened, "not finished", "nothing was changed")
        again = backup(data, copy)
        assert again.returncode == 0, again.stderr
        assert (copy / "catalog.db").exists() and not partial.exists()


def test_of_two_backups_to_one_place_the_second_is_refused_and_the_first_ends_well(late_fault, tmp_path):
    data, other, copy = (tmp_path / name for name in ("data", "other", "copy"))
    with harness.serve(data) as original:
        for _ in range(3):
            upload(client_of(original), late_fault)
    with harness.serve(other):
        pass
    with stopped_in_the_middle(data, copy) as first:
        for source in (data, other):
            second = backup(source, copy)
            assert second.returncode == 5
            assert said_once(second, f"{copy}.partial", "another backup", "nothing was copied")
        first.send_signal(signal.SIGCONT)
        assert first.wait() == 0
    assert (copy / "blobs").exists() and states(copy) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data", "other"]


def test_of_many_backups_to_one_place_one_is_made(debian_rows, tmp_path):
    folders = [tmp_path / f"data{n}" for n in range(2)]
    for data in folders:
        with harness.serve(data) as server:
            upload(client_of(server), debian_rows)
    for there in ("nothing", "litter"):
        copy, partial = tmp_path / there, tmp_path / f"{there}.partial"
        if there == "litter":
            partial.mkdir()
            (partial / "catalog.snapshot").touch()
        commands = [[harness.binary(), "backup", copy, "--data", data] for data in folders * 4]
        making = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
        assert sorted(process.wait(60) for process in making) == [0] + [5] * (len(making) - 1)
        assert states(copy) == {} and not partial.exists()
        assert {path.name for path in copy.iterdir()} == {"catalog.db", "blobs", "journal", "backup.json"}


LITTER = {
    "nothing yet": [],
    "its lock": ["backup.lock"],
    "half of it": ["backup.lock", "catalog.snapshot", "catalog.snapshot-journal", "journal/", "blobs/"],
    "all but its name": ["backup.lock", "catalog.db", "backup.json", "journal/", "blobs/"],
    "half of it, by a release before": ["catalog.snapshot", "journal/", "blobs/"],
    "half of it, and a server was refused": ["backup.lock", "catalog.snapshot", "journal/", "blobs/", "owner.lock"],
}


@pytest.mark.parametrize("left", LITTER.values(), ids=LITTER.keys())
def test_what_a_killed_backup_left_is_replaced(left, tmp_path):
    data, copy, partial = tmp_path / "data", tmp_path / "copy", tmp_path / "copy.partial"
    with harness.serve(data):
        pass
    put(partial, left)

    made = backup(data, copy)

    assert made.returncode == 0, made.stderr
    assert {path.name for path in copy.iterdir()} == {"catalog.db", "blobs", "journal", "backup.json"}
    assert not partial.exists()


FOREIGN = {
    "somebody's file": ["mine"],
    "somebody's file beside it": ["backup.lock", "catalog.snapshot", "mine"],
    "a data folder": ["catalog.db", "journal/", "blobs/"],
    "a backup that was served": ["backup.lock", "catalog.db", "backup.json", "journal/", "blobs/", "owner.lock"],
}


@pytest.mark.parametrize("there", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_no_killed_backup_left_is_not_touched(there, tmp_path):
    data, copy, partial = tmp_path / "data", tmp_path / "copy", tmp_path / "copy.partial"
    with harness.serve(data):
        pass
    put(partial, there)

    done = backup(data, copy)

    assert done.returncode == 5
    assert said_once(done, partial, "nothing was copied")
    assert {path.name for path in partial.iterdir()} == {name.rstrip("/") for name in there}


def test_a_link_in_place_of_an_unfinished_backup_is_not_followed(tmp_path):
    data, copy, elsewhere = tmp_path / "data", tmp_path / "copy", tmp_path / "elsewhere"
    with harness.serve(data):
        pass
    put(elsewhere, LITTER["half of it"])
    (tmp_path / "copy.partial").symlink_to(elsewhere)

    done = backup(data, copy)

    assert done.returncode == 5
    assert said_once(done, tmp_path / "copy.partial", "nothing was copied")
    assert len(list(elsewhere.iterdir())) == 5


def put(folder, names):
    folder.mkdir()
    for name in names:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).touch()


def test_parts_that_a_killed_server_left_are_removed_at_the_next_start(debian_rows, tmp_path):
    data = tmp_path / "data"
    with harness.serve(data) as server:
        client = client_of(server)
        finished(client, create(client, upload(client, debian_rows).id).id)
    left = data / "journal" / "1-0.1"
    left.write_bytes(b"DTTOJNL1")
    with harness.serve(data):
        harness.until("the part is removed", lambda: not left.exists())


def test_a_full_disk_is_one_sentence_and_the_original_is_untouched(debian_rows, tmp_path):
    data = tmp_path / "data"
    with harness.serve(data) as server:
        client = client_of(server)
        finished(client, create(client, upload(client, debian_rows).id).id)
    before = content(data)
    script = f"""
        rm $DISK/job.jsonl
        $DITTO backup $DISK/copy --data {data}
        code=$?
        ls -A $DISK >&2
        exit $code
    """

    done = on_a_small_disk(tmp_path, "1500k", script, debian_rows)

    assert done.returncode == 8, done.stderr
    error, hint = done.stderr.splitlines()  # and no name of a file that was left
    assert "No space left on device" in error and "no backup is left" in error and hint.startswith("hint: ")
    assert content(data) == before


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_nothing_is_written_over(there, three_rows, tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    with harness.serve(data):
        pass
    if there == "folder":
        copy.mkdir()
        (copy / "mine").touch()
    elif there == "file":
        copy.touch()
    else:
        os.symlink("nowhere", copy)

    done = backup(data, copy)

    assert done.returncode == 5
    assert said_once(done, copy, "nothing was copied")
    partial = tmp_path / "other.partial"
    partial.mkdir()
    (partial / "mine").touch()
    done = backup(data, tmp_path / "other")
    assert done.returncode == 5 and said_once(done, partial)
    assert (partial / "mine").exists()


def test_a_place_may_end_in_a_slash_and_must_not_be_inside_of_the_original(tmp_path):
    data = tmp_path / "data"
    with harness.serve(data):
        pass
    before = content(data)

    made = backup(data, f"{tmp_path}/copy/")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "copy" / "catalog.db").exists()
    for place in (data / "copy", data / "blobs" / "copy", data / ".." / "data" / "copy", "/"):
        done = backup(data, place)
        assert done.returncode == 5
        assert said_once(done, "nothing was copied")
    assert content(data) == before


def test_what_is_no_data_folder_is_said_to_be_none(tmp_path):
    done = backup(tmp_path, tmp_path / "copy")

    assert done.returncode == 3
    assert said_once(done, "--data")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_job_is_refused(debian_rows, tmp_path):
    job = shutil.copy(debian_rows, tmp_path / "job.jsonl")
    with harness.sim("--latency", "40ms") as upstream:
        command = [harness.binary(), "run", str(job), "--upstream", upstream.base_url]
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.until("a request", lambda: upstream.get("/sim/stats")["requests"] > 0)
        running.kill()
        running.wait()

    for folder in (tmp_path / "job.ditto", tmp_path / "job.ditto" / "data"):
        done = backup(folder, tmp_path / "copy")
        assert done.returncode == 5
        assert said_once(done, "job", "input", "nothing was copied")
