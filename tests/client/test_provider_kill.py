"""`kill -9` of a job at every step that it takes: each sync of a file of its own, each call to the provider, before
and after. Whatever it was doing, the next run finds what was bought, buys the rest once, and loses nothing."""

import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import harness
import remote

# Three shards, so that some are done while others are under way.
ROWS, ROWS_A_SHARD, SHARDS = 50, 20, 3
# Side by side: a job waits far more than it works.
JOBS = 12
# In the short form all calls, and of the syncs every so many.
STRIDE = 10


@pytest.fixture(scope="module")
def dying(tmp_path_factory):
    """The library that kills."""
    library = tmp_path_factory.mktemp("dying") / "dying.so"
    source = harness.ROOT / "tests/client/dying.c"
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def life(job, provider, library, at):
    """Runs the job until it dies at this step, if it comes to it; the name of that step, or of all that it took."""
    told = job.folder / "told"
    done = job.run(provider, env={"LD_PRELOAD": str(library), "DYING_AT": str(at), "DYING_TOLD": str(told)})
    assert done.returncode in (0, -9), done.stderr
    return told.read_text().splitlines() if told.exists() else []


def offences(at, folder, library, faults):
    """What is not as it should be with a job that died at this step and was run again; and which step it was."""
    job = remote.Job(folder, ROWS, {"max_lines": ROWS_A_SHARD})
    with harness.sim("--batch-pace", remote.PACE, "--batch-fail", faults) as provider:
        died = life(job, provider, library, at)
        again = job.run(provider)
        bill = remote.bill(provider)
    wrong = []
    if again.returncode != 0:
        wrong.append(f"exit {again.returncode}: {again.stderr[-600:]}")
    wrong += job.unproven()
    if (bill["billed"], bill["billed_distinct"]) != (ROWS, ROWS):
        wrong.append(f"{bill['billed']} rows billed, {bill['billed_distinct']} of them different, of {ROWS}")
    if (batches := [batch["batches"] for batch in bill["by_metadata"]["ditto_shard"].values()]) != [1] * SHARDS:
        wrong.append(f"batches of each shard: {batches}")
    return died, [f"killed at step {at}, {died}: {one}" for one in wrong]


def walk(steps, folder, library, faults):
    with ThreadPoolExecutor(JOBS) as several:
        lives = list(several.map(lambda at: offences(at, folder / str(at), library, faults), steps))
    wrong = [one for _, some in lives for one in some]
    assert not wrong, "\n".join(wrong)
    return Counter(step for died, _ in lives for step in died)


def steps_of(folder, library, faults):
    """The names of the steps of a job that lives."""
    job = remote.Job(folder, ROWS, {"max_lines": ROWS_A_SHARD})
    with harness.sim("--batch-pace", remote.PACE, "--batch-fail", faults) as provider:
        return life(job, provider, library, 0)


# The answers to creates that come get lost in these ways besides.
@pytest.mark.long
@pytest.mark.parametrize("faults", ["", "create-dropped:x2,list-late:1s", "create-lost:x2", "create-masked:x3"])
def test_a_job_that_is_killed_at_any_step_buys_each_row_once_and_loses_none(faults, tmp_path, dying):
    steps = steps_of(tmp_path / "whole", dying, faults)
    died = walk(range(1, len(steps) + 1), tmp_path, dying, faults)
    print(f"{died.total()} kills at {len(steps)} steps: {dict(died)}")
    # How often it polls differs a little from life to life.
    assert died.total() > 0.8 * len(steps)
    assert min(died[step] for step in ("before send", "after recv", "before fdatasync", "after fdatasync")) > SHARDS


def test_a_job_that_is_killed_at_any_call_buys_each_row_once_and_loses_none(tmp_path, dying):
    steps = steps_of(tmp_path / "whole", dying, "")
    calls = [at for at, step in enumerate(steps, 1) if step in ("before send", "after recv") or at % STRIDE == 0]
    died = walk(calls, tmp_path, dying, "")
    print(f"{died.total()} kills at {len(steps)} steps: {dict(died)}")
    # An upload, a create, a poll, a download and a delete of each shard.
    assert min(died["before send"], died["after recv"]) >= 4 * SHARDS
