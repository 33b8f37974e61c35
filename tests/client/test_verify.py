"""The proof of conservation as a person asks for it: of files, of a job's folder, of a batch of a server."""

import http.server
import json
import shutil
import subprocess
import threading

import openai
import pytest

import harness

EXAMPLE = harness.ROOT / "examples/requests.jsonl"


@pytest.fixture(scope="module")
def ended_job(tmp_path_factory):
    """A job that has ended, its folder and its files beside its input; not to be written to."""
    folder = tmp_path_factory.mktemp("ended") / "job"
    folder.mkdir()
    shutil.copy(EXAMPLE, folder / "job.jsonl")
    done = harness.ditto("run", folder / "job.jsonl", "--upstream", "sim")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def job(ended_job, tmp_path):
    """A copy of it, at another place."""
    return shutil.copytree(ended_job, tmp_path / "moved", symlinks=True) / "job.ditto"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with harness.serve(tmp_path_factory.mktemp("serve") / "data") as started:
        yield started


def verify(*args, **kwargs):
    """Exit code and finding."""
    done = harness.ditto("verify", *args, "--json", **kwargs)
    assert "panicked" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def kinds(finding):
    return [(offence.get("file"), offence.get("line"), offence["kind"]) for offence in finding["offences"]]


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def altered(path, at):
    """One bit of one byte is another; the same bit again puts it back."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


# A job's folder.


def test_a_jobs_folder_is_proof_enough_wherever_it_was_moved_to(job):
    done = harness.ditto("verify", job)

    assert done.returncode == 0, done.stdout
    assert done.stdout == (
        "conserved: 200 requests, 200 results: 200 answered, 0 failed, matched by line number; "
        "hashes and counts as reported\n"
    )


def test_a_folder_finds_results_that_were_told_to_be_elsewhere(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "here/job.jsonl")
    output, errors = tmp_path / "there/answers.gz", tmp_path / "there/failures"
    places = ("-o", "../there/answers.gz", "-e", errors)
    run = harness.ditto("run", "job.jsonl", "--upstream", "sim", *places, cwd=tmp_path / "here")
    assert run.returncode == 0, run.stderr

    code, finding = verify("here/job.ditto/", cwd=tmp_path)
    inside, _ = verify(".", cwd=tmp_path / "here/job.ditto")
    altered(output, 5000)
    _, other = verify("here/job.ditto", cwd=tmp_path)

    assert (code, inside, finding["conserved"], finding["offences"]) == (0, 0, True, [])
    assert ("output", None, "other_bytes") in kinds(other)


@pytest.mark.parametrize("name", ["jsonl.zst", "jsonl.gz"])
def test_a_packed_input_is_held_to_its_packed_bytes(tmp_path, name):
    path = tmp_path / f"job.{name}"
    packer = {"jsonl.zst": "zstd", "jsonl.gz": "gzip"}[name]
    if shutil.which(packer) is None:
        pytest.skip(f"there is no {packer} here")
    path.write_bytes(subprocess.run([packer, "-c", EXAMPLE], capture_output=True, check=True).stdout)
    assert harness.ditto("run", path, "--upstream", "sim").returncode == 0

    assert verify(tmp_path / "job.ditto")[0] == 0
    path.write_bytes(path.read_bytes() + subprocess.run([packer, "-c"], input=b"\n", capture_output=True).stdout)
    code, finding = verify(tmp_path / "job.ditto")

    assert code == 9
    assert kinds(finding) == [("input", None, "other_bytes")]


@pytest.mark.parametrize("name", ["jsonl", "output.jsonl", "report.json"])
def test_one_altered_byte_anywhere_is_found(job, name):
    path = job.with_name(f"job.{name}")
    for at in (0, 1, path.stat().st_size // 3, path.stat().st_size // 2, path.stat().st_size - 1):
        altered(path, at)
        code, finding = verify(job)
        altered(path, at)

        assert code == 9, f"byte {at} of {name}"
        assert not finding["conserved"]
        assert (name.split(".")[0].replace("jsonl", "input"), None, "other_bytes") in kinds(finding)
    assert verify(job)[0] == 0


def test_a_byte_that_was_added_to_the_errors_is_found(job):
    job.with_name("job.errors.jsonl").write_bytes(b"\n")

    done = harness.ditto("verify", job)

    assert done.returncode == 9
    assert "errors has 1 byte and had 0 bytes when the job ended" in done.stdout


def test_a_missing_line_is_named(job):
    output = job.with_name("job.output.jsonl")
    kept = lines_of(output)
    output.write_bytes(b"".join(kept[:16] + kept[17:]))

    code, finding = verify(job)

    assert code == 9
    assert kinds(finding) == [("output", None, "other_bytes"), ("input", 17, "missing")]


def test_a_doubled_a_foreign_and_an_unreadable_line_are_named(job):
    output = job.with_name("job.output.jsonl")
    kept = lines_of(output)
    foreign = kept[0].replace(b'_1","custom_id":"', b'_999","custom_id":"x')
    output.write_bytes(b"".join([*kept, kept[4], foreign, b'{"id":\n']))

    code, finding = verify(job)

    assert code == 9
    assert kinds(finding) == [
        ("output", None, "other_bytes"),
        ("output", 201, "repeated"),
        ("output", 202, "unknown"),
        ("output", 203, "unreadable"),
    ]


def test_ten_offences_are_named_and_the_rest_are_counted(job):
    output = job.with_name("job.output.jsonl")
    output.write_bytes(b"".join(lines_of(output)[:150]))

    done = harness.ditto("verify", job)

    said = done.stdout.splitlines()
    assert done.returncode == 9
    assert said[0].endswith("; 51 offences")
    assert said[1].startswith("  output has ")
    assert said[2] == "  input line 151 has no result"
    assert said[11:] == ["  and 41 more"]


def test_failed_rows_are_accounted_for(fault_rows, tmp_path):
    path = shutil.copy(fault_rows, tmp_path / "faults.jsonl")
    assert harness.ditto("run", path, "--upstream", "sim").returncode == 9

    code, finding = verify(tmp_path / "faults.ditto")

    assert (code, finding["conserved"]) == (0, True)
    assert (finding["requests"], finding["answered"], finding["failed"]) == (13, 1, 12)


def test_a_job_that_has_not_ended_says_so(three_rows, tmp_path):
    path = shutil.copy(three_rows, tmp_path / "job.jsonl")
    stopped = harness.ditto("run", path, "--upstream", "http://127.0.0.1:9/v1", "--give-up-after", "1s")
    assert stopped.returncode == 6, stopped.stderr

    done = harness.ditto("verify", tmp_path / "job.ditto")

    assert done.returncode == 10
    assert "has not ended yet" in done.stderr


def test_a_folder_that_is_no_job_and_one_that_is_not_there_are_not_found(tmp_path):
    no_job, nothing = harness.ditto("verify", tmp_path), harness.ditto("verify", tmp_path / "x.ditto")

    assert (no_job.returncode, nothing.returncode) == (3, 3)
    assert "is not the folder of a job" in no_job.stderr
    assert "there is no folder" in nothing.stderr


def test_a_result_that_is_gone_is_not_found(job):
    job.with_name("job.output.jsonl").unlink()

    done = harness.ditto("verify", job, "--json")

    assert done.returncode == 3
    assert "job.output.jsonl: no such file" in json.loads(done.stdout)["error"]


def test_an_input_from_stdin_is_given_once_more(tmp_path):
    text = EXAMPLE.read_text()
    assert harness.ditto("run", "-", "--upstream", "sim", cwd=tmp_path, stdin=text).returncode == 0
    files = ("stdin.output.jsonl", "stdin.errors.jsonl", "--report", "stdin.report.json")

    folder = harness.ditto("verify", "stdin.ditto", cwd=tmp_path)
    again = harness.ditto("verify", "-", *files, cwd=tmp_path, stdin=text)
    other = harness.ditto("verify", "-", *files, cwd=tmp_path, stdin=text + "\n")

    assert folder.returncode == 3
    assert "standard input" in folder.stderr
    assert again.returncode == 0, again.stdout
    assert other.returncode == 9


# Files, and a report beside them.


def test_named_files_are_held_against_a_named_report(job):
    names = [job.with_name(f"job.{name}") for name in ("jsonl", "output.jsonl", "errors.jsonl")]
    report = job.with_name("job.report.json")
    shutil.rmtree(job)

    assert verify(*names, "--report", report)[0] == 0
    altered(names[1], 7000)
    code, finding = verify(*names, "--report", report)
    assert code == 9
    assert ("output", None, "other_bytes") in kinds(finding)


def test_a_report_whose_counts_were_altered_is_found(job):
    names = [job.with_name(f"job.{name}") for name in ("jsonl", "output.jsonl", "errors.jsonl")]
    report = job.with_name("job.report.json")
    report.write_text(report.read_text().replace('"total": 200', '"total": 201'))

    code, finding = verify(*names, "--report", report)

    assert code == 9
    assert [(offence["kind"], offence["said"], offence["found"]) for offence in finding["offences"]] == [
        ("other_count", 201, 200)
    ]


def test_an_input_alone_is_asked_for_its_results(job):
    alone = job.with_name("alone.jsonl")
    alone.write_bytes(job.with_name("job.jsonl").read_bytes())
    done = harness.ditto("verify", alone)

    assert done.returncode == 2
    assert "where are its results?" in done.stderr


# A batch of a server.


def client_of(server):
    return openai.OpenAI(base_url=server.base_url, api_key="unused")


def created(client, path):
    file = client.files.create(file=path, purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


def ended(client, batch_id):
    terminal = ("completed", "failed", "expired", "cancelled")
    harness.until("the end", lambda: client.batches.retrieve(batch_id).status in terminal)
    return client.batches.retrieve(batch_id)


def test_a_batch_of_a_server_is_proven_from_its_files(server, debian_rows):
    client = client_of(server)
    batch = ended(client, created(client, debian_rows).id)

    done = harness.ditto("verify", batch.id, "--base-url", server.base_url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == (
        "conserved: 2,000 requests, 2,000 results: 2,000 answered, 0 failed, matched by line number; "
        "request_counts as the files say\n"
    )


def test_a_cancelled_batch_is_conserved(debian_rows, tmp_path):
    with harness.serve(tmp_path / "data", "--sim-latency", "200ms") as slow:
        client = client_of(slow)
        batch_id = created(client, debian_rows).id
        harness.until("fifty answers", lambda: client.batches.retrieve(batch_id).request_counts.completed >= 50)
        early = harness.ditto("verify", batch_id, "--base-url", slow.base_url)
        client.batches.cancel(batch_id)
        ended(client, batch_id)

        code, finding = verify(batch_id, "--base-url", slow.base_url)

    assert early.returncode == 10
    assert f"{batch_id} has not ended yet: it is in_progress" in early.stderr
    assert (code, finding["offences"]) == (0, [])
    assert finding["results"] == finding["requests"] == 2000
    assert finding["unfinished"] == finding["failed"] == 2000 - finding["answered"] > 0


def test_a_batch_whose_file_was_refused_has_nothing_to_prove(server, fault_rows):
    client = client_of(server)
    batch = ended(client, created(client, fault_rows).id)

    done = harness.ditto("verify", batch.id, "--base-url", server.base_url)

    assert (batch.status, done.returncode) == ("failed", 12)
    assert "nothing to prove" in done.stderr


def test_a_batch_or_a_file_that_the_server_does_not_have_is_not_found(server, three_rows):
    client = client_of(server)
    batch = ended(client, created(client, three_rows).id)
    client.files.delete(batch.output_file_id)

    none = harness.ditto("verify", "batch_none", "--base-url", server.base_url)
    gone = harness.ditto("verify", batch.id, "--base-url", server.base_url)

    assert (none.returncode, gone.returncode) == (3, 3)
    assert f"cannot read the output file {batch.output_file_id}" in gone.stderr


def test_a_server_that_is_away_is_exit_6():
    assert harness.ditto("verify", "batch_1", "--base-url", "http://127.0.0.1:9/v1").returncode == 6


def test_a_key_is_given_as_for_the_other_calls(three_rows, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.write_text("sk-verify-0123456789abcdef\n")
    keys.chmod(0o600)
    monkeypatch.setenv("DITTO_TEST_KEY", "sk-verify-0123456789abcdef")
    with harness.serve(tmp_path / "data", "--api-key-file", str(keys)) as locked:
        client = openai.OpenAI(base_url=locked.base_url, api_key="sk-verify-0123456789abcdef")
        batch = ended(client, created(client, three_rows).id)
        flags = (batch.id, "--base-url", locked.base_url)

        assert harness.ditto("verify", *flags).returncode == 4
        assert harness.ditto("verify", *flags, "--api-key-env", "DITTO_TEST_KEY").returncode == 0


# A server whose files were tampered with: the same objects, from a folder of the test's own.


class Provider:
    """Hands out a batch and its files as it was told to."""

    def __init__(self):
        self.answers = {}

    def batch(self, files, **counts):
        self.answers["/v1/batches/batch_b"] = {
            "id": "batch_b",
            "object": "batch",
            "status": "completed",
            "input_file_id": "file-in",
            "output_file_id": "file-out",
            "error_file_id": None,
            "request_counts": counts,
        }
        for name, content in files.items():
            self.answers[f"/v1/files/{name}/content"] = content


@pytest.fixture
def provider():
    known = Provider()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = known.answers.get(self.path)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200 if answer is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", harness.free_port()), Answer)
    serving = threading.Thread(target=listening.serve_forever)
    serving.start()
    known.base_url = f"http://127.0.0.1:{listening.server_port}/v1"
    yield known
    listening.shutdown()
    serving.join()
    listening.server_close()


def request(name):
    return json.dumps({"custom_id": name, "method": "POST", "url": "/v1/x", "body": {"model": "m"}}).encode() + b"\n"


def answer(name, result_id):
    response = {"status_code": 200, "request_id": "r", "body": {"id": "x"}}
    return json.dumps({"id": result_id, "custom_id": name, "response": response, "error": None}).encode() + b"\n"


def test_a_provider_with_ids_of_its_own_is_matched_by_custom_id(provider):
    files = {"file-in": request("a") + request("b"), "file-out": answer("b", "r-1") + answer("a", "r-2")}
    provider.batch(files, total=2, completed=2, failed=0)

    code, finding = verify("batch_b", "--base-url", provider.base_url)

    assert (code, finding["matched_by"]) == (0, "custom_id")


def test_counts_that_the_files_do_not_bear_out_are_named(provider):
    files = {"file-in": request("a") + request("b"), "file-out": answer("a", "batch_req_b_1")}
    provider.batch(files, total=2, completed=2, failed=0)

    done = harness.ditto("verify", "batch_b", "--base-url", provider.base_url)

    assert done.returncode == 9
    assert done.stdout.splitlines()[1:] == [
        "  completed: 2 were reported and the files have 1",
        "  input line 2 has no result",
    ]


def test_results_of_another_batch_are_named(provider):
    files = {"file-in": request("a"), "file-out": answer("a", "batch_req_other_1")}
    provider.batch(files, total=1, completed=1, failed=0)

    code, finding = verify("batch_b", "--base-url", provider.base_url)

    assert code == 9
    assert [offence["kind"] for offence in finding["offences"]] == ["results_of_another"]
