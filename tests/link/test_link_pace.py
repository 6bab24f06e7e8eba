"""How long a further request will wait."""

from __future__ import annotations

import pytest

from fabric.link.pace import FEWEST, Pace


def test_the_wait_is_that_of_as_many():
    """In proportion to those before."""
    pace = Pace()
    for _ in range(200):
        pace.answered(0.1, 99)
    assert pace.wait(99) == pytest.approx(0.1)
    assert pace.wait(999) == pytest.approx(1.0)


def test_nothing_is_expected_of_what_is_not_known():
    """Nor of the few that are always let through."""
    pace = Pace()
    assert pace.wait(4000) == 0.0
    pace.answered(10.0, FEWEST - 1)
    assert pace.wait(4000) == 0.0
    pace.answered(17.0, FEWEST)
    assert pace.wait(FEWEST - 1) == 0.0
    assert pace.wait(FEWEST) == pytest.approx(17.0)


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.001), (0.001, 0.1)])
def test_it_follows_a_peer_that_changes(before, after):
    """Within some hundred answers."""
    pace = Pace()
    for seconds in (before, after):
        for _ in range(500):
            pace.answered(100 * seconds, 99)
    assert pace.wait(99) == pytest.approx(100 * after, rel=0.1)
