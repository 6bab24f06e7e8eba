"""How long a further request will wait."""

from __future__ import annotations

import pytest

from fabric.link.pace import Pace


def answered(pace, count, interval, batch=1, start=0.0):
    """Has *count* answers come in batches of so many; returns when the last did."""
    now = start
    for _ in range(count // batch):
        now += interval * batch
        for _ in range(batch):
            pace.answered(now)
    return now


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_the_wait_is_that_of_all_before_and_its_own(batch):
    """Whether answers come one by one or many at a time."""
    pace = Pace()
    pace.begun(0.0)
    answered(pace, 1024, 0.001, batch)
    assert pace.wait(99) == pytest.approx(0.1, rel=0.05)


def test_nothing_is_expected_of_what_is_not_known():
    """Nor of the few that are always let through."""
    pace = Pace()
    pace.begun(0.0)
    assert pace.wait(4000) == 0.0
    answered(pace, 200, 1.0)
    assert pace.wait(15) == 0.0
    assert pace.wait(16) == pytest.approx(17.0)


def test_time_without_requests_is_no_time_that_answers_took():
    """It begins anew with the next one."""
    pace = Pace()
    pace.begun(0.0)
    end = answered(pace, 100, 0.001)
    pace.begun(end + 1000.0)
    answered(pace, 100, 0.001, start=end + 1000.0)
    assert pace.wait(99) == pytest.approx(0.1, rel=0.05)


def test_it_follows_a_peer_that_gets_faster():
    """Within a few measurements."""
    pace = Pace()
    pace.begun(0.0)
    end = answered(pace, 100, 0.1)
    answered(pace, 2000, 0.001, start=end)
    assert pace.wait(99) == pytest.approx(0.1, rel=0.1)
