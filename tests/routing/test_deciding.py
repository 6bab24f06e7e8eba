"""Who is to answer one request, decided by named state."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fabric.core.decisions import Query
from fabric.core.plans import Candidate, Plan
from fabric.core.routes import (
    Cascade,
    ChainEntry,
    Content,
    Exploration,
    Learning,
    Mixture,
    Preferences,
    Retry,
    Route,
)
from fabric.routing.deciding import Frame, Judged, Seen, decided, is_decided
from fabric.routing.exploration import Choice, Explorer
from fabric.testing import specialist

BY_QUALITY = Preferences(preset="quality", weights={"latency": 0.0, "cost": 0.0})
NAMES = ("a", "b", "c")
KEYS = tuple(f"{name}:1" for name in NAMES)
EVIDENCE = (0.9, 0.8, 0.7)


def route(**said):
    return Route(name="r", order="scored", **{"preferences": BY_QUALITY, **said})


def learning(mode="apply", **said):
    return route(learning=Learning(mode=mode, **said))


def frame(of=None, quality=EVIDENCE, away=(), costs=(), **said):
    """Of candidates a, b and c with evidence of *quality*."""
    of = of or route()
    candidates = []
    for place, (name, score) in enumerate(zip(NAMES, quality, strict=True)):
        parts = (("quality", score), *((("cost", costs[place]),) if costs else ()))
        card = specialist(name).card
        candidates.append(Candidate(card, f"evidence of {name}", 1.0, score, parts))
    plan = Plan("r", tuple(candidates), (), Retry(), 1.0, **said)
    return Frame(plan, of, lambda key: key not in away)


def seen(request="1", **said):
    return Seen(request=request, time=5.0, query=Query(task="t"), **said)


def judged(*success, order=None):
    return Judged(3, np.array(success), order or np.argsort(-np.array(success)).tolist())


def names(plan):
    return [candidate.card.name for candidate in plan.candidates]


# ------------------------------------------------------------------ which routes
def test_routes_that_look_at_requests_or_learn_decide_one_by_one():
    """A route that bypasses what it learned does so only for its content."""
    assert not is_decided(route())
    assert not is_decided(Route(name="r", chain=(ChainEntry(name="a"),)))
    assert is_decided(route(content=Content(input="x")))
    assert is_decided(learning("observe"))
    assert not is_decided(learning("bypass"))


# ------------------------------------------------------------------ evidence
def test_without_a_policy_evidence_decides():
    """The plan is that of all requests of the kind."""
    of = frame()

    plan, decision = decided(of, seen(), None, None)

    assert plan == of.plan
    assert (decision.request, decision.route, decision.time) == ("1", "r", 5.0)
    assert (decision.candidates, decision.scores) == (KEYS, EVIDENCE)
    assert (decision.propensities, decision.kind, decision.policy) == ((1, 0, 0), "evidence", 0)
    assert decision.query == Query(task="t")


def test_candidates_without_scores_stand_as_they_did():
    """Nobody has evidence."""
    plan, decision = decided(frame(quality=(np.nan,) * 3), seen(), None, None)

    assert names(plan) == ["a", "b", "c"]
    assert decision.scores == (0, 0, 0)


def test_similarity_is_one_more_score():
    """By its weight; who says nothing is like nothing."""
    alike = Preferences(preset="quality", weights={"similarity": 1.0})
    of = frame(route(preferences=alike, content=Content(input="x")))

    plan, decision = decided(of, seen(similarities={"b:1": 0.9, "c:1": 0.5}), None, None)

    assert names(plan) == ["b", "c", "a"]
    assert dict(plan.candidates[0].parts) == {"quality": 0.8, "similarity": 0.9}
    assert plan.candidates[0].score == decision.scores[0] == pytest.approx(0.85)
    assert plan.candidates[0].reason == "quality 0.80, similarity 0.90: 0.85"


def test_similarity_without_a_weight_changes_nothing():
    """Nobody asked for it."""
    of = frame()

    assert decided(of, seen(similarities={"c:1": 1.0}), None, None)[0] == of.plan


def test_who_has_no_replica_comes_last():
    """Whatever it is worth."""
    plan, _ = decided(frame(away=("a:1",)), seen(), None, None)

    assert names(plan) == ["b", "c", "a"]


def test_what_could_not_be_used_is_said():
    """In the reason of who is asked first."""
    plan, _ = decided(frame(), seen(doubts=("no encoder", "no policy")), None, None)

    assert plan.candidates[0].reason == "evidence of a; no encoder; no policy"
    assert plan.candidates[1].reason == "evidence of b"


# ------------------------------------------------------------------ a policy
def test_what_a_policy_expects_takes_the_place_of_quality():
    """And the other scores stay."""
    weights = {"quality": 1.0, "cost": 1.0, "latency": 0.0, "load": 0.0}
    of = route(preferences=Preferences(weights=weights), learning=Learning(mode="apply"))
    of = frame(of, costs=(0.5, 0.5, 0.9))

    plan, decision = decided(of, seen(), judged(0.2, 0.8, 0.6), None)

    assert names(plan) == ["c", "b", "a"]
    assert (decision.kind, decision.policy) == ("policy", 3)
    assert decision.scores == pytest.approx((0.75, 0.65, 0.35))
    assert dict(plan.candidates[0].parts) == pytest.approx({"quality": 0.6, "cost": 0.9})
    assert plan.candidates[0].reason == "policy 3 expects 0.60: 0.75"


def test_nobody_goes_before_whom_the_policy_would_ask():
    """Its guard stays with who is best on the whole, though it expects more of others."""
    plan, _ = decided(frame(learning()), seen(), judged(0.5, 0.8, 0.9, order=(1, 2, 0)), None)

    assert names(plan) == ["b", "c", "a"]


def test_who_is_not_known_is_taken_for_the_worst():
    """It is explored, not trusted."""
    plan, _ = decided(frame(learning()), seen(), judged(np.nan, 0.3, 0.6, order=(2, 1, 0)), None)

    assert names(plan) == ["c", "b", "a"]


def test_observing_says_what_the_policy_would_do():
    """And evidence decides."""
    plan, decision = decided(frame(learning("observe")), seen(), judged(0.1, 0.2, 0.9), None)

    assert names(plan) == ["a", "b", "c"]
    assert plan.candidates[0].reason == "evidence of a; policy 3 would ask c:1"
    assert (decision.kind, decision.policy, decision.propensities[0]) == ("evidence", 0, 1.0)


def test_a_canary_decides_its_share():
    """By the request's id: the same one always, with the same propensities."""
    of, expected = frame(learning("canary", canary=0.25)), judged(0.1, 0.2, 0.9)

    made = [decided(of, seen(str(each)), expected, None) for each in range(2000)]

    kinds = Counter(decision.kind for _, decision in made)
    assert kinds["policy"] / 2000 == pytest.approx(0.25, abs=0.04)
    for plan, decision in made[:50]:
        chances = dict(zip(decision.candidates, decision.propensities, strict=True))
        assert chances == {"a:1": 0.75, "b:1": 0.0, "c:1": 0.25}
        assert (plan, decision) == decided(of, seen(decision.request), expected, None)
        assert plan.candidates[0].card.name == ("c" if decision.kind == "policy" else "a")


# ------------------------------------------------------------------ exploration
class Explores:
    """Chooses as it is told, and remembers what it was asked."""

    def __init__(self, choice):
        self.choice = choice

    def decide(self, request, query, scores):
        self.asked = request, query, scores
        return self.choice


def test_who_is_tried_comes_first():
    """The others follow as they stood, and the decision says how it came about."""
    explores = Explores(Choice("b:1", (0.1, 0.2, 0.7), "exploration"))
    of = frame(route(learning=Learning(mode="apply"), exploration=Exploration(share=0.9)))

    plan, decision = decided(of, seen(), judged(0.5, 0.6, 0.9), explores)

    assert names(plan) == ["b", "c", "a"]
    assert (decision.kind, decision.policy) == ("exploration", 3)
    assert decision.propensities == (0.2, 0.1, 0.7)
    assert explores.asked == ("1", Query(task="t"), {"c:1": 0.9, "b:1": 0.6, "a:1": 0.5})
    assert plan.candidates[0].reason.endswith("tried to learn of it")


def test_what_is_expected_already_is_not_asked_again():
    """Of the policy nor of the evidence."""
    explores = Explores(Choice("a:1", (1.0, 0.0, 0.0)))

    decided(frame(learning()), seen(), None, explores, dict.fromkeys(KEYS, 0.3))

    assert explores.asked[2] == dict.fromkeys(KEYS, 0.3)


def test_a_shadow_is_told():
    """Who answers stays who it is."""
    explores = Explores(Choice("a:1", (1.0, 0.0, 0.0), shadow="c:1"))
    of = frame(route(learning=Learning(), exploration=Exploration(shadow=0.5)))

    plan, decision = decided(of, seen(), None, explores)

    assert (names(plan), decision.shadow, decision.kind) == (["a", "b", "c"], "c:1", "evidence")


def test_whom_the_policy_does_not_know_is_explored_by_evidence():
    """And where there is none, it may be anything."""
    explores = Explores(Choice("a:1", (1.0, 0.0, 0.0)))
    of = frame(learning(), quality=(0.4, np.nan, 0.1))

    decided(of, seen(), judged(np.nan, np.nan, 0.6, order=(2, 0, 1)), explores)

    assert explores.asked[2] == {"c:1": 0.6, "a:1": 0.4, "b:1": 0.5}


@pytest.mark.parametrize("mode", ["observe", "canary", "apply"])
@pytest.mark.parametrize("method", ["thompson", "linucb"])
def test_propensities_are_how_often_each_comes_first(mode, method):
    """Over all that is drawn: the canary, the shadow, and who is explored."""
    exploration = Exploration(share=0.4, shadow=0.2, method=method)
    of = frame(route(learning=Learning(mode=mode, canary=0.3), exploration=exploration))
    explorer, expected = Explorer(exploration), judged(0.55, 0.5, 0.6)

    made = [decided(of, seen(str(each)), expected, explorer)[1] for each in range(1000)]

    first = Counter(decision.candidates[0] for decision in made)
    shadows = Counter(decision.shadow for decision in made)
    for decision in made[:20]:
        assert sum(decision.propensities) == pytest.approx(1)
        for key, chance in zip(decision.candidates, decision.propensities, strict=True):
            assert first[key] / 1000 == pytest.approx(chance, abs=0.05)
        shadow_chances = zip(decision.candidates, decision.shadow_propensities, strict=True)
        for key, chance in shadow_chances:
            assert shadows[key] / 1000 == pytest.approx(chance, abs=0.05)
    assert {decision.kind for decision in made} >= {"exploration"}


def test_a_cascade_asks_the_cheapest_first():
    """Whatever is expected of anybody, and nobody is tried."""
    explores = Explores(Choice("c:1", (0.0, 0.0, 1.0), "exploration"))
    of = frame(learning(), cascade=Cascade())

    plan, decision = decided(of, seen(), judged(0.1, 0.2, 0.9), explores)

    assert names(plan) == ["a", "b", "c"]
    assert plan.cascade == Cascade()
    assert decision.propensities == (1, 0, 0)


def test_all_parts_of_a_mixture_have_their_scores():
    """It weighs them by these; of others the first are told."""
    cards = [specialist(f"s{place}").card for place in range(40)]
    candidates = tuple(Candidate(card, "", 1.0, 0.5, (("quality", 0.5),)) for card in cards)
    success = np.linspace(0.1, 0.9, 40)
    policy = Judged(3, success, list(range(40))[::-1])

    for mixture, told in ((Mixture(top=0), 40), (None, 8)):
        plan = Plan("r", candidates, (), Retry(), 1.0, mixture=mixture)
        plan, decision = decided(Frame(plan, learning(), lambda key: True), seen(), policy, None)
        scores = [candidate.score for candidate in plan.candidates]
        assert scores[:told] == pytest.approx(success[::-1][:told])
        assert scores[told:] == [0.5] * (40 - told)
        assert decision.scores == pytest.approx(success[::-1])
