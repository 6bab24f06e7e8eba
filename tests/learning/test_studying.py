"""What the records of a route teach."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from logs import log, trained

from fabric.core.cards import Card, Evidence
from fabric.core.decisions import Query
from fabric.core.policies import Policy
from fabric.core.routes import Exploration, Learning, Route
from fabric.learning.studying import Studied, seconds_of, study, weights_of
from fabric.learning.training import fit
from fabric.routing.exploration import Explorer
from fabric.routing.learned import Learned

NOW = "2033-06-01T12:00:00Z"
CARDS = {
    "usual:1": Card(name="usual", evidence=(Evidence(metric="accuracy", value=0.7),)),
    "other:1": Card(name="other"),
}


def route(**fields: object) -> Route:
    return Route(name="r", order="scored", learning=Learning(**fields))


def studied(records, cards=CARDS, policies=(), train=fit, **fields) -> Studied:
    return study(route(**fields), policies, records, cards, train, NOW)


def test_enough_labels_make_a_policy():
    """It can be read, names the time and its labels, and knows the candidates."""
    policy = studied(log(120, other=0.9, shadows=True)).policy
    assert (policy.route, policy.labels, policy.trained) == ("r", 120, NOW)
    assert set(Learned.read(policy.data).candidates) == {"usual:1", "other:1"}
    assert '"labels"' in policy.report


def test_a_policy_carries_what_is_known_of_those_who_may_be_tried():
    """Of a route that explores, by all labels, whoever heard them."""
    exploration = Exploration(share=0.5)
    of = replace(route(), exploration=exploration)
    policy = study(of, (), log(400, other=0.9, shadows=True), CARDS, fit, NOW).policy
    sure, unsure = Explorer(exploration, policy.explored), Explorer(exploration)
    odd, scores = Query(task="odd"), {"other:1": 0.8, "usual:1": 0.7}
    chances = [each.decide("", odd, scores).propensities[1] for each in (sure, unsure)]
    assert chances[0] < 0.5 * chances[1]
    even = {"usual:1": 0.5, "other:1": 0.5}
    assert sure.decide("", odd, even).propensities[1] == pytest.approx(0.25)
    assert studied(log(120, other=0.9)).policy.explored == b""


def test_too_few_labels_make_none():
    """The reason says how many there are, and how many it takes."""
    found = studied(log(49, other=0.9))
    assert found.policy is None
    assert found.why.startswith("49 of the 49 requests")
    assert found.why.endswith("it takes 50")


def test_nothing_is_learned_of_who_is_no_longer_declared():
    """Nobody can choose them; what only they did counts for nothing."""
    only_usual = {"usual:1": CARDS["usual:1"]}
    policy = studied(log(400, other=0.9), cards=only_usual).policy
    assert Learned.read(policy.data).candidates == ("usual:1",)
    assert policy.labels == 200
    assert studied(log(400, other=0.9), cards={}).why.startswith("0 of the 400")


def test_the_trainer_is_told_what_cards_claim_and_how_old_outcomes_are():
    """Evidence by candidate; the last outcome of each weighs most."""
    told = {}

    def train(table, *, weights, evidence):
        told.update(weights=weights, evidence=evidence)
        return fit(table)

    studied(log(60, other=0.9), train=train, discount=0.9)
    assert told["evidence"]["usual:1"] == CARDS["usual:1"].evidence
    assert told["weights"][-2:].max(axis=1) == pytest.approx([1.0, 1.0])
    assert told["weights"][0].max() == pytest.approx(0.9**29)


def test_what_hardly_weighs_is_left_out():
    """The latest say all there is to say."""
    policy = studied(log(400, other=0.9), discount=0.9, min_labels=300).policy
    assert policy.labels == 2 * 66  # 0.9 ** 65 is 0.001


def test_weights_count_what_came_later_for_the_same_candidate():
    """What is not known weighs nothing."""
    quality = np.array([[1.0, np.nan], [0.0, 1.0], [1.0, np.nan]])
    assert weights_of(quality, 0.5).tolist() == [[0.25, 0.0], [0.5, 1.0], [1.0, 0.0]]


def test_a_policy_that_does_worse_since_it_was_trained_has_lost():
    """By version, while the new policy is trained on all of it."""
    policy = Policy(route="r", version=4, data=trained().write(), trained="2030-01-01T00:00:00Z")
    records = log(400, other=0.4, shadows=True)
    found = studied(records, policies=(policy,))
    assert list(found.lost) == ["4"]
    assert "against usual:1" in found.lost["4"]
    assert found.policy is not None

    assert studied(records, policies=(replace(policy, trained="2099-01-01T00:00:00Z"),)).lost == {}
    assert studied(records, policies=(replace(policy, lost="before"),)).lost == {}
    assert studied([], policies=(replace(policy, data=b"x"),)).lost["4"].startswith("it cannot")


def test_what_was_found_survives_a_pipe():
    """With and without a policy; what was not written so is refused."""
    data = b"\0\n\xff" * 100
    policy = Policy(route="r", version=1, data=data, labels=60, trained=NOW, report='{"a": 1}')
    for found in (
        Studied(policy=policy, lost={"3": "worse"}),
        Studied(why="too few"),
    ):
        assert Studied.read("r", found.write()) == found
    for nonsense in (b"", b"no newline", b"no json\n"):
        with pytest.raises(ValueError, match=r"."):
            Studied.read("r", nonsense)


def test_times_are_read_as_they_are_written():
    """What is no time is long ago."""
    assert seconds_of("2033-06-01T12:00:00Z") == datetime(2033, 6, 1, 12, tzinfo=UTC).timestamp()
    assert seconds_of("") == 0.0
