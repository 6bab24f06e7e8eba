"""Who is not asked for a while."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fabric.core.cards import Breaking
from fabric.core.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.resilience.breakers import (
    Breaker,
    Circuit,
    Standing,
    ejected,
    is_fault,
    slow,
    together,
)
from fabric.testing import ManualClock

BREAKING = Breaking()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def breaker(clock):
    return Breaker(BREAKING, clock)


def fail(breaker, count=1, call=None, reason="UNAVAILABLE"):
    return [breaker.failed(call or object(), reason) for _ in range(count)]


def answer(breaker, count=1):
    return [breaker.answered(object()) for _ in range(count)]


class OneBreaker(RuleBasedStateMachine):
    """Any order of calls, outcomes and times."""

    @initialize()
    def made(self):
        self.clock = ManualClock()
        self.breaker = Breaker(BREAKING, self.clock)
        self.calls = []
        self.probe = None
        self.opened = None
        self.seconds = 0.0

    def note(self):
        """Looks at the time for which it has just opened."""
        assert self.breaker.state is Circuit.OPEN
        again = self.breaker.standing().again
        assert BREAKING.first - 1e-6 <= again <= BREAKING.longest + 1e-6
        if self.opened is not None and self.clock() - self.opened < BREAKING.longest:
            assert again == pytest.approx(min(2 * self.seconds, BREAKING.longest))
        self.seconds, self.opened = again, self.clock()

    @rule()
    def begin(self):
        call = object()
        was_tripped, admitted = self.breaker.is_tripped, self.breaker.admits()
        assert self.breaker.begins(call) is admitted
        if was_tripped and admitted:
            assert self.probe is None, "two probes at once"
            assert self.clock() - self.opened >= self.seconds - 1e-6
            self.probe = call
        self.calls.append(call)  # who insists is asked in any case

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def succeed(self, data):
        call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        is_probe, was_tripped = call is self.probe, self.breaker.is_tripped
        assert self.breaker.answered(call) is is_probe
        if is_probe:
            self.probe = None
            assert self.breaker.state is Circuit.CLOSED
        assert self.breaker.is_tripped is (was_tripped and not is_probe)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def fail(self, data):
        call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        is_probe, was_tripped = call is self.probe, self.breaker.is_tripped
        opens = self.breaker.failed(call, "INTERNAL")
        if is_probe:
            assert opens
            self.probe = None
        assert not (was_tripped and opens and not is_probe)
        if opens:
            self.note()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data):
        call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.breaker.left(call)
        if call is self.probe:
            self.probe = None
            assert self.breaker.admits()

    @rule(seconds=st.sampled_from([0.1, 0.9, 1.0, 2.0, 5.0, 31.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def trip(self):
        was_tripped = self.breaker.is_tripped
        self.breaker.trip("it is slow")
        if not was_tripped:
            self.note()

    @invariant()
    def it_is_probed_by_one_at_most(self):
        assert self.breaker.is_probed is (self.probe is not None)
        assert not (self.breaker.is_probed and self.breaker.admits())
        assert self.breaker.is_tripped or self.probe is None


TestOneBreaker = OneBreaker.TestCase
TestOneBreaker.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


class Ejection(RuleBasedStateMachine):
    """Replicas that fail, and come and go."""

    @initialize(count=st.integers(1, 9), share=st.sampled_from([0.1, 0.5, 0.9]))
    def made(self, count, share):
        self.clock = ManualClock()
        self.policy = Breaking(ejected=share)
        self.breakers = [Breaker(self.policy, self.clock) for _ in range(count)]
        self.away = 0

    @precondition(lambda self: self.breakers)
    @rule(data=st.data())
    def fail(self, data):
        fail(data.draw(st.sampled_from(self.breakers)), 5)

    @precondition(lambda self: self.breakers)
    @rule(data=st.data())
    def recover(self, data):
        breaker, probe = data.draw(st.sampled_from(self.breakers)), object()
        self.clock.advance(31)
        if breaker.begins(probe):
            breaker.answered(probe)
            assert not breaker.is_tripped

    @precondition(lambda self: len(self.breakers) > 1)
    @rule(data=st.data())
    def lose(self, data):
        self.breakers.remove(data.draw(st.sampled_from(self.breakers)))
        self.away += 1

    @precondition(lambda self: self.away)
    @rule()
    def link(self):
        self.breakers.append(Breaker(self.policy, self.clock))
        self.away -= 1

    @invariant()
    def never_too_many_are_out(self):
        if not hasattr(self, "breakers"):
            return
        count, known = len(self.breakers), len(self.breakers) + self.away
        out = ejected(self.breakers, known, self.policy)
        tripped = [each for each in self.breakers if each.is_tripped]
        well = count - len(tripped)
        assert set(out) <= set(tripped)
        assert len(out) < count
        assert len(out) <= max(1, self.policy.ejected * count)
        if well < self.policy.panic * known:
            assert not out
        elif tripped:
            assert out


TestEjection = Ejection.TestCase
TestEjection.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def test_failures_in_a_row_open_it(breaker):
    """An answer between them begins the row anew."""
    fail(breaker, 4)
    answer(breaker)
    assert fail(breaker, 5) == [False] * 4 + [True]
    assert breaker.state is Circuit.OPEN
    assert not breaker.admits()
    assert str(breaker.standing()) == "its breaker is open for 1.0 s more: 5 failures in a row"


def test_half_of_the_requests_failing_opens_it(breaker):
    """Of twenty within the window."""
    for _ in range(9):
        fail(breaker)
        answer(breaker)
    answer(breaker)
    assert fail(breaker) == [True]
    assert breaker.why == "10 of 20 requests failed"


def test_what_is_long_ago_does_not_count(breaker, clock):
    """Neither failures nor answers."""
    for _ in range(9):
        fail(breaker)
        answer(breaker)
    clock.advance(BREAKING.window)
    for _ in range(2):
        fail(breaker)
        answer(breaker)
    assert not breaker.is_tripped
    clock.advance(BREAKING.window)
    fail(breaker)
    answer(breaker, 10)
    for _ in range(9):
        fail(breaker)
        answer(breaker)
    assert fail(breaker) == [False]  # 11 of 30
    assert not breaker.is_tripped


def test_it_closes_with_the_success_of_a_probe(breaker, clock):
    """Which nobody else's answer is."""
    fail(breaker, 5)
    clock.advance(0.99)
    assert not breaker.begins(object())
    clock.advance(0.01)
    assert breaker.state is Circuit.HALF_OPEN
    probe = object()
    assert breaker.begins(probe)
    assert breaker.is_probed_by(probe)
    assert not breaker.begins(object())
    assert answer(breaker) == [False]
    assert breaker.answered(probe)
    assert breaker.standing() == Standing(Circuit.CLOSED, {"UNAVAILABLE": 5})
    assert str(breaker.standing()) == "its breaker is closed"


def test_a_probe_that_takes_as_long_as_what_opened_it_has_failed(breaker, clock):
    """Slow is a failure too."""
    breaker.trip("it is slow", within=0.1)
    for seconds, state in ((0.11, Circuit.OPEN), (0.09, Circuit.CLOSED)):
        clock.advance(2.0)
        probe = object()
        assert breaker.begins(probe)
        clock.advance(seconds)
        assert breaker.answered(probe)
        assert breaker.state is state


def test_times_start_anew_after_it_was_closed_for_long(breaker, clock):
    """Else they double."""
    seconds = []
    for closed in (0.0, 0.0, BREAKING.longest):
        fail(breaker, 5)
        seconds.append(breaker.standing().again)
        clock.advance(seconds[-1])
        probe = object()
        breaker.begins(probe)
        breaker.answered(probe)
        clock.advance(closed)
    fail(breaker, 5)
    assert [*seconds, breaker.standing().again] == [1.0, 2.0, 4.0, 1.0]


def test_a_policy_may_leave_a_reason_out(clock):
    """Zero failures in a row, of all, or times as slow open nothing."""
    never = Breaker(Breaking(consecutive=0, failing=0.0), clock)
    fail(never, 100)
    assert not never.is_tripped
    assert list(slow([0.1, 9.0], Breaking(slower=0.0))) == []
    row = Breaker(Breaking(consecutive=2, failing=0.0), clock)
    assert fail(row, 2) == [False, True]
    share = Breaker(Breaking(consecutive=0, least=2), clock)
    assert fail(share, 2) == [False, True]


def test_another_policy_holds_at_once(breaker):
    """Also for what has failed before."""
    fail(breaker, 2)
    breaker.policy = Breaking(consecutive=3, first=7.0)
    assert fail(breaker) == [True]
    assert breaker.standing().again == 7.0


def test_who_is_doubted_is_probed_first(breaker):
    """Its first answer closes the breaker, its first failure opens it for the shortest time."""
    breaker.doubt("its predecessor failed")
    assert breaker.state is Circuit.HALF_OPEN
    probe = object()
    assert breaker.begins(probe)
    assert not breaker.admits()
    assert breaker.failed(probe, "UNAVAILABLE")
    assert breaker.standing().again == BREAKING.first
    assert breaker.why == "its predecessor failed"


def test_who_has_failed_and_not_answered_since_is_failing(breaker):
    """Or is open, whatever others have answered."""
    assert not breaker.is_failing
    fail(breaker)
    assert breaker.is_failing
    answer(breaker)
    assert not breaker.is_failing
    breaker.trip("it is slow")
    assert breaker.is_failing


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"consecutive": -1}, "consecutive is -1, it cannot be negative"),
        ({"margin": -0.1}, "margin is -0.1, it cannot be negative"),
        ({"failing": 50.0}, "failing is 50.0, it is a share from 0 to 1"),
        ({"ejected": 1.5}, "ejected is 1.5, it is a share from 0 to 1"),
        ({"panic": -0.5}, "panic is -0.5, it is a share from 0 to 1"),
        ({"least": 0}, "least is 0, it is at least 1"),
        ({"slower": 0.5}, "slower is 0.5, it is above 1, or 0 for none"),
        ({"window": 0.0}, "window is 0.0, it must be above zero"),
        ({"first": 0.0}, "first is 0.0, it must be above zero"),
        ({"longest": 0.5}, "longest is 0.5, it cannot be below first, 1.0"),
    ],
)
def test_a_policy_that_says_nonsense_is_refused(said, why):
    """With what is wrong, and what may be."""
    with pytest.raises(ValueError, match=f"^{why}$"):
        Breaking(**said)


def test_failures_are_counted_by_their_reason(breaker):
    """Also while it is open."""
    fail(breaker, 6)
    fail(breaker, 2, reason="INTERNAL")
    assert breaker.standing().failures == {"UNAVAILABLE": 6, "INTERNAL": 2}


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ([0.1, 0.1, 0.5], [(2, 0.4)]),
        ([0.1, 0.1, 0.39], []),
        ([0.5, 0.1], [(0, 0.4)]),
        ([0.001, 0.02], []),
        ([0.001, 0.001, 0.022], [(2, 0.021)]),
        ([0.1, None], []),
        ([9.0], []),
        ([0.1, None, 0.5], [(2, 0.4)]),
    ],
)
def test_too_slow_is_who_takes_far_longer_than_the_others(seconds, found):
    """By a factor, and by more than a little."""
    assert list(slow(seconds)) == [(place, pytest.approx(most)) for place, most in found]


def test_a_specialist_stands_as_the_best_of_its_replicas():
    """Its failures are those of all."""
    later = Standing(Circuit.OPEN, {"INTERNAL": 1}, "b", 3.0)
    soon = Standing(Circuit.OPEN, {"INTERNAL": 2, "UNAVAILABLE": 1}, "a", 1.0)
    silent = Standing(Circuit.OPEN, {}, "c", math.inf)
    failures = {"INTERNAL": 3, "UNAVAILABLE": 1}
    assert together([later, silent, soon]) == Standing(Circuit.OPEN, failures, "a", 1.0)
    assert together([later, Standing(Circuit.CLOSED, {})]).state is Circuit.CLOSED
    assert str(silent) == "its breaker is open: c"


def late(seconds):
    error = DeadlineExceeded("late", replica="r")
    error.waited = seconds
    return error


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (Unavailable("x"), True),
        (SpecialistFailed("x"), True),
        (Internal("x"), True),
        (late(0.2), True),
        (late(0.19), False),
        (DeadlineExceeded("before it was sent"), False),
        (InvalidRequest("x"), False),
        (Overloaded("x"), False),
        (Cancelled("x"), False),
    ],
)
def test_what_the_caller_is_to_blame_for_is_no_fault(error, counts):
    """Nor is load; who had time for two answers and gave none has failed."""
    assert is_fault(error, usual=0.1) is counts
