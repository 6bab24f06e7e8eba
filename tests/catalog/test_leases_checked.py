"""Leases beside the simplest thing that they could be, through whatever happens in any order."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fabric.catalog.leases import Leases
from fabric.core.errors import NotFound
from fabric.core.replicas import Load
from fabric.testing import ManualClock

LENGTH, GRACE = 10.0, 0.5
replicas = st.sampled_from("abc")
streams = st.sampled_from((1, 2))
loads = st.builds(Load, running=st.integers(0, 3))


class AnyOrder(RuleBasedStateMachine):
    """Replicas come, renew by one stream or another, lose streams, leave; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.leases = Leases(self.clock, LENGTH, GRACE)
        self.ends: dict[str, float] = {}
        self.is_cut: dict[str, bool] = {}
        self.kept_by: dict[str, object] = {}
        self.loads: dict[str, Load] = {}
        self.forgiving = -math.inf

    def _whole(self, replica, load) -> None:
        self.ends[replica] = self.clock() + LENGTH
        self.is_cut[replica] = False
        self.loads[replica] = load

    def _gone(self, replica) -> None:
        for each in (self.ends, self.is_cut, self.kept_by, self.loads):
            each.pop(replica, None)

    @rule(replica=replicas, load=loads)
    def grant(self, replica, load) -> None:
        self.leases.grant(replica, load)
        self._whole(replica, load)

    @rule(replica=replicas, load=loads, stream=streams)
    def renew(self, replica, load, stream) -> None:
        if replica not in self.ends:
            with pytest.raises(NotFound, match="register again"):
                self.leases.renew(replica, load, stream)
            return
        self.leases.renew(replica, load, stream)
        self._whole(replica, load)
        self.kept_by[replica] = stream

    @rule(replica=replicas, stream=streams)
    def lose(self, replica, stream) -> None:
        self.leases.lost(replica, stream)
        is_heard = self.clock() >= self.forgiving
        if is_heard and self.kept_by.get(replica) == stream and not self.is_cut[replica]:
            self.ends[replica] = min(self.ends[replica], self.clock() + GRACE)
            self.is_cut[replica] = True

    @rule()
    def forgive(self) -> None:
        self.leases.forgive()
        self.forgiving = self.clock() + LENGTH
        for replica, load in self.loads.items():
            self._whole(replica, load)

    @rule(replica=replicas)
    def end(self, replica) -> None:
        self.leases.end(replica)
        self._gone(replica)

    @rule(seconds=st.sampled_from((0.0, 0.25, 0.5, 3.0, 9.75, 10.0)))
    def wait(self, seconds) -> None:
        self.clock.advance(seconds)

    @rule()
    def expire(self) -> None:
        over = {replica for replica, end in self.ends.items() if end <= self.clock()}
        assert set(self.leases.expire()) == over
        for replica in over:
            self._gone(replica)

    @invariant()
    def the_next_end_is_the_first(self) -> None:
        assert self.leases.next_end == min(self.ends.values(), default=math.inf)

    @invariant()
    def loads_are_the_latest(self) -> None:
        assert {each: self.leases.load(each) for each in "abc"} == {
            each: self.loads.get(each, Load()) for each in "abc"
        }


AnyOrder.TestCase.settings = settings(max_examples=60, deadline=None, database=None)
TestAnyOrder = AnyOrder.TestCase
