"""What a dead process left in its data folder: the state of its batches, and each recorded line."""

import json
import pathlib
import struct

import recorded

ENDED = ("completed", "failed", "cancelled", "expired")
ENTRY_BYTES = 56

ANSWER, ERROR = 1, 2


class Batch:
    """A batch as the catalog has it, with the lines that a restart will find recorded."""

    def __init__(self, key, batch_id, state, ending, total, held, only):
        self.key = key
        self.id = batch_id
        self.state = state
        self.ending = ending
        self.total = total
        self.held = held
        # Its plan is one entry, which stands in its row.
        self.only = only
        # Index of each sealed segment and its lines with their kind; the same of the journals.
        self.sealed = {}
        self.journalled = {}
        self.sealing = False

    @property
    def ended(self):
        return self.state in ENDED

    def states(self):
        """What a kill has hit here, as words of the report."""
        if self.state == "validating" and self.held:
            yield "validating"
        if self.state == "running" and not self.ending:
            yield "running"
        if self.state == "running" and self.ending == "cancelled":
            yield "cancelling"
        if self.state == "finalizing":
            yield "finalizing"
        if self.sealing:
            yield "sealing"

    def kinds(self):
        """The kind of each recorded line, by its number; 0: not recorded."""
        kinds = bytearray(self.total + 1)
        for lines in (*self.sealed.values(), self.journalled):
            for line, kind in lines.items():
                kinds[line] = kind
        return kinds

    def has_lines_to_send(self):
        return self.state == "running" and not self.ending and 0 in self.kinds()[1:]


class Remains:
    """Reads a data folder again and again; a sealed segment is read once, since it never changes."""

    def __init__(self, data):
        self.data = pathlib.Path(data)
        self.blobs = {}

    def read(self):
        """The batches that the catalog knows."""
        if not (self.data / "catalog.db").exists():
            return []
        with recorded.catalog(self.data) as catalog:
            if not has_tables(catalog):
                return []
            batches = {row[0]: Batch(*row) for row in catalog.execute(
                "SELECT key, id, state, ending, total, held_by, only_lines IS NOT NULL FROM batches")}
            segments = catalog.execute(
                "SELECT batch, idx, span, state, owner, epoch, unfenced, cuts, answers_bytes, errors_bytes"
                " FROM segments").fetchall()
        for batch, *segment in segments:
            self.add(batches[batch], *segment)
        self.forget({batch.id for batch in batches.values() if batch.ended})
        return list(batches.values())

    def add(self, batch, index, span, state, owner, epoch, unfenced, cuts, answers_bytes, errors_bytes):
        if state == "sealed":
            batch.sealed[index] = self.pieces(batch, index, epoch, answers_bytes, errors_bytes)
            return
        cuts = {cut["epoch"]: cut["length"] for cut in json.loads(cuts)}
        # A part without a cut counts as far as its records are whole: so far will it be cut.
        counted = cuts | {epoch: cuts.get(epoch)} | ({unfenced: None} if unfenced else {})
        lines = {}
        for of_epoch, length in counted.items():
            for line, _, kind in recorded.records(self.part(f"{batch.key}-{index}.{of_epoch}")[:length]):
                lines[line] = ANSWER if kind == 0 else ERROR
        batch.journalled |= lines
        if owner and span == 1:
            whole = len(lines) == self.requests(batch, index)
            batch.sealing |= whole or self.has_blob(batch, index, epoch)

    def pieces(self, batch, index, epoch, answers_bytes, errors_bytes):
        """The lines of a sealed segment, by the ids in its blob."""
        known = self.blobs.setdefault(batch.id, {})
        if index not in known:
            blob = self.blob(batch, index, epoch).read_bytes()
            answers, errors = blob[:answers_bytes], blob[answers_bytes : answers_bytes + errors_bytes]
            known[index] = dict.fromkeys(numbers(answers), ANSWER) | dict.fromkeys(numbers(errors), ERROR)
        return known[index]

    def part(self, name):
        try:
            return (self.data / "journal" / name).read_bytes()
        except FileNotFoundError:
            return b""

    def requests(self, batch, index):
        """How many lines the plan gives to a segment."""
        if batch.only:
            return batch.total
        with open(self.folder(batch) / "plan", "rb") as plan:
            plan.seek(index * ENTRY_BYTES + 12)
            return struct.unpack("<I", plan.read(4))[0]

    def has_blob(self, batch, index, epoch):
        """The blob itself, or its bytes on their way to that name."""
        blob = self.blob(batch, index, epoch)
        return blob.exists() or any(blob.parent.glob(f"{blob.name}#*"))

    def blob(self, batch, index, epoch):
        folder = self.folder(batch)
        return folder.with_name(f"{batch.id}.1") if batch.only and epoch == 1 else folder / "segments" / f"{index}.{epoch}"

    def folder(self, batch):
        return self.data / "blobs/batches" / batch.id

    def forget(self, ended):
        for batch_id in ended & self.blobs.keys():
            del self.blobs[batch_id]


def has_tables(catalog):
    """A kill while the folder is made leaves a catalog without any."""
    return catalog.execute("SELECT 1 FROM sqlite_master WHERE name = 'segments'").fetchone() is not None


def numbers(piece):
    """The line numbers in the ids of result lines: {"id":"batch_req_<batch>_<line>",…"""
    for line in piece.split(b"\n"):
        if line:
            yield int(line[: line.index(b'",')].rpartition(b"_")[2])
