"""`ditto-batch serve` stopped: by a signal, by a second one, by a kill; and how soon it goes on."""

import http.client
import json
import signal
import socket
import threading
import time

import openai
import pytest

import harness

PERMITS = 16
FLAGS = ("--concurrency", str(PERMITS))
AT_ONCE_SECONDS = 2

BATCHES = 10_000
CREATORS = 8
RESUME_SECONDS = 1


class Client:
    """The official client, as far as it is needed here."""

    def __init__(self, server):
        self.api = openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0)

    def order(self, path):
        file = self.api.files.create(file=path, purpose="batch")
        return self.create(file.id)

    def create(self, file_id):
        return self.api.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
        ).id

    def finished(self, batch_id, seconds=60):
        """The batch once it is completed; its lines are in one of the two files, each once."""
        done = harness.until(
            f"the end of {batch_id}", lambda: self.completed(batch_id), seconds=seconds
        )
        ids = [row["custom_id"] for file in (done.output_file_id, done.error_file_id) for row in self.rows(file)]
        assert len(ids) == len(set(ids)) == done.request_counts.total
        return done

    def completed(self, batch_id):
        batch = self.api.batches.retrieve(batch_id)
        return batch if batch.status == "completed" else None

    def rows(self, file_id):
        text = self.api.files.content(file_id).text if file_id else ""
        return harness.parsed_lines(text.encode())


def write_rows(path, texts):
    path.write_bytes(b"".join(harness.request(number, text) for number, text in enumerate(texts, 1)))
    return path


def held_up(path, count=19 * PERMITS):
    """Rows of which one in nineteen, as many as there are permits, gets no answer at the first asking."""
    return write_rows(path, ("sim: hang then ok" if n % 19 == 0 else f"row {n}" for n in range(1, count + 1)))


def hanging(upstream, count):
    return harness.until(
        f"{count} requests that hang", lambda: upstream.get("/sim/stats")["by_fault"].get("hang", 0) >= count
    )


def tell_to_stop(server):
    """The first signal, until it is known to have arrived."""
    server.process.terminate()
    harness.until("it says that it stops", lambda: "stopping:" in server.said())
    assert server.process.poll() is None


def test_told_to_stop_it_lets_lines_in_flight_end_and_asks_nothing_again(tmp_path):
    rows = write_rows(tmp_path / "job.jsonl", (f"row {n}" for n in range(400)))
    with harness.sim("--latency", "100ms") as upstream:
        flags = ("--upstream", upstream.base_url, *FLAGS)
        with harness.serve(tmp_path / "data", *flags) as server:
            batch = Client(server).order(rows)
            harness.until("lines in flight", lambda: upstream.get("/sim/stats")["in_flight"] == PERMITS)
            server.process.terminate()
            assert server.process.wait(harness.STOP_SECONDS) == 0
        stopped = upstream.get("/sim/stats")
        with harness.serve(tmp_path / "data", *flags) as server:
            Client(server).finished(batch)
        stats = upstream.get("/sim/stats")

    assert 0 < stopped["answered"] == stopped["requests"] < 400
    assert (stats["requests"], stats["asked_more_than_once"]) == (400, 0)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once_and_what_was_recorded_stays(second, code, tmp_path):
    rows = held_up(tmp_path / "job.jsonl")
    with harness.sim() as upstream:
        flags = ("--upstream", upstream.base_url, *FLAGS)
        with harness.serve(tmp_path / "data", *flags) as server:
            batch = Client(server).order(rows)
            hanging(upstream, PERMITS)
            tell_to_stop(server)
            server.process.send_signal(second)
            assert server.process.wait(AT_ONCE_SECONDS) == code
        with harness.serve(tmp_path / "data", *flags) as server:
            Client(server).finished(batch)
        stats = upstream.get("/sim/stats")

    # Only the lines that never got an answer were asked again.
    assert stats["asked_more_than_once"] == PERMITS
    assert stats["answered_more_than_once"] == 0


def config(path, **upstreams):
    """A config file with these upstreams, each for the model of the rows."""
    tables = (
        f'[[upstream]]\nname = "{name}"\nurl = "{url}"\nmodels = ["demo-small"]\nconcurrency = {PERMITS}\n'
        for name, url in upstreams.items()
    )
    path.write_text("".join(tables))
    return path


def reload(server, sign):
    """A hangup, until what became of it is said; the last line of that."""
    before = server.said().count("reloaded")
    server.process.send_signal(signal.SIGHUP)
    harness.until(sign, lambda: server.said().count("reloaded") > before)
    return next(line for line in reversed(server.said().splitlines()) if "reloaded" in line and "INFO" not in line)


def test_a_hangup_adds_and_removes_upstreams_of_a_running_batch(tmp_path):
    rows = write_rows(tmp_path / "job.jsonl", (f"row {n}" for n in range(2_000)))
    with harness.sim("--latency", "100ms") as first, harness.sim("--latency", "100ms") as second:
        path = config(tmp_path / "server.toml", one=first.base_url)
        command = ["serve", "--data", str(tmp_path / "data"), "--config", str(path)]
        with harness.service(command, "/readyz") as server:
            client = Client(server)
            batch = client.order(rows)
            harness.until("it runs", lambda: first.get("/sim/stats")["answered"] > PERMITS)
            config(path, one=first.base_url, two=second.base_url)
            assert "lines go to one, two" in reload(server, "two upstreams")
            harness.until("both answer", lambda: second.get("/sim/stats")["answered"] > PERMITS)
            shown = client.api.batches.retrieve(batch, extra_headers={"Ditto-Extensions": "1"}).ditto["lanes"]
            lanes = {lane["upstream"]: (lane["model"], lane["limit"], lane["paused"]) for lane in shown}
            assert lanes == {name: ("demo-small", PERMITS, None) for name in ("one", "two")}
            assert not hasattr(client.api.batches.retrieve(batch), "ditto")

            path.write_text("no toml")
            assert "nothing has changed" in reload(server, "a refusal")
            config(path, two=second.base_url)
            assert "lines go to two" in reload(server, "one upstream")
            left = first.get("/sim/stats")["requests"]
            assert client.finished(batch).request_counts.completed == 2_000
            asked = [upstream.get("/sim/stats") for upstream in (first, second)]
    assert asked[0]["requests"] <= left + PERMITS
    assert sum(stats["answered"] for stats in asked) == sum(stats["distinct"] for stats in asked) == 2_000


def create_many(server, file_id):
    """Ten thousand batches over the same three lines, as fast as the server takes them."""
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    threads = [
        threading.Thread(target=create_some, args=(server, json.dumps(body), BATCHES // CREATORS))
        for _ in range(CREATORS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def create_some(server, body, count):
    connection = http.client.HTTPConnection(server.address)
    for _ in range(count):
        connection.request("POST", "/v1/batches", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    connection.close()


def until_it_listens(port):
    def connects():
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", port)) == 0

    harness.until("it listens", connects, pause=0.001)
    return time.monotonic()


def test_killed_among_ten_thousand_open_batches_it_goes_on_within_a_second_of_listening(tmp_path):
    rows = write_rows(tmp_path / "job.jsonl", ["one", "two", "three"])
    with harness.sim("--latency", "2s") as upstream:
        flags = ("--upstream", upstream.base_url, *FLAGS)
        with harness.serve(tmp_path / "data", *flags) as server:
            create_many(server, Client(server).api.files.create(file=rows, purpose="batch").id)
            harness.until("batches run", lambda: upstream.get("/sim/stats")["answered"] >= PERMITS)
            server.process.kill()
            server.process.wait()
        # Three restarts: one might be lucky.
        for _ in range(3):
            asked = upstream.get("/sim/stats")["requests"]
            with harness.spawned("serve", "--data", tmp_path / "data", *flags) as started:
                listening = until_it_listens(started.port)
                harness.until("a request", lambda: upstream.get("/sim/stats")["requests"] > asked, pause=0.001)
                assert time.monotonic() - listening < RESUME_SECONDS
                started.process.kill()
