"""Policies that are read, asked and written."""

from dataclasses import replace

import numpy as np
import pytest

from fabric.core.decisions import Query
from fabric.learning.training import Training, fit
from fabric.routing.learned import Learned
from tests.learning import tables

TEXTS = tables.of_texts(tagged=True)


@pytest.fixture(scope="module")
def learned() -> Learned:
    return fit(TEXTS, Training(trees=8))


def test_what_was_written_is_read_as_it_was(learned: Learned):
    """A policy that was written and read says the same of every query."""
    again = Learned.read(learned.write())

    for query in (*TEXTS.queries[:20], Query(), Query(text="äöü " * 3000)):
        assert np.array_equal(learned.score(query), again.score(query))
    assert (again.candidates, again.best, again.margin) == (
        learned.candidates,
        learned.best,
        learned.margin,
    )
    assert again.report == learned.report


def test_who_is_not_known_has_no_probability_and_comes_last(learned: Learned):
    """Candidates that the policy was not trained on are not a number, and last as they stood."""
    query = TEXTS.queries[0]

    choice = learned.choose(query, ("new:1", "bert:1", "other:1", "anna:1"))

    assert np.isnan(choice.probabilities).tolist() == [True, False, True, False]
    assert choice.order[2:] == (0, 2)
    assert learned.choose(query, ("new:1",)).order == (0,)


def test_the_best_single_candidate_is_left_only_for_a_certain_gain(learned: Learned):
    """Under a margin that no gain exceeds the best single candidate is first, else who is best."""
    query = next(query for query in TEXTS.queries if query.task == "code")

    sure = learned.choose(query, tables.NAMES)
    unsure = replace(learned, margin=float("inf")).choose(query, tables.NAMES)

    assert (sure.first, sure.switched, sure.gain_bound > 0) == (2, True, True)
    assert (unsure.first, unsure.switched) == (0, False)
    assert sure.gain == unsure.gain > 0
    assert unsure.order[1] == 2


def test_another_takes_the_place_of_a_best_single_candidate_that_is_not_there(learned: Learned):
    """Where the best single candidate may not answer, the best of the others stands for it."""
    query = next(query for query in TEXTS.queries if query.task == "code")

    choice = replace(learned, margin=float("inf")).choose(query, ("carl:2", "bert:1"))

    assert choice.first == 1


def test_a_new_version_is_expected_to_do_as_the_last_one(learned: Learned):
    """It stands where the version stood that it replaces, also as the best single candidate."""
    query = next(query for query in TEXTS.queries if query.task == "code")

    before = learned.choose(query, ("anna:1", "bert:1", "carl:2"))
    after = learned.choose(query, ("anna:2", "bert:1", "carl:3"))
    guarded = replace(learned, margin=float("inf")).choose(query, ("bert:1", "carl:3", "anna:2"))

    assert np.array_equal(before.probabilities, after.probabilities)
    assert before.order == after.order
    assert guarded.first == 2


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.75])
def test_a_damaged_policy_is_refused(learned: Learned, part: float):
    """One wrong byte is enough for a policy to be refused."""
    data = bytearray(learned.write())
    data[int(part * len(data))] ^= 0xFF

    with pytest.raises(ValueError, match="the policy is damaged"):
        Learned.read(bytes(data))


@pytest.mark.parametrize("data", [b"", b"PK", b"not a policy at all", b"\x93NUMPY"])
def test_what_is_no_policy_is_refused(data: bytes):
    """Bytes that are something else are refused with a ValueError."""
    with pytest.raises(ValueError, match="the policy is damaged"):
        Learned.read(data)


def test_a_later_format_is_refused(learned: Learned, monkeypatch: pytest.MonkeyPatch):
    """A policy of a format that is not known names both formats, and what to do."""
    monkeypatch.setattr("fabric.routing.learned.FORMAT", 2)
    data = learned.write()
    monkeypatch.undo()

    with pytest.raises(ValueError, match="of format 2, this fabric reads 1"):
        Learned.read(data)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda good: replace(good, best="nobody:1"),
        lambda good: replace(good, offset=good.offset[:2]),
        lambda good: replace(good, offset=good.offset * np.nan),
        lambda good: replace(good, curve=good.curve[:, ::-1]),
        lambda good: replace(good, forest=replace(good.forest, depth=1)),
        lambda good: replace(good, forest=replace(good.forest, feature=good.forest.feature + 90)),
        lambda good: replace(good, words=replace(good.words, rarity=good.words.rarity[:-1])),
    ],
)
def test_parts_that_do_not_fit_are_refused(learned: Learned, wrong):
    """A policy whose parts contradict each other is refused when it is read, not at a query."""
    with pytest.raises(ValueError, match=r"the policy is damaged"):
        Learned.read(wrong(learned).write())
