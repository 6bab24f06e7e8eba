"""Load over time, and how many replicas it makes."""

from __future__ import annotations

import pytest

from fabric.runtime.load import LoadMeter, MeanLoad, wanted_replicas
from fabric.testing import ManualClock


def test_the_mean_counts_every_second_of_every_request():
    """Two requests of one second each, within two seconds, are a load of one."""
    clock, meter = ManualClock(), LoadMeter()
    mean = MeanLoad(meter, clock)
    meter.arrived(clock())
    meter.arrived(clock())
    clock.advance(1)
    meter.left(clock(), 2)
    clock.advance(1)

    assert mean.read() == pytest.approx(1)


def test_requests_that_are_still_here_count():
    """A request that never ends is a load of one, reading after reading."""
    clock, meter = ManualClock(), LoadMeter()
    mean = MeanLoad(meter, clock)
    meter.arrived(clock())
    for _ in range(3):
        clock.advance(5)
        assert mean.read() == pytest.approx(1)


def test_readers_do_not_disturb_each_other():
    """Each reader has its own last reading; within one instant it is the same."""
    clock, meter = ManualClock(), LoadMeter()
    first, second = MeanLoad(meter, clock), MeanLoad(meter, clock)
    meter.arrived(clock())
    clock.advance(1)
    assert first.read() == pytest.approx(1)
    assert first.read() == pytest.approx(1)
    meter.left(clock())
    clock.advance(1)
    assert first.read() == pytest.approx(0)
    assert second.read() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("shares", "current", "wanted"),
    [
        ([0.0], 1, 1),
        ([1.0], 1, 1),
        ([1.1], 1, 2),
        ([9.0], 1, 3),
        ([0.9, 0.8], 2, 2),
        ([0.5, 0.45], 2, 2),  # one replica could just carry it, with no slack
        ([0.4, 0.4], 2, 1),
        ([0.0, 0.0, 0.0], 3, 1),
    ],
)
def test_replicas_follow_the_load_and_do_not_flutter(shares, current, wanted):
    """There are more as soon as the target is passed, and fewer only with slack, within bounds."""
    assert wanted_replicas(shares, current, 1, 3) == wanted
