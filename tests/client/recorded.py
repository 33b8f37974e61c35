"""What a killed job had recorded, read from its folder by other code than its own.

A row counts as recorded if a sealed segment or a whole journal record holds it. The layout is that
of `journal/record.rs` and of the catalog's table `segments`.
"""

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
            journalled |= {(segment, ordinal) for ordinal in ordinals(part.read_bytes())}
    return lines + len(journalled)


def sealed_segments(data):
    """The names of the sealed segments, and the lines in them."""
    with tempfile.TemporaryDirectory() as copy:
        # A copy: opening the catalog would tidy up what the kill has left.
        for file in data.glob("catalog.db*"):
            shutil.copy(file, copy)
        catalog = sqlite3.connect(pathlib.Path(copy) / "catalog.db")
        found = catalog.execute(
            "SELECT batch, idx, answers + errors FROM segments WHERE state = 'sealed'"
        ).fetchall()
        catalog.close()
    return {f"{batch}-{index}" for batch, index, _ in found}, sum(lines for _, _, lines in found)


def ordinals(part):
    """The places of the rows in one journal part, up to the first record that is torn."""
    if not part.startswith(MAGIC):
        return
    at = len(MAGIC)
    while at + HEAD <= len(part):
        length, checksum = struct.unpack_from("<II", part, at)
        end = at + HEAD + length
        body = struct.pack("<I", length) + part[at + 8 : end]
        if end > len(part) or zlib.crc32(body, CHECKSUM_START) != checksum:
            return
        yield struct.unpack_from("<H", part, at + 16)[0]
        at = end
