"""Leases under a clock that stands still."""

from __future__ import annotations

import math
import random

import pytest

from fabric.catalog.leases import Leases
from fabric.core.errors import NotFound
from fabric.core.replicas import Load
from fabric.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def leases(clock) -> Leases:
    return Leases(clock, length=10.0, grace=0.5)


def test_a_replica_that_renews_is_kept(clock, leases):
    """Each renewal brings a whole lease, and the load."""
    leases.grant("r")
    for running in range(5):
        clock.advance(9.9)
        leases.renew("r", Load(running=running), "stream")

    assert leases.expire() == ()
    assert leases.load("r") == Load(running=4)
    clock.advance(10.0)
    assert leases.expire() == ("r",)
    assert leases.load("r") == Load()


def test_a_replica_whose_stream_ends_is_gone_within_a_second(clock, leases):
    """A process that died is not waited for as long as one that is slow."""
    for replica in ("died", "slow"):
        leases.grant(replica)
        leases.renew(replica, Load(), replica)
    leases.lost("died", "died")

    assert leases.next_end == clock() + 0.5
    clock.advance(0.5)
    assert leases.expire() == ("died",)
    clock.advance(9.4)
    assert leases.expire() == ()
    clock.advance(0.1)
    assert leases.expire() == ("slow",)


def test_a_lost_stream_never_lengthens_a_lease(clock, leases):
    """A lease that is about to end, ends."""
    leases.grant("r")
    leases.renew("r", Load(), "stream")
    clock.advance(9.9)
    leases.lost("r", "stream")
    clock.advance(0.1)

    assert leases.expire() == ("r",)


def test_a_replica_that_comes_back_in_time_has_a_whole_lease(clock, leases):
    """A new stream after a lost one is as good as the first."""
    leases.grant("r")
    leases.renew("r", Load(), "first")
    leases.lost("r", "first")
    clock.advance(0.4)
    leases.renew("r", Load(), "second")
    clock.advance(9.9)

    assert leases.expire() == ()


def test_the_end_of_an_old_stream_is_no_matter(clock, leases):
    """Only the stream that renewed last says that its replica has died."""
    leases.grant("r")
    leases.renew("r", Load(), "first")
    leases.renew("r", Load(), "second")
    leases.lost("r", "first")

    assert leases.next_end == clock() + 10.0


def test_what_was_not_heard_costs_nobody_the_lease(clock, leases):
    """Neither those whose lease would have ended meanwhile, nor those who gave up their stream."""
    for name in ("slow", "gone", "late"):
        leases.grant(name)
        leases.renew(name, Load(), name)
    leases.lost("gone", "gone")
    clock.advance(30.0)
    leases.forgive()
    leases.lost("late", "late")
    clock.advance(9.9)
    assert leases.expire() == ()
    clock.advance(0.1)
    assert sorted(leases.expire()) == ["gone", "late", "slow"]

    leases.grant("r")
    leases.renew("r", Load(), "stream")
    leases.lost("r", "stream")
    clock.advance(0.5)
    assert leases.expire() == ("r",)


def test_without_a_lease_there_is_nothing_to_renew(clock, leases):
    """One that never registered, has left, or has expired, is told to register."""
    leases.grant("left")
    leases.end("left")
    leases.grant("late")
    clock.advance(10.0)
    leases.expire()

    for replica in ("stranger", "left", "late"):
        with pytest.raises(NotFound, match="register again"):
            leases.renew(replica, Load())
    leases.lost("stranger", None)
    assert leases.next_end == math.inf


@pytest.mark.parametrize("seed", range(20))
def test_leases_end_exactly_when_they_should(seed, clock, leases):
    """Whatever happens in whatever order, a lease ends at its own time and is told once."""
    random_ = random.Random(seed)
    ends: dict[str, float] = {}
    for _ in range(400):
        replica = f"r{random_.randrange(6)}"
        event = random_.random()
        if event < 0.2:
            leases.grant(replica)
            ends[replica] = clock() + 10.0
        elif event < 0.5 and replica in ends:
            leases.renew(replica, Load(), replica)
            ends[replica] = clock() + 10.0
        elif event < 0.6 and replica in ends:
            leases.renew(replica, Load(), replica)
            leases.lost(replica, replica)
            ends[replica] = clock() + 0.5
        elif event < 0.65:
            leases.end(replica)
            ends.pop(replica, None)
        clock.advance(random_.choice((0.0, 0.25, 0.5, 3.0)))
        assert leases.next_end == min(ends.values(), default=math.inf)
        due = {each for each, end in ends.items() if end <= clock()}
        assert set(leases.expire()) == due
        for each in due:
            del ends[each]
