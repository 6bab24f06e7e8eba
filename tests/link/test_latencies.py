"""How long answers took of late."""

from __future__ import annotations

import random

import pytest

from fabric.link.latencies import Latencies, quantile
from fabric.testing import ManualClock


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_quantile_is_right_to_a_tenth(share):
    """Whatever the scale."""
    chance = random.Random(1)
    taken = sorted(chance.lognormvariate(-5, 2) for _ in range(2000))
    latencies = Latencies(ManualClock())
    for seconds in taken:
        latencies.add(seconds)
    assert quantile([latencies.recent()], share) == pytest.approx(taken[int(share * 2000)], rel=0.1)


def test_several_peers_add_up():
    """The quantile is that of all of their answers."""
    fast, slow, none = (Latencies(ManualClock()) for _ in range(3))
    for _ in range(90):
        fast.add(0.001)
    for _ in range(10):
        slow.add(1.0)
    recent = [each.recent() for each in (fast, slow, none)]
    assert quantile(recent, 0.8) == pytest.approx(0.001, rel=0.1)
    assert quantile(recent, 0.95) == pytest.approx(1.0, rel=0.1)


def test_what_is_old_fades():
    """New answers soon outweigh a thousand times as many, and without any nothing is known."""
    clock = ManualClock()
    latencies = Latencies(clock)
    for _ in range(100_000):
        latencies.add(1.0)
    assert quantile([latencies.recent()], 0.5) == pytest.approx(1.0, rel=0.1)
    for _ in range(6):
        clock.advance(10.0)
        latencies.recent()
    for _ in range(100):
        latencies.add(0.001)
    assert quantile([latencies.recent()], 0.5) == pytest.approx(0.001, rel=0.1)
    for _ in range(12):
        clock.advance(10.0)
        latencies.recent()
    assert quantile([latencies.recent()], 0.5) is None


def test_what_came_since_it_was_read_counts():
    """However long nobody asked."""
    clock = ManualClock()
    latencies = Latencies(clock)
    clock.advance(1e6)
    for _ in range(100):
        latencies.add(0.001)
    assert quantile([latencies.recent()], 0.5) == pytest.approx(0.001, rel=0.1)


def test_nothing_is_known_without_answers():
    """Nor of no peers."""
    assert quantile([], 0.5) is None
    assert quantile([Latencies(ManualClock()).recent()], 0.5) is None


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e6])
def test_the_strangest_times_count(seconds):
    """In a bucket that there is."""
    latencies = Latencies(ManualClock())
    latencies.add(seconds)
    latencies.add(seconds)
    assert quantile([latencies.recent()], 0.5) == pytest.approx(max(seconds, 1e-6), rel=0.1)
