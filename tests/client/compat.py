#!/usr/bin/env python3
"""Writes docs/reference/compatibility.md from the rows that test_compat.py holds the server to.

    python3 tests/client/compat.py --write     writes the page
    python3 tests/client/compat.py             says whether it is what the rows say
"""

import pathlib
import sys

import behaviours

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/reference/compatibility.md"

HEAD = """# Compatibility

<!-- Written by `python3 tests/client/compat.py --write` from tests/client/behaviours. Change those, not this page. -->

What a client can observe, what OpenAI does there, and what `ditto-batch serve` does. Each row is a test: it sends the
request to the real binary and compares status, headers and the whole body, with ids and times replaced by their kinds.
`scripts/test --only compat` runs all {count}, and fails if this page says something else than they do.

Where a fact is OpenAI's, its source stands with it, in the words of [the protocol](protocol.md): *spec*, *SDK*,
*captured*, *reported*; *inferred* is what its neighbours suggest. *Unknown* means that no source tells; what we do there
is our choice, and may be another than OpenAI's. None of it was tried against a paid account by this project.

Under *ours* stand the status and the error code that the test compares, then what is to be said: nothing more than *the
same* where we know of no difference. The spec gives bounds and not the words of a refusal; where no captured answer has
them, ours are in the manner of those that were captured.
"""

CHOICES = """
## Where the sources contradict each other

| about | the sources | we do | test |
|---|---|---|---|
"""


def page():
    return HEAD.format(count=len(behaviours.ROWS)) + "".join(map(area, behaviours.AREAS.items())) + choices()


def area(named):
    name, rows = named
    head = f"\n## {name}\n\n| behaviour | OpenAI | source | ours | test |\n|---|---|---|---|---|\n"
    return head + "".join(line(row.behaviour, row.openai, row.source, ours(row), f"`{row.name}`") for row in rows)


def ours(row):
    return f"{answered(row)}: {row.ours}"


def answered(row):
    body = row.body if isinstance(row.body, dict) else {}
    code = body.get("error", {}).get("code") if isinstance(body.get("error"), dict) else None
    return f"{row.status} `{code}`" if code else str(row.status)


def choices():
    chosen = [row for row in behaviours.ROWS if row.against]
    return CHOICES + "".join(line(row.behaviour, row.against, ours(row), f"`{row.name}`") for row in chosen)


def line(*cells):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main():
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
        return 0
    assert sys.argv[1:] == [], __doc__
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    print(f"{PAGE.name} is not what the rows say\nhint: python3 tests/client/compat.py --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
