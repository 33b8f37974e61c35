"""Lists and their cursors. The tenant has three files, the middle one no batch input, and three batches."""

from .row import Row, cannot_find, error, failed, file, listed

BATCH = failed(cannot_find("file-none")) | {"input_file_id": "file-none", "expires_at": None}
FILE = file()
OTHER = file(purpose="user_data", expires_at=None)


def of_files(query):
    return lambda w: w.listed.get(f"/v1/files{query}")


def of_batches(query):
    return lambda w: w.listed.get(f"/v1/batches{query}")


def after_a_deleted_file(world):
    first = world.upload().json["id"]
    gone = world.upload().json["id"]
    world.delete(f"/v1/files/{gone}")
    page = world.get(f"/v1/files?limit=1&after={gone}")
    assert page.json["data"][0]["id"] == first
    return world.get(f"/v1/files?order=asc&after={gone}")


ROWS = [
    Row(
        "files",
        "`GET /v1/files`",
        "newest first, 10,000 at most",
        "spec",
        of_files(""),
        200,
        listed(FILE, OTHER, FILE),
    ),
    Row(
        "files-oldest",
        "`order=asc`",
        "oldest first",
        "spec",
        of_files("?order=asc&limit=2"),
        200,
        listed(FILE, OTHER, has_more=True),
    ),
    Row(
        "files-purpose",
        "`purpose=user_data`",
        "those alone",
        "spec",
        of_files("?purpose=user_data"),
        200,
        listed(OTHER),
    ),
    Row(
        "files-after",
        "`after` and the id of the last element, as the SDKs page",
        "what follows it",
        "SDK",
        lambda w: w.listed.get(f"/v1/files?after={w.listed.files[1]}"),
        200,
        listed(FILE),
    ),
    Row(
        "files-after-deleted",
        "`after` and a file that was deleted meanwhile, as in a loop that deletes what it lists",
        "unknown",
        "unknown",
        after_a_deleted_file,
        200,
        listed(),
        ours="what follows its place",
    ),
    Row(
        "files-after-unknown",
        "`after` and no file's id",
        "unknown; some servers give everything",
        "unknown",
        of_files("?after=file-none"),
        400,
        error("No object found with id 'file-none' to list after.", "after", "invalid_value"),
        ours="refused, since a lost cursor would begin anew",
    ),
    Row(
        "files-after-empty",
        "`after=`, as some programs always send it",
        "unknown",
        "unknown",
        of_files("?after="),
        200,
        listed(FILE, OTHER, FILE),
        ours="as if it were not there: no id is empty",
    ),
    Row(
        "files-twice",
        "`limit=1&limit=2`",
        "unknown",
        "unknown",
        of_files("?limit=1&limit=2"),
        400,
        error("The query has more than one 'limit'.", "limit", None),
        ours="refused: readers differ in which one counts",
    ),
    Row(
        "files-empty",
        "No files",
        "an empty list",
        "spec",
        lambda w: w.tenant("beta").get("/v1/files"),
        200,
        listed(),
        ours="the same; both ids are null",
    ),
    Row(
        "files-limit-low",
        "`limit=0`",
        "refused; 1 is the least",
        "spec",
        of_files("?limit=0"),
        400,
        error(
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "limit",
            "integer_below_min_value",
        ),
    ),
    Row(
        "files-limit-high",
        "`limit=10001`",
        "refused; 10,000 is the most",
        "spec",
        of_files("?limit=10001"),
        400,
        error(
            "Invalid 'limit': integer above maximum value. Expected a value <= 10000, but got 10001 instead.",
            "limit",
            "integer_above_max_value",
        ),
    ),
    Row(
        "files-order-unknown",
        "`order=up`",
        "refused",
        "spec",
        of_files("?order=up"),
        400,
        error("Invalid value: 'up'. Supported values are: 'asc' and 'desc'.", "order", "invalid_value"),
    ),
    Row(
        "batches",
        "`GET /v1/batches`",
        "20 at most if nothing is said; the order is not documented",
        "spec",
        of_batches(""),
        200,
        listed(BATCH, BATCH, BATCH),
        ours="the same; newest first",
    ),
    Row(
        "batches-limit",
        "`limit=2`",
        "so many, and `has_more`",
        "spec",
        of_batches("?limit=2"),
        200,
        listed(BATCH, BATCH, has_more=True),
    ),
    Row(
        "batches-after",
        "`after` and the id of the last element",
        "what follows it",
        "SDK",
        lambda w: w.listed.get(f"/v1/batches?after={w.listed.batches[1]}"),
        200,
        listed(BATCH),
    ),
    Row(
        "batches-after-unknown",
        "`after` and no batch's id",
        "unknown",
        "unknown",
        of_batches("?after=batch_none"),
        400,
        error("No object found with id 'batch_none' to list after.", "after", "invalid_value"),
        ours="refused",
    ),
    Row(
        "batches-limit-high",
        "`limit=101`",
        "refused; 100 is the most",
        "spec",
        of_batches("?limit=101"),
        400,
        error(
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
            "limit",
            "integer_above_max_value",
        ),
    ),
    Row(
        "batches-limit-text",
        "`limit=many`",
        "refused; it is an integer",
        "spec",
        of_batches("?limit=many"),
        400,
        error("Invalid type for 'limit': expected an integer, but got 'many' instead.", "limit", "invalid_type"),
    ),
]
