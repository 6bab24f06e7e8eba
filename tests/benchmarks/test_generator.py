"""Open-loop accounting: times count from when a request was to be sent."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.generator import UNANSWERED, Answers, Constant, Full

NEVER = np.inf


def answers(*rows):
    """Each row is (intended, begun, ended, status)."""
    return Answers(*(np.array(column) for column in zip(*rows, strict=True)))


def test_a_constant_rate_sends_what_is_due_whatever_was_answered():
    """A loop that was held up sends all that it missed, each with its own time."""
    schedule = Constant(rate=100.0, seconds=1.0)
    assert schedule.due(0.0, begun=0, ended=0) == 1
    assert schedule.due(0.005, begun=1, ended=0) == 0
    assert schedule.due(0.05, begun=1, ended=0) == 5
    assert [schedule.intended(number, now=0.05) for number in (1, 5)] == [0.01, 0.05]
    assert schedule.next(begun=6) == 0.06


def test_a_constant_rate_ends_with_its_time():
    """Not one request more is due afterwards."""
    schedule = Constant(rate=10.0, seconds=1.0)
    assert schedule.due(5.0, begun=11, ended=0) == 0


def test_a_full_load_replaces_what_was_answered():
    """So many are in flight until the time is over; each is to be sent when it is."""
    schedule = Full(in_flight=4, seconds=1.0)
    assert schedule.due(0.0, begun=0, ended=0) == 4
    assert schedule.due(0.5, begun=9, ended=6) == 1
    assert schedule.due(1.0, begun=9, ended=9) == 0
    assert schedule.intended(9, now=0.5) == 0.5


def test_the_time_a_request_waited_to_be_sent_is_its_own():
    """A stall of the server or of the generator is in the times of all behind it."""
    stalled = answers((0.0, 0.0, 0.3, 0), (0.1, 0.3, 0.31, 0), (0.2, 0.3, 0.32, 0))
    assert stalled.seconds.tolist() == pytest.approx([0.3, 0.21, 0.12])
    assert stalled.quantile(0.5) == pytest.approx(0.21)
    assert stalled.lag == pytest.approx(0.2, rel=0.02)


def test_what_was_never_answered_is_infinitely_late():
    """It cannot make the others look better by its absence; nor can an error, however fast."""
    run = answers((0.0, 0.0, 0.01, 0), (1.0, 1.0, NEVER, UNANSWERED), (2.0, 2.0, 2.001, 8))
    assert run.quantile(0.0) == pytest.approx(0.01)
    assert run.quantile(0.5) == NEVER


def test_every_request_of_an_overload_is_in_time_late_or_refused():
    """Per second in which requests were sent; what never ended is late."""
    run = answers(
        (0.0, 0.0, 0.04, 0),
        (0.5, 0.5, 0.56, 0),
        (1.0, 1.0, 1.001, 8),
        (1.5, 1.5, 1.502, 14),
        (2.0, 2.0, NEVER, UNANSWERED),
    )
    assert run.in_time(0.05) == 0.5
    assert run.late(0.05) == 1.0
    assert run.refused() == {8: 0.5, 14: 0.5}
    assert run.refusal(1.0) == pytest.approx(0.002)


def test_nothing_refused_took_no_time():
    """A run without errors has a figure too."""
    assert answers((0.0, 0.0, 0.01, 0)).refusal(0.5) == 0.0
