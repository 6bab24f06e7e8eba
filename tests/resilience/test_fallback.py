"""Who is tried next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.errors import (
    DeadlineExceeded,
    InvalidAnswer,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.plans import Attempt, Candidate, Plan, Terms
from fabric.core.requests import InferRequest
from fabric.core.routes import Retry
from fabric.resilience.budgets import Budgets
from fabric.resilience.fallback import Walk, exhausted
from fabric.testing import specialist

A, B, C = (Candidate(specialist(name).card, "", 30.0) for name in "abc")


def walk(retry=Retry(), candidates=(A, B, C), budgets=None, **asked):  # noqa: B008
    request = InferRequest("r", "", b"", **asked)
    return Walk(Plan("r", candidates, (), retry, 30.0), request, budgets or Budgets())


def on(candidate, *conditions, **terms):
    return replace(candidate, terms=Terms(on=frozenset(conditions), **terms))


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
    assert exhausted(w.failed, w.last).message == "full"


def test_an_attempt_beside_another_is_one_of_all():
    """It counts, and its replica is avoided; where none was reached it is but told of."""
    w = walk(Retry(attempts=2))
    w.beside(Attempt("a", "1", "", "UNAVAILABLE", "no other replica", 0.0))
    w.beside(Attempt("a", "1", "2", "SPECIALIST_FAILED", "nan", 0.0))
    assert w.avoid == {"2"}
    assert after(w, Unavailable("lost", replica="1")) is None
    assert [attempt.message for attempt in w.failed] == ["no other replica", "nan", "lost"]


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
    told = exhausted(w.failed, one)
    assert (type(told), told.message, told.replica) == (Unavailable, "lost", "1")
    assert told is not one
    after(w, SpecialistFailed("nan", replica="2"))
    error = exhausted(w.failed, SpecialistFailed("nan"))
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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable("none"), "b"),
        (Overloaded("full", replica="1"), "c"),
        (DeadlineExceeded("slow", replica="1"), "c"),
        (SpecialistFailed("nan", replica="1"), None),
        (InvalidAnswer("nan", replica="1"), "d"),
    ],
)
def test_a_candidate_is_tried_on_what_its_entry_says(error, expected):
    """Those who are not tried on such a failure are passed over, and are no attempts."""
    d = Candidate(specialist("d").card, "", 30.0)
    chain = (A, on(B, "unavailable"), on(C, "overloaded", "late"), on(d, "invalid"))
    w = walk(Retry(per_candidate=1), chain)
    following = after(w, error)
    assert (following and following.card.name) == expected
    assert len(w.failed) == 1


def test_an_entry_may_be_the_last_to_answer():
    """Where it fails nobody is asked in its place, and its own replicas are."""
    w = walk(candidates=(on(A, "late", substitute=False), B))
    assert after(w, Unavailable("lost", replica="1")).card is A.card
    assert after(w, Unavailable("lost", replica="2")) is None


def test_an_entry_says_how_often_it_is_tried():
    """Its own tries count before those of the route."""
    a = on(A, tries=3)
    w = walk(Retry(attempts=9, per_candidate=1), (a, B))
    followers = [after(w, Unavailable("lost", replica=str(n))) for n in range(3)]
    assert followers == [a, a, B]


def test_a_model_that_may_have_begun_is_not_followed_where_that_would_be_twice():
    """What was refused before it began may be asked of others."""
    once = {"idempotent": False}
    assert after(walk(**once), SpecialistFailed("nan", replica="1")) is None
    assert after(walk(**once), DeadlineExceeded("slow", replica="1")) is None
    lost = Unavailable("the link is lost", replica="1")
    assert after(walk(**once), lost) is A
    lost.begun = True
    assert after(walk(**once), lost) is None
    assert after(walk(**once), Overloaded("full", replica="1")) is A


def test_a_specialist_that_fails_is_not_hit_harder():
    """Further attempts at it are a share of its requests; the next candidate is asked instead."""
    budgets = Budgets()
    while budgets.spend("a:1"):
        pass
    lost = Unavailable("lost", replica="1")
    assert after(walk(budgets=budgets), lost) is B
    for _ in range(5):
        budgets.asked("a:1", 0.2)
    assert after(walk(budgets=budgets), lost) is A
    assert after(walk(budgets=budgets), lost) is B


def test_who_is_asked_again_waits_longer_each_time():
    """A random part of a time that doubles; a lost replica's sibling is asked at once."""
    w = walk(Retry(attempts=9, per_candidate=4, backoff=0.01))
    lost, full = Unavailable("lost", replica="1"), Overloaded("full", replica="2")
    waits = []
    for error in (lost, full, lost):
        after(w, error)
        waits.append(w.wait(error, 0.5))
    assert waits == [0.0, 0.01, 0.02]
    after(w, lost)
    assert w.wait(lost, 0.5) == 0.0
