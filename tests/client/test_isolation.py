"""Row isolation: whatever one row does to its answer, that row ends as its own named line and every other row is answered."""

import json
import subprocess
import time

import pytest

import harness
from test_run import Job

# `run` with a short patience for one answer; slow enough that other rows are answered while one hangs:
# only then is its silence the row's own and not the endpoint's.
FLAGS = ("--timeout", "2s", "--attempts", "2")
LINE_LIMIT = 16 << 20
# Far under what the large answer or one line over the limit would need if they were kept whole.
MEMORY_BYTES = 200_000_000


def row(number, prompt):
    return {
        "custom_id": f"row-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [{"role": "user", "content": prompt}]},
    }


def text(number, prompt="say yes or no"):
    return json.dumps(row(number, prompt)).encode()


# What stands in the place of a good row, and how it must end: code, custom_id shown, status of `response`.
ODD = {
    "over-long line": (lambda n: text(n, "x" * (LINE_LIMIT + 1)), "line_too_long", False, None),
    "invalid JSON": (lambda n: text(n)[:-3], "invalid_json_line", True, None),
    "not UTF-8": (lambda n: text(n).replace(b"say", b"\xff\xfe"), "invalid_json_line", True, None),
    "no answer": (lambda n: text(n, "sim: hang"), "upstream_timeout", True, None),
    "200 MB answer": (lambda n: text(n, "sim: body 200mb"), "answer_too_large", True, 200),
    "answer that is no JSON": (lambda n: text(n, "sim: garbage"), "upstream_invalid_response", True, 200),
    "empty 200": (lambda n: text(n, "sim: empty"), "upstream_invalid_response", True, 200),
}


def write(path, rows):
    """`rows` rows, the odd ones early, so that there are others to be answered meanwhile."""
    odd = {rows // 100 * (place + 1): name for place, name in enumerate(ODD)}
    with open(path, "wb") as file:
        for number in range(1, rows + 1):
            line = ODD[odd[number]][0](number) if number in odd else text(number)
            file.write(line + b"\n")
    return odd


def assert_each_row_is_for_itself(path, rows, *flags):
    odd = write(path, rows)
    job = Job(path)
    running = subprocess.Popen(
        [str(harness.binary()), "run", str(path), "--upstream", "sim", *FLAGS, *flags],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )
    peak = 0
    while running.poll() is None:
        peak = max(peak, harness.peak_memory(running.pid))
        time.sleep(0.02)

    assert running.returncode == 9, running.stderr.read().decode()
    answers = harness.json_lines(job.output)
    assert [answer["custom_id"] for answer in answers] == [f"row-{n}" for n in range(1, rows + 1) if n not in odd]
    assert all(answer["response"]["status_code"] == 200 for answer in answers)
    errors = harness.json_lines(job.errors)
    seen = [
        (number(line), line["error"]["code"], line["custom_id"], (line["response"] or {}).get("status_code"))
        for line in errors
    ]
    expected = [
        (n, code, f"row-{n}" if named else None, status) for n, name in odd.items() for _, code, named, status in [ODD[name]]
    ]
    assert seen == expected
    verified = harness.ditto("verify", job.input, job.output, job.errors)
    assert verified.returncode == 0 and "conserved" in verified.stdout + verified.stderr, verified.stderr
    assert 0 < peak < MEMORY_BYTES, peak
    print(f"{rows} rows: peak {peak / 1e6:.0f} MB")


def number(line):
    return int(line["id"].rsplit("_", 1)[1])


def test_one_row_in_a_thousand_takes_no_other_with_it(tmp_path):
    assert_each_row_is_for_itself(tmp_path / "job.jsonl", 1_000, "--concurrency", "16", "--sim-latency", "80ms")


@pytest.mark.long
def test_seven_rows_of_a_hundred_thousand_take_no_other_with_them(tmp_path):
    assert_each_row_is_for_itself(tmp_path / "job.jsonl", 100_000, "--concurrency", "64", "--sim-latency", "5ms")
