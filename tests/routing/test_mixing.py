"""Answers of several specialists made into one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fabric.core.routes import Mixture
from fabric.core.scores import classes, margin, probabilities
from fabric.routing.mixing import mixed

COMBINE = st.sampled_from(("mean", "vote", "best"))
SCORES = st.floats(0, 1)


@st.composite
def answers(draw, alike=False):
    """Logits of some specialists for some rows, with the scores of the specialists."""
    count, rows, width = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    numbers = arrays(np.float32, (rows, width), elements=st.floats(-8, 8, width=16))
    made = [draw(numbers) for _ in range(1 if alike else count)] * (count if alike else 1)
    scores = draw(st.lists(SCORES, min_size=count, max_size=count))
    return [{"y": each} for each in made], scores


def result(mixture, outputs, scores):
    """The combined output, as the caller gets it."""
    one = mixed(mixture, outputs, scores)
    return one.tensors.get("y", outputs[one.parts[0]]["y"])


def row(*numbers, dtype=np.float32):
    return {"y": np.array([numbers], dtype)}


# ------------------------------------------------------------------ what always holds
@given(answers(alike=True), COMBINE)
def test_of_answers_that_are_the_same_that_is_the_answer(drawn, combine):
    """However they are weighted."""
    outputs, scores = drawn
    found = result(Mixture(top=0, combine=combine), outputs, scores)
    assert found == pytest.approx(outputs[0]["y"], abs=1e-5)


@given(answers(), COMBINE, st.randoms())
def test_the_order_of_the_candidates_does_not_matter(drawn, combine, random):
    """Only their scores do, where these differ."""
    outputs, scores = drawn
    assume(len(set(scores)) == len(scores))
    pairs = list(zip(outputs, scores, strict=True))
    random.shuffle(pairs)
    shuffled, others = [list(each) for each in zip(*pairs, strict=True)]
    mixture = Mixture(top=0, combine=combine)
    if combine == "best":  # among the equally sure the heavier one
        margins = [margin(probabilities(each["y"])).min() for each in outputs]
        assume(len(set(margins)) == len(margins))
    assert result(mixture, outputs, scores) == pytest.approx(
        result(mixture, shuffled, others), abs=1e-5
    )


@given(answers(), COMBINE)
def test_shape_and_datatype_stay(drawn, combine):
    """The answer is one that a specialist could have given."""
    outputs, scores = drawn
    found = result(Mixture(top=0, combine=combine), outputs, scores)
    assert (found.shape, found.dtype) == (outputs[0]["y"].shape, np.float32)


@given(answers())
def test_a_mean_lies_between_the_least_and_the_most(drawn):
    """Of each number."""
    outputs, scores = drawn
    stacked = np.stack([each["y"] for each in outputs])
    found = result(Mixture(top=0), outputs, scores)
    assume(not any(abs(each.sum() - 1) < 0.1 for each in stacked.reshape(-1, stacked.shape[2])))
    assert np.all(found >= stacked.min(axis=0) - 1e-4)
    assert np.all(found <= stacked.max(axis=0) + 1e-4)


@given(answers())
def test_no_class_has_more_votes_than_the_one_that_is_voted_for(drawn):
    """And its numbers are those of somebody who voted for it."""
    outputs, scores = drawn
    found = result(Mixture(top=0, combine="vote"), outputs, scores)
    for place, chosen in enumerate(found):
        ballots = [int(classes(each["y"])[place]) for each in outputs]
        winner = int(np.argmax(chosen))
        assert ballots.count(winner) == max(ballots.count(each) for each in ballots)
        assert any(np.array_equal(chosen, each["y"][place]) for each in outputs)


@given(answers())
def test_nobody_is_surer_than_the_best(drawn):
    """In its least sure row, and all of its answer is given as it is."""
    outputs, scores = drawn
    one = mixed(Mixture(top=0, combine="best"), outputs, scores)
    margins = [float(margin(probabilities(each["y"])).min()) for each in outputs]
    assert margins[one.parts[0]] == max(margins)
    assert one.tensors == {}
    assert sorted(one.parts) == list(range(len(outputs)))


# ------------------------------------------------------------------ by hand
def test_a_mean_is_weighted_by_the_scores():
    """Equally where all are zero."""
    outputs = [row(0.8, 0.2), row(0.2, 0.8)]
    assert result(Mixture(), outputs, [3, 1]) == pytest.approx(np.array([[0.65, 0.35]]))
    assert result(Mixture(), outputs, [0, 0]) == pytest.approx(np.array([[0.5, 0.5]]))


def test_logits_are_made_probabilities_where_somebody_gives_these():
    """Else the mean would be of two kinds of numbers."""
    found = result(Mixture(), [row(0.9, 0.1), row(10.0, 0.0)], [1, 1])
    assert found.sum() == pytest.approx(1.0)
    assert found[0, 0] == pytest.approx(0.95, abs=1e-3)
    assert result(Mixture(), [row(4.0, 2.0), row(0.0, 4.0)], [1, 1]).tolist() == [[2.0, 3.0]]


def test_a_tie_of_votes_goes_to_the_larger_scores():
    """Two votes are more than any score; numbers are those of the heaviest who gave the class."""
    vote = Mixture(top=0, combine="vote")
    one, two, three = row(0.9, 0.1), row(0.2, 0.8), row(0.4, 0.6)
    assert result(vote, [one, two], [0.1, 0.2]).tolist() == two["y"].tolist()
    assert result(vote, [one, two], [0.2, 0.1]).tolist() == one["y"].tolist()
    assert result(vote, [one, two, three], [0.9, 0.1, 0.2]).tolist() == three["y"].tolist()


@pytest.mark.parametrize("combine", ["mean", "vote", "best"])
def test_answers_without_rows_make_one_without_rows(combine):
    """There is nothing to be combined, and an answer to be given."""
    none = {"y": np.zeros((0, 3), np.float32)}
    found = mixed(Mixture(combine=combine), [none, none], [0.5, 0.5])
    assert found.parts == (0, 1)
    assert all(array.shape == (0, 3) for array in found.tensors.values())


def test_labels_can_be_voted_on():
    """What is no floating-point number is the class itself."""
    vote = Mixture(top=0, combine="vote")
    labels = [{"y": np.array([each, b"x"], object)} for each in (b"cat", b"dog", b"dog")]
    assert result(vote, labels, [1, 0, 0]).tolist() == [b"dog", b"x"]
    numbers = [{"y": np.array([each], np.int64)} for each in (3, 4, 4)]
    assert result(vote, numbers, [0, 0, 0]).tolist() == [4]


def test_other_outputs_are_left_alone():
    """They are the heaviest's, whose answer is taken."""
    outputs = [
        {"id": np.array([1]), "y": np.array([[0.0, 4.0]])},
        {"id": np.array([2]), "y": np.array([[2.0, 0.0]])},
    ]
    one = mixed(Mixture(output="y"), outputs, [0.25, 0.75])
    assert (one.parts, list(one.tensors)) == ((1, 0), ["y"])
    assert one.tensors["y"].tolist() == [[1.5, 1.0]]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (row(0.5, 0.25, 0.25), "is float32 [1, 3], that of the others 'y' float32 [1, 2]"),
        (row(0.5, 0.5, dtype=np.float64), "is float64 [1, 2]"),
        ({"z": np.zeros((1, 2), np.float32)}, "its output 'z' is float32"),
        (row(1, 2, dtype=np.int64), "int64 are no scores of classes"),
        (row(np.nan, 0.5), "not all of its numbers are finite"),
        ({}, "no output '', only none"),
    ],
)
def test_who_is_unlike_the_heaviest_is_left_out(other, why):
    """With the reason; the others answer without it."""
    one = mixed(Mixture(top=0), [row(0.5, 0.5), other, row(0.1, 0.9)], [3, 2, 1])
    assert one.parts == (0, 2)
    assert list(one.left_out) == [1]
    assert why in one.left_out[1]
    assert one.tensors["y"] == pytest.approx(np.array([[0.4, 0.6]]))


def test_the_heaviest_answers_alone_where_nobody_can_be_combined():
    """Its answer is given as it is."""
    outputs = [row(1, 2, dtype=np.int64), row(3, 4, dtype=np.int64)]
    one = mixed(Mixture(), outputs, [1, 2])
    assert (one.parts, one.tensors, list(one.left_out)) == ((1,), {}, [0])
