"""From model, version and requirements to a plan."""

from __future__ import annotations

from collections import Counter

import pytest

from fabric.core.cards import Evidence, Timeouts
from fabric.core.errors import InvalidRequest, NotFound, Overloaded, Unavailable
from fabric.core.plans import PLAIN, Terms
from fabric.core.routes import (
    Cascade,
    ChainEntry,
    Content,
    MinQuality,
    Preferences,
    Requirements,
    Retry,
    Route,
)
from fabric.core.tensors import TensorValue
from fabric.routing.allowance import Allowance
from fabric.routing.candidates import Known
from fabric.routing.live import Live
from fabric.routing.planner import Planner
from fabric.testing import ManualClock, planner, specialist

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


# ------------------------------------------------------------------ ranked
def measured(name, cursive, printed, **said):
    evidence = (
        Evidence(metric="accuracy", value=cursive, domain="cursive", rows=10_000),
        Evidence(metric="accuracy", value=printed, domain="printed", rows=10_000),
    )
    return specialist(name, task="digit", evidence=evidence, **said)


A = measured("a", 0.9, 0.5, cost=1.0)
B = measured("b", 0.5, 0.9, cost=1.0)
BEST = Route(
    name="best",
    order="scored",
    requirements=Requirements(task="digit"),
    preferences=Preferences(preset="quality"),
)


def test_a_ranked_route_without_a_chain_has_all_who_meet_its_requirements():
    """In the order of their scores, each with its parts and the reason in words."""
    plan = planner([B, A, OTHER], [BEST]).plan("best", "", Requirements(domain="cursive"))

    assert names(plan) == ["a", "b"]
    first = plan.candidates[0]
    assert first.reason == "quality 0.90 of accuracy for cursive, latency unknown, cost 1: 0.86"
    assert dict(first.parts) == pytest.approx(
        {"quality": 0.9, "latency": 0.5, "cost": 0.5}, abs=0.01
    )
    assert first.score == pytest.approx((0.9 + 0.05) / 1.1, abs=0.01)
    assert [(r.name, r.reason) for r in plan.refusals] == [("other", "task is ocr, not digit")]


def test_the_domain_that_is_asked_for_decides():
    """By the request, or else by the route."""
    made = planner([A, B], [BEST])
    assert names(made.plan("best", "", Requirements(domain="printed"))) == ["b", "a"]
    route = Route(name="printed", order="scored", requirements=Requirements(domain="printed"))
    assert names(planner([A, B], [route]).plan("printed", "", None)) == ["b", "a"]
    least = Requirements(min_quality=MinQuality(metric="accuracy", value=0.8))
    assert names(planner([A, B], [route]).plan("printed", "", least)) == ["b"]


def test_the_metric_that_is_preferred_counts():
    """Whatever else the cards have."""
    preferences = Preferences(preset="quality", metric="f1")
    route = Route(name="r", order="scored", preferences=preferences)
    f1 = Evidence(metric="f1", value=0.9, rows=10_000)
    made = planner([A, B, specialist("c", evidence=(f1,), cost=1.0)], [route])
    plan = made.plan("r", "", Requirements(domain="cursive"))
    assert plan.candidates[0].reason.startswith("quality 0.90 of f1, ")
    assert plan.candidates[1].reason.startswith("no f1 measured, ")


def test_a_chain_may_be_ranked():
    """Then nobody else is a candidate; those who score the same stay as written."""
    chain = tuple(ChainEntry(name=name) for name in ("b", "a"))
    route = Route(name="r", order="scored", chain=chain)
    made = planner([A, B, measured("c", 1.0, 1.0)], [route])
    assert names(made.plan("r", "", None)) == ["b", "a"]
    assert names(made.plan("r", "", Requirements(domain="cursive"))) == ["a", "b"]


def test_who_has_no_replica_comes_last():
    """However good."""
    made = planner([A, B], [BEST], is_ready=lambda key: key == "b:1")
    plan = made.plan("best", "", Requirements(domain="cursive"))
    assert names(plan) == ["b", "a"]
    assert plan.candidates[1].reason.startswith("no replica is ready; quality 0.90")


def test_who_reads_for_a_route_is_no_candidate_of_it():
    """Though it may meet the requirements."""
    route = Route(name="r", order="scored", content=Content(input="x", encoder="b"))
    assert names(planner([A, B], [route]).plan("r", "", None)) == ["a"]


def test_a_ranked_route_within_another_stands_in_its_order():
    """And its share of first places is that of its best."""
    outer = Route(
        name="outer",
        order="weighted",
        requirements=Requirements(domain="cursive"),
        chain=(ChainEntry(name="best", weight=3), ChainEntry(name="other", weight=1)),
    )
    every = planner([A, B, OTHER], [outer, BEST])
    plans = [every.plan("outer", "", None) for _ in range(200)]
    assert {tuple(names(plan)) for plan in plans} == {("a", "b", "other"), ("other", "a", "b")}


def test_a_plan_has_the_best_of_many_and_an_explanation_all():
    """More than some dozens are never tried."""
    many = [measured(f"s{n:03}", n / 100, 0.5) for n in range(100)]
    made = planner(many, [BEST])
    wanted = Requirements(domain="cursive")
    plan = made.plan("best", "", wanted)
    assert names(plan)[:2] == ["s099", "s098"]
    assert len(plan.candidates) == 64
    assert names(made.explained("best", "", wanted))[:64] == names(plan)
    assert len(made.explained("best", "", wanted).candidates) == 100


def test_a_version_that_is_asked_for_is_found():
    """Also where it is not the latest."""
    made = planner([specialist("a", "1"), specialist("a", "2")], [Route(name="r", order="scored")])
    assert made.plan("r", "", None).candidates[0].card.version == "2"
    plan = made.plan("r", "", Requirements(versions=("3", "1")))
    assert plan.candidates[0].card.version == "1"
    with pytest.raises(NotFound, match="version is 2, not 3"):
        made.plan("r", "", Requirements(versions=("3",)))


def test_a_plan_tells_how_answers_are_combined():
    """What the route says of it."""
    cascade = Cascade(threshold=0.5)
    route = Route(name="r", order="scored", cascade=cascade)
    assert planner([A], [route]).plan("r", "", None).cascade == cascade


# ------------------------------------------------------------------ live
def test_plans_follow_how_candidates_fare_where_they_do():
    """Others are kept."""
    fares = [Live({"a:1": 0.1, "b:1": 9.0})]
    fastest = Route(name="fastest", order="scored", preferences=Preferences(preset="fastest"))
    cheapest = Route(name="cheapest", order="scored", preferences=Preferences(preset="cheapest"))
    by_name = {s.card.name: s for s in (A, B)}
    made = Planner(
        lambda: Known(
            {"fastest": fastest, "cheapest": cheapest},
            lambda name, version: by_name.get(name),
            lambda: by_name,
            live=fares[-1],
        )
    )
    kept, limited = made.plan("cheapest", "", None), Requirements(max_latency=1.0)
    assert names(made.plan("fastest", "", None)) == ["a", "b"]
    assert names(made.plan("cheapest", "", limited)) == ["a"]
    assert names(made.plan("a", "", limited)) == ["a"]
    assert made.live_seconds > 0
    fares.append(Live({"a:1": 9.0, "b:1": 0.1}))
    assert names(made.plan("fastest", "", None)) == ["a", "b"]

    made.forget_live()

    assert names(made.plan("fastest", "", None)) == ["b", "a"]
    assert names(made.plan("cheapest", "", limited)) == ["b"]
    with pytest.raises(NotFound, match=r"nine of ten answers take up to 9 s, above max_latency 1"):
        made.plan("a", "", limited)
    assert made.plan("cheapest", "", None) is kept


# ------------------------------------------------------------------ what callers may cost
class Counted:
    """How often the planner looks for specialists."""

    def __init__(self, *specialists, routes=()):
        self.looks = 0
        self.by_name = {s.card.name: s for s in specialists}
        routes = {route.name: route for route in routes}
        self.clock, self.cpu = ManualClock(), ManualClock()
        cards = [s.card for s in specialists]
        known = Known(routes, self.find, lambda: self.by_name, lambda: cards)
        asked = Allowance(0.2, 0.95, "ask for fewer", self.clock, self.cpu)
        self.planner = Planner(lambda: known, asked=asked)

    def find(self, name, version):
        self.looks += 1
        self.cpu.advance(0.01)
        return self.by_name.get(name)


def test_that_nobody_may_answer_is_known_the_second_time():
    """It costs no more than a plan that is kept."""
    counted = Counted(A, B, routes=[BEST])
    for _ in range(3):
        with pytest.raises(NotFound, match="2 refused"):
            counted.planner.plan("best", "", Requirements(max_cost=0.5))
    assert counted.looks == 2


def test_labels_are_told_apart():
    """Many different ones do not meet in one place of the plans that are kept."""
    assert len({hash(Requirements(labels={"k": str(n)})) for n in range(100)}) > 90


def test_an_expression_of_a_request_is_checked_and_limited():
    """Where it is dear, or none, the request is refused; the route's own is not limited."""
    made = planner([A, B], [BEST])
    asked = "card.evidence.exists(e, e.value > 0.8 && e.domain == 'printed')"
    assert names(made.plan("best", "", Requirements(expression=asked))) == ["b"]
    with pytest.raises(InvalidRequest, match="is no expression"):
        made.plan("best", "", Requirements(expression="card.cost <"))
    dear = "card.name.matches('^a$')"
    with pytest.raises(InvalidRequest, match="state it in a route"):
        made.plan("best", "", Requirements(expression=dear))
    route = Route(name="r", order="scored", requirements=Requirements(expression=dear))
    assert names(planner([A, B], [route]).plan("r", "", None)) == ["a"]


def test_all_refusals_are_explained_and_some_are_named():
    """The error would be as long as the catalog."""
    many = [specialist(f"s{n:02}") for n in range(20)]
    made = planner(many, [BEST])
    with pytest.raises(NotFound, match=r"20 refused: s00: .*; s07: .*; and 12 more, see `fabric"):
        made.plan("best", "", None)
    plan = made.explained("best", "", None)
    assert (plan.candidates, len(plan.refusals)) == ((), 20)


def test_unloaded_is_who_else_would_answer():
    """Whoever comes again does not find those who do not meet the requirements either."""
    off = specialist("off", task="digit", loaded=False, cost=1.0)
    with pytest.raises(Unavailable, match="off: unloaded"):
        planner([off, OTHER], [BEST]).plan("best", "", None)
    with pytest.raises(NotFound, match="off: cost is 1, above"):
        planner([off], [BEST]).plan("best", "", Requirements(max_cost=0.0))


def test_an_entry_may_select_who_is_there():
    """All who meet it and the route's own requirements, the best first, none of them twice."""
    good, better = (
        specialist(name, task="digit", labels={"size": "small"}, evidence=(accuracy,))
        for name, accuracy in (
            ("good", Evidence(metric="accuracy", value=0.8)),
            ("better", Evidence(metric="accuracy", value=0.9)),
        )
    )
    small = Requirements(labels={"size": "small"})
    chain = (ChainEntry(name="good"), ChainEntry(select=small, on=("late",), tries=1))
    route = Route(name="r", requirements=Requirements(task="digit"), chain=chain)
    plan = planner([good, better, ALL, OTHER], [route], is_ready=lambda key: True).plan(
        "r", "", None
    )
    assert names(plan) == ["good", "better"]
    assert plan.candidates[1].terms == Terms(on=frozenset({"late"}), tries=1)
    assert plan.candidates[1].reason.endswith("on late, tried 1 times at most")


def test_an_entry_that_is_a_route_is_entered_at_its_first_and_left_behind_its_last():
    """What its own entries say holds within it."""
    inner = Route(
        name="inner",
        chain=(ChainEntry(name="rotated", share=0.5), ChainEntry(name="noisy", on=("failed",))),
    )
    entry = ChainEntry(name="inner", on=("late",), share=0.5, substitute=False)
    route = Route(name="r", chain=(ChainEntry(name="all"), entry, ChainEntry(name="other")))
    plan = planner([ROTATED, NOISY, ALL, OTHER], [route, inner]).plan("r", "", None)
    assert names(plan) == ["all", "rotated", "noisy", "other"]
    assert [candidate.terms for candidate in plan.candidates] == [
        PLAIN,
        Terms(on=frozenset({"late"}), share=0.25),
        Terms(on=frozenset({"failed"}), share=0.5, substitute=False),
        PLAIN,
    ]


def test_answers_that_nobody_is_asked_for_stand_behind_all_others():
    """Those of routes within it, too; a route may consist of nothing else."""
    static = ChainEntry(static=(TensorValue(name="y", datatype="FP32", shape=(0,)),))
    cached = ChainEntry(cached=9.0)
    inner = Route(name="inner", chain=(ChainEntry(name="all"), cached))
    route = Route(name="r", chain=(ChainEntry(name="inner"), ChainEntry(name="noisy"), static))
    plan = planner([NOISY, ALL], [route, inner]).plan("r", "", None)
    assert names(plan) == ["all", "noisy"]
    assert plan.given == (cached, static)
    plan = planner([], [route, inner]).plan("r", "", None)
    assert (plan.candidates, plan.given) == ((), (cached, static))


OPEN = Route(name="open", order="scored")
PRICED = [
    specialist(
        f"s{place}",
        cost=1.0 + place,
        evidence=(Evidence(metric="accuracy", value=0.5 + place / 40),),
    )
    for place in range(10)
]


def test_limits_that_make_no_difference_share_a_plan():
    """However many there are, and whichever they are."""
    counted = Counted(*PRICED, routes=[OPEN])
    plans = [
        counted.planner.plan("open", "", Requirements(max_cost=5.0 + each / 1000))
        for each in range(1000)
    ]

    assert counted.looks == 10
    assert {len(plan.candidates) for plan in plans} == {5}
    counted.planner.forget()
    counted.planner.plan("open", "", Requirements(max_cost=4.5))
    assert counted.looks == 20


@pytest.mark.parametrize(
    "limit",
    [
        lambda value: {"max_cost": 10 * value},
        lambda value: {"max_latency": value},
        lambda value: {"min_quality": MinQuality(metric="accuracy", value=value)},
        lambda value: {
            "max_cost": max(0, 10 - 9 * value),
            "min_quality": MinQuality(metric="accuracy", value=value),
        },
    ],
)
def test_a_shared_plan_is_the_one_that_was_asked_for(limit):
    """Where nobody may answer too, and then with the limit as it was said."""
    live = Live({"s1:1": 0.3, "s2:1": 0.5, "s3:1": 0.9})
    made = planner(PRICED, [OPEN], live=live)
    for value in (0.0, 0.1, 0.3, 0.5, 0.50001, 0.625, 0.72, 0.725, 0.9, 1.1):
        asked = Requirements(**limit(value))
        exact = made.explained("open", "", asked)
        if exact.candidates:
            assert made.plan("open", "", asked).candidates == exact.candidates
        else:
            with pytest.raises(NotFound) as error:
                made.plan("open", "", asked)
            assert exact.refusals[0].reason in error.value.message


def test_what_only_requests_ask_for_has_a_share_of_the_time():
    """Beyond it what is new is refused, and what has a plan is answered as ever."""
    counted = Counted(*PRICED, routes=[OPEN])
    known = [Requirements(domain=str(each)) for each in range(10)]
    for each in known:
        counted.planner.plan("open", "", each)

    with pytest.raises(Overloaded, match="ask for fewer"):
        counted.planner.plan("open", "", Requirements(domain="x"))
    assert all(counted.planner.plan("open", "", each).candidates for each in known)
    assert counted.planner.plan("open", "", None).candidates
    counted.clock.advance(1.0)
    assert counted.planner.plan("open", "", Requirements(domain="x")).candidates
