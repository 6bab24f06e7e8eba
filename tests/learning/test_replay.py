"""Scoring policies from the log of another, against the truth and against coba."""

from __future__ import annotations

from dataclasses import replace

import coba
import numpy as np
import pytest
from coba.environments import OpeRewards
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.decisions import Decision, Feedback, Outcome, Query, Record
from fabric.core.errors import InvalidRequest
from fabric.learning.replay import replay
from fabric.learning.rewards import cross_fitted

NAMES = ("a:1", "b:1", "c:1", "d:1")
TASKS = 6
RATES = np.random.default_rng(5).uniform(0.1, 0.9, (TASKS, len(NAMES)))
"""Of success, by task and candidate."""
SOFT = np.exp(RATES / 0.2) / np.exp(RATES / 0.2).sum(axis=1, keepdims=True)
"""What the log was decided by: mostly the better ones."""


def log(size, seed=0):
    """Records of requests with one label each, decided by `SOFT`."""
    random = np.random.default_rng(seed)
    return [record(str(number), random.integers(TASKS), random) for number in range(size)]


def record(request, task, random):
    first = int(random.choice(len(NAMES), p=SOFT[task]))
    order = [first, *(place for place in range(len(NAMES)) if place != first)]
    decision = Decision(
        request=request,
        route="r",
        time=0.0,
        query=Query(task=str(task)),
        candidates=tuple(NAMES[place] for place in order),
        propensities=tuple(SOFT[task, order].tolist()),
    )
    score = float(random.random() < RATES[task, first])
    return Record(
        decision,
        (Outcome(request=request, specialist=NAMES[first], seconds=0.1),),
        (Feedback(request=request, score=score),),
    )


def policy_of(chances):
    """The policy with these probabilities by task and candidate."""

    def policy(query, candidates):
        return [float(chances[int(query.task), NAMES.index(name)]) for name in candidates]

    return policy


BEST = np.eye(len(NAMES))[RATES.argmax(axis=1)]
MIXED = 0.8 * BEST + 0.2 / len(NAMES)


def test_estimates_come_near_the_truth_and_averaging_the_log_does_not():
    """At 2,000 logs the doubly robust one is nearest, off by 0.015 at most; intervals hold it."""
    truth = (BEST * RATES).sum(axis=1).mean()
    errors, held = {method: [] for method in ("dr", "snips", "ips", "average")}, []
    for seed in range(100, 115):
        found = log(2000, seed)
        replayed = replay(found)
        for method in ("dr", "snips", "ips"):
            estimate = replayed.estimate(policy_of(BEST), method)
            errors[method].append(estimate.value - truth)
            held.append(estimate.low <= truth <= estimate.high)
        average = np.mean([r.rewards[r.decision.candidates[0]] for r in found])
        errors["average"].append(average - truth)
    off = {method: np.sqrt(np.mean(np.square(found))) for method, found in errors.items()}
    assert off["dr"] <= 0.015
    assert off["dr"] < off["snips"] < off["ips"] < off["average"]
    assert np.mean(held) > 0.88


def shadowed(found, seed, labelled):
    """*found* with a shadow at half of the requests, which has a label at the share *labelled*."""
    random = np.random.default_rng(seed)
    for each in found:
        decision, chance = each.decision, 0.5 / (len(NAMES) - 1)
        shadow = ""
        told = each.feedback
        if random.random() < 0.5:
            shadow = str(random.choice(decision.candidates[1:]))
            if random.random() < labelled:
                rate = RATES[int(decision.query.task), NAMES.index(shadow)]
                score = float(random.random() < rate)
                told += (Feedback(request=decision.request, specialist=shadow, score=score),)
        chances = tuple(
            chance * (1 - propensity) for propensity in decision.propensities
        )  # whoever was not first
        made = replace(decision, shadow=shadow, shadow_propensities=chances)
        yield Record(made, each.outcomes, told)


@pytest.mark.parametrize("labelled", [1.0, 0.5, 0.0])
def test_shadows_make_estimates_nearer_and_not_wrong(labelled):
    """By the propensities of their own, however often they have a label."""
    truth = (BEST * RATES).sum(axis=1).mean()
    blind = lambda _, names: [0.5] * len(names)  # noqa: E731 - so that the weights alone are right
    errors = []
    for seed in range(20):
        found = log(500, seed)
        both = list(shadowed(found, seed, labelled))
        errors.append(
            [replay(each, blind).estimate(policy_of(BEST)).value - truth for each in (found, both)]
        )
    without, with_ = np.array(errors).T
    assert abs(with_.mean()) < 3 * with_.std() / np.sqrt(20)
    if labelled:
        assert with_.std() < without.std()
    else:
        np.testing.assert_allclose(with_, without)


@pytest.mark.parametrize("chances", [BEST, MIXED], ids=["best", "mixed"])
@pytest.mark.parametrize("rewards", ["IPS", "DR"])
def test_estimates_agree_with_coba(monkeypatch, chances, rewards):
    """On the same log, policy and, for the doubly robust one, model of rewards."""
    foresight = policy_of(np.clip(RATES + 0.1, 0, 1))
    monkeypatch.setattr(
        "coba.learners.vowpal.VowpalMediator", lambda: Foreseen(foresight)
    )  # the model of rewards that coba asks, in the place of the one that it would fit
    monkeypatch.setattr("coba.utilities.PackageChecker.vowpalwabbit", lambda _: True)
    found = log(300)
    interactions = [
        coba.primitives.LoggedInteraction(
            r.decision.query.task,
            r.decision.candidates[0],
            r.rewards[r.decision.candidates[0]],
            r.decision.propensities[0],
        )
        for r in found
    ]
    policy = policy_of(chances)
    values = [
        sum(p * i["rewards"](name) for name, p in zip(NAMES, choose(policy, i), strict=True))
        for i in OpeRewards(rewards).filter(interactions)
    ]
    ours = replay(found, foresight).estimate(policy, rewards.lower())
    assert ours.value == pytest.approx(np.mean(values), abs=1e-9)


def choose(policy, interaction):
    return policy(Query(task=interaction["context"]), NAMES)


class Foreseen:
    """A model of rewards in the shape of coba's, which is not fitted."""

    def __init__(self, foresight):
        self._foresight = foresight

    def init_learner(self, args, label_type):
        pass

    def make_example(self, namespaces, label=None):
        return namespaces

    def learn(self, example):
        pass

    def predict(self, example):
        (reward,) = self._foresight(Query(task=example["x"]), (example["a"],))
        return reward


@pytest.mark.parametrize("method", ["ips", "snips"])
def test_the_policy_that_decided_is_worth_what_the_log_says(method):
    """Its weights are all one, and every record counts in full."""
    found = log(200)
    estimate = replay(found).estimate(policy_of(SOFT), method)
    average = np.mean([r.rewards[r.decision.candidates[0]] for r in found])
    assert estimate.value == pytest.approx(average)
    assert estimate.effective_sample_size == pytest.approx(200)


@given(st.integers(1, 60), st.integers(0, 3))
def test_a_constant_reward_is_worth_itself(size, place):
    """Whatever the policy: both estimates that correct their weights find it exactly."""
    found = [
        Record(r.decision, r.outcomes, (Feedback(request=r.decision.request, score=0.5),))
        for r in log(size)
    ]
    always = np.tile(np.eye(len(NAMES))[place], (TASKS, 1))
    replayed = replay(found, foresight=lambda _, names: [0.5] * len(names))
    assert replayed.estimate(policy_of(always)).value == pytest.approx(0.5)
    if any(r.decision.candidates[0] == NAMES[place] for r in found):
        assert replayed.estimate(policy_of(always), "snips").value == pytest.approx(0.5)


def test_what_the_log_could_not_choose_is_said():
    """Where a candidate had no chance, the estimate says how often the policy wants it."""
    decision = Decision(
        request="r", route="r", time=0.0, candidates=("a:1", "b:1"), propensities=(1.0, 0.0)
    )
    told = (Feedback(request="r", score=1.0, specialist="a:1"),)
    estimate = replay([Record(decision, (), told)]).estimate(lambda *_: (0.25, 0.75))
    assert estimate.unsupported == 0.75


def test_records_without_reward_or_propensity_do_not_count():
    """A log of such alone is no log."""
    counted = log(50)
    silent = Record(counted[0].decision, counted[0].outcomes)
    assert replay([*counted, silent]).estimate(policy_of(BEST)).records == 50
    with pytest.raises(InvalidRequest, match="no record of the log counts"):
        replay([silent])


def test_mistakes_are_named():
    """An unknown method, probabilities that are none, and a log that says nothing of a policy."""
    replayed = replay(log(20))
    with pytest.raises(InvalidRequest, match="use dr, snips, ips"):
        replayed.estimate(policy_of(BEST), "mean")
    with pytest.raises(InvalidRequest, match="sum to 1"):
        replayed.estimate(lambda _, names: [1.0] * len(names))
    certain = Decision(
        request="r", route="r", time=0.0, candidates=("a:1", "b:1"), propensities=(1.0, 0.0)
    )
    told = (Feedback(request="r", score=1.0, specialist="a:1"),)
    with pytest.raises(InvalidRequest, match="none of the policy's choices"):
        replay([Record(certain, (), told)]).estimate(lambda *_: (0.0, 1.0), "snips")


def test_rewards_are_foreseen_from_what_requests_hold():
    """Numbers tell who succeeds where task and domain do not; a label never foresees itself."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(400, 5))
    queries = [Query(numbers=tuple(row)) for row in numbers.tolist()]
    right = np.column_stack((numbers[:, 0] > 0, numbers[:, 0] <= 0)).astype(float)
    seen = np.where(random.random((400, 2)) < 0.5, right, np.nan)
    assert np.mean((cross_fitted(queries, seen) - right) ** 2) < 0.15
    noise = random.integers(0, 2, (400, 2)).astype(float)
    blind = cross_fitted([Query(task="t")] * 400, noise)
    assert abs(np.corrcoef(blind.ravel(), noise.ravel())[0, 1]) < 0.15
