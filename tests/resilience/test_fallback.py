"""Who is tried next."""

from __future__ import annotations

from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.plans import Attempt, Candidate, Plan
from fabric.core.routes import Retry
from fabric.resilience.fallback import Walk, exhausted
from fabric.testing import specialist

A, B, C = (Candidate(specialist(name).card, "", 30.0) for name in "abc")


def walk(retry=Retry(), substitute=True):  # noqa: B008
    return Walk(Plan("r", (A, B, C), (), retry, 30.0), substitute)


def after(walk, error):
    return walk.after(error, Attempt("x", "1", error.replica, error.reason, error.message, 0.0))


def test_the_chain_is_walked_in_order_to_its_end():
    """A failed answer is followed by the next candidate, until none is left."""
    w = walk(Retry(attempts=9))
    error = SpecialistFailed("nan", replica="1")
    assert [after(w, error), after(w, error), after(w, error)] == [B, C, None]


def test_a_lost_replica_is_followed_by_another_of_the_same_candidate():
    """Unavailable and overloaded replicas are avoided, and their siblings tried first."""
    w = walk()
    assert after(w, Unavailable("lost", replica="1")) is A
    assert w.avoid == {"1"}
    assert after(w, Overloaded("full", replica="2")) is B
    assert w.avoid == {"1", "2"}


def test_a_candidate_without_a_replica_costs_no_attempt():
    """A chain longer than the allowed attempts is walked past those that nobody serves."""
    w = walk(Retry(attempts=1))
    none = Unavailable("no replica")
    assert [after(w, none), after(w, none)] == [B, C]


def test_that_there_is_no_other_replica_hides_no_failure():
    """The only replica's error is what the caller is told, and one attempt is what there was."""
    w = walk(substitute=False)
    full = Overloaded("full", replica="1")
    assert after(w, full) is A
    assert after(w, Unavailable("no other replica")) is None
    assert [attempt.message for attempt in w.failed] == ["full"]
    assert w.last is full
    assert exhausted(w, w.last).message == "full"


def test_attempts_are_limited_over_the_whole_chain():
    """The last allowed attempt is the last."""
    w = walk(Retry(attempts=2, per_candidate=2))
    assert after(w, Unavailable("lost", replica="1")) is A
    assert after(w, Unavailable("lost", replica="2")) is None


def test_late_candidates_are_not_tried_twice():
    """A candidate that was too slow once is left for the next one."""
    assert after(walk(), DeadlineExceeded("slow", replica="1")) is B


def test_what_is_wrong_with_the_request_is_wrong_everywhere():
    """An error that no other candidate could avoid ends the walk."""
    assert after(walk(), InvalidRequest("bad shape", replica="1")) is None


def test_the_caller_may_forbid_substitution():
    """Other replicas of the first candidate are tried, other candidates are not."""
    w = walk(substitute=False)
    assert after(w, Unavailable("lost", replica="1")) is A
    assert after(w, Unavailable("lost", replica="2")) is None


def test_the_last_error_names_all_attempts():
    """The caller learns how each attempt failed; a single failure is told as it was."""
    w = walk(substitute=False)
    one = Unavailable("lost", replica="1")
    after(w, one)
    told = exhausted(w, one)
    assert (type(told), told.message, told.replica) == (Unavailable, "lost", "1")
    assert told is not one
    after(w, SpecialistFailed("nan", replica="2"))
    error = exhausted(w, SpecialistFailed("nan"))
    assert isinstance(error, SpecialistFailed)
    assert error.message == "2 attempts failed: x:1: lost; x:1: nan"


def test_an_answer_that_is_not_enough_is_followed_by_the_next_candidate():
    """It is one of the attempts of a request, and who is passed over none."""
    w = walk(Retry(attempts=2))
    first, second, third = (Attempt(name, "1", "", "UNSURE", "", 0.0) for name in "abc")
    assert w.past(first) is B
    assert w.past(second, is_made=False) is C
    assert w.past(third) is None
    assert w.failed == [first, second, third]
    assert walk(substitute=False).past(first) is None
