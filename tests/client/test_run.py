"""`ditto-batch run` over real rows: every answer back, every failure named, nothing bought twice."""

import json
import shutil
import signal
import subprocess

import pytest

import harness
import recorded

PERMITS = 16


@pytest.fixture
def job(tmp_path, debian_rows):
    """A job of 2,000 rows in a folder of its own."""
    return Job(shutil.copy(debian_rows, tmp_path / "job.jsonl"))


class Job:
    def __init__(self, path):
        self.input = path
        self.output = path.with_name("job.output.jsonl")
        self.errors = path.with_name("job.errors.jsonl")
        self.report = path.with_name("job.report.json")
        self.folder = path.with_name("job.ditto")

    def run(self, *flags):
        return harness.ditto("run", self.input, *flags)

    def start(self, *flags):
        command = [str(harness.binary()), "run", str(self.input), *flags]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def assert_conserved(self):
        """Each row of the input in one of the two files, once, and both in the input's order."""
        wanted = custom_ids(self.input)
        output, errors = custom_ids(self.output), custom_ids(self.errors)
        answered = set(output)
        assert len(output) + len(errors) == len(wanted)
        assert output == [row for row in wanted if row in answered]
        assert errors == [row for row in wanted if row not in answered]
        verified = harness.ditto("verify", self.input, self.output, self.errors)
        assert verified.returncode == 0, verified.stdout + verified.stderr


def custom_ids(path):
    return [row["custom_id"] for row in harness.json_lines(path)]


def test_two_thousand_rows_are_answered(job):
    done = job.run("--upstream", "sim")

    assert done.returncode == 0, done.stderr
    assert custom_ids(job.output) == custom_ids(job.input)
    assert job.errors.read_bytes() == b""
    assert json.loads(job.report.read_bytes())
    job.assert_conserved()


def test_rows_that_fail_for_good_are_named_with_their_status(job):
    done = job.run("--upstream", "sim", "--sim-fail", "400:0.05")

    assert done.returncode == 9, done.stderr
    errors = harness.json_lines(job.errors)
    # One in twenty of 2,000, give or take: a count near none or all would mean the share is ignored.
    assert 50 <= len(errors) <= 150
    for row in errors:
        assert row["response"]["status_code"] == 400
        assert row["response"]["body"]["error"]["message"]
        assert row["error"] is None
    job.assert_conserved()


def test_given_again_after_the_end_it_asks_nothing(job):
    with harness.sim() as upstream:
        first = job.run("--upstream", upstream.base_url)
        asked = upstream.get("/sim/stats")["requests"]
        before = job.output.read_bytes()

        again = job.run("--upstream", upstream.base_url)

        assert (first.returncode, again.returncode) == (0, 0), again.stderr
        assert upstream.get("/sim/stats")["requests"] == asked == 2000
        assert job.output.read_bytes() == before


def test_killed_in_the_middle_and_given_again_it_asks_no_recorded_row_twice(job):
    with harness.sim("--latency", "40ms") as upstream:
        flags = ("--upstream", upstream.base_url, "--concurrency", str(PERMITS))
        victim = job.start(*flags)
        harness.until("600 requests", lambda: upstream.get("/sim/stats")["requests"] >= 600)
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL, "it ended before it could be killed"
        asked = upstream.get("/sim/stats")["distinct"]
        kept = recorded.rows(job.folder)

        done = job.run(*flags)
        stats = upstream.get("/sim/stats")

    assert done.returncode == 0, done.stderr
    assert stats["answered_distinct"] == 2000
    assert kept > 0, "nothing was recorded before the kill: it proves nothing"
    # Every row that was asked and not recorded is asked again, and not one that was recorded.
    assert stats["asked_more_than_once"] == asked - kept
    job.assert_conserved()


def half_done(job, upstream, *flags):
    """Stopped cleanly with a part of its rows answered; how many were asked."""
    stopped = job.start("--upstream", upstream.base_url, *flags)
    harness.until("300 requests", lambda: upstream.get("/sim/stats")["requests"] >= 300)
    stopped.terminate()
    assert stopped.wait(harness.STOP_SECONDS) == 10
    return upstream.get("/sim/stats")["requests"]


def test_whose_recorded_answers_are_gone_buys_none_again_until_told_to(job):
    with harness.sim("--latency", "40ms") as upstream:
        asked = half_done(job, upstream, "--concurrency", str(PERMITS))
        data, aside = job.folder / "data", job.folder.parent / "aside"
        data.rename(aside)

        refused = job.run("--upstream", upstream.base_url)
        assert refused.returncode == 5, refused.stderr
        assert f"{data} is gone" in refused.stderr and "put it back" in refused.stderr
        assert upstream.get("/sim/stats")["requests"] == asked

        aside.rename(data)
        done = job.run("--upstream", upstream.base_url)
        assert done.returncode == 0, done.stderr
        assert upstream.get("/sim/stats")["asked_more_than_once"] == 0
    job.assert_conserved()


def test_a_piece_of_whose_work_is_gone_ends_with_what_is_missing(job):
    with harness.sim("--latency", "40ms") as upstream:
        half_done(job, upstream, "--concurrency", str(PERMITS))
        (plan,) = (job.folder / "data/blobs/batches").glob("*/plan")
        aside = plan.rename(job.folder.parent / "plan")

        stuck = job.run("--upstream", upstream.base_url)
        assert stuck.returncode == 8, stuck.stderr
        assert "plan is missing" in stuck.stderr and "from a backup" in stuck.stderr

        aside.rename(plan)
        assert job.run("--upstream", upstream.base_url).returncode == 0
        assert upstream.get("/sim/stats")["asked_more_than_once"] == 0
    job.assert_conserved()


def test_stopped_by_a_signal_it_drains_and_goes_on_later(job):
    with harness.sim("--latency", "40ms") as upstream:
        flags = ("--concurrency", str(PERMITS))
        half_done(job, upstream, *flags)

        done = job.run("--upstream", upstream.base_url, *flags)
        stats = upstream.get("/sim/stats")

    assert done.returncode == 0, done.stderr
    # A drain lets what is in flight end: not one row is asked again.
    assert stats["asked_more_than_once"] == 0
    job.assert_conserved()


def test_passing_faults_are_retried_until_every_row_is_answered(job):
    done = job.run("--upstream", "sim", "--sim-fail", "429:0.05,503:0.05", "--sim-seed", "7")

    assert done.returncode == 0, done.stderr
    assert custom_ids(job.output) == custom_ids(job.input)
