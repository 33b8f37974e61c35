"""Who may ask, how much, and where."""

import re

from .row import Row, error
from .world import FILE_BYTES, TENANT_BYTES, row

NO_KEY = "You didn't provide an API key. Send it as a bearer token: 'Authorization: Bearer YOUR_KEY'."
ABOUT_KEYS = {"www-authenticate": "Bearer"}


LARGE = row(text="x" * 2_500_000)


def full(world):
    """The answer without what is needed, since that is as much as has been read until then."""
    tenant = world.tenant("full")
    assert tenant.upload(LARGE).status == 200
    answer = tenant.upload(LARGE)
    answer.content = re.sub(rb"needs [0-9]+ bytes", b"needs SOME bytes", answer.content)
    answer.raw_headers["content-length"] = str(len(answer.content))
    return answer


def of_another(world):
    file_id = world.tenant("beta").upload(purpose="user_data").json["id"]
    answer = world.keyed.get(f"/v1/files/{file_id}")
    world.tenant("beta").delete(f"/v1/files/{file_id}")
    return answer


ROWS = [
    Row(
        "key-missing",
        "No key",
        "401; the code is that of a wrong key",
        "inferred",
        lambda w: w.with_key(None).get("/v1/files"),
        401,
        error(NO_KEY, None, "invalid_api_key"),
        headers=ABOUT_KEYS,
        ours="the same status; the text is ours",
    ),
    Row(
        "key-wrong",
        "A key of nobody",
        "401 with this message; of the key only ends are told",
        "inferred",
        lambda w: w.with_key("sk-gamma-0123456789").get("/v1/files"),
        401,
        error("Incorrect API key provided: sk-g***.", None, "invalid_api_key"),
        headers=ABOUT_KEYS,
    ),
    Row(
        "key-other",
        "A file of another project",
        "404, as if it did not exist",
        "inferred",
        of_another,
        404,
        error("No such File object: FILE", "id"),
    ),
    Row(
        "file-large",
        "A file over the limit",
        "refused; 512 MB, and 200 MB for a batch",
        "spec",
        lambda w: w.keyed.upload(b" " * FILE_BYTES + b"{}"),
        413,
        error(f"The file is larger than the limit of {FILE_BYTES} bytes.", "file", "file_too_large"),
        against="200 MB (spec, guide) against 100 MB (older texts)",
        ours="the limit is the operator's, 10 GB as shipped",
    ),
    Row(
        "storage-full",
        "More files than the tenant may have",
        "429 with the `type` `insufficient_quota` for other quotas; for files unknown",
        "unknown",
        full,
        429,
        error(
            f"This needs SOME bytes of storage; {len(LARGE)} of the {TENANT_BYTES} bytes that this key may use are taken "
            "by its files and set aside for its open batches. Nothing was changed, and open batches go on. Delete files "
            "that are no longer needed, or wait until they expire or a batch ends, then send this again.",
            None,
            "storage_limit_exceeded",
            "insufficient_quota",
        ),
        headers={"retry-after": "60"},
        ours="refused, with that `type`; clients that look for it, or at `x-should-retry`, do not try again by themselves",
    ),
    Row(
        "route-unknown",
        "A path that is no call",
        "404",
        "inferred",
        lambda w: w.get("/v1/nope"),
        404,
        error("Invalid URL (GET /v1/nope)", None, "unknown_url"),
    ),
    Row(
        "route-without-v1",
        "A path without `/v1`",
        "404",
        "inferred",
        lambda w: w.get("/files"),
        404,
        error(
            "Invalid URL (GET /files). The API is below /v1: let the client's base URL end in /v1.", None, "unknown_url"
        ),
        ours="the same; it says what to do",
    ),
    Row(
        "method",
        "A method that the path does not have",
        "405",
        "inferred",
        lambda w: w.send("PUT", "/v1/files"),
        405,
        error("Not allowed to PUT on /v1/files", None, "method_not_allowed"),
        headers={"allow": "GET,HEAD,POST"},
    ),
    Row(
        "origin",
        "A web page that asks a server without keys",
        "does not arise",
        "unknown",
        lambda w: w.get("/v1/files", origin="https://evil.example"),
        403,
        error(
            "Web pages may not use this server. To let one, list its origin with --origin.", None, "origin_not_allowed"
        ),
        ours="refused",
    ),
    Row(
        "host",
        "Another `Host` than loopback's at a server without keys",
        "does not arise",
        "unknown",
        lambda w: w.get("/v1/files", host="batches.example"),
        403,
        error(
            "Without keys this server answers only to localhost, 127.0.0.1 and [::1]. Ask it by one of these names, "
            "or give it keys (`ditto-batch keys create`, or --api-key-file).",
            None,
            "host_not_allowed",
        ),
        ours="refused, so that no name can be made to point at it",
    ),
    Row(
        "alive",
        "`GET /healthz`",
        "does not exist",
        "unknown",
        lambda w: w.get("/healthz"),
        200,
        {"status": "ok"},
        ours="ours, without a key",
    ),
]
