"""Decisions, outcomes and feedback, joined."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.decisions import Decision, Feedback, Outcome, Query
from fabric.learning.records import records, table_of


def decided(request="r", time=0.0, candidates=("a:1", "b:1")):
    return Decision(request=request, route="digits", time=time, candidates=candidates)


def outcome(specialist="a:1", request="r", **fields):
    return Outcome(request=request, specialist=specialist, **{"seconds": 0.1, **fields})


def rewards(outcomes, feedback):
    (record,) = records([decided()], outcomes, feedback)
    return record.rewards


def test_a_label_rewards_whoever_answered_it():
    """The shadow is rewarded by the label of the caller's request too."""
    outcomes = [outcome(label="3"), outcome("b:1", label="5", is_shadow=True)]
    assert rewards(outcomes, [Feedback(request="r", label="5")]) == {"a:1": 0.0, "b:1": 1.0}


def test_a_label_says_nothing_of_an_answer_without_one():
    """An answer whose class cannot be read is neither right nor wrong."""
    assert rewards([outcome()], [Feedback(request="r", label="5")]) == {}


def test_a_score_is_about_who_answered_unless_it_names_another():
    """The failed and the shadow did not answer."""
    outcomes = [
        outcome("a:1", error="UNAVAILABLE"),
        outcome("b:1"),
        outcome("c:1", is_shadow=True),
    ]
    assert rewards(outcomes, [Feedback(request="r", score=0.7)]) == {"b:1": 0.7}
    named = Feedback(request="r", score=0.2, specialist="c:1")
    assert rewards(outcomes, [named]) == {"c:1": 0.2}


def test_a_preference_rewards_one_over_the_other():
    """Who did worse is who answered, if nobody else is named."""
    outcomes = [outcome("a:1"), outcome("b:1", is_shadow=True)]
    told = Feedback(request="r", preferred="b:1")
    assert rewards(outcomes, [told]) == {"a:1": 0.0, "b:1": 1.0}


def test_a_model_that_failed_was_wrong_where_something_was_said():
    """Being away or full says nothing of a model's answers; failing does, if anybody speaks."""
    outcomes = [
        outcome("a:1", error="SPECIALIST_FAILED"),
        outcome("b:1", error="OVERLOADED"),
        outcome("c:1"),
    ]
    assert rewards(outcomes, [Feedback(request="r", score=1.0)]) == {"a:1": 0.0, "c:1": 1.0}
    assert rewards(outcomes, []) == {}


def test_several_things_said_count_by_their_mean():
    """Two people may say different things of one answer."""
    told = [Feedback(request="r", id="x", score=1.0), Feedback(request="r", id="y", score=0.5)]
    assert rewards([outcome()], told) == {"a:1": 0.75}


def test_what_is_said_again_takes_the_place_of_what_was_said_before():
    """By id, or by default of the same request and specialist."""
    again = [Feedback(request="r", score=1.0), Feedback(request="r", score=0.0)]
    assert rewards([outcome()], again) == {"a:1": 0.0}
    moved = [Feedback(request="s", id="x", score=1.0), Feedback(request="r", id="x", score=0.25)]
    assert rewards([outcome()], moved) == {"a:1": 0.25}


def test_of_two_attempts_at_one_specialist_the_one_that_answered_counts():
    """Whichever is told first."""
    attempts = [outcome(error="UNAVAILABLE"), outcome(label="5")]
    for told in (attempts, attempts[::-1]):
        assert rewards(told, [Feedback(request="r", label="5")]) == {"a:1": 1.0}


def test_what_is_about_unknown_requests_waits_for_them():
    """It is left out until the decision is there; records come by time."""
    told = [Feedback(request="late", score=1.0)]
    outcomes = [outcome(request="late")]
    assert records([decided()], outcomes, told)[0].rewards == {}
    late, early = records([decided(time=2.0), decided("late", time=1.0)], outcomes, told)
    assert (late.decision.request, early.decision.request) == ("late", "r")
    assert late.rewards == {"a:1": 1.0}


FEEDBACK = st.builds(
    Feedback,
    request=st.sampled_from(["r", "s", "unknown"]),
    specialist=st.sampled_from(["", "a:1", "b:1"]),
    score=st.floats(0, 1),
    id=st.text("xyz", min_size=1, max_size=2),
)


@given(st.lists(FEEDBACK, unique_by=lambda told: told.id, max_size=8), st.randoms())
def test_neither_order_nor_repetition_of_feedback_matters(told, random):
    """With different ids, any order and any number of repetitions gives the same rewards."""
    decisions = [decided("r"), decided("s", time=1.0)]
    outcomes = [outcome("a:1", "r"), outcome("b:1", "s"), outcome("a:1", "s", is_shadow=True)]
    again = [*told, *told]
    random.shuffle(again)
    random.shuffle(outcomes)
    once = [record.rewards for record in records(decisions, outcomes, told)]
    often = [record.rewards for record in records(decisions, outcomes * 2, again)]
    for one, other in zip(once, often, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose([one[key] for key in one], [other[key] for key in one])


def test_a_table_has_a_row_for_every_record_with_a_reward():
    """Not a number where nobody asked; cost and time are then what they are on average."""
    decisions = [
        Decision(request=str(n), route="d", time=n, query=Query(text=str(n)), candidates=("a", "b"))
        for n in range(3)
    ]
    outcomes = [
        outcome("a", "0", cost=1.0),
        outcome("a", "2", cost=3.0, seconds=0.3),
        outcome("b", "2", cost=8.0, is_shadow=True),
        outcome("b", "1"),
    ]
    told = [Feedback(request="0", score=1.0), Feedback(request="2", score=0.0)]
    table = table_of(records(decisions, outcomes, told))
    assert table.candidates == ("a", "b")
    assert [query.text for query in table.queries] == ["0", "2"]
    np.testing.assert_array_equal(table.quality, [[1.0, np.nan], [0.0, np.nan]])
    np.testing.assert_allclose(table.cost, [[1.0, 8.0], [3.0, 8.0]])
    np.testing.assert_allclose(table.seconds, [[0.1, 0.1], [0.3, 0.1]])


def test_a_table_of_nothing_is_empty():
    """No records, no candidates."""
    assert table_of(()).quality.shape == (0, 0)
