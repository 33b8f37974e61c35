"""Jobs at a provider as people meet them: `status`, `watch`, `fetch` and `cancel` from the folder alone, signals, events,
limits and second tries of `run --provider`, and what is said when something is wrong. Against the simulated provider."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import harness

ROWS = 60
KEY, SECRET = "SIMULATED_PROVIDER_KEY", "sk-simulated-secret"
QUICK, SLOW = "100ms/300ms/100ms", "100ms/1h/100ms"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)


class Desk:
    """An input of 60 rows, and a provider that takes 20 a batch."""

    def __init__(self, folder, provider):
        self.provider = provider
        self.input = folder / "x.jsonl"
        harness.samples(self.input, "synthetic", "-n", ROWS)
        self.folder, self.profiles, self.said = folder / "x.ditto", folder / "profiles.toml", folder / "said"
        self.output, self.errors, self.report = (folder / f"x.{end}" for end in ("output.jsonl", "errors.jsonl", "report.json"))
        self.profiles.write_text("[custom]\npoll_seconds = 1\nmax_lines = 20\n")
        self.way = ("--provider", "custom", "--base-url", provider.base_url, "--api-key-env", KEY, "--profiles", self.profiles)

    def run(self, *flags):
        return harness.ditto("run", self.input, *self.way, *flags)

    def job(self, command, *flags):
        """From the folder alone."""
        return harness.ditto(command, self.folder, *flags)

    def status(self, *flags):
        done = self.job("status", "--json", *flags)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def running(self, *flags, until=3):
        """`run` in the background, once it has asked for so many batches."""
        line = [str(harness.binary()), "run", str(self.input), *map(str, self.way), *map(str, flags)]
        with open(self.said, "w") as said:
            process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            harness.until("batches were asked for", lambda: self.bill()["calls"].get("create", 0) >= until)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def bill(self):
        return self.provider.get("/sim/stats")["batches"]

    def created(self):
        return len(self.bill()["batches"])

    def verified(self):
        done = harness.ditto("verify", self.input, self.output, self.errors)
        return done.returncode == 0, done.stdout + done.stderr

    def answered(self):
        return [row["custom_id"] for row in harness.json_lines(self.output)]

    def asked(self):
        return [row["custom_id"] for row in harness.json_lines(self.input)]


@contextlib.contextmanager
def desk(folder, pace=QUICK, faults=None):
    misbehaves = ("--batch-fail", faults) if faults else ()
    with harness.sim("--batch-pace", pace, *misbehaves) as provider:
        yield Desk(folder, provider)


def ended(process, job, by=None):
    """The exit code, and all that it said."""
    if by is not None:
        process.send_signal(by)
    return process.wait(60), job.said.read_text()


def explained(done, code, *words):
    """It ends with this code, says what happened with these words, and what is safe and next in a hint."""
    assert done.returncode == code, done.stderr
    said = done.stderr[done.stderr.index("error: ") :]
    assert "hint: " in said, said
    for word in words:
        assert word in said, said


# Jobs by their folder.


def test_a_job_is_told_from_its_folder_alone_and_its_key_is_nowhere_in_it(tmp_path):
    with desk(tmp_path, SLOW) as job:
        done = job.run("--no-wait")
        assert done.returncode == 10, done.stderr
        known = job.status("--offline")
        assert [shard["state"] for shard in known["shards"]] == ["open"] * 3
        assert known["way"] == {"base_url": job.provider.base_url, "key": {"env": KEY}}
        batches = {shard["batch"] for shard in known["shards"]}
        told = job.status()["shards"]
        harness.until("lines run", lambda: job.status()["shards"][0]["provider"]["status"] == "in_progress")
        assert {shard["provider"]["id"] for shard in told} == batches
        said = harness.ditto("status", job.input)
        assert said.returncode == 0 and all(batch in said.stdout for batch in batches)
        assert "nobody works on it" in said.stdout
        for path in job.folder.rglob("*"):
            assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_a_job_without_its_key_is_told_by_its_ledger_and_says_so(tmp_path, monkeypatch):
    with desk(tmp_path, SLOW) as job:
        job.run("--no-wait")
        monkeypatch.delenv(KEY)
        told = job.job("status")
        assert told.returncode == 2 and KEY in told.stderr
        assert "open as batch" in told.stdout
        assert job.job("status", "--offline").returncode == 0


def test_what_was_sent_and_not_waited_for_is_watched_and_fetched(tmp_path):
    with desk(tmp_path, "100ms/2s/100ms") as job:
        assert job.run("--no-wait").returncode == 10
        explained(job.job("fetch"), 10, "3 of 3 batches have not ended")
        assert not job.output.exists()
        explained(job.job("watch"), 10, "nobody works on it")
        done = job.job("fetch", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["answered"], told["unfinished"], told["exit"]) == (ROWS, 0, 0)
        assert job.verified()[0], job.verified()[1]
        assert job.run().returncode == 0
        assert (job.created(), job.bill()["billed"]) == (3, ROWS)
        assert json.loads(job.job("watch", "--json").stdout) == told


def test_results_that_are_fetched_to_another_place_are_found_there(tmp_path):
    with desk(tmp_path) as job:
        assert job.run("--no-wait").returncode == 10
        assert job.job("watch").returncode == 10
        assert job.job("fetch", "-o", tmp_path / "answers").returncode == 0
        assert not job.output.exists()
        assert job.job("verify").returncode == 0, job.job("verify").stderr
        assert job.run().returncode == 0


def test_a_job_that_is_worked_on_is_looked_at_and_nothing_else(tmp_path):
    with desk(tmp_path, "100ms/5s/100ms") as job, job.running() as process:
        told = job.status()
        assert told["worker"].startswith(f"process {process.pid} on ")
        harness.until("it says why", lambda: (job.status("--offline")["now"] or {}).get("why") == "3 open")
        explained(job.job("cancel"), 5, f"process {process.pid}")
        explained(job.job("fetch"), 5, f"process {process.pid}")
        explained(job.run(), 5, f"process {process.pid}")
        watched = job.job("watch")
        assert watched.returncode == 0, watched.stderr
        assert "60 of 60 lines answered" in watched.stderr
        assert ended(process, job)[0] == 0


def test_a_cancelled_job_keeps_its_answers_and_buys_nothing_until_it_is_run(tmp_path):
    with desk(tmp_path, "100ms/8s/100ms") as job:
        job.run("--no-wait")
        counts = lambda: [shard["provider"]["request_counts"]["completed"] for shard in job.status()["shards"]]
        harness.until("some lines of each batch ran", lambda: all(counts()))
        done = job.job("cancel", "--json")
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["cancelled"]) == 3
        assert "3 batches cancelled" in done.stderr
        assert job.job("watch").returncode == 10
        fetched = job.job("fetch", "--json")
        assert fetched.returncode == 10, fetched.stderr
        told = json.loads(fetched.stdout)
        assert told["answered"] + told["failed"] == ROWS and told["unfinished"] == told["failed"] > 0
        assert job.verified()[0], job.verified()[1]
        assert job.created() == 3
        kept = job.answered()
        done = job.run()
        assert done.returncode == 0, done.stderr
        assert job.answered() == job.asked() and set(kept) <= set(job.answered())
        assert job.bill()["billed"] == job.bill()["billed_distinct"]


def test_a_shard_that_a_person_must_decide_about_is_told_by_every_command(tmp_path):
    with desk(tmp_path, faults="create-lost,list-none") as job:
        explained(job.run(), 5, "shard 1 cannot be found out", "--adopt 1=BATCH")
        assert "--create-again 1" in job.job("status").stdout
        explained(job.job("watch"), 5, "--create-again 1")
        explained(job.job("fetch"), 5, "--create-again 1")
        cancelled = job.job("cancel")
        assert cancelled.returncode == 0 and "no batch of this job is open" in cancelled.stderr
        done = harness.ditto("run", job.input, "--provider", "custom", "--create-again", 1)
        assert done.returncode == 0 and job.bill()["billed"] == job.bill()["billed_distinct"] == ROWS


def test_a_job_goes_on_after_it_was_moved_together_with_its_input(tmp_path):
    (tmp_path / "old").mkdir()
    with desk(tmp_path / "old", "100ms/1s/100ms") as job:
        job.run("--no-wait")
        new = tmp_path / "new"
        (tmp_path / "old").rename(new)
        assert harness.ditto("watch", new / "x.ditto").returncode == 10
        done = harness.ditto("fetch", new / "x.jsonl")
        assert done.returncode == 0, done.stderr
        assert len(harness.json_lines(new / "x.output.jsonl")) == ROWS
        assert harness.ditto("run", new / "x.jsonl", "--provider", "custom").returncode == 0
        assert job.created() == 3


def test_a_provider_that_is_away_takes_nothing_from_a_job(tmp_path):
    with desk(tmp_path, SLOW) as job:
        job.run("--no-wait")
    explained(job.job("fetch"), 6, "could not be asked", "nothing is lost")
    told = job.job("status")
    assert told.returncode == 6 and told.stdout.count("open as batch") == 3
    assert not job.output.exists()


def test_a_batch_is_told_by_its_id(tmp_path):
    with desk(tmp_path, "100ms/2s/100ms") as job:
        job.run("--no-wait")
        batch, other = [shard["batch"] for shard in job.status("--offline")["shards"]][:2]
        assert json.loads(harness.ditto("status", batch, "--json", *job.way).stdout)["id"] == batch
        explained(harness.ditto("fetch", batch, *job.way, cwd=tmp_path), 10, "has not ended")
        assert harness.ditto("cancel", other, *job.way).returncode == 0
        assert harness.ditto("watch", other, *job.way).returncode == 10
        assert harness.ditto("watch", batch, *job.way).returncode == 0
        fetched = harness.ditto("fetch", batch, *job.way, cwd=tmp_path)
        assert fetched.returncode == 0, fetched.stderr
        assert len(harness.json_lines(tmp_path / f"{batch}.output.jsonl")) == 20
        explained(harness.ditto("fetch", batch, *job.way, cwd=tmp_path), 5, "is there already")
        assert harness.ditto("cancel", batch, *job.way).returncode == 0, "one that has ended is no failure"
        for command in ("status", "watch", "fetch", "cancel"):
            explained(harness.ditto(command, "batch_none", *job.way), 3, "known only to the account")


def test_what_is_no_job_is_said(tmp_path):
    explained(harness.ditto("status", tmp_path / "x.jsonl"), 3, "neither a job's folder nor")
    explained(harness.ditto("status", "batch_1"), 3, "needs --provider")
    rows = harness.samples(tmp_path / "x.jsonl", "synthetic", "-n", 2)
    assert harness.ditto("run", rows, "--upstream", "sim").returncode == 0
    explained(harness.ditto("status", rows), 3, "is not at a provider")


def test_nothing_is_decided_about_a_shard_that_waits_for_no_decision(tmp_path):
    with desk(tmp_path, SLOW) as job:
        job.run("--no-wait")
        explained(job.run("--create-again", 1), 5, "shard 1 waits for no decision: it is open")
        explained(job.run("--adopt", "1=batch_x"), 5, "shard 1 waits for no decision")
        explained(job.run("--adopt", "9=batch_x"), 3, "this job has no shard 9")
        assert job.created() == 3


# Stops.


@pytest.mark.parametrize(("word", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 10)])
def test_a_job_that_is_stopped_leaves_its_batches_and_goes_on(tmp_path, word, code):
    with desk(tmp_path, "100ms/3s/100ms") as job:
        with job.running() as process:
            exit, err = ended(process, job, word)
        assert exit == code and "3 batches at the provider go on" in err, err
        assert f"ditto-batch run {job.input} --provider custom" in err
        done = harness.ditto("run", job.input, "--provider", "custom")
        assert done.returncode == 0, done.stderr
        bill = job.bill()
        assert (job.created(), bill["billed"], bill["billed_distinct"]) == (3, ROWS, ROWS)


def test_a_job_that_is_stopped_twice_ends_at_once(tmp_path):
    with desk(tmp_path, SLOW, "create-hung") as job:
        with job.running(until=1) as process:
            process.send_signal(signal.SIGINT)
            harness.until("it was heard", lambda: "stopping" in job.said.read_text())
            exit, err = ended(process, job, signal.SIGINT)
        assert exit == 130 and "stopped at once" in err, err


def test_batches_are_cancelled_with_their_command_if_that_is_asked(tmp_path):
    with desk(tmp_path, SLOW) as job:
        with job.running("--cancel-on-exit") as process:
            exit, err = ended(process, job, signal.SIGINT)
        assert exit == 130 and "3 batches cancelled" in err, err
        statuses = {shard["provider"]["status"] for shard in job.status()["shards"]}
        assert statuses <= {"cancelling", "cancelled"}


# What a run is told to do, and what it tells.


def test_a_log_shows_life_and_why_nothing_moves(tmp_path):
    with desk(tmp_path, SLOW) as job, job.running("--heartbeat", "1s"):
        # Nothing happens any more, so all that follows is said because time has passed.
        harness.until("all batches are open", lambda: job.said.read_text().count(" open as batch") == 3)
        harness.until("time has passed twice", lambda: job.said.read_text().count("0 of 60 lines; 3 open\n") >= 2)


def test_events_are_told_one_object_a_line(tmp_path):
    with desk(tmp_path) as job:
        done = job.run("--events", "ndjson")
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        kinds = [event["event"] for event in events]
        assert (kinds[0], kinds[-1]) == ("planned", "ended")
        assert {"shard", "batch", "waiting"} <= set(kinds)
        assert all(event["time"] > 1_600_000_000 and event["job"] == events[0]["job"] for event in events)
        opened = [event for event in events if event.get("state") == "open"]
        assert len({event["batch"] for event in opened}) == 3 and {event["shard"] for event in opened} == {1, 2, 3}
        assert events[-1]["result"]["answered"] == ROWS
        again = [json.loads(line) for line in job.run("--events", "ndjson").stdout.splitlines()]
        assert [(event["event"], event["result"]) for event in again] == [("ended", events[-1]["result"])]
        wrong = [json.loads(line) for line in job.run("--events", "ndjson", "--limit", 5).stdout.splitlines()]
        assert [(event["event"], event["exit"], event["job"]) for event in wrong] == [("stopped", 5, events[0]["job"])]


def test_with_a_summary_on_stdout_events_are_all_of_stderr(tmp_path):
    with desk(tmp_path) as job:
        done = job.run("--events", "ndjson", "--json")
        assert json.loads(done.stdout)["exit"] == 0
        kinds = [json.loads(line)["event"] for line in done.stderr.splitlines()]
        assert kinds[0] == "planned" and kinds[-1] == "ended"


def test_the_report_names_every_file_batch_and_hash(tmp_path):
    with desk(tmp_path, faults="line-failed:400") as job:
        done = job.run("--json")
        assert done.returncode == 9, done.stderr
        told, report = json.loads(done.stdout), json.loads(job.report.read_text())
        assert (report["exit"], report["summary"]["classes"]["bad_request"]) == (9, 1)
        assert report["summary"]["input_tokens"] == told["input_tokens"] > 0
        assert report["output"]["bytes"] == job.output.stat().st_size == told["output"]["bytes"]
        assert report["plan"]["input"]["bytes"] == job.input.stat().st_size and report["version"]
        for shard in report["shards"]:
            assert shard["batch"].startswith("batch") and shard["file"] and shard["end"]["status"] == "completed"
            assert all(len(raw["xxh3"]) == 32 for raw in shard["raw"])
        assert "by class: ok 59, bad_request 1" in done.stderr
        assert f"to prove that nothing is lost: ditto-batch verify {job.folder}\n" in done.stderr


def test_only_the_first_lines_are_taken_if_that_is_asked(tmp_path):
    with desk(tmp_path) as job:
        done = job.run("--limit", 25, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["total"] == 25
        assert job.answered() == job.asked()[:25] and job.bill()["billed"] == 25
        explained(job.run(), 5, "--limit was 25", "is all now")


def test_failed_lines_are_sent_once_more_and_nothing_that_was_answered_is_lost(tmp_path):
    with desk(tmp_path, faults="line-failed:500:x2,line-refused:x1") as job:
        done = job.run("--retries", 0)
        assert done.returncode == 9, done.stderr
        assert len(job.answered()) == ROWS - 2
        before = {row["custom_id"]: row for row in harness.json_lines(job.output)}
        done = job.run("--only-failed")
        assert done.returncode == 0, done.stderr
        assert job.answered() == job.asked() and job.verified()[0]
        after = {row["custom_id"]: row for row in harness.json_lines(job.output)}
        assert all(after[name] == row for name, row in before.items())
        assert job.bill()["billed"] == job.bill()["billed_distinct"] == ROWS
        assert job.run("--only-failed").returncode == 0 and job.created() == 4


def test_lines_that_the_provider_refused_are_sent_once_more_only_if_all_are_meant(tmp_path):
    with desk(tmp_path, faults="line-failed:400:x1") as job:
        assert job.run().returncode == 9
        assert job.run("--only-failed").returncode == 9 and job.created() == 3
        assert job.run("--only-failed=all").returncode == 0
        assert job.answered() == job.asked()


def test_a_job_that_has_not_ended_has_no_failed_lines_yet(tmp_path):
    with desk(tmp_path, SLOW) as job:
        job.run("--no-wait")
        explained(job.run("--only-failed"), 5, "has not ended")


def test_own_uploads_are_deleted_after_the_end_and_results_only_if_asked(tmp_path):
    with desk(tmp_path) as job:
        assert job.run().returncode == 0
        purposes = [file["purpose"] for file in job.provider.get("/v1/files")["data"]]
        assert purposes and "batch" not in purposes
        (tmp_path / "again").mkdir()
        again = Desk(tmp_path / "again", job.provider)
        assert again.run("--delete-remote-files").returncode == 0
        assert len(job.provider.get("/v1/files")["data"]) == len(purposes)
        assert again.verified()[0]


# The proof, from the folder or the input alone.


def test_a_job_is_proven_from_its_folder_or_its_input_wherever_it_was_moved_to(tmp_path):
    (tmp_path / "old").mkdir()
    with desk(tmp_path / "old", faults="line-failed:400") as job:
        job.run("--no-wait")
        explained(job.job("verify"), 10, "has not ended yet")
        explained(harness.ditto("verify", job.input), 10, "has not ended yet")
        assert job.run().returncode == 9
    (tmp_path / "old").rename(tmp_path / "new")
    for subject in ("x.ditto", "x.jsonl"):
        done = harness.ditto("verify", tmp_path / "new" / subject)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == (
            "conserved: 60 requests, 60 results: 59 answered, 1 failed, matched by line number; "
            "hashes and counts as reported\n"
        )
    (tmp_path / "new" / "x.ndjson").write_bytes((tmp_path / "new" / "x.jsonl").read_bytes())
    explained(harness.ditto("verify", tmp_path / "new" / "x.ndjson"), 5, "is about")


@pytest.mark.parametrize("name", ["jsonl", "output.jsonl", "errors.jsonl", "report.json"])
def test_one_altered_byte_of_a_job_is_found(tmp_path, name):
    with desk(tmp_path, faults="line-failed:400") as job:
        assert job.run().returncode == 9
    place = tmp_path / f"x.{name}"
    before = bytearray(place.read_bytes())
    at = before.index(b"0")
    before[at] = ord("9")
    place.write_bytes(before)
    done = job.job("verify")
    assert done.returncode == 9 and "was altered" in done.stdout, done.stdout + done.stderr


def test_of_a_job_with_a_limit_only_its_lines_count(tmp_path):
    with desk(tmp_path) as job:
        assert job.run("--limit", 25).returncode == 0
    files = (job.input, job.output, job.errors)
    for how in ([job.folder], [job.input], [*files, "--report", job.report]):
        done = harness.ditto("verify", *how)
        assert done.returncode == 0 and done.stdout.startswith("conserved: 25 requests, 25 results"), done.stdout
    rows = job.output.read_bytes().splitlines(keepends=True)
    job.output.write_bytes(b"".join(rows[:-1]))
    assert "input line 25 has no result" in job.job("verify").stdout


def test_a_packed_input_is_proven_by_what_is_in_it(tmp_path):
    with desk(tmp_path) as job:
        packed = tmp_path / "x.jsonl.gz"
        packed.write_bytes(gzip.compress(job.input.read_bytes()))
        job.input.unlink()
        assert harness.ditto("run", packed, *job.way).returncode == 0
    beside = harness.ditto("verify", packed.name, cwd=tmp_path)
    assert beside.returncode == 0, beside.stderr
    job.input.write_bytes(gzip.decompress(packed.read_bytes()))
    explained(job.run(), 5, "is about", "x.jsonl.gz")
    for how in ([job.folder], [packed], [packed, job.output, job.errors, "--report", job.report]):
        done = harness.ditto("verify", *how)
        assert done.returncode == 0 and "as reported" in done.stdout, done.stdout + done.stderr


# What is wrong is said, with what is safe and what to do.


def test_an_input_that_cannot_be_read_is_said(tmp_path):
    with desk(tmp_path) as job:
        job.input.unlink()
        explained(job.run(), 3, "cannot read", "nothing was sent")
        job.input.mkdir()
        explained(job.run(), 8, "not a regular file", "nothing was sent")
        assert job.created() == 0


def test_an_input_that_is_gone_when_its_results_are_fetched_loses_none(tmp_path):
    with desk(tmp_path) as job:
        job.run("--no-wait")
        assert job.job("watch").returncode == 10
        away = job.input.rename(tmp_path / "away")
        explained(job.job("fetch"), 3, "cannot read", "nothing recorded is lost")
        away.rename(job.input)
        assert job.job("fetch").returncode == 0 and job.created() == 3


def test_an_input_that_changed_is_said_whether_or_not_the_job_has_ended(tmp_path):
    with desk(tmp_path, "100ms/1s/100ms") as job:
        job.run("--no-wait")
        before = job.input.read_bytes()
        job.input.write_bytes(before.replace(b"0", b"1", 1))
        explained(job.run(), 5, "has changed since the job began", "put the old file back")
        job.input.write_bytes(before)
        assert job.run().returncode == 0
        job.input.write_bytes(before + before)
        explained(job.run(), 5, "has changed since the job began")
        assert job.created() == 3


def test_another_standard_input_is_not_taken_for_the_one_that_a_job_began_with(tmp_path):
    with desk(tmp_path) as job:
        rows = job.input.read_text()
        line = ("run", "-", *job.way)
        assert harness.ditto(*line, stdin=rows, cwd=tmp_path).returncode == 0
        assert harness.ditto("verify", tmp_path / "stdin.ditto").returncode == 0
        for same in (rows, "", None):
            assert harness.ditto(*line, stdin=same, cwd=tmp_path).returncode == 0
        explained(harness.ditto(*line, stdin=rows[:-1], cwd=tmp_path), 5, "is not what this job began with")


def test_a_file_where_the_jobs_folder_would_be_is_said(tmp_path):
    with desk(tmp_path) as job:
        job.folder.touch()
        explained(job.run(), 5, "is no folder", "nothing was sent")


def test_the_folder_of_another_job_is_left_as_it_is(tmp_path):
    with desk(tmp_path, SLOW) as job:
        job.run("--no-wait")
        other = tmp_path / "x.ndjson"
        other.write_bytes(job.input.read_bytes())
        explained(harness.ditto("run", other, *job.way), 5, "is about", "another name")
        way = list(job.way)
        way[1] = "openai"
        explained(harness.ditto("run", job.input, *way), 5, "--provider was custom")
    (tmp_path / "upstream").mkdir()
    rows = harness.samples(tmp_path / "upstream" / "y.jsonl", "synthetic", "-n", 2)
    assert harness.ditto("run", rows, "--upstream", "sim").returncode == 0
    explained(harness.ditto("run", rows, *job.way), 5)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"x\n[]\n"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_an_input_with_nothing_to_send_leaves_no_folder_and_is_run_once_it_is_mended(tmp_path, name, content):
    pack = gzip.compress if name.endswith(".gz") else bytes
    with desk(tmp_path) as job:
        rows = job.input.read_bytes()
        job.input.unlink()
        job.input = tmp_path / name
        job.input.write_bytes(pack(content))
        explained(job.run(), 12, "nothing was sent")
        assert not job.folder.exists()
        job.input.write_bytes(pack(rows))
        assert job.run().returncode == 0


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("-e", "none/x"), 8, "there is no folder"),
        (("-o", "both", "-e", "both"), 2, "would both be"),
        (("-o", "x.jsonl"), 2, "would both be"),
        (("-o", "there"), 5, "is there already"),
        (("-o", "/proc/x"), 8, "cannot write"),
    ],
)
def test_a_place_that_takes_no_results_is_said_before_anything_is_sent(tmp_path, flags, code, said):
    (tmp_path / "there").touch()
    with desk(tmp_path) as job:
        line = ("run", job.input, *job.way)
        explained(harness.ditto(*line, *flags, cwd=tmp_path), code, said)
        assert job.created() == 0 and not job.folder.exists()
        assert harness.ditto(*line, "--no-wait", cwd=tmp_path).returncode == 10
        explained(harness.ditto(*line, *flags, cwd=tmp_path), code, said)
        explained(harness.ditto(*line, "-e", "x.ditto/e", cwd=tmp_path), 2, "job's own folder")
        # Nothing of that was kept.
        assert harness.ditto(*line, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [(None, 3, "cannot read the key file"), (b"", 2, "is empty"), (b"a\nb\n", 2, "characters that no key has")],
)
def test_a_key_file_that_holds_no_key_is_said_before_anything_is_made(tmp_path, content, code, said):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with desk(tmp_path) as job:
        way = [flag for flag in job.way if flag not in ("--api-key-env", KEY)]
        explained(harness.ditto("run", job.input, *way, "--api-key-file", file), code, said, "nothing was sent")
        assert not job.folder.exists()


def test_a_provider_that_is_not_known_or_has_no_such_batches_is_said_before_anything_is_made(tmp_path):
    rows = harness.samples(tmp_path / "x.jsonl", "synthetic", "-n", 2)
    explained(harness.ditto("run", rows, "--provider", "nobody"), 2, "no provider is known as `nobody`", "openai")
    profiles = tmp_path / "p.toml"
    profiles.write_text('[mine]\napi = "own"\nbase_url = "http://127.0.0.1:9/v1"\n')
    explained(
        harness.ditto("run", rows, "--provider", "mine", "--api-key-env", KEY, "--profiles", profiles),
        12, "a batch API of its own", "nothing was sent",
    )
    assert sorted(os.listdir(tmp_path)) == ["p.toml", "x.jsonl"]


def test_a_wrong_key_is_said(tmp_path, monkeypatch):
    with desk(tmp_path, faults="key-echoed:always") as job:
        done = job.run()
        explained(done, 4, "check the key", "nothing was bought")
        assert SECRET not in done.stderr
        monkeypatch.delenv(KEY)
        explained(job.run(), 2, KEY)


def test_a_key_that_is_taken_back_while_a_job_runs_is_said_and_costs_nothing(tmp_path):
    with desk(tmp_path, SLOW) as job:
        job.run("--no-wait")
    with harness.sim("--batch-pace", SLOW, "--batch-fail", "key-echoed:always") as refuses:
        way = ("--base-url", refuses.base_url, "--api-key-env", KEY)
        for command in ("status", "watch", "fetch"):
            explained(job.job(command, *way), 4, "check the key")
        done = job.job("cancel", *way)
        explained(done, 4, "no batch cancelled", "nothing that was answered is lost")
        assert done.stderr.count("goes on: ") == 3 and done.stderr.count("hint: ") == 1


def test_an_answer_that_is_none_of_the_apis_is_said(tmp_path):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            page = b"<!doctype html><html>Sign in</html>"
            self.send_response(200)
            self.send_header("content-length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        way = ("--provider", "custom", "--base-url", f"http://127.0.0.1:{server.server_port}/v1")
        for command in ("status", "fetch", "cancel"):
            explained(harness.ditto(command, "batch_1", *way), 6, "look at the address")
        server.shutdown()


def test_a_model_that_the_provider_does_not_have_is_said(tmp_path):
    with desk(tmp_path, faults="fails:model_not_found:always") as job:
        explained(job.run(), 12, "does not take the model", "model_not_found", "nothing of this batch was bought")
        assert job.bill()["billed"] == 0


@pytest.mark.parametrize("faults", ["create-quota", "fails:billing_hard_limit_reached:always"])
def test_an_account_without_quota_is_said(tmp_path, faults):
    with desk(tmp_path, faults=faults) as job:
        explained(job.run(), 4, "quota", "was bought")
        assert job.bill()["billed"] == 0
