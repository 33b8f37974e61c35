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
# Of the short form, every so many steps; those of a create, all.
STRIDE = 5


@pytest.fixture(scope="module")
def dying(tmp_path_factory):
    """The library that kills."""
    library = tmp_path_factory.mktemp("dying") / "dying.so"
    source = harness.ROOT / "tests/client/dying.c"
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def life(job, provider, library, at):
    """Runs the job until it dies at this step, if it comes to it; its last step, and how many there were."""
    told = job.folder / "told"
    done = job.run(provider, env={"LD_PRELOAD": str(library), "DYING_AT": str(at), "DYING_TOLD": str(told)})
    number, step = told.read_text().split(maxsplit=1)
    assert done.returncode in (0, -9), done.stderr
    return (step.strip() if done.returncode == -9 else None), int(number)


def offences(at, folder, library):
    """What is not as it should be with a job that died at this step and was run again; and which step it was."""
    job = remote.Job(folder, ROWS, {"max_lines": ROWS_A_SHARD})
    with harness.sim("--batch-pace", remote.PACE) as provider:
        step, _ = life(job, provider, library, at)
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
    return step, [f"killed at step {at}, {step}: {one}" for one in wrong]


def walk(steps, folder, library):
    with ThreadPoolExecutor(JOBS) as several:
        lives = list(several.map(lambda at: offences(at, folder / str(at), library), steps))
    wrong = [one for _, some in lives for one in some]
    assert not wrong, "\n".join(wrong)
    return Counter(step for step, _ in lives if step)


def steps_of(folder, library):
    job = remote.Job(folder, ROWS, {"max_lines": ROWS_A_SHARD})
    with harness.sim("--batch-pace", remote.PACE) as provider:
        step, number = life(job, provider, library, 0)
    assert step is None
    return number


@pytest.mark.long
def test_a_job_that_is_killed_at_any_step_buys_each_row_once_and_loses_none(tmp_path, dying):
    steps = steps_of(tmp_path / "whole", dying)
    died = walk(range(1, steps + 1), tmp_path, dying)
    print(f"{died.total()} kills at {steps} steps: {dict(died)}")
    # How often it polls differs a little from life to life.
    assert died.total() > 0.9 * steps
    assert min(died[step] for step in ("before send", "after recv", "before fdatasync", "after fdatasync")) > SHARDS


def test_a_job_that_is_killed_at_a_sample_of_its_steps_buys_each_row_once_and_loses_none(tmp_path, dying):
    steps = steps_of(tmp_path / "whole", dying)
    died = walk(range(2, steps + 1, STRIDE), tmp_path, dying)
    print(f"{died.total()} kills at {steps} steps: {dict(died)}")
    assert len(died) >= 4
