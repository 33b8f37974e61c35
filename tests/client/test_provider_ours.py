"""Our own server as the provider of a job, and OpenAI's file format both ways: what a job writes is read by the types
of the official package, and what the official package brings back is proven by `verify`."""

import openai
import pytest
from openai.types.chat import ChatCompletion

import driver
import harness
import remote

ROWS, ROWS_A_SHARD = 250, 100


def answers(path):
    """The rows of an output file, held against OpenAI's format: these keys and no others."""
    rows = harness.json_lines(path)
    for row in rows:
        assert row.keys() == {"id", "custom_id", "response", "error"}
        assert row["response"].keys() == {"status_code", "request_id", "body"}
        assert (row["error"], row["response"]["status_code"]) == (None, 200)
    return rows


@pytest.mark.parametrize("name", ["custom", "ditto"])
def test_a_job_runs_at_our_own_server_as_at_any_provider(name, tmp_path):
    job = remote.Job(tmp_path / "job", ROWS, {"max_lines": ROWS_A_SHARD}, name=name)
    with harness.serve(tmp_path / "data") as server:
        done = job.run(server)
        client = openai.OpenAI(base_url=server.base_url, api_key="unused")
        batches = list(client.batches.list())

    assert done.returncode == 0, done.stderr
    assert job.unproven() == []
    assert sum(batch.request_counts.completed for batch in batches) == ROWS
    assert max(batch.request_counts.total for batch in batches) == ROWS_A_SHARD
    assert {batch.status for batch in batches} == {"completed"}
    for row in answers(job.output):
        completion = ChatCompletion.model_validate(row["response"]["body"], strict=True)
        # The mark of the simulated upstream.
        assert driver.unknown_keys(completion) == {"simulated"}


def test_a_job_that_is_killed_at_our_own_server_goes_on_there(tmp_path):
    """The key of a create is kept by our server: created again, it is the same batch."""
    job = remote.Job(tmp_path / "job", ROWS, {"max_lines": ROWS_A_SHARD}, name="ditto")
    with harness.serve(tmp_path / "data") as server:
        running = job.start(server)
        ledger = tmp_path / "job/job.ditto/ledger.jsonl"
        harness.until("a batch", lambda: ledger.exists() and '"step":"create"' in ledger.read_text())
        running.kill()
        running.wait()
        done = job.run(server)
        client = openai.OpenAI(base_url=server.base_url, api_key="unused")
        batches = list(client.batches.list())

    assert done.returncode == 0, done.stderr
    assert job.unproven() == []
    assert sum(batch.request_counts.total for batch in batches) == ROWS


def test_a_batch_that_is_looked_at_shows_where_its_lines_are_sent(tmp_path):
    """What the lane may send, and why; a provider that says nothing of the kind is asked as before."""
    rows = harness.samples(tmp_path / "rows.jsonl", "synthetic", "-n", 60)
    model = harness.json_lines(rows)[0]["body"]["model"]
    with harness.sim("--latency", "1s") as upstream:
        limits = ("--upstream", f"gpu={upstream.base_url}", "--concurrency", 10)
        with harness.serve(tmp_path / "data", *map(str, limits)) as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="unused")
            file = client.files.create(file=rows, purpose="batch")
            batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
            way = (batch.id, "--provider", "ditto", "--base-url", server.base_url)
            status = harness.until("a lane", lambda: in_flight(harness.ditto("status", *way).stdout))
            watched = harness.ditto("watch", *way)

    lane = f"  {model} at gpu: "
    limit = "up to 10 requests at once (given by the settings)"
    assert status == f"{lane}10 in flight; {limit}"
    assert watched.returncode == 0, watched.stderr
    # Once, since it did nothing else.
    [told] = [line for line in watched.stderr.splitlines() if line.startswith(lane)]
    assert told.endswith(f" in flight; {limit}")


def in_flight(status):
    return next((line for line in status.splitlines() if " 10 in flight" in line), None)


def test_what_the_official_package_brings_back_is_proven_by_verify(tmp_path):
    rows = harness.samples(tmp_path / "rows.jsonl", "synthetic", "-n", ROWS)
    with harness.serve(tmp_path / "data") as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="unused")
        file = client.files.create(file=rows, purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        ended = harness.until("the end", lambda: completed(client, batch.id))
        output = tmp_path / "output.jsonl"
        client.files.content(ended.output_file_id).write_to_file(output)

    assert len(answers(output)) == ROWS
    assert harness.ditto("verify", rows, output).returncode == 0


def completed(client, batch):
    batch = client.batches.retrieve(batch)
    return batch if batch.status == "completed" else None
