"""A batch from its validation to its end."""

from .row import Row, batch, cannot_find, counts, error, failed, fault, usage
from .world import SHORT, row, rows

RAN = {"in_progress_at": "TIME", "finalizing_at": "TIME", "model": "demo-small"}


def said(times):
    """The usage of so many lines that the simulator answered to `say`."""
    return usage(times, 9 * times)


COMPLETED = batch(
    **RAN, status="completed", completed_at="TIME", output_file_id="FILE", request_counts=counts(3, 3, 0), usage=said(3)
)


def bad(name, behaviour, openai, source, content, *faults, **more):
    return Row(f"fault-{name}", behaviour, openai, source, lambda w: w.run(content), 200, failed(*faults), **more)


def body(**changes):
    found = {"model": "demo-small", "messages": [{"role": "user", "content": "say"}]} | changes
    return {key: value for key, value in found.items() if value is not None}


def missing(key):
    return fault("missing_required_parameter", f"Missing required parameter: '{key}'.", key, 1)


FOUR_MISSING = [missing(key) for key in ("custom_id", "method", "url", "body")]
NOT_JSON = "This line is not parseable as valid JSON."

ROWS = [
    Row(
        "batch",
        "`GET /v1/batches/{id}` of a batch that is completed",
        "200 and the Batch, with `usage`; no error file if there is no error",
        "inferred",
        lambda w: w.get(f"/v1/batches/{w.completed['id']}"),
        200,
        COMPLETED,
        against="`error_file_id` is null (captured) against `\"\"` (reported)",
    ),
    Row(
        "batch-unknown",
        "A batch that does not exist",
        "404 with this message, `param` and `code` null",
        "captured",
        lambda w: w.get("/v1/batches/batch_none"),
        404,
        error("No batch found with id 'batch_none'."),
    ),
    Row(
        "batch-some-failed",
        "A batch of which one of two lines is refused",
        "`completed`, with both files",
        "captured",
        lambda w: w.get(f"/v1/batches/{w.uneven['id']}"),
        200,
        COMPLETED | {"error_file_id": "FILE", "request_counts": counts(2, 1, 1), "usage": said(1)},
    ),
    Row(
        "batch-all-failed",
        "A batch of which every line is refused",
        "`completed`; `output_file_id` is null",
        "captured",
        lambda w: w.get(f"/v1/batches/{w.refused['id']}"),
        200,
        COMPLETED | {"output_file_id": None, "error_file_id": "FILE", "request_counts": counts(1, 0, 1), "usage": said(0)},
    ),
    Row(
        "batch-no-file",
        "A batch over a file that does not exist",
        "create answers 200, then `failed` with `invalid_request`; the message names the organisation",
        "captured",
        lambda w: w.ended(w.create("file-none").json["id"]),
        200,
        failed(cannot_find("file-none")) | {"input_file_id": "file-none"},
        ours="the same code and `param`; no organisation",
    ),
    Row(
        "batch-wrong-purpose",
        "A batch over a file of another purpose",
        "refused; the purpose must be `batch`. How is unknown",
        "spec",
        lambda w: w.ended(w.create(w.upload(rows("say"), purpose="user_data").json["id"]).json["id"]),
        200,
        failed(cannot_find("FILE")),
        ours="`failed`",
    ),
    Row(
        "batch-expired",
        "A batch whose window ends before its lines do",
        "`expired`; answers are kept, expired lines are in neither count. Whether `finalizing_at` is set is unknown",
        "reported",
        lambda w: w.keyed.get(f"/v1/batches/{w.expired['id']}"),
        200,
        COMPLETED
        | {"status": "expired", "completion_window": SHORT, "completed_at": None, "expired_at": "TIME"}
        | {"expires_at": "TIME+4", "error_file_id": "FILE", "request_counts": counts(3, 2, 0), "usage": usage(5, 20)},
        against="expired lines are in no count (reported) against counted as failed (llm-d)",
        ours="the same; the operator says whether a window ends",
    ),
    Row(
        "batch-keeps-going",
        "A batch where the operator lets windows pass",
        "does not arise",
        "unknown",
        lambda w: w.keyed.create("file-none"),
        200,
        batch(input_file_id="file-none", expires_at=None),
        ours="`expires_at` is null",
    ),
    bad(
        "json",
        "A line that is no JSON",
        "the whole batch is `failed`, nothing runs, counts 0, 0, 0, an entry for each bad line",
        "captured",
        rows("say", "say") + b"nonsense\n",
        fault("invalid_json_line", NOT_JSON, None, 3),
        against="one bad line fails the batch (OpenAI, Azure) against the others run (Groq); "
        "`errors` is `{object, data}` (spec) against a bare list (Groq)",
        ours="the same; a create may ask for `lenient`",
    ),
    bad(
        "missing",
        "A line without `custom_id`, `method`, `url` or `body`",
        "`failed`; `missing_required_parameter`",
        "captured",
        b"{}\n",
        *FOUR_MISSING,
    ),
    bad(
        "url",
        "A line whose `url` is not the batch's `endpoint`",
        "`failed`; `invalid_url`",
        "captured",
        row(url="/v1/embeddings"),
        fault("invalid_url", "The URL provided for this request does not match the batch endpoint.", "url", 1),
        against="`url` is the endpoint to the letter (OpenAI) against `/chat/completions` beside `/v1/…` (Azure)",
    ),
    bad(
        "method",
        "A `method` other than `POST`",
        "`failed`; the text is Groq's, of the same family",
        "spec",
        row(method="GET"),
        fault("invalid_method", "Invalid value: 'GET'. Supported values are: 'POST'", "method", 1),
    ),
    bad(
        "duplicate",
        "A `custom_id` that stands twice",
        "`failed`; the text is not known",
        "inferred",
        row("same") + row("same"),
        fault("duplicate_custom_id", "The custom_id 'same' was already used on line 1.", "custom_id", 2),
        ours="the code is Azure's, the text ours",
    ),
    bad(
        "models",
        "A line that names another model than the first",
        "`failed`; `mismatched_model`, the text is not known",
        "reported",
        row("a") + row("b", body=body(model="demo-large")),
        fault(
            "mismatched_model",
            "All requests in a batch must use the same model; expected 'demo-small', found 'demo-large'.",
            "body.model",
            2,
        ),
        ours="the text is ours; an operator or a create may allow it",
    ),
    bad(
        "model-missing",
        "A body without `model`",
        "`failed`; `invalid_request`",
        "captured",
        row(body=body(model=None)),
        fault("invalid_request", "Model parameter is required.", "body.model", 1),
    ),
    bad(
        "messages-missing",
        "A chat completion without `messages`",
        "`failed`; `invalid_request`",
        "captured",
        row(body=body(messages=None)),
        fault("invalid_request", "Messages parameter is required.", "body.messages", 1),
    ),
    bad(
        "stream",
        "`stream: true`",
        "`failed`; `streaming_unsupported`",
        "captured",
        row(body=body(stream=True)),
        fault(
            "streaming_unsupported",
            "Chat Completions: Streaming is not supported in the Batch API.",
            "body.stream",
            1,
        ),
    ),
    bad(
        "no-object",
        "A line that is JSON, but no object",
        "unknown",
        "unknown",
        b"[]\n",
        fault("invalid_json_line", "This line is not a JSON object.", None, 1),
        ours="`failed`, with a text of its own",
    ),
    bad(
        "many",
        "More than a hundred bad lines",
        "the most that are listed is unknown",
        "unknown",
        b"{}\n" + b"nonsense\n" * 120,
        *FOUR_MISSING,
        *(fault("invalid_json_line", NOT_JSON, None, n) for n in range(2, 98)),
        fault("too_many_errors", "24 more errors are not listed."),
        ours="a hundred are listed, and a last entry counts the others",
    ),
    Row(
        "batch-lines",
        "A byte-order mark, CRLF, blank lines, no last line end",
        "unknown",
        "unknown",
        lambda w: w.run(b"\xef\xbb\xbf" + row("a").strip() + b"\r\n\r\n" + row("b") + b"\n" + row("c").strip()),
        200,
        COMPLETED,
        ours="taken; blank lines keep their numbers",
    ),
]
