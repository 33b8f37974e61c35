"""The command line as a person meets it: what it says, and the exit codes that scripts build on."""

import gzip
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import harness

EXAMPLE = harness.ROOT / "examples/requests.jsonl"


@pytest.fixture
def example(tmp_path):
    return shutil.copy(EXAMPLE, tmp_path / "requests.jsonl")


@pytest.fixture
def job_of_2000(debian_rows, tmp_path):
    return shutil.copy(debian_rows, tmp_path / "job.jsonl")


def said_once(done, *words):
    """One clear sentence: something on stderr that names these words, and no trace of a panic."""
    assert done.stderr.strip(), "nothing was said"
    assert "panicked" not in done.stderr
    for word in words:
        assert str(word) in done.stderr
    return True


def test_the_first_command_of_the_readme_answers_every_row(example):
    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 0, done.stderr
    rows = harness.json_lines(example.with_name("requests.output.jsonl"))
    assert [row["custom_id"] for row in rows] == [row["custom_id"] for row in harness.json_lines(example)]
    assert example.with_name("requests.errors.jsonl").read_bytes() == b""


def test_results_go_where_they_are_told_to(example, tmp_path):
    output, errors = tmp_path / "answers.jsonl", tmp_path / "failures.jsonl"

    done = harness.ditto("run", example, "--upstream", "sim", "-o", output, "-e", errors)

    assert done.returncode == 0, done.stderr
    assert len(harness.json_lines(output)) == 200
    assert errors.read_bytes() == b""


def test_a_good_file_passes_the_check(example):
    assert harness.ditto("check", example).returncode == 0


def test_twelve_faults_are_twelve_named_faults(fault_rows):
    done = harness.ditto("check", fault_rows, "--json")

    assert done.returncode == 12
    faults = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(fault["line"], fault["code"], fault["param"]) for fault in faults] == [
        (2, "invalid_json_line", None),
        (3, "missing_required_parameter", "custom_id"),
        (4, "invalid_url", "url"),
        (5, "invalid_method", "method"),
        (6, "duplicate_custom_id", "custom_id"),
        (7, "duplicate_key", "custom_id"),
        (8, "invalid_type", "custom_id"),
        (9, "missing_required_parameter", "body"),
        (10, "invalid_request", "body.model"),
        (11, "invalid_request", "body.messages"),
        (12, "streaming_unsupported", "body.stream"),
        (13, "invalid_json_line", None),
    ]
    assert all(fault["message"] for fault in faults)


def test_a_bad_row_does_not_keep_the_others_from_running(fault_rows, tmp_path):
    path = shutil.copy(fault_rows, tmp_path / "faults.jsonl")

    done = harness.ditto("run", path, "--upstream", "sim")

    assert done.returncode == 9, done.stderr
    assert len(harness.json_lines(tmp_path / "faults.output.jsonl")) == 1
    assert len(harness.json_lines(tmp_path / "faults.errors.jsonl")) == 12


def test_verify_finds_a_lost_answer(example):
    harness.ditto("run", example, "--upstream", "sim")
    output = example.with_name("requests.output.jsonl")
    lines = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:7] + lines[8:]))

    done = harness.ditto("verify", example, output)

    assert done.returncode == 9
    assert "input line 8 has no result" in done.stdout


def test_an_input_that_changed_is_refused(example):
    harness.ditto("run", example, "--upstream", "sim")
    before = example.with_name("requests.output.jsonl").read_bytes()
    example.write_bytes(example.read_bytes().replace(b"kettle", b"bottle", 1))

    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 5
    assert said_once(done)
    assert example.with_name("requests.output.jsonl").read_bytes() == before


def test_another_model_is_not_the_same_job(example):
    bare = example.with_name("bare.jsonl")
    bare.write_text('{"messages": [{"role": "user", "content": "Labels: a, b"}]}\n')
    assert harness.ditto("run", bare, "--upstream", "sim", "--model", "demo-small").returncode == 0

    done = harness.ditto("run", bare, "--upstream", "sim", "--model", "demo-large")

    assert done.returncode == 5
    assert said_once(done, "model")


def test_a_line_that_is_only_a_body_is_named_by_its_number(tmp_path):
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"model": "demo-small", "messages": [{"role": "user", "content": "Labels: a, b"}]}\n' * 2)

    done = harness.ditto("run", bare, "--upstream", "sim")

    assert done.returncode == 0, done.stderr
    rows = harness.json_lines(tmp_path / "bare.output.jsonl")
    assert [row["custom_id"] for row in rows] == ["line-1", "line-2"]


def test_a_file_of_somebody_else_is_not_written_over(example):
    theirs = example.with_name("requests.output.jsonl")
    theirs.write_text("mine\n")

    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 5
    assert said_once(done, "requests.output.jsonl")
    assert theirs.read_text() == "mine\n"


def test_two_results_in_one_file_are_refused_before_anything_is_written(example, tmp_path):
    done = harness.ditto("run", example, "--upstream", "sim", "-o", tmp_path / "both", "-e", tmp_path / "both")

    assert done.returncode == 2
    assert said_once(done, "both", "-o", "-e")
    assert list(tmp_path.iterdir()) == [example]


def test_a_file_that_appears_while_the_job_runs_is_not_written_over(example):
    theirs = example.with_name("requests.output.jsonl")
    with harness.sim("--latency", "300ms") as upstream:
        command = ("run", str(example), "--upstream", upstream.base_url)
        running = subprocess.Popen([harness.binary(), *command], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.until("a request", lambda: upstream.get("/sim/stats")["requests"] > 0)
        theirs.write_text("mine\n")
        assert running.wait(harness.COMMAND_SECONDS) == 5
        kept = theirs.read_text()
        theirs.rename(example.with_name("theirs.jsonl"))

        done = harness.ditto(*command)

        assert kept == "mine\n"
        assert done.returncode == 0, done.stderr
        assert len(harness.json_lines(theirs)) == 200
        # Only the writing was left to do.
        assert upstream.get("/sim/stats")["requests"] == 200


def test_the_simulator_takes_limits_a_load_and_a_cache_of_prefixes(example):
    flags = ["--limit", "requests:150/1s,tokens:1000000/60s:told", "--latency", "load:1ms:1ms", "--prefix-cache", "8"]
    with harness.sim(*flags) as upstream:
        done = harness.ditto("run", example, "--upstream", upstream.base_url, "--max-concurrency", "64")
        stats = upstream.get("/sim/stats")
    assert done.returncode == 0, done.stderr
    assert stats["answered"] == 200
    rows = harness.json_lines(example.with_name("requests.output.jsonl"))
    used = [row["response"]["body"]["usage"] for row in rows]
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] > 0 for usage in used)
    assert 0 < cached <= stats["prefix_hits"]

    done = harness.ditto("run", example, "--upstream", "sim", "--sim-limit", "requests:20")
    assert done.returncode == 2
    assert said_once(done, "requests:20", "requests:20/1s")


def test_a_link_to_nowhere_is_not_replaced(example):
    link = example.with_name("requests.output.jsonl")
    link.symlink_to("nowhere")

    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 5
    assert said_once(done, link.name)
    assert os.readlink(link) == "nowhere"
    assert not link.exists(), "something was written through the link"


def test_no_file_is_taken_for_a_part_of_ours_by_its_name(example):
    theirs = example.with_name(".requests.output.jsonl.ditto-part")
    theirs.write_text("mine\n")
    victim = example.with_name("victim")
    victim.write_text("precious\n")
    example.with_name(".requests.errors.jsonl.ditto-part").symlink_to(victim)

    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 0, done.stderr
    assert theirs.read_text() == "mine\n"
    assert victim.read_text() == "precious\n"


def test_nothing_is_left_beside_the_results(example, tmp_path):
    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 0, done.stderr
    ends = ["ditto", "errors.jsonl", "jsonl", "output.jsonl", "report.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"requests.{end}" for end in ends]


def test_a_second_command_does_not_disturb_the_first(job_of_2000):
    command = [harness.binary(), "run", str(job_of_2000), "--upstream", "sim"]
    first = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    folder = job_of_2000.with_name("job.ditto")
    harness.until("the first has begun", lambda: (folder / "data").exists() or first.poll() is not None)
    others = []
    while first.poll() is None:
        others.append(harness.ditto(*command[1:]))

    assert first.returncode == 0, first.stderr.read()
    assert len(harness.json_lines(job_of_2000.with_name("job.output.jsonl"))) == 2000
    assert others and all(done.returncode in (0, 5) for done in others)
    refused = [done for done in others if done.returncode == 5]
    assert all(said_once(done, "another command", folder) for done in refused)


@pytest.mark.parametrize("occupied", ["file", "folder"])
def test_a_job_that_goes_on_looks_at_a_new_place_before_it_pays(example, tmp_path, occupied):
    with harness.sim("--latency", "100ms") as upstream:
        command = ("run", str(example), "--upstream", upstream.base_url, "--concurrency", "4")
        stop_after_a_request(upstream, command)
        asked = upstream.get("/sim/stats")["requests"]
        place = tmp_path / "elsewhere.jsonl"
        place.mkdir() if occupied == "folder" else place.write_text("mine\n")

        done = harness.ditto(*command, "-o", place)

        assert done.returncode == 5
        assert said_once(done, place)
        assert upstream.get("/sim/stats")["requests"] == asked
        assert harness.ditto(*command).returncode == 0


def stop_after_a_request(upstream, command):
    running = subprocess.Popen([harness.binary(), *command], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    harness.until("a request", lambda: upstream.get("/sim/stats")["requests"] > 0)
    running.terminate()
    assert running.wait(harness.STOP_SECONDS) == 10


def test_what_is_in_a_job_is_for_its_owner_only(example):
    folder = example.with_name("requests.ditto")
    folder.mkdir(mode=0o755)
    packed = example.with_name("requests.jsonl.gz")
    packed.write_bytes(gzip.compress(example.read_bytes()))
    with harness.sim("--latency", "100ms") as upstream:
        stop_after_a_request(upstream, ("run", str(packed), "--upstream", upstream.base_url))

    inside = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {"job.json", "input.jsonl"} <= {path.name for path in inside}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in inside if path.stat().st_mode & 0o077} == {}


def test_a_folder_of_somebody_else_is_not_made_the_jobs(example):
    folder = example.with_name("requests.ditto")
    folder.mkdir()
    (folder / "poem.txt").write_text("mine\n")

    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 5
    assert said_once(done, folder)
    assert [path.name for path in folder.iterdir()] == ["poem.txt"]


def test_an_output_that_was_altered_after_the_end_is_found(example):
    harness.ditto("run", example, "--upstream", "sim")
    output = example.with_name("requests.output.jsonl")
    altered = output.read_bytes().replace(b"positive", b"negative", 1)
    output.write_bytes(altered)

    done = harness.ditto("run", example, "--upstream", "sim")

    assert done.returncode == 5
    assert said_once(done, output.name)
    assert output.read_bytes() == altered


def test_the_same_job_from_another_folder_is_the_same_job(example, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with harness.sim() as upstream:
        first = harness.ditto("run", example, "--upstream", upstream.base_url)

        again = harness.ditto("run", "../requests.jsonl", "--upstream", upstream.base_url, cwd=other)

        assert (first.returncode, again.returncode) == (0, 0), again.stderr
        assert upstream.get("/sim/stats")["requests"] == 200
    assert list(other.iterdir()) == []


def test_an_input_whose_name_is_not_utf_8_runs(example):
    odd = example.rename(example.with_name(os.fsdecode(b"r\xe9views.jsonl")))

    done = harness.ditto("run", odd, "--upstream", "sim")

    assert done.returncode == 0, done.stderr
    assert len(harness.json_lines(odd.with_name(os.fsdecode(b"r\xe9views.output.jsonl")))) == 200


def test_the_url_of_a_long_first_line_is_the_jobs_endpoint(tmp_path):
    job = tmp_path / "job.jsonl"
    row = {"custom_id": "long", "method": "POST", "url": "/v1/responses"}
    # The url comes behind the body, where a look at the first bytes would miss it.
    body = {"body": {"model": "demo-small", "input": "Labels: a, b " + "x" * 100_000}}
    job.write_text(json.dumps(body | row) + "\n")

    done = harness.ditto("run", job, "--upstream", "sim")

    assert done.returncode == 0, done.stderr
    [answer] = harness.json_lines(tmp_path / "job.output.jsonl")
    assert answer["response"]["body"]["object"] == "response"


def test_an_endpoint_against_the_file_is_a_usage_error(example):
    done = harness.ditto("run", example, "--upstream", "sim", "--endpoint", "/v1/responses")

    assert done.returncode == 2
    assert said_once(done, "/v1/chat/completions", "/v1/responses")
    assert not example.with_name("requests.output.jsonl").exists()


@pytest.mark.parametrize("address", ["localhost:8000/v1", "ftp://127.0.0.1/v1", "nonsense"])
def test_an_address_that_cannot_work_is_said_before_a_folder_is_made(example, tmp_path, address):
    done = harness.ditto("run", example, "--upstream", address)

    assert done.returncode == 2
    assert said_once(done, address)
    assert list(tmp_path.iterdir()) == [example]


SECRET_ADDRESSES = [
    "http://me:canary@127.0.0.1:1/v1",
    "ftp://me:canary@127.0.0.1/v1",
    "http://me:canary#@127.0.0.1:1/v1",
    "http://127.0.0.1:1/v1?api-key=canary",
]


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_a_secret_in_an_address_is_refused_and_not_shown(example, tmp_path, address):
    config = tmp_path / "ditto.toml"
    config.write_text(f'[[upstream]]\nurl = "{address}"\n')
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f'[[upstream]]\nurl = "{address}" "\n')
    data = ("--data", tmp_path / "data")
    commands = [
        ("run", example, "--upstream", address),
        ("serve", *data, "--upstream", address),
        ("serve", *data, "--upstream", f"gpu={address}"),
        ("serve", *data, "--config", config),
        ("serve", *data, "--config", wrong),
    ]
    for command in commands:
        done = harness.ditto(*command)

        assert done.returncode == 2, command
        assert said_once(done)
        assert "canary" not in done.stdout + done.stderr
    assert sorted(tmp_path.iterdir()) == sorted([config, example, wrong])


def test_help_does_not_show_what_the_environment_holds():
    for command in ["run", "serve"]:
        env = os.environ | {"DITTO_UPSTREAM": SECRET_ADDRESSES[0]}
        done = subprocess.run([harness.binary(), command, "--help"], env=env, capture_output=True, text=True)

        assert "DITTO_UPSTREAM" in done.stdout
        assert "me:canary" not in done.stdout


@pytest.mark.parametrize("rest", ["?api-version=2024-10-21", "#part"])
def test_an_address_with_a_query_is_a_usage_error(example, tmp_path, rest):
    done = harness.ditto("run", example, "--upstream", f"http://127.0.0.1:1/v1{rest}")

    assert done.returncode == 2
    assert said_once(done, "http://127.0.0.1:1/v1)", "query")
    assert list(tmp_path.iterdir()) == [example]


def test_other_rows_by_standard_input_are_not_given_the_old_answers(example, tmp_path):
    rows = example.read_text().splitlines(keepends=True)
    with harness.sim() as upstream:

        def run(rows):
            command = ("run", "-", "--upstream", upstream.base_url)
            return harness.ditto(*command, cwd=tmp_path, stdin="".join(rows))

        first = run(rows[:5])
        before = (tmp_path / "stdin.output.jsonl").read_bytes()
        other, same = run(rows[5:]), run(rows[:5])

        assert (first.returncode, same.returncode) == (0, 0), same.stderr
        assert other.returncode == 5
        assert said_once(other, "standard input", "stdin.ditto")
        assert upstream.get("/sim/stats")["requests"] == 5
    assert (tmp_path / "stdin.output.jsonl").read_bytes() == before


def test_rows_that_are_added_while_the_job_runs_are_noticed_at_its_end(example):
    original = example.read_bytes()
    with harness.sim("--latency", "100ms") as upstream:
        command = ("run", str(example), "--upstream", upstream.base_url)
        running = subprocess.Popen(
            [harness.binary(), *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        harness.until("a request", lambda: upstream.get("/sim/stats")["requests"] > 0)
        example.write_bytes(original + original.splitlines(keepends=True)[0].replace(b"review-001", b"late"))
        said = running.communicate(timeout=harness.COMMAND_SECONDS)[1]
        assert running.returncode == 5, said
        assert "changed" in said and str(example) in said
        assert not example.with_name("requests.output.jsonl").exists()

        example.write_bytes(original)
        done = harness.ditto(*command)

        assert done.returncode == 0, done.stderr
        assert upstream.get("/sim/stats")["requests"] == 200


def test_a_file_with_a_byte_order_mark_runs(tmp_path):
    job = tmp_path / "job.jsonl"
    row = {"custom_id": "a", "method": "POST", "url": "/v1/responses"}
    job.write_text("\ufeff" + json.dumps(row | {"body": {"model": "m", "input": "Labels: a, b"}}) + "\n")

    done = harness.ditto("run", job, "--upstream", "sim")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("packed", ["gz", "zst"])
@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("damage", ["empty", "plain", "cut"])
def test_a_packed_file_that_is_not_whole_is_refused(command, packed, damage, example, tmp_path):
    path = tmp_path / f"job.jsonl.{packed}"
    if damage == "cut":
        pack = {"gz": ["gzip", "-c"], "zst": ["zstd", "-q", "-c"]}[packed]
        if shutil.which(pack[0]) is None:
            pytest.skip(f"there is no {pack[0]} here")
        whole = subprocess.run([*pack, example], stdout=subprocess.PIPE, check=True).stdout
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.write_bytes(b"" if damage == "empty" else example.read_bytes())

    done = harness.ditto(command, path, *upstream_of(command))

    assert done.returncode == 12, done.stderr
    assert said_once(done)
    assert sorted(tmp_path.iterdir()) == [path, example]


def test_the_second_signal_ends_at_once(example, tmp_path):
    with harness.sim("--latency", "600s") as upstream:
        command = [harness.binary(), "run", str(example), "--upstream", upstream.base_url]
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        harness.until("a request", lambda: upstream.get("/sim/stats")["requests"] > 0)
        running.terminate()
        while "stopping" not in running.stderr.readline():
            assert running.poll() is None
        running.terminate()

        assert running.wait(5) == 10
        running.stderr.close()


@pytest.mark.parametrize("packed", [False, True])
def test_a_signal_while_the_input_is_read_leaves_nothing(tmp_path, packed):
    source = tmp_path / "pipe.jsonl.gz" if packed else "-"
    command = [harness.binary(), "run", source, "--upstream", "sim"]
    if packed:
        # A file that never ends: packed zeros, unpacked for longer than anybody waits.
        source.write_bytes(gzip.compress(bytes(1 << 20)) * 20_000)
    running = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "spooling" in running.stderr.readline()
    running.terminate()

    assert running.wait(harness.STOP_SECONDS) == 10
    assert "stopped before the end" in running.stderr.read()
    running.stdin.close()
    assert [path for path in tmp_path.iterdir() if path != source] == []


def test_a_pipe_by_name_is_refused_with_what_to_do(example, tmp_path):
    fifo = tmp_path / "pipe.jsonl"
    os.mkfifo(fifo)
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "/dev/zero", fifo]:
        with open(example) as rows:
            command = [harness.binary(), "run", name, "--upstream", "sim"]
            done = subprocess.run(command, stdin=rows, capture_output=True, text=True, timeout=60)

        assert done.returncode == 2, name
        assert said_once(done, name, "`-`")
    assert sorted(tmp_path.iterdir()) == [fifo, example]


def test_an_input_in_a_folder_of_others_can_be_run_by_a_link(example, tmp_path):
    script = """
        mount -o remount,ro $DISK; mkdir $DISK/../mine; cd $DISK/../mine
        $DITTO run $DISK/job.jsonl --upstream sim -o out -e err
        test $? = 8 || { echo "wanted exit 8, got $?" >&2; exit 100; }
        ln -s $DISK/job.jsonl . && $DITTO run job.jsonl --upstream sim || exit
        test $(wc -l < job.output.jsonl) = 200
    """
    done = on_a_small_disk(tmp_path, "64m", script, example)

    assert done.returncode == 0, done.stderr
    assert said_once(done, "ln -s")


def test_an_unknown_flag_is_a_usage_error():
    assert harness.ditto("run", "--no-such-flag").returncode == 2


def test_another_deadline_is_not_ignored_when_a_job_goes_on(example):
    with harness.sim("--latency", "100ms") as upstream:
        command = ("run", str(example), "--upstream", upstream.base_url)
        stop_after_a_request(upstream, (*command, "--deadline", "2h"))
        asked = upstream.get("/sim/stats")["requests"]

        other = harness.ditto(*command, "--deadline", "3h")

        assert other.returncode == 2
        assert said_once(other, "--deadline", "7200s", "10800s")
        assert upstream.get("/sim/stats")["requests"] == asked
        assert harness.ditto(*command, "--deadline", "2h").returncode == 0


def test_a_server_that_is_stopped_at_once_says_what_is_kept(three_rows, tmp_path):
    with (
        harness.sim("--latency", "600s") as upstream,
        harness.serve(tmp_path / "data", "--upstream", upstream.base_url) as server,
    ):
        uploaded = harness.ditto("files", "upload", three_rows, "--base-url", server.base_url)
        file = json.loads(uploaded.stdout)["id"]
        made = harness.ditto("batches", "create", file, "--base-url", server.base_url)
        assert made.returncode == 0, made.stderr
        log = lambda: os.pread(server.log.fileno(), 1 << 20, 0).decode()
        harness.until("a line is under way", lambda: upstream.get("/sim/stats")["in_flight"] > 0)
        server.process.terminate()
        harness.until("it drains", lambda: "stopping:" in log())
        server.process.terminate()

        assert server.process.wait(harness.STOP_SECONDS) == 1
        assert "stopped at once" in log() and "recorded is kept" in log()


def test_a_damaged_catalog_is_a_conflict_and_not_the_inputs_fault(example, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "catalog.db").write_text("not a database " * 500)
    with harness.sim("--latency", "100ms") as upstream:
        command = ("run", str(example), "--upstream", upstream.base_url)
        stop_after_a_request(upstream, command)
        catalog = example.with_name("requests.ditto") / "data/catalog.db"
        for beside in ["-wal", "-shm"]:
            catalog.with_name(catalog.name + beside).unlink(missing_ok=True)
        catalog.write_text("not a database " * 500)

        listen = ("--listen", f"127.0.0.1:{harness.free_port()}")
        for done in [harness.ditto(*command), harness.ditto("serve", "--data", data, "--upstream", "sim", *listen)]:
            assert done.returncode == 5, done.stderr
            assert said_once(done, "catalog.db", "damaged")
    assert catalog.exists(), "what is damaged may still be mended"


def test_a_data_folder_is_closed_to_others_or_refused(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with harness.serve(data):
        assert data.stat().st_mode & 0o777 == 0o700
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    (theirs / "poem.txt").write_text("mine\n")

    done = harness.ditto("serve", "--data", theirs, "--upstream", "sim", "--listen", f"127.0.0.1:{harness.free_port()}")

    assert done.returncode == 8
    assert said_once(done, theirs, "chmod 700")
    assert theirs.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in theirs.iterdir()] == ["poem.txt"]


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_file_is_not_found(command, tmp_path):
    done = harness.ditto(command, tmp_path / "none.jsonl", *upstream_of(command))

    assert done.returncode == 3
    assert said_once(done, "none.jsonl")


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_directory_is_no_input(command, tmp_path):
    done = harness.ditto(command, tmp_path, *upstream_of(command))

    assert done.returncode == 8
    assert said_once(done, tmp_path)


@pytest.mark.parametrize("command", ["run", "check"])
def test_an_empty_file_is_refused(command, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()

    done = harness.ditto(command, empty, *upstream_of(command))

    assert done.returncode == 12
    assert said_once(done)


def test_an_empty_file_that_was_mended_runs_under_the_same_name(example, tmp_path):
    job = tmp_path / "job.jsonl"
    job.touch()
    assert harness.ditto("run", job, "--upstream", "sim").returncode == 12

    shutil.copy(example, job)
    done = harness.ditto("run", job, "--upstream", "sim")

    assert done.returncode == 0, done.stderr
    assert len(harness.json_lines(tmp_path / "job.output.jsonl")) == 200


def upstream_of(command):
    return ["--upstream", "sim"] if command == "run" else []


def test_a_read_only_folder_is_said_to_be_one(example, tmp_path):
    done = on_a_small_disk(tmp_path, "64m", "mount -o remount,ro $DISK; $DITTO run $DISK/job.jsonl --upstream sim", example)

    assert done.returncode == 8
    assert said_once(done)


def test_the_end_of_a_job_is_told_from_a_disk_that_cannot_be_written(example, tmp_path):
    script = """
        $DITTO run $DISK/job.jsonl --upstream sim || exit
        mount -o remount,ro $DISK
        $DITTO run $DISK/job.jsonl --upstream sim
    """
    done = on_a_small_disk(tmp_path, "64m", script, example)

    assert done.returncode == 0, done.stderr


def test_a_full_disk_loses_nothing(debian_rows, tmp_path):
    script = """
        $DITTO run $DISK/job.jsonl --upstream sim
        test $? = 8 || { echo "wanted exit 8 from the full disk, got $?" >&2; exit 100; }
        mount -o remount,size=64m $DISK
        $DITTO run $DISK/job.jsonl --upstream sim || exit
        test $(wc -l < $DISK/job.output.jsonl) = 2000
    """
    # The input takes just under a megabyte of it; the answers do not fit into the rest.
    done = on_a_small_disk(tmp_path, "1500k", script, debian_rows)

    assert done.returncode == 0, done.stderr
    assert said_once(done)


def on_a_small_disk(tmp_path, size, script, rows):
    """Runs a shell script in a mount namespace of its own, with `rows` as job.jsonl on a tmpfs."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode != 0:
        pytest.skip("this kernel lets nobody make a mount namespace")
    disk = tmp_path / "disk"
    disk.mkdir()
    prepare = f"mount -t tmpfs -o size={size} none $DISK && cp {rows} $DISK/job.jsonl || exit 101\n"
    env = {"DISK": str(disk), "DITTO": str(harness.binary()), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    command = ["unshare", "-rm", "sh", "-c", prepare + script]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def snapshot(folder):
    """Every file below `folder` by name, with the hash of its bytes."""
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def plant(path, days):
    """Five bytes that nobody knows of, written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"stray")
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))


def server_with_garbage(data, example):
    """A stopped server's folder with a deleted file, two strays older than a day and a young one."""
    with harness.serve(data) as server:
        api = ["--base-url", server.base_url]
        uploaded = harness.ditto("files", *api, "upload", example)
        kept = harness.ditto("files", *api, "upload", example)
        file = json.loads(uploaded.stdout)
        assert harness.ditto("files", *api, "delete", file["id"]).returncode == 0
    plant(data / "blobs/files/file-unknown/data", days=2)
    plant(data / "journal/99-0.1", days=2)
    plant(data / "blobs/files/file-young/data", days=0.5)
    return file, json.loads(kept.stdout)


def test_gc_says_what_would_go_and_changes_nothing(example, tmp_path):
    data = tmp_path / "data"
    file, _ = server_with_garbage(data, example)
    before = snapshot(data)

    done = harness.ditto("gc", "--data", data, "--dry-run", "--json")

    assert done.returncode == 0, done.stderr
    assert snapshot(data) == before
    found = json.loads(done.stdout)
    assert found["files"]["objects"] == 2
    assert found["files"]["bytes"] > file["bytes"]
    assert found["unknown"] == {"objects": 2, "bytes": 10}
    assert found["young_unknown"] == {"objects": 1, "bytes": 5}
    assert "journal/99-0.1" in found["first_unknown"]


def test_gc_takes_away_what_it_said_and_nothing_else(example, tmp_path):
    data = tmp_path / "data"
    file, kept = server_with_garbage(data, example)
    said = json.loads(harness.ditto("gc", "--data", data, "--dry-run", "--json").stdout)

    done = harness.ditto("gc", "--data", data, "--json")

    assert done.returncode == 0, done.stderr
    assert {**json.loads(done.stdout), "dry_run": True} == said
    assert not (data / "blobs/files" / file["id"]).exists()
    assert not (data / "journal/99-0.1").exists()
    assert (data / "blobs/files/file-young/data").exists()
    with harness.serve(data) as server:
        content = harness.ditto("files", "--base-url", server.base_url, "content", kept["id"])
        assert content.stdout == pathlib.Path(example).read_text()
    again = json.loads(harness.ditto("gc", "--data", data, "--json").stdout)
    assert again["files"] == again["unknown"] == {"objects": 0, "bytes": 0}


def test_gc_leaves_the_folder_of_a_running_server_alone_and_looks_beside_it(example, tmp_path):
    data = tmp_path / "data"
    with harness.serve(data) as server:
        harness.ditto("files", "--base-url", server.base_url, "upload", example)
        plant(data / "blobs/files/file-unknown/data", days=2)

        refused = harness.ditto("gc", "--data", data)
        looked = harness.ditto("gc", "--data", data, "--dry-run")

        assert refused.returncode == 5
        assert said_once(refused, "in use by another process", "--dry-run")
        assert looked.returncode == 0, looked.stderr
        assert "unknown: blobs/files/file-unknown/data" in looked.stdout
        assert (data / "blobs/files/file-unknown/data").exists()
        assert server.answers("/readyz")


def test_gc_of_a_killed_server_looks_into_its_log_and_leaves_it_there(example, tmp_path):
    data = tmp_path / "data"
    with harness.serve(data) as server:
        harness.ditto("files", "--base-url", server.base_url, "upload", example)
        server.process.kill()
        server.process.wait()
    assert (data / "catalog.db-wal").stat().st_size > 0, "the newest rows are in the log"
    before = snapshot(data)

    done = harness.ditto("gc", "--data", data, "--dry-run", "--json")

    assert done.returncode == 0, done.stderr
    assert snapshot(data) == before
    assert json.loads(done.stdout)["young_unknown"]["objects"] == 0


def test_a_server_short_of_space_says_what_to_do(example, tmp_path):
    config = tmp_path / "server.toml"
    config.write_text('[space]\nfree = "100 %"\n')
    with harness.serve(tmp_path / "data", "--config", config) as server:
        refused = harness.ditto("files", "--base-url", server.base_url, "upload", example)

        assert refused.returncode == 6
        assert said_once(refused, "short of disk space", "Delete files")
        assert "disk space" in server.get("/readyz")["refusing"]


def test_gc_without_a_catalog_makes_nothing(tmp_path):
    done = harness.ditto("gc", "--data", tmp_path / "data")

    assert done.returncode == 3
    assert said_once(done, "no catalog")
    assert not (tmp_path / "data").exists()


def test_a_job_ends_at_its_deadline_and_keeps_what_was_answered(example):
    slow = ["--sim-latency", "2s", "--concurrency", "4"]

    done = harness.ditto("run", example, "--upstream", "sim", *slow, "--deadline", "1s")

    assert done.returncode == 9, done.stderr
    answers = harness.json_lines(example.with_name("requests.output.jsonl"))
    errors = harness.json_lines(example.with_name("requests.errors.jsonl"))
    assert len(answers) + len(errors) == 200
    assert 0 < len(answers) <= 8, "what was in flight had its grace"
    assert {row["error"]["code"] for row in errors} == {"batch_expired"}
