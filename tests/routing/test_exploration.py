"""Whom to try, within a budget, and what is learned of candidates."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.decisions import Query
from fabric.core.routes import Exploration
from fabric.routing.bandits import FEATURES, Linear, best_of, features
from fabric.routing.exploration import KINDS, MOST, Explorer

METHODS = ("thompson", "linucb")
SCORES = {"a:1": 0.7, "b:1": 0.6, "c:1": 0.5}
QUERY = Query(task="sums", text="one and one")


def explorer(method="thompson", shadow=0.0, share=1.0, discount=0.995, known=b""):
    budget = Exploration(shadow=shadow, share=share, method=method, discount=discount)
    return Explorer(budget, known)


def taught(method="thompson", labels=300, rates=(0.2, 0.5, 0.8), **fields):
    """An explorer that has seen labels of three candidates with these rates of success."""
    made, random = explorer(method, **fields), np.random.default_rng(0)
    for number in range(labels):
        place = number % 3
        made.learn(QUERY, "abc"[place] + ":1", float(random.random() < rates[place]), 0.5)
    return made


def chance(made, scores, query=QUERY):
    """The probability with which the last of *scores* is put first."""
    return made.decide("", query, scores).propensities[-1]


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
    assert min(chances.values()) >= 0.01 * share * (1 - shadow) / len(scores) - 1e-12
    assert choice.shadow in {"", *scores} - {choice.first}
    asked = dict(zip(scores, choice.shadows, strict=True)) if choice.shadows else {}
    assert sum(asked.values()) == pytest.approx(shadow if len(scores) > 1 else 0)
    assert not choice.shadow or asked[choice.shadow] > 0


@pytest.mark.parametrize("method", METHODS)
def test_candidates_are_chosen_as_often_as_their_propensities_say(method):
    """What is logged is the probability with which each was put first, or was the shadow."""
    made = taught(method, shadow=0.2, share=0.5)
    choices = [made.decide(str(n), QUERY, SCORES) for n in range(4000)]
    seen = counts(choices)
    for name, chance in zip(SCORES, choices[0].propensities, strict=True):
        assert seen[name] == pytest.approx(chance, abs=0.03)
    shadows = [choice.shadow for choice in choices]
    for name, chance in zip(SCORES, choices[0].shadows, strict=True):
        assert shadows.count(name) / 4000 == pytest.approx(chance, abs=0.03)


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
    assert chance(made, scores, good) > 0.5 > chance(made, scores, bad)


def test_kinds_of_requests_are_told_apart():
    """As many as there is room for: what is learned of one says nothing of another."""
    made = explorer()
    for number in range(KINDS):
        for _ in range(30):
            made.learn(Query(task=str(number)), "b:1", float(number % 2), 0.5)
            made.learn(Query(task=str(number)), "a:1", 0.5, 0.5)
    scores = {"a:1": 0.5, "b:1": 0.5}
    for number in range(KINDS):
        assert (chance(made, scores, Query(task=str(number))) > 0.5) == bool(number % 2)


@pytest.mark.parametrize("method", METHODS)
def test_a_new_version_starts_near_the_version_before_and_less_sure(method):
    """It is expected to do as well, and tried more often than the old one would be."""
    made = taught(method, rates=(0.8, 0.5, 0.4))
    old, new = chance(made, {"a:1": 0.5, "c:1": 0.55}), chance(made, {"a:1": 0.5, "c:2": 0.55})
    stranger = chance(made, {"a:1": 0.5, "z:1": 0.55})
    assert old <= new <= stranger
    assert old < stranger
    for _ in range(40):
        made.learn(QUERY, "c:2", 0.0, 0.5)
    assert chance(made, {"a:1": 0.5, "c:2": 0.55}) <= new


def test_a_candidate_that_changes_is_noticed_and_one_that_does_not_is_not():
    """After that little of what was known counts, so that the new rate is learned soon."""
    made, random = explorer(discount=1.0), np.random.default_rng(0)
    labels = (random.random(2000) < 0.7).astype(float)
    assert {made.learn(QUERY, "a:1", label, 0.5) for label in labels} == {1.0}
    assert chance(made, {"b:1": 0.5, "a:1": 0.5}) > 0.9
    worse = (random.random(100) < 0.2).astype(float)
    kept = [made.learn(QUERY, "a:1", label, 0.5) for label in worse]
    assert [each for each in kept if each < 1.0] == [pytest.approx(10 / 2000, rel=0.05)]
    assert chance(made, {"b:1": 0.5, "a:1": 0.5}) < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_new_policy_knows_what_the_labels_before_it_said(method):
    """Its scores stand until others come; who is known well stays known well."""
    made = taught(method)
    assert chance(made, {"a:1": 0.6, "c:1": 0.4}) > 0.5
    made.rebase()
    assert chance(made, {"a:1": 0.8, "c:1": 0.2}) < 0.1
    assert chance(made, {"a:1": 0.2, "c:1": 0.8}) > 0.9
    before = chance(explorer(method), {"a:1": 0.6, "c:1": 0.5})
    assert chance(made, {"a:1": 0.6, "c:1": 0.5}) <= before


@pytest.mark.parametrize("method", METHODS)
def test_a_candidate_without_a_score_may_be_chosen(method):
    """Whom the policy does not know is as likely to succeed as not, until labels say more."""
    made, nan = explorer(method), float("nan")
    before = chance(made, {"a:1": 0.5, "z:1": nan})
    assert before > 0
    for _ in range(10):
        made.learn(QUERY, "z:1", 1.0, nan)
    assert chance(made, {"a:1": 0.5, "z:1": nan}) > max(before, 0.5)


def test_old_labels_count_less_than_new_ones():
    """Discounting follows what changes too little to be noticed at once."""
    chances = []
    for discount in (1.0, 0.98):
        made = explorer(discount=discount)
        for label in [0.75] * 400 + [0.67] * 100:
            made.learn(QUERY, "a:1", label, 0.5)
            made.learn(QUERY, "b:1", 0.7, 0.7)
        chances.append(chance(made, {"b:1": 0.7, "a:1": 0.5}))
    assert chances[1] < 0.5 < chances[0]


@pytest.mark.parametrize("method", METHODS)
def test_decisions_follow_from_what_is_known_and_the_request(method):
    """Whoever knows the same decides the same, in any order, and learns the same from then on."""
    made = taught(method, shadow=0.1, share=0.5)
    fresh = explorer(method, shadow=0.1, share=0.5, known=made.write())
    for again in (made, fresh):
        again.learn(QUERY, "b:2", 1.0, 0.5)
        again.learn(Query(task="other"), "a:1", 0.0, 0.5)
    assert fresh.write() == made.write()
    requests = [str(number) for number in range(200)]
    decided = {request: made.decide(request, QUERY, SCORES) for request in requests}
    assert decided == {r: fresh.decide(r, QUERY, SCORES) for r in reversed(requests)}


def test_what_is_known_serves_the_other_method_too():
    """A route may change its method: who is known well is, and the rest is learned."""
    known = taught().write()
    assert chance(explorer("linucb", known=known), SCORES) > 0
    assert chance(explorer("thompson", known=taught("linucb").write()), SCORES) > 0.9


@pytest.mark.parametrize("spoil", [lambda known: known[:-9], lambda known: b"?" + known])
def test_damaged_knowledge_is_refused(spoil):
    """Nobody explores by half of it."""
    with pytest.raises(Exception, match=r"."):
        explorer(known=spoil(taught().write()))


def test_state_is_bounded():
    """Whoever was heard of longest ago is forgotten."""
    made = explorer()
    for number in range(MOST + 10):
        made.learn(QUERY, f"m{number}:1", 0.0, 0.5)
        made.learn(QUERY, "m0:1", 0.0, 0.5)
    with np.load(io.BytesIO(made.write())) as stored:
        names = stored["candidates"].tolist()
    assert len(names) == MOST
    assert "m0:1" in names
    assert "m1:1" not in names
    assert chance(made, {"a:1": 0.5, "m1:1": 0.5}) == chance(made, {"a:1": 0.5, "z:1": 0.5})


def test_linucb_is_that_of_the_textbook():
    """Without a discount: the ridge regression's mean plus its own standard error, times 0.5."""
    random, linear = np.random.default_rng(0), Linear(2)
    x, gains = random.normal(size=(50, FEATURES)), random.normal(size=50)
    for each, gain in zip(x, gains, strict=True):
        linear.learn(1, each, gain, 1.0)
    at = random.normal(size=FEATURES)
    inverse = np.linalg.inv(x.T @ x + 10.0 * np.eye(FEATURES))
    hope = at @ inverse @ x.T @ gains + 0.5 * np.sqrt(at @ inverse @ at)
    assert linear.hopes([1], np.ones(1), at) == pytest.approx(hope)


def test_labels_of_one_kind_leave_what_is_known_of_others():
    """A discount is for the direction of the new label; there it is that of a running mean."""
    linear, (one, other) = Linear(1), np.eye(FEATURES)[:2]
    for gain in (1.0, 1.0, 1.0):
        linear.learn(0, one, gain, 0.9)
    before = linear.hopes([0], np.ones(1), one)
    for _ in range(50):
        linear.learn(0, other, -1.0, 0.9)
    assert linear.hopes([0], np.ones(1), one) == pytest.approx(before)
    assert linear.gram[0, 0, 0] == pytest.approx(1 + 0.9 + 0.81)


def test_tasks_are_told_apart_by_their_features():
    """Up to as many as there are places."""
    made = np.array([features(Query(task=str(number))) for number in range(FEATURES - 2)])
    assert np.linalg.matrix_rank(made) == len(made)


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
