"""An outage of one model is its own: the other model of the same file, and another batch, do not feel it."""

import contextlib
import json
import time

import openai
import pytest

import harness

# A lane answers at most SLOTS rows in LATENCY: the pace is the lane's, not the machine's.
SLOTS = 64
LATENCY = 0.05
MEMORY_BYTES = 200_000_000


def rows(path, count, models):
    with open(path, "w") as file:
        for n in range(count):
            message = [{"role": "user", "content": f"say yes or no to {n}"}]
            body = {"model": models[n % len(models)], "messages": message}
            row = {"custom_id": f"row-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(row) + "\n")
    return path


@contextlib.contextmanager
def server_of(folder, upstreams):
    """A server in front of these upstreams, each with the one model of its name."""
    folder.mkdir()
    tables = [
        f'[[upstream]]\nname = "{name}"\nurl = "{url}"\nmodels = ["{name}"]\nconcurrency = {SLOTS}\n'
        for name, url in upstreams.items()
    ]
    config = folder / "server.toml"
    config.write_text("mixed_models = true\n" + "\n".join(tables))
    with harness.service(["serve", "--data", str(folder / "data"), "--config", str(config)], "/readyz") as server:
        yield server, openai.OpenAI(base_url=server.base_url, api_key="unused")


def begin(client, path):
    file = client.files.create(file=path, purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    ).id


def ended(client, batch, seconds):
    look = lambda: (b := client.batches.retrieve(batch)).status == "completed" and b
    return harness.until("the end of the batch", look, seconds)


def seconds_until_answered(upstream, count, patience):
    """Seconds from the first answer of this upstream to its so-manyth."""
    answered = lambda: upstream.get("/sim/stats")["answered_distinct"]
    harness.until("the first answer", lambda: answered() > 0, 60)
    started = time.monotonic()
    harness.until(f"{count} answers", lambda: answered() >= count, patience)
    return time.monotonic() - started


def one_model_is_away_while_the_other_works(count, share, tmp_path):
    latency = ("--latency", f"{round(LATENCY * 1000)}ms")
    patience = 4 * count * LATENCY / SLOTS + 60
    with harness.sim(*latency) as live:
        # What the live model's rows take alone.
        alone = rows(tmp_path / "alone.jsonl", count // 2, ["live"])
        with server_of(tmp_path / "before", {"live": live.base_url}) as (_, client):
            begin(client, alone)
            ideal = seconds_until_answered(live, count // 2, patience)

    away = harness.free_port()
    with harness.sim(*latency) as live, harness.sim(*latency) as beside:
        upstreams = {"live": live.base_url, "away": f"http://127.0.0.1:{away}/v1", "beside": beside.base_url}
        with server_of(tmp_path / "server", upstreams) as (server, client):
            mixed = begin(client, rows(tmp_path / "mixed.jsonl", count, ["live", "away"]))
            took = seconds_until_answered(live, count // 2, patience)
            assert client.batches.retrieve(mixed).request_counts.failed == 0

            # Another batch begins while the one stands still.
            other = begin(client, rows(tmp_path / "other.jsonl", 1_000, ["beside"]))
            ended(client, other, 30)

            with harness.service(["sim", *latency], "/sim/stats", port=away):
                done = ended(client, mixed, patience + 90)
            peak = harness.peak_memory(server.pid)

    print(f"{count} rows: {ideal:.2f} s alone, {took:.2f} s beside a model that is away "
          f"({ideal / took:.3f}); peak {peak / 1e6:.0f} MB")
    assert (done.request_counts.completed, done.request_counts.failed) == (count, 0)
    assert ideal / took >= share
    assert 0 < peak < MEMORY_BYTES


def part_of_the_live_model(count, others, tmp_path):
    """What a batch of the live model alone gets of that model while `count` rows of both wait: of its half."""
    latency = ("--latency", f"{round(LATENCY * 1000)}ms")
    away = harness.free_port()
    with harness.sim(*latency) as live:
        upstreams = {"live": live.base_url, "away": f"http://127.0.0.1:{away}/v1"}
        with server_of(tmp_path / "server", upstreams) as (_, client):
            begin(client, rows(tmp_path / "mixed.jsonl", count, ["live", "away"]))
            answered = lambda: live.get("/sim/stats")["answered_distinct"]
            harness.until("answers of the live model", lambda: answered() >= 300, 60)

            before = answered()
            other = begin(client, rows(tmp_path / "other.jsonl", others, ["live"]))
            ended(client, other, 120)
            return 2 * others / (answered() - before)


def test_another_batch_does_not_feel_a_model_that_is_away(tmp_path):
    part = part_of_the_live_model(30_000, 4_000, tmp_path)
    print(f"the other batch had {part:.2f} of its part of the live model")
    assert part >= 0.9


def test_a_model_that_is_away_does_not_slow_the_other(tmp_path):
    one_model_is_away_while_the_other_works(10_000, 0.85, tmp_path)


@pytest.mark.long
def test_a_model_that_is_away_for_half_of_200_000_rows_does_not_slow_the_other(tmp_path):
    one_model_is_away_while_the_other_works(200_000, 0.95, tmp_path)
