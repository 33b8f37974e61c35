"""`split`, `merge`, `stats` and `sample`: what they make is made of the rows that they were given, byte for byte."""

import gzip
import json
import random
import subprocess

import pytest

import harness

MEMORY_BYTES = 60_000_000


def row(number, model="demo-small", text="hello"):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line).encode() + b"\n"


def answer(number, text="fine", tokens=(3, 4)):
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    body = {"model": "demo-small", "choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}
    response = {"status_code": 200, "request_id": "r", "body": body}
    return json.dumps({"id": "x", "custom_id": f"row-{number}", "response": response, "error": None}).encode() + b"\n"


def failure(number, code="server_error"):
    error = {"code": code, "message": "no"}
    return json.dumps({"id": "x", "custom_id": f"row-{number}", "response": None, "error": error}).encode() + b"\n"


# A success with nothing in it.
EMPTY = b'{"custom_id": "row-2", "response": {"status_code": 200, "body": {}}, "error": null}\n'


def file(path, rows):
    path.write_bytes(b"".join(rows))
    return path


def done(*args, code=0, stdin=None):
    """A command that ends with this code; what it said on stdout."""
    ended = harness.ditto(*args, stdin=stdin)
    assert ended.returncode == code, ended.stderr
    if code not in (0, 9):
        assert "hint: " in ended.stderr
    return ended.stdout


def told(*args, code=0):
    """The objects that a command prints with `--json`."""
    return [json.loads(line) for line in done(*args, "--json", code=code).splitlines()]


# split


def test_parts_put_together_are_the_file(tmp_path):
    rows = [row(n, text="\u2028" * (n % 7)) for n in range(1000)]
    source = file(tmp_path / "job.jsonl", rows)
    parts = done("split", source, "--lines", 300).split()

    assert parts == [str(tmp_path / f"job.{n:04}.jsonl") for n in (1, 2, 3, 4)]
    assert b"".join(open(part, "rb").read() for part in parts) == source.read_bytes()
    assert [len(harness.json_lines(part)) for part in parts] == [300, 300, 300, 100]


@pytest.mark.parametrize("limit", [("--bytes", "10kb"), ("--tokens", "2000"), ("--lines", "77", "--bytes", "7000")])
def test_no_part_is_more_than_it_may_be_and_no_row_is_broken(limit, tmp_path):
    chance = random.Random(7)
    source = file(tmp_path / "job.jsonl", [row(n, text="x" * chance.randrange(400)) for n in range(500)])
    parts = told("split", source, *limit)

    assert sum(part["lines"] for part in parts) == 500
    assert b"".join(open(part["path"], "rb").read() for part in parts) == source.read_bytes()
    for part in parts:
        assert part["bytes"] == len(open(part["path"], "rb").read())
    names = {"--bytes": "bytes", "--tokens": "tokens", "--lines": "lines"}
    for name, most in zip(limit[::2], limit[1::2], strict=True):
        sizes = [part[names[name]] for part in parts]
        assert max(sizes) <= int(most.replace("kb", "000")), (name, sizes)


def test_each_model_has_parts_of_its_own(tmp_path):
    rows = [row(n, model=["a", "b", "c"][n % 3]) for n in range(90)]
    parts = told("split", file(tmp_path / "job.jsonl", rows), "--by-model", "--lines", 20)

    assert sorted((part["model"], part["lines"]) for part in parts) == [(m, n) for m in "abc" for n in (10, 20)]
    for part in parts:
        assert {line["body"]["model"] for line in harness.json_lines(part["path"])} == {part["model"]}


def test_a_split_for_a_provider_is_taken_by_its_check(tmp_path):
    profiles = tmp_path / "mine.toml"
    profiles.write_text("[acme]\nmax_lines = 40\nmax_file_bytes = 5000\n")
    source = file(tmp_path / "job.jsonl", [row(n, model=["a", "b"][n % 2]) for n in range(100)])
    parts = done("split", source, "--provider", "acme", "--profiles", profiles, "-o", tmp_path).split()

    assert len(parts) > 3
    assert harness.ditto("check", source, "--provider", "acme", "--profiles", profiles).returncode == 12
    for part in parts:
        done("check", part, "--provider", "acme", "--profiles", profiles)


def test_a_split_that_stops_leaves_nothing_and_overwrites_nothing(tmp_path):
    source = file(tmp_path / "job.jsonl", [row(n) for n in range(10)])
    taken = tmp_path / "job.0002.jsonl"
    taken.write_text("mine")
    done("split", source, "--lines", 4, code=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.0002.jsonl", "job.jsonl"]
    assert taken.read_text() == "mine"

    broken = file(tmp_path / "broken.jsonl", [row(1), row(2), b"no json\n"])
    done("split", broken, "--lines", 1, "--by-model", code=12)
    assert not list(tmp_path.glob("broken.0*"))
    done("split", source, code=2)


# merge


def test_requests_are_merged_in_order_and_repeated_ids_are_told(tmp_path):
    first, second = [row(n) for n in range(5)], [row(n, text="again") for n in range(3, 8)]
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(second)))
    # Without its last line feed, which must not glue two rows together.
    a = tmp_path / "a.jsonl"
    a.write_bytes(b"".join(first).rstrip(b"\n"))
    out = tmp_path / "all.jsonl"

    assert told("merge", a, packed, "-o", out) == [{"kind": "requests", "rows": 10, "repeated": 2}]
    assert out.read_bytes() == b"".join(first + second)


def test_results_are_merged_into_the_order_of_the_requests(tmp_path):
    requests = file(tmp_path / "job.jsonl", [row(n) for n in range(6)])
    one = file(tmp_path / "one.jsonl", [failure(3), answer(5), answer(0), failure(1)])
    two = file(tmp_path / "two.jsonl", [answer(3), answer(0, "later"), answer(9), failure(2)])
    out, errors = tmp_path / "out.jsonl", tmp_path / "err.jsonl"
    merged = told("merge", one, two, "--input", requests, "-o", out, "-e", errors, code=9)[0]

    assert out.read_bytes() == b"".join([answer(0), answer(3), answer(5)])
    assert errors.read_bytes() == b"".join([failure(1), failure(2)])
    counted = {key: merged[key] for key in ("results", "answered", "failed", "repeated", "missing", "unknown")}
    assert counted == {"results": 8, "answered": 3, "failed": 2, "repeated": 2, "missing": 1, "unknown": 1}
    assert merged["unknown_ids"] == ["row-9"]


def test_what_is_merged_with_its_requests_is_proven_by_verify(tmp_path):
    numbers = list(range(2000))
    requests = file(tmp_path / "job.jsonl", [row(n) for n in numbers])
    random.Random(3).shuffle(numbers)
    some = file(tmp_path / "1.jsonl", [failure(n) if n % 3 == 0 else answer(n) for n in numbers])
    again = file(tmp_path / "2.jsonl", [answer(n) for n in numbers if n % 3 == 0])
    out = tmp_path / "out.jsonl"
    done("merge", some, again, "--input", requests, "-o", out)

    assert [line["custom_id"] for line in harness.json_lines(out)] == [f"row-{n}" for n in range(2000)]
    done("verify", requests, out)


# stats


def test_requests_are_counted(tmp_path):
    rows = [row(n, model="a" if n < 3 else "b") for n in range(10)] + [b"\n", b"no json\n"]
    source = file(tmp_path / "job.jsonl", rows)
    stats = told("stats", source)[0]

    assert (stats["rows"], stats["requests"], stats["unreadable"]) == (11, 10, 1)
    assert stats["bytes"] == source.stat().st_size
    assert stats["models"] == {"a": 3, "b": 7}
    assert stats["endpoints"] == {"/v1/chat/completions": 10}
    assert stats["longest_line"] == {"line": 1, "bytes": len(row(0, model="a")) - 1}
    assert 10 * 10 < stats["estimated_tokens"] < 10 * 40
    assert "demo" not in done("stats", source) and "b: 7" in done("stats", source)


def test_results_are_counted_by_what_came_of_them(tmp_path):
    source = tmp_path / "out.jsonl.gz"
    source.write_bytes(gzip.compress(b"".join([answer(1), EMPTY, failure(3, "batch_expired")])))
    stats = told("stats", source)[0]

    assert stats["classes"] == {"ok": 1, "empty": 1, "expired": 1}
    assert (stats["input_tokens"], stats["output_tokens"]) == (3, 4)
    assert stats["finish_reasons"] == {"stop": 1}


# sample


def test_a_sample_is_so_many_rows_in_their_order_and_the_same_for_a_seed(tmp_path):
    rows = [row(n) for n in range(1000)]
    source = file(tmp_path / "job.jsonl", rows)
    first, again, other = (done("sample", source, "-n", 50, "--seed", seed) for seed in (1, 1, 2))

    assert first == again != other
    places = [rows.index(line.encode() + b"\n") for line in first.splitlines()]
    assert len(places) == 50 and places == sorted(set(places))
    assert done("sample", source, "-n", 5000).encode() == source.read_bytes()


def test_each_row_is_as_likely_as_any_other(tmp_path):
    source = file(tmp_path / "job.jsonl", [row(n) for n in range(10)])
    samples = "".join(done("sample", source, "-n", 3, "--seed", seed) for seed in range(200))
    counts = [samples.count(f'"row-{n}"') for n in range(10)]
    # 60 each; less than one seed set in a million is further out.
    assert all(25 < count < 95 for count in counts), counts


def test_a_sample_is_taken_from_a_pipe_and_told(tmp_path):
    text = b"".join(row(n) for n in range(20)).decode()
    out = tmp_path / "some.jsonl"
    said = json.loads(done("sample", "-", "-n", 4, "-o", out, "--json", stdin=text))
    assert said == {"rows": 20, "taken": 4, "seed": 0}
    assert len(harness.json_lines(out)) == 4
    done("sample", "-", "-n", 4, "-o", out, stdin=text, code=5)


# All of them


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """200,000 requests and a result for each, in another order."""
    folder = tmp_path_factory.mktemp("many")
    numbers = list(range(200_000))
    requests = file(folder / "job.jsonl", (row(n, text="x" * 700) for n in numbers))
    random.Random(1).shuffle(numbers)
    return requests, file(folder / "out.jsonl", (answer(n, "y" * 700) for n in numbers))


@pytest.mark.parametrize("command", ["split", "merge", "stats", "sample"])
def test_memory_does_not_grow_with_the_file(command, many, tmp_path):
    requests, results = many
    args = {
        "split": [requests, "--lines", 50_000, "--by-model", "-o", tmp_path],
        "merge": [results, "--input", requests, "-o", tmp_path / "merged.jsonl"],
        "stats": [requests, results],
        "sample": [requests, "-n", 100_000, "-o", tmp_path / "some.jsonl"],
    }[command]
    running = subprocess.Popen([harness.binary(), command, *map(str, args)], stdout=subprocess.DEVNULL)
    peak = 0
    while running.poll() is None:
        peak = max(peak, harness.peak_memory(running.pid))
    assert running.returncode == 0
    print(f"{command}: peak {peak / 1e6:.0f} MB")
    assert 0 < peak < MEMORY_BYTES, peak
