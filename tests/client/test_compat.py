"""Each row of docs/reference/compatibility.md, asked of the real binary."""

import contextlib

import pytest

import behaviours
import compat
from behaviours.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("compat"))


@pytest.mark.parametrize("row", behaviours.ROWS, ids=lambda row: row.name)
def test_the_server_does_as_the_row_says(world, row):
    answer = row.ask(world)

    assert answer.body == row.body
    assert answer.status == row.status
    assert length_is_told(answer) | row.expected_headers() == answer.headers


def length_is_told(answer):
    """An answer says how long it is, or is sent in pieces; a row says it only where its body does not show it."""
    told = answer.headers.get("content-length")
    if told is None:
        return {"transfer-encoding": "chunked"} if answer.content else {}
    assert int(told) == len(answer.content) or not answer.content
    return {"content-length": told}


def test_each_row_has_a_name_of_its_own_and_there_are_eighty_or_more():
    names = [row.name for row in behaviours.ROWS]

    assert len(names) == len(set(names)) >= 80


def test_the_page_is_what_the_rows_say():
    assert compat.PAGE.read_text() == compat.page(), "python3 tests/client/compat.py --write"
