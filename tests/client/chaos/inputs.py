"""Input files, and the check of what came back for them."""

import json

import harness
from chaos.remains import ANSWER, ERROR

MODEL = "demo-small"
NO_REQUEST = b', "method":\n'

# Exit codes of `verify` when each line has one result: all answered, or some of them errors.
CONSERVED = (0, 9)


def rows(chance, count, faulty):
    """`count` lines, each of them different; a faulty file has some that are no requests, but not the
    first: then it would not be taken at all."""
    wrong = {chance.randrange(1, count) for _ in range(chance.randint(1, 5))} if faulty and count > 1 else ()
    return [b'{"custom_id": "row-%d"%s' % (number, NO_REQUEST) if number in wrong else row(number)
            for number in range(count)]


def is_faulty(lines):
    return any(line.endswith(NO_REQUEST) for line in lines)


def row(number):
    return (b'{"custom_id":"row-%d","method":"POST","url":"/v1/chat/completions","body":{"model":"%s",'
            b'"messages":[{"role":"user","content":"Labels: even, odd\\nWhat is %d?"}]}}\n'
            % (number, MODEL.encode(), number))


def batch_of(files):
    """The batch that result lines are of: a job that has ended tells it nowhere else."""
    first = next(line for file in files for line in file.splitlines())
    return "batch_" + json.loads(first)["id"].removeprefix("batch_req_").rpartition("_")[0]


def results(batch_id, lines, output, errors, laws):
    """The kind of each line's result by its number. A line without one is lost; two are one too many."""
    prefix = f"batch_req_{batch_id.removeprefix('batch_')}_"
    kinds = bytearray(len(lines) + 1)
    for kind, file in ((ANSWER, output), (ERROR, errors)):
        for text in file.splitlines():
            result = json.loads(text)
            number = int(result["id"].removeprefix(prefix))
            if kinds[number]:
                laws.lost(f"{result['id']} has two results")
            kinds[number] = kind
            if result["custom_id"] not in (f"row-{number - 1}", None):
                laws.lost(f"{result['id']} came back as {result['custom_id']}")
    for number in range(1, len(lines) + 1):
        if not kinds[number]:
            laws.lost(f"{prefix}{number} has no result")
    return kinds


def verify(path, output, errors, laws):
    """What `ditto-batch verify` says of the same files."""
    verified = harness.ditto("verify", path, output, errors)
    if verified.returncode not in CONSERVED:
        laws.lost(f"verify of {path} answers {verified.returncode}: {verified.stdout} {verified.stderr}")
