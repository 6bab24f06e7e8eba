"""From model, version and requirements to a plan."""

from __future__ import annotations

from collections import Counter

import pytest

from fabric.core.cards import Timeouts
from fabric.core.errors import NotFound
from fabric.core.routes import ChainEntry, Requirements, Retry, Route
from fabric.routing.candidates import Known
from fabric.routing.planner import Planner
from fabric.testing import planner, specialist

ROTATED = specialist("rotated", task="digit", domains=("rotated",))
NOISY = specialist("noisy", task="digit", domains=("noisy",))
ALL = specialist("all", task="digit")
OTHER = specialist("other", task="ocr")
DIGITS = Route(
    name="digits",
    requirements=Requirements(task="digit"),
    chain=tuple(ChainEntry(name=n) for n in ("rotated", "noisy", "other", "gone", "all")),
    retry=Retry(attempts=7),
    timeout=3.0,
)


def names(plan):
    return [candidate.card.name for candidate in plan.candidates]


def test_a_route_ranks_its_chain_as_written_and_says_who_is_refused():
    """Candidates meet the route's requirements; the others are named with the reason."""
    plan = planner([ROTATED, NOISY, ALL, OTHER], [DIGITS]).plan("digits", "", None)

    assert names(plan) == ["rotated", "noisy", "all"]
    assert {r.name: r.reason for r in plan.refusals} == {
        "other": "task is ocr, not digit",
        "gone": "not in the catalog",
    }
    assert (plan.route, plan.retry.attempts, plan.timeout) == ("digits", 7, 3.0)


def test_a_request_narrows_the_route():
    """What the caller asks for is met in addition to what the route asks for."""
    made = planner([ROTATED, NOISY, ALL, OTHER], [DIGITS])
    assert names(made.plan("digits", "", Requirements(domain="noisy"))) == ["noisy", "all"]


def test_nobody_left_is_said_with_every_reason():
    """A request that nobody may answer is refused before any work, naming each refusal."""
    route = Route(name="r", requirements=Requirements(task="digit"), chain=DIGITS.chain[2:4])
    with pytest.raises(NotFound, match=r"2 refused: other: task is ocr, not digit; gone: not in"):
        planner([OTHER], [route]).plan("r", "", None)


def test_a_specialist_is_called_by_its_own_name():
    """Without a route there is one candidate, under its own timeout."""
    plan = planner([specialist("a", timeouts=Timeouts(request=2.0))]).plan("a", "1", None)
    assert (names(plan), plan.route, plan.timeout) == (["a"], "", 2.0)


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        ("b", "", "Request for unknown model: 'b' is not found"),
        ("all", "9", "Request for unknown model: 'all' version 9 is not found"),
        ("digits", "1", "routes have no versions"),
    ],
)
def test_unknown_models_are_named_as_clients_expect(model, version, message):
    """The words are those that clients of Triton match."""
    with pytest.raises(NotFound, match=message):
        planner([ALL], [DIGITS]).plan(model, version, None)


def test_a_specialist_called_by_name_still_has_to_meet_requirements():
    """Naming a specialist does not waive what is asked for."""
    with pytest.raises(NotFound, match="domain noisy is not among rotated"):
        planner([ROTATED]).plan("rotated", "", Requirements(domain="noisy"))


def test_routes_within_routes_are_taken_in_where_they_stand():
    """A specialist counts once, at its first place."""
    inner = Route(name="inner", chain=(ChainEntry(name="noisy"), ChainEntry(name="all")))
    outer = Route(
        name="outer",
        chain=(ChainEntry(name="rotated"), ChainEntry(name="inner"), ChainEntry(name="all")),
    )
    made = planner([ROTATED, NOISY, ALL], [inner, outer])
    assert names(made.plan("outer", "", None)) == ["rotated", "noisy", "all"]


def test_weights_share_the_first_place():
    """Under `weighted` each candidate leads in proportion to its weight, and the rest follows."""
    weights = {"rotated": 3, "noisy": 1, "all": 0}
    chain = tuple(ChainEntry(name=name, weight=weight) for name, weight in weights.items())
    route = Route(name="r", order="weighted", chain=chain)
    by_name = {s.card.name: s for s in (ROTATED, NOISY, ALL)}
    draws = iter([i / 1000 for i in range(1000)])
    made = Planner(
        lambda: Known({"r": route}, lambda name, version: by_name[name]), lambda: next(draws)
    )
    plans = [made.plan("r", "", None) for _ in range(1000)]

    assert Counter(names(p)[0] for p in plans) == {"rotated": 750, "noisy": 250}
    assert {tuple(sorted(names(p))) for p in plans} == {("all", "noisy", "rotated")}
    assert "weight 3 of 4" in plans[0].candidates[0].reason


def test_a_plan_is_kept_until_the_catalog_changes():
    """The same kind of request shares one plan; `forget` makes the next one anew."""
    made = planner([ROTATED, NOISY, ALL, OTHER], [DIGITS])
    first = made.plan("digits", "", Requirements(domain="noisy", labels={}))
    assert made.plan("digits", "", Requirements(domain="noisy", labels={})) is first
    made.forget()
    assert made.plan("digits", "", Requirements(domain="noisy")) is not first
