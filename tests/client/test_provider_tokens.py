"""A job of nine million tokens where the account may have two million enqueued: it goes through in turns, whether the
provider says so when a batch is created or fails it afterwards, and whether the profile knows or not."""

import pytest

import harness
import remote

ROWS, LIMIT = 9_000, 2_000_000
# About a thousand tokens a row.
LINE_BYTES = 4_150


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "job.jsonl"
    return harness.samples(path, "synthetic", "-n", ROWS, "--line-bytes", LINE_BYTES)


@pytest.mark.parametrize("known", [False, True], ids=["learned", "known"])
@pytest.mark.parametrize("fault", ["tokens-refused", "tokens-failed"])
def test_a_job_of_nine_million_tokens_goes_through_a_limit_of_two_million(fault, known, rows, tmp_path):
    job = remote.Job(tmp_path / "job", ROWS, {"max_enqueued_tokens": LIMIT} if known else {}, rows)
    with harness.sim("--batch-pace", remote.PACE, "--batch-fail", f"{fault}:{LIMIT}") as provider:
        done = job.run(provider)
        bill = remote.bill(provider)

    assert done.returncode == 0, done.stderr[-2000:]
    assert job.unproven() == []
    assert bill["prompt_tokens"] > 4 * LIMIT
    assert (bill["billed"], bill["billed_distinct"]) == (ROWS, ROWS)
    ran = [batch for batch in bill["batches"] if batch["status"] == "completed"]
    print(f"{fault}: {bill['prompt_tokens']} tokens in {len(ran)} of {len(bill['batches'])} batches")
    assert len(ran) > 4
