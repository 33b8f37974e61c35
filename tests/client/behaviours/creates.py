"""`POST /v1/batches`: what is taken, what is refused, and what happens when it is sent again."""

from .row import Row, batch, cannot_find, error, failed

ENDPOINTS = "'/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses', and '/v1/moderations'"


def create(**more):
    return lambda w: w.create("file-any", **more)


def without(field):
    def ask(world):
        body = world.order("file-any")
        del body[field]
        return world.post("/v1/batches", body)

    return ask


def again(first, second, same, change=None):
    """The answer to the second of two creates, the batch of the first having ended."""

    def ask(world):
        body = world.order("file-again")
        one = world.post("/v1/batches", body, **first).json["id"]
        world.ended(one)
        answer = world.post("/v1/batches", body | (change or {}), **second)
        if answer.status == 200:
            assert (answer.json["id"] == one) is same
        return answer

    return ask


def missing(field):
    return Row(
        f"create-without-{field.replace('_', '-')}",
        f"No `{field}`",
        "400; the code is that of the same family of checks",
        "inferred",
        without(field),
        400,
        error(f"Missing required parameter: '{field}'.", field, "missing_required_parameter"),
    )


def refused(name, behaviour, openai, source, change, message, param, code, **more):
    return Row(f"create-{name}", behaviour, openai, source, create(**change), 400, error(message, param, code), **more)


ROWS = [
    Row(
        "create",
        "`POST /v1/batches`",
        "200 and the Batch, `validating`; fields that are not set are null",
        "spec",
        lambda w: w.create(w.file, metadata={"job": "seven"}),
        200,
        batch(metadata={"job": "seven"}),
        against="`expires_at` is `created_at` + 24 h (captured) against null or 7.8 h later (spec's and guide's samples)",
        ours="the same; `expires_at` is null where the operator lets batches go on",
    ),
    missing("input_file_id"),
    missing("endpoint"),
    missing("completion_window"),
    refused(
        "endpoint",
        "An `endpoint` that is not supported",
        "400 with this message, `param` `endpoint`; the list is longer",
        "captured",
        {"endpoint": "/v1/nope"},
        f"Invalid value: '/v1/nope'. Supported values are: {ENDPOINTS}.",
        "endpoint",
        "invalid_value",
        ours="the same, with what the operator allows",
    ),
    refused(
        "window",
        "A `completion_window` other than `24h`",
        "400 that names it",
        "captured",
        {"completion_window": "1h"},
        "Invalid value: '1h'. Supported values are: '24h'.",
        "completion_window",
        "invalid_value",
        ours="the same; an operator may allow others",
    ),
    refused(
        "metadata-type",
        "A value in `metadata` that is no string",
        "400 with this message",
        "captured",
        {"metadata": {"tags": ["a"]}},
        "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
        "metadata.tags",
        "invalid_type",
    ),
    refused(
        "metadata-pairs",
        "More than 16 pairs in `metadata`",
        "refused; 16 are the most",
        "spec",
        {"metadata": {f"k{n}": "v" for n in range(17)}},
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
        "but got an object with 17 properties instead.",
        "metadata",
        "object_above_max_properties",
    ),
    refused(
        "metadata-key",
        "A key in `metadata` of more than 64 characters",
        "refused; 64 are the most",
        "spec",
        {"metadata": {"k" * 65: "v"}},
        "Invalid property name in 'metadata': too long. Expected a name with maximum length 64, "
        "but got a name with length 65 instead.",
        "metadata",
        "property_name_above_max_length",
    ),
    refused(
        "metadata-value",
        "A value in `metadata` of more than 512 characters",
        "refused; 512 are the most",
        "spec",
        {"metadata": {"k": "v" * 513}},
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
        "but got a string with length 513 instead.",
        "metadata.k",
        "string_above_max_length",
    ),
    refused(
        "results-lifetime",
        "`output_expires_after` under an hour",
        "refused; an hour is the least",
        "spec",
        {"output_expires_after": {"anchor": "created_at", "seconds": 60}},
        "Invalid 'output_expires_after.seconds': integer below minimum value. Expected a value >= 3600, "
        "but got 60 instead.",
        "output_expires_after.seconds",
        "integer_below_min_value",
    ),
    Row(
        "create-unknown-key",
        "A key that the call does not have",
        "unknown",
        "unknown",
        lambda w: w.create(w.file, priority="high"),
        200,
        batch(),
        ours="ignored",
    ),
    Row(
        "create-no-json",
        "A body that is no JSON",
        "400; the message begins alike",
        "inferred",
        lambda w: w.post("/v1/batches", b"{"),
        400,
        error(
            "We could not parse the JSON body of your request: EOF while parsing an object at line 1 column 1."
        ),
    ),
    Row(
        "create-no-content-type",
        "A body that is not said to be JSON",
        "unknown",
        "unknown",
        lambda w: w.send("POST", "/v1/batches", b"{}", {"content-type": "text/plain"}),
        415,
        error(
            "Unsupported content type: 'text/plain'. This call takes 'Content-Type: application/json'.",
            None,
            "unsupported_content_type",
        ),
        ours="refused",
    ),
    Row(
        "create-large",
        "A body over 1 MiB",
        "unknown",
        "unknown",
        lambda w: w.post("/v1/batches", b" " * ((1 << 20) + 1)),
        413,
        error("The request body is larger than the limit of 1048576 bytes.", None, "request_too_large"),
        ours="refused",
    ),
    Row(
        "create-key-again",
        "An `Idempotency-Key` again, with the same body",
        "no such header is documented",
        "unknown",
        again({"idempotency_key": "one"}, {"idempotency_key": "one"}, same=True),
        200,
        failed(cannot_find("file-again")) | {"input_file_id": "file-again"},
        ours="the batch of the first, as it is now, for 24 hours",
    ),
    Row(
        "create-key-other-body",
        "An `Idempotency-Key` again, with another body",
        "no such header is documented",
        "unknown",
        again({"idempotency_key": "two"}, {"idempotency_key": "two"}, same=False, change={"metadata": {"a": "b"}}),
        409,
        error(
            "This Idempotency-Key belongs to a request with another body, which made the batch 'BATCH'. "
            "Use a new key for a new batch.",
            None,
            "idempotency_key_reused",
        ),
        ours="refused",
    ),
    Row(
        "create-key-long",
        "An `Idempotency-Key` of 256 characters",
        "no such header is documented",
        "unknown",
        lambda w: w.post("/v1/batches", w.order("file-any"), idempotency_key="k" * 256),
        400,
        error(
            "Invalid 'Idempotency-Key' header: expected one key of 1 to 255 visible ASCII characters.",
            "Idempotency-Key",
            "invalid_value",
        ),
        ours="refused",
    ),
    Row(
        "create-retried",
        "A repeat that an SDK marks with `x-stainless-retry-count`, the first answer being lost",
        "a second batch, which costs a second time",
        "SDK",
        again({"x_stainless_retry_count": "0"}, {"x_stainless_retry_count": "1"}, same=True),
        200,
        failed(cannot_find("file-again")) | {"input_file_id": "file-again"},
        ours="the newest batch that was made so within ten minutes",
    ),
    Row(
        "create-twice",
        "The same body twice, without a mark",
        "two batches",
        "inferred",
        again({"x_stainless_retry_count": "0"}, {"x_stainless_retry_count": "0"}, same=False),
        200,
        batch(input_file_id="file-again"),
    ),
]
