"""`POST /v1/batches/{id}/cancel`"""

from .batches import COMPLETED
from .row import Row, batch, counts, error, usage


def cancel(batch):
    return lambda w: w.post(f"/v1/batches/{batch(w)}/cancel")


def first(world):
    assert world.cancelled
    return world.first_cancel


CANCELLED = COMPLETED | {
    "status": "cancelled",
    "completed_at": None,
    "cancelling_at": "TIME",
    "cancelled_at": "TIME",
    "error_file_id": "FILE",
    "request_counts": counts(3, 2, 0),
    "usage": usage(5, 20),
}

ROWS = [
    Row(
        "cancel",
        "Cancel of a batch that runs",
        "200, `cancelling`; the files have no ids yet",
        "spec",
        first,
        200,
        batch(
            status="cancelling",
            model="demo-small",
            in_progress_at="TIME",
            cancelling_at="TIME",
            request_counts=counts(3, 1, 0),
        ),
    ),
    Row(
        "cancelled",
        "The batch then",
        "`cancelled`, after up to 25 minutes; answers are kept, cancelled lines are in neither count",
        "captured",
        lambda w: w.get(f"/v1/batches/{w.cancelled['id']}"),
        200,
        CANCELLED,
        ours="the same, within 25 seconds",
        against="10 minutes (guide) against 25 (captured); results are kept (guide, captured) against thrown away (Morph); "
        "cancelled lines are in no count (captured) against counted as failed (llm-d)",
    ),
    Row(
        "cancel-again",
        "Cancel of a batch that is cancelled",
        "200 and the batch",
        "captured",
        cancel(lambda w: w.cancelled["id"]),
        200,
        CANCELLED,
    ),
    Row(
        "cancel-completed",
        "Cancel of a batch that is completed",
        "409 with this message, `param` and `code` null",
        "captured",
        cancel(lambda w: w.completed["id"]),
        409,
        error("Cannot cancel a batch with status 'completed'."),
        ours="the same, and the packages are told not to retry it",
    ),
    Row(
        "cancel-failed",
        "Cancel of a batch that is failed",
        "409",
        "captured",
        cancel(lambda w: w.failed["id"]),
        409,
        error("Cannot cancel a batch with status 'failed'."),
    ),
    Row(
        "cancel-unknown",
        "Cancel of a batch that does not exist",
        "404",
        "captured",
        cancel(lambda w: "batch_none"),
        404,
        error("No batch found with id 'batch_none'."),
    ),
]
