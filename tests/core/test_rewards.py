"""What is said of requests."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.decisions import Decision, Feedback, Outcome, Record


def outcome(specialist="a:1", **fields):
    return Outcome(request="r", specialist=specialist, **{"seconds": 0.1, **fields})


def rewards(outcomes, feedback):
    decision = Decision(request="r", route="digits", time=0.0, candidates=("a:1", "b:1"))
    return Record(decision, tuple(outcomes), tuple(feedback)).rewards


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


def test_of_two_attempts_at_one_specialist_the_one_that_answered_counts():
    """Whichever is told first."""
    attempts = [outcome(error="UNAVAILABLE"), outcome(label="5")]
    for told in (attempts, attempts[::-1]):
        assert rewards(told, [Feedback(request="r", label="5")]) == {"a:1": 1.0}


FEEDBACK = st.builds(
    Feedback,
    request=st.just("r"),
    specialist=st.sampled_from(["", "a:1", "b:1"]),
    score=st.floats(0, 1),
)


@given(st.lists(FEEDBACK, max_size=8), st.randoms())
def test_the_order_of_what_is_said_does_not_matter(told, random):
    """Nor that of the outcomes."""
    outcomes = [outcome("a:1"), outcome("b:1", is_shadow=True)]
    once = rewards(outcomes, told)
    random.shuffle(told)
    often = rewards(outcomes[::-1], told)
    assert once.keys() == often.keys()
    np.testing.assert_allclose([once[key] for key in once], [often[key] for key in once])
