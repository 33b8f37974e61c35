"""What a client of `ditto-batch serve` can observe, row by row, by area."""

from . import batches, cancel, content, creates, doors, ditto, files, lists, rows_of_files, uploads

AREAS = {
    "Files": files.ROWS,
    "Uploads in parts": uploads.ROWS,
    "Content": content.ROWS,
    "Lists": lists.ROWS,
    "Creating a batch": creates.ROWS,
    "Batches": batches.ROWS,
    "Result files": rows_of_files.ROWS,
    "Cancel": cancel.ROWS,
    "Keys, limits and routes": doors.ROWS,
    "Beyond OpenAI": ditto.ROWS,
}
ROWS = [row for rows in AREAS.values() for row in rows]
