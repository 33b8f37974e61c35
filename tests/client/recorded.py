"""What a killed process had recorded, read from its data folder by other code than its own.

A row counts as recorded if a sealed segment or a whole journal record holds it. The layout is that
of `journal/record.rs` and of the catalog's table `segments`.
"""

import contextlib
import pathlib
import shutil
import sqlite3
import struct
import tempfile
import zlib

MAGIC = b"DTTOJNL1"
HEAD = 44
CHECKSUM_START = 0x4454544F


def rows(folder):
    """How many rows the job in `folder` (`X.ditto`) had recorded."""
    return rows_of(pathlib.Path(folder) / "data")


def rows_of(data):
    """How many rows of batches that have not ended a data folder holds."""
    sealed, lines = sealed_segments(data)
    journalled = set()
    for part in (data / "journal").iterdir():
        segment = part.name.split(".")[0]
        if segment not in sealed:
            journalled |= {(segment, ordinal) for _, ordinal, _ in records(part.read_bytes())}
    return lines + len(journalled)


def sealed_segments(data):
    """The names of the sealed segments, and the lines in them."""
    with catalog(data) as copy:
        found = copy.execute(
            "SELECT batch, idx, answers + errors FROM segments WHERE state = 'sealed'"
        ).fetchall()
    return {f"{batch}-{index}" for batch, index, _ in found}, sum(lines for _, _, lines in found)


@contextlib.contextmanager
def catalog(data):
    """A copy of the catalog: opening the one that is there would tidy up what the kill has left."""
    with tempfile.TemporaryDirectory() as copy:
        for file in pathlib.Path(data).glob("catalog.db*"):
            shutil.copy(file, copy)
        with contextlib.closing(sqlite3.connect(pathlib.Path(copy) / "catalog.db")) as opened:
            yield opened


def records(part):
    """Line, place in the segment and kind (0 answer, 1 error, 2 ended) of each record of a journal
    part, up to the first that is torn."""
    if not part.startswith(MAGIC):
        return
    at = len(MAGIC)
    while at + HEAD <= len(part):
        length, checksum = struct.unpack_from("<II", part, at)
        end = at + HEAD + length
        body = struct.pack("<I", length) + part[at + 8 : end]
        if end > len(part) or zlib.crc32(body, CHECKSUM_START) != checksum:
            return
        yield struct.unpack_from("<QHB", part, at + 8)
        at = end
