"""How many requests a specialist is given, and whose."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.cards import Concurrency
from fabric.resilience.admission import Admission, Gradient
from fabric.testing import ManualClock


def answers(gradient, clock, seconds, in_flight, windows=1):
    for _ in range(windows):
        for _ in range(20):
            gradient.answered(seconds, in_flight)
        clock.advance(0.1)
        gradient.answered(seconds, in_flight)


def test_a_limit_falls_as_answers_take_longer_than_usual():
    """By as much as they do, and not below its least."""
    clock = ManualClock()
    gradient = Gradient(Concurrency(first=100, least=10), clock)
    answers(gradient, clock, 0.01, 100, windows=20)
    before = gradient.limit
    answers(gradient, clock, 0.015, 100)
    assert gradient.limit > before  # within the tolerance
    answers(gradient, clock, 0.1, 100, windows=10)
    assert gradient.limit < before / 2
    answers(gradient, clock, 10.0, 100, windows=100)
    assert gradient.limit >= 10


def test_a_limit_grows_where_it_is_made_use_of():
    """Up to its most; one that nobody comes near tells nothing."""
    clock = ManualClock()
    gradient = Gradient(Concurrency(first=64, most=80), clock)
    answers(gradient, clock, 0.01, 20, windows=50)
    assert gradient.limit == 64
    answers(gradient, clock, 0.01, 64, windows=50)
    assert gradient.limit == 80


def test_what_was_slow_for_long_is_not_usual_for_ever():
    """Once answers are fast again, they are compared with fast ones."""
    clock = ManualClock()
    gradient = Gradient(Concurrency(first=64), clock)
    answers(gradient, clock, 1.0, 64, windows=50)
    answers(gradient, clock, 0.01, 64, windows=100)
    limit = gradient.limit
    answers(gradient, clock, 0.1, limit, windows=10)
    assert gradient.limit < limit


class Server:
    """Answers *rate* requests a second, in the order in which they were let in."""

    def __init__(self, admission, clock, rate):
        self.admission = admission
        self.clock = clock
        self.rate = rate
        self.queue = deque()
        self.done = 0.0
        self.answered = Counter()
        self.refused = Counter()
        self.waits = []

    def asked(self, tenant, room=1e9):
        if self.admission.admits(tenant, room):
            self.admission.entered(tenant)
            self.queue.append((self.clock(), tenant))
        else:
            self.refused[tenant] += 1

    def works(self, seconds):
        self.done = min(self.done + seconds * self.rate, len(self.queue))
        while self.done >= 1.0:
            self.done -= 1.0
            since, tenant = self.queue.popleft()
            self.answered[tenant] += 1
            self.waits.append(self.clock() - since)
            self.admission.left(tenant, since)


def test_under_overload_answers_stay_quick_and_nothing_is_lost():
    """Three times what can be answered: as much is answered as can be, without a long queue."""
    clock = ManualClock()
    admission = Admission(Concurrency(first=32), clock)
    server, draw = Server(admission, clock, 1000), random.Random(1)
    for step in range(20_000):
        rate = 500 if step < 4000 else 3000
        if draw.random() < rate / 4000:
            server.asked("")
        clock.advance(1 / 4000)
        server.works(1 / 4000)
        if step == 8000:
            server.answered.clear()
            server.waits.clear()
    assert server.answered[""] >= 0.98 * 1000 * 3
    assert sorted(server.waits)[len(server.waits) // 2] < 0.25


@pytest.mark.parametrize("concurrency", [None, Concurrency(first=64, most=64)])
def test_one_tenant_does_not_keep_out_another(concurrency):
    """Who asks for less than their share has it; who asks for ten times as much has the rest."""
    clock = ManualClock()
    admission = Admission(concurrency, clock)
    server, draw = Server(admission, clock, 1000), random.Random(1)
    for _ in range(40_000):
        if draw.random() < 0.75:
            server.asked("greedy", room=64)
        if draw.random() < 0.05:
            server.asked("modest", room=64)
        clock.advance(1 / 4000)
        server.works(1 / 4000)
    assert server.refused["modest"] <= 0.05 * server.answered["modest"]
    assert server.answered["greedy"] >= 0.75 * 10_000
    assert sum(server.answered.values()) >= 0.98 * 10_000


def test_who_asks_no_more_has_no_share():
    """Two seconds later the whole limit is that of who is left."""
    clock = ManualClock()
    admission = Admission(None, clock)
    for tenant in "ab":
        assert admission.admits(tenant, 10)
    for _ in range(5):
        admission.entered("a")
    assert not admission.admits("a", 10)
    clock.advance(1.0)
    assert not admission.admits("a", 10)
    clock.advance(2.0)
    assert admission.admits("a", 10)


def test_some_room_is_kept_for_a_higher_priority():
    """Of each tenant's own, too."""
    admission = Admission(None, ManualClock())
    for _ in range(8):
        assert admission.admits("", 10, 0.8)
        admission.entered("")
    assert not admission.admits("", 10, 0.8)
    for _ in range(2):
        assert admission.admits("", 10)
        admission.entered("")
    assert not admission.admits("", 10)

    shared = Admission(None, ManualClock())
    assert shared.admits("other", 20)
    for _ in range(8):
        assert shared.admits("one", 20, 0.8)
        shared.entered("one")
    assert not shared.admits("one", 20, 0.8)
    assert shared.admits("one", 20)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", ""]), st.booleans()), max_size=200))
def test_no_more_are_let_in_than_there_is_room_for(steps):
    """And all that were let in are known, by tenant, until they leave."""
    clock = ManualClock()
    admission = Admission(None, clock)
    inside = []
    for tenant, comes in steps:
        if comes and admission.admits(tenant, 8):
            admission.entered(tenant)
            inside.append(tenant)
        elif inside:
            admission.left(inside.pop(0), clock())
        clock.advance(0.1)
        assert admission.in_flight == len(inside) <= 8
        assert {each: admission._of(each) for each in "abc"} == {e: inside.count(e) for e in "abc"}
        assert admission._of("") == inside.count("")
