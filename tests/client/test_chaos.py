"""That `scripts/chaos` sees what it is there to see: each law, broken on purpose in its book."""

from chaos.book import Lines
from chaos.laws import Laws
from chaos.remains import ANSWER, ERROR
from chaos.world import Kill


def counts(asked, answered, given_up=(0, 0, 0)):
    """Of three lines; place 0 is for no line."""
    return {"asked": [0, *asked], "answered": [0, *answered], "given_up": [0, *given_up]}


def after_a_kill(recorded, *seen):
    """Three lines, and a kill that found these of them recorded when the upstream had seen this."""
    lines, kill, laws = Lines("batch_a", 3), Kill(1, "serve", {"running"}), Laws()
    lines.take_down(kill, bytearray([0, *recorded]), counts(*seen), laws)
    return lines, kill, laws


def test_lines_in_flight_may_be_asked_again_and_are_counted():
    lines, kill, laws = after_a_kill([ANSWER, 0, 0], [1, 1, 1], [1, 1, 0], [0, 0, 1])
    lines.close(bytearray([0, ANSWER, ANSWER, ANSWER]), counts([1, 2, 2], [1, 2, 1]), laws)

    assert not laws.counts
    assert (kill.in_flight, kill.unrecorded, kill.asked_again) == (1, 1, 2)


def test_a_line_that_waits_for_its_next_attempt_is_not_in_flight():
    _, kill, _ = after_a_kill([0, 0, 0], [1, 0, 0], [0, 0, 0])

    assert kill.exposed == 0


def test_a_recorded_line_that_is_asked_again_is_found():
    lines, _, laws = after_a_kill([ANSWER, 0, 0], [1, 0, 0], [1, 0, 0])
    lines.close(bytearray([0, ANSWER, ANSWER, ANSWER]), counts([2, 1, 1], [2, 1, 1]), laws)

    assert laws.counts == {"asked again": 1, "bought twice": 1}


def test_a_record_that_is_gone_at_the_next_kill_is_lost():
    lines, _, laws = after_a_kill([ANSWER, 0, 0], [1, 0, 0], [1, 0, 0])
    lines.take_down(Kill(2, "serve", {"running"}), bytearray(4), counts([1, 0, 0], [1, 0, 0]), laws)

    assert laws.counts == {"lost": 1}


def test_a_recorded_answer_that_ends_as_an_error_is_lost():
    lines, _, laws = after_a_kill([ANSWER, 0, 0], [1, 0, 0], [1, 0, 0])
    lines.close(bytearray([0, ERROR, ERROR, ERROR]), counts([1, 0, 0], [1, 0, 0]), laws)

    assert laws.counts == {"lost": 1}


def test_an_answer_that_nobody_gave_is_found():
    lines, _, laws = after_a_kill([0, 0, 0], [0, 0, 0], [0, 0, 0])
    lines.close(bytearray([0, ANSWER, ANSWER, ANSWER]), counts([1, 1, 1], [1, 1, 0]), laws)

    assert laws.counts == {"broken": 1}
