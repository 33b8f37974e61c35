"""What we do that OpenAI does not. A client that does not ask for it sees none of it."""

from .batches import COMPLETED
from .row import Row, batch, counts, error
from .rows_of_files import REFUSED, answered, line
from .world import row

NONE = "does not exist"
EXTENSIONS = {"mode": "strict", "mixed_models": False, "retry_of": None, "retry_only": None}


def ours(name, behaviour, says, ask, status, body, **more):
    return Row(name, behaviour, NONE, "spec", ask, status, body, ours=says, **more)


def lenient(world):
    return world.run(row("row-1") + b"nonsense\n" + row("row-3") + row("row-4"), ditto={"mode": "lenient"})


def results(query=""):
    return lambda w: w.get(f"/v1/batches/{w.refused['id']}/results{query}")


ROWS = [
    ours(
        "lenient",
        '`"ditto": {"mode": "lenient"}` in a create, and one bad line',
        "the others run; the bad one is in the error file and counts as failed",
        lenient,
        200,
        COMPLETED | {"error_file_id": "FILE", "request_counts": counts(4, 3, 1)},
    ),
    ours(
        "extensions",
        "`Ditto-Extensions: 1` with a call",
        "the key `ditto` of a batch",
        lambda w: w.get(f"/v1/batches/{w.completed['id']}", ditto_extensions="1"),
        200,
        COMPLETED | {"ditto": EXTENSIONS},
    ),
    ours(
        "lenient-unknown",
        "An unknown word under `ditto`",
        "refused",
        lambda w: w.create(w.file, ditto={"mode": "sloppy"}),
        400,
        error("Invalid value: 'sloppy'. Supported values are: 'strict' and 'lenient'.", "ditto.mode", "invalid_value"),
    ),
    ours(
        "retry",
        "`POST /v1/batches/{id}/retry`",
        "a batch of the lines that failed",
        lambda w: w.post(f"/v1/batches/{w.uneven['id']}/retry", {"only": "bad_request"}),
        200,
        batch(ditto=EXTENSIONS | {"retry_of": "BATCH", "retry_only": ["bad_request"]}),
    ),
    ours(
        "retry-nothing",
        "A retry of a batch without such lines",
        "refused",
        lambda w: w.post(f"/v1/batches/{w.completed['id']}/retry"),
        400,
        error(
            "Nothing to retry: no line of 'BATCH' failed as cancelled, expired, rate_limited, server_error, no_answer, "
            "unreadable.",
            "only",
            "nothing_to_retry",
        ),
    ),
    ours(
        "results",
        "`GET /v1/batches/{id}/results`",
        "rows as they are recorded, and where the next page begins",
        results(),
        200,
        [line(1, answered(400, REFUSED))],
        headers={
            "content-type": "application/jsonl",
            "cache-control": "no-store",
            "ditto-next": "MARK.r1",
            "ditto-ended": "true",
        },
    ),
    ours(
        "results-cursor",
        "Another call's cursor",
        "refused",
        results("?after=r5_1.2"),
        400,
        error("Invalid 'after': not a cursor of this call. Leave it out to begin anew.", "after", "invalid_value"),
    ),
    ours(
        "retry-no-class",
        "A retry with an empty `only`",
        "refused: all of them would cost money",
        lambda w: w.post(f"/v1/batches/{w.uneven['id']}/retry", {"only": []}),
        400,
        error(
            "Invalid 'only': no class is named. Leave it out to run again all that can end otherwise.",
            "only",
            "invalid_value",
        ),
    ),
]
