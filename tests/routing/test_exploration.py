"""Whom to try, within a budget, and what is learned of candidates."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.decisions import Query
from fabric.core.routes import Exploration
from fabric.routing.bandits import FEATURES, best_of, features
from fabric.routing.exploration import MOST, Explorer

METHODS = ("thompson", "linucb")
SCORES = {"a:1": 0.7, "b:1": 0.6, "c:1": 0.5}
QUERY = Query(task="sums", text="one and one")


def explorer(method="thompson", shadow=0.0, share=1.0, discount=0.995, **fields):
    budget = Exploration(shadow=shadow, share=share, method=method, discount=discount)
    return Explorer(budget, **fields)


def taught(method="thompson", labels=300, rates=(0.2, 0.5, 0.8), **fields):
    """An explorer that has seen labels of three candidates with these rates of success."""
    made, random = explorer(method, **fields), np.random.default_rng(0)
    for number in range(labels):
        place = number % 3
        made.learn(QUERY, "abc"[place] + ":1", float(random.random() < rates[place]), 0.5)
    return made


def counts(choices):
    firsts = [choice.first for choice in choices]
    return {name: firsts.count(name) / len(firsts) for name in SCORES}


@given(
    st.sampled_from(METHODS),
    st.floats(0, 1),
    st.floats(0, 1),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=1),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 1)), max_size=20),
    st.text(max_size=4),
)
def test_propensities_sum_to_one_and_whoever_is_chosen_has_one(
    method, shadow, share, scores, labels, request
):
    """For any budget, scores and labels; nobody is its own shadow."""
    made = explorer(method, shadow, share)
    for name, success in labels:
        made.learn(QUERY, name, success, 0.5)
    choice = made.decide(request, QUERY, scores)
    chances = dict(zip(scores, choice.propensities, strict=True))
    assert sum(chances.values()) == pytest.approx(1)
    assert chances[choice.first] > 0
    assert min(chances.values()) >= 0.05 * share * (1 - shadow) / len(scores) - 1e-12
    assert choice.shadow in {"", *scores} - {choice.first}


@pytest.mark.parametrize("method", METHODS)
def test_candidates_are_chosen_as_often_as_their_propensities_say(method):
    """What is logged is the probability with which each was put first."""
    made = taught(method, shadow=0.2, share=0.5)
    choices = [made.decide(str(n), QUERY, SCORES) for n in range(4000)]
    seen = counts(choices)
    for name, chance in zip(SCORES, choices[0].propensities, strict=True):
        assert seen[name] == pytest.approx(chance, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_the_budget_is_kept(method):
    """A share of requests has a shadow, of the others a share goes to whom the method picks."""
    made = taught(method, shadow=0.1, share=0.3)
    choices = [made.decide(str(n), QUERY, SCORES) for n in range(4000)]
    assert sum(bool(choice.shadow) for choice in choices) / 4000 == pytest.approx(0.1, abs=0.02)
    explored = sum(choice.kind == "exploration" for choice in choices) / 4000
    assert explored == pytest.approx(0.9 * 0.3, abs=0.03)
    assert all(c.first == "a:1" for c in choices if c.shadow or not c.kind)


def test_nothing_is_spent_without_a_budget():
    """Every request goes to the first of the order given."""
    assert explorer(share=0.0).decide("r", QUERY, SCORES).propensities == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_whoever_did_better_than_scored_is_picked_more(method):
    """The scores said otherwise."""
    picked = dict(zip(SCORES, taught(method).decide("", QUERY, SCORES).propensities, strict=True))
    assert picked["c:1"] > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_shadow_is_who_may_be_the_best_of_the_others(method):
    """Calls for nothing but knowledge are not spent on who is known to be bad."""
    made = taught(method, shadow=1.0, rates=(0.8, 0.1, 0.7))
    shadows = [made.decide(str(n), QUERY, SCORES).shadow for n in range(300)]
    assert shadows.count("c:1") > 250


@pytest.mark.parametrize("method", METHODS)
def test_what_is_learned_of_one_kind_of_requests_counts_most_there(method):
    """A candidate that is good at one task and bad at another is tried for the first."""
    made = explorer(method)
    good, bad = Query(task="good"), Query(task="bad")
    for _ in range(100):
        made.learn(good, "b:1", 1.0, 0.5)
        made.learn(bad, "b:1", 0.0, 0.5)
        made.learn(good, "a:1", 0.6, 0.6)
        made.learn(bad, "a:1", 0.6, 0.6)
    scores = {"a:1": 0.6, "b:1": 0.5}
    here, there = (made.decide("", query, scores).propensities[1] for query in (good, bad))
    assert here > 0.5 > there
    corrected = [made.corrected(query, scores)["b:1"] for query in (good, bad)]
    assert corrected[0] > 0.75
    assert corrected[1] < 0.25


@pytest.mark.parametrize("method", METHODS)
def test_a_new_version_starts_near_the_version_before_and_less_sure(method):
    """It is expected to do as well, and tried more often than the old one would be."""
    made = taught(method, rates=(0.8, 0.5, 0.2))
    scores = {"a:1": 0.5, "c:1": 0.5}
    renewed = {"a:1": 0.5, "c:2": 0.5}
    old, new = (made.corrected(QUERY, given) for given in (scores, renewed))
    assert old["c:1"] < new["c:2"] < 0.5
    before, after = (made.decide("", QUERY, given).propensities[1] for given in (scores, renewed))
    assert after >= before
    stranger = made.decide("", QUERY, {"a:1": 0.5, "z:1": 0.5}).propensities[1]
    assert stranger >= after
    made.learn(QUERY, "c:2", 0.0, 0.5)
    assert made.corrected(QUERY, {"c:2": 0.5})["c:2"] < new["c:2"]


def test_a_candidate_that_changes_is_noticed_and_one_that_does_not_is_not():
    """After that little of what was known counts, so that the new rate is learned soon."""
    made, random = explorer(discount=1.0), np.random.default_rng(0)
    labels = (random.random(2000) < 0.7).astype(float)
    assert not any(made.learn(QUERY, "a:1", label, 0.5) for label in labels)
    worse = (random.random(100) < 0.2).astype(float)
    noticed = [made.learn(QUERY, "a:1", label, 0.5) for label in worse]
    assert noticed.count(True) == 1
    assert made.corrected(QUERY, {"a:1": 0.5})["a:1"] < 0.4


@pytest.mark.parametrize("method", METHODS)
def test_a_new_policy_knows_what_the_labels_before_it_said(method):
    """Its scores stand until others come; who is known well stays known well."""
    made = taught(method)
    sure = {"a:1": 0.8, "c:1": 0.2}
    made.rebase()
    assert made.corrected(QUERY, sure) == pytest.approx(sure)
    assert made.decide("", QUERY, sure).propensities[0] > 0.9
    made.learn(QUERY, "c:1", 1.0, 0.2)
    assert made.corrected(QUERY, sure)["c:1"] > 0.2


@pytest.mark.parametrize("method", METHODS)
def test_a_candidate_without_a_score_may_be_chosen(method):
    """Whom the policy does not know is as likely to succeed as not, until labels say more."""
    made, nan = explorer(method), float("nan")
    assert min(made.decide("", QUERY, {"a:1": 0.5, "z:1": nan}).propensities) > 0
    made.learn(QUERY, "z:1", 1.0, nan)
    assert made.corrected(QUERY, {"z:1": nan})["z:1"] > 0.5


def test_old_labels_count_less_than_new_ones():
    """Discounting follows what changes too little to be noticed at once."""
    corrected = []
    for discount in (1.0, 0.98):
        made = explorer(discount=discount)
        for label in [0.75] * 400 + [0.67] * 100:
            made.learn(QUERY, "a:1", label, 0.5)
        corrected.append(made.corrected(QUERY, {"a:1": 0.5})["a:1"])
    assert corrected[1] < corrected[0] - 0.03


@pytest.mark.parametrize("method", METHODS)
def test_decisions_follow_from_state_seed_and_request(method):
    """Given what was known, the log's requests are decided the same, in any order."""
    made = taught(method, shadow=0.1, share=0.5, seed=7)
    kept = made.state()
    fresh = explorer(method, shadow=0.1, share=0.5, seed=7, state=kept)
    requests = [str(n) for n in range(200)]
    decided = {request: made.decide(request, QUERY, SCORES) for request in requests}
    assert decided == {r: fresh.decide(r, QUERY, SCORES) for r in reversed(requests)}
    other = explorer(method, shadow=0.1, share=0.5, seed=8, state=kept)
    assert decided != {request: other.decide(request, QUERY, SCORES) for request in requests}


@pytest.mark.parametrize("method", METHODS)
def test_the_state_is_plain_arrays_and_learning_goes_on_from_it(method):
    """It can be written as JSON; the same labels after it lead to the same state."""
    made = taught(method)
    written = json.dumps({name: array.tolist() for name, array in made.state().items()})
    state = {name: np.array(values) for name, values in json.loads(written).items()}
    restored = explorer(method, state=state)
    for again in (made, restored):
        again.learn(QUERY, "b:2", 1.0, 0.5)
        again.learn(QUERY, "a:1", 0.0, 0.5)
    for name, array in made.state().items():
        np.testing.assert_array_equal(array, restored.state()[name])


def test_state_is_bounded():
    """Whoever was heard of longest ago is forgotten."""
    made = explorer()
    for number in range(MOST + 10):
        made.learn(QUERY, f"m{number}:1", 0.0, 0.5)
        made.learn(QUERY, "m0:1", 0.0, 0.5)
    names = made.state()["candidates"].tolist()
    assert len(names) == MOST
    assert "m0:1" in names
    assert "m1:1" not in names
    forgotten, stranger = (made.corrected(QUERY, {name: 0.5})[name] for name in ("m1:1", "z:1"))
    assert forgotten == stranger


def test_chances_to_be_the_best_are_those_of_many_draws():
    """The integral agrees with sampling, for candidates known well and hardly."""
    means, strengths = np.array([0.6, 0.55, 0.3, 0.58]), np.array([200.0, 20.0, 2.0, 2000.0])
    random = np.random.default_rng(0)
    draws = random.beta(1 + means * strengths, 1 + (1 - means) * strengths, (200_000, 4))
    drawn = np.bincount(draws.argmax(axis=1), minlength=4) / len(draws)
    np.testing.assert_allclose(best_of(means, strengths), drawn, atol=0.005)


@given(st.text(max_size=50), st.lists(st.floats(allow_nan=False, width=32), max_size=80))
def test_any_request_has_finite_features(text, numbers):
    """Of one length, whatever the length of what they are made from."""
    made = features(Query(task="t", text=text, numbers=tuple(numbers)))
    assert made.shape == (FEATURES,)
    assert np.isfinite(made).all()
