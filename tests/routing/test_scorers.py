"""Preferences."""

from __future__ import annotations

from datetime import date

import pytest

from fabric.core.cards import Card, Evidence
from fabric.core.routes import PRESETS, Preferences
from fabric.routing.live import Live
from fabric.routing.scorers import Scores, Sight

TODAY = date(2026, 7, 30)
NOTHING_SEEN = Sight()


def accuracy(value, domain="", rows=10_000, measured=""):
    return Evidence(metric="accuracy", value=value, domain=domain, rows=rows, measured=measured)


def card(name, *evidence, **said):
    return Card(name=name, evidence=evidence, **said)


def only(scorer, **said):
    """Preferences for nothing else."""
    zero = dict.fromkeys(PRESETS["balanced"], 0.0)
    return Preferences(weights={**zero, scorer: 1.0}, **said)


def means(cards, scorer, sight=NOTHING_SEEN, **said):
    return Scores(cards, only(scorer, **said), sight).means


def test_quality_is_that_of_the_domain_that_is_asked_for():
    """Shrunken towards the one for all by the rows it was measured on."""
    cards = [
        card("cursive", accuracy(0.5), accuracy(0.9, "cursive")),
        card("general", accuracy(0.7)),
        card("guess", accuracy(0.5), accuracy(1.0, "cursive", rows=4)),
    ]
    found = means(cards, "quality", Sight(domain="cursive"))
    assert found == pytest.approx([0.9, 0.7, 0.5 + 0.5 * 4 / 36], abs=0.005)
    assert means(cards, "quality") == pytest.approx([0.5, 0.7, 0.5], abs=0.005)


def test_few_rows_say_little():
    """A quality measured on some rows is near the mean of all."""
    cards = [card("many", accuracy(0.8)), card("few", accuracy(1.0, rows=2))]
    many, few = means(cards, "quality")
    assert many == pytest.approx(0.8, abs=0.001)
    assert few == pytest.approx(0.9 + 0.1 * 2 / 34)


def test_without_a_domain_the_middle_one_counts():
    """Of who states a quality only by domain."""
    stated = [accuracy(value, domain) for domain, value in (("a", 0.9), ("b", 0.8), ("c", 0.1))]
    cards = [card("by-domain", *stated), card("general", accuracy(0.8))]
    scores = Scores(cards, only("quality"), Sight())
    assert scores.means == pytest.approx([0.8, 0.8], abs=0.001)
    assert scores.reason(0) == "quality 0.80 of accuracy in the middle of its domains: 0.80"
    assert scores.reason(1) == "quality 0.80 of accuracy: 0.80"


def test_who_has_no_evidence_is_no_better_than_half_nor_than_the_worst():
    """So that evidence is worth having."""
    good, new, bad = means(
        [card("a", accuracy(0.9)), card("new"), card("b", accuracy(0.4))], "quality"
    )
    assert new == bad < good
    assert means([card("a", accuracy(0.9)), card("new")], "quality")[1] == 0.5
    assert means([card("new")], "quality") == [0.5]


def test_the_metric_is_the_one_that_is_preferred_or_most_cards_have():
    """Others do not count."""
    f1 = Evidence(metric="f1", value=0.2, rows=10_000)
    cards = [card("a", f1, accuracy(0.9)), card("b", accuracy(0.8))]
    assert means(cards, "quality") == pytest.approx([0.9, 0.8], abs=0.001)
    assert means(cards, "quality", Sight(metric="f1")) == pytest.approx([0.2, 0.2], abs=0.001)


def test_what_is_measured_last_counts():
    """Of two values for the same."""
    old, new = (accuracy(v, measured=day) for v, day in ((0.9, "2025-01-01"), (0.6, "2026-01-01")))
    assert means([card("a", old, new)], "quality") == means([card("a", new)], "quality")


def test_cost_and_latency_are_relative_to_the_others():
    """The middle one has a half, in any unit, and nothing has all."""
    for unit in (1e-6, 1.0, 1e6):
        cards = [card(f"c{cost}", cost=cost * unit) for cost in (0, 1, 2, 6)]
        assert means(cards, "cost") == pytest.approx([1.0, 2 / 3, 0.5, 0.25])
        live = Live({f"c{n}:1": n * unit for n in (1, 2, 6)})
        assert means(cards, "latency", Sight(live=live)) == pytest.approx([0.5, 2 / 3, 0.5, 0.25])


def test_load_is_a_share_of_what_is_meant():
    """Who carries as much as it should has a half."""
    live = Live({}, {"a:1": 1.0, "b:1": 0.0, "c:1": 3.0})
    assert means([card(name) for name in "abc"], "load", Sight(live=live)) == [0.5, 1.0, 0.25]


def test_locality_is_to_be_in_the_region():
    """Who does not say may be; without a region nobody is nearer."""
    cards = [card("a", region="eu"), card("b", region="us"), card("c")]
    assert means(cards, "locality", Sight(region="eu")) == [1.0, 0.0, 0.5]
    assert means(cards, "locality") == [0.5, 0.5, 0.5]


def test_evidence_is_half_as_fresh_after_half_a_year():
    """What was measured at no known day is not fresh at all."""
    cards = [
        card("today", accuracy(0.5, measured="2026-07-30")),
        card("then", accuracy(0.5, measured="2026-01-31")),
        card("sometime", accuracy(0.5)),
        card("never"),
    ]
    assert means(cards, "freshness", Sight(today=TODAY)) == [1.0, 0.5, 0.0, 0.0]


def test_the_score_is_the_weighted_mean_and_said_in_words():
    """With the part of each scorer."""
    cards = [card("a", accuracy(0.9, "cursive"), cost=2.0), card("b", cost=2.0)]
    preferences = Preferences(preset="cheapest")
    scores = Scores(cards, preferences, Sight(domain="cursive"))
    assert dict(scores.parts(0)) == pytest.approx({"cost": 0.5, "quality": 0.9})
    assert scores.means[0] == pytest.approx(0.8 * 0.5 + 0.2 * 0.9)
    assert scores.reason(0) == "cost 2, quality 0.90 of accuracy for cursive: 0.58"
    assert scores.reason(1) == "cost 2, no accuracy measured: 0.50"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_ranks(preset):
    """The better, cheaper, faster and idler one is first under each of them."""
    cards = [card("b", accuracy(0.5), cost=5.0), card("a", accuracy(0.9), cost=1.0)]
    live = Live({"a:1": 0.1, "b:1": 0.2}, {"a:1": 0.1, "b:1": 0.9})
    worse, better = Scores(cards, Preferences(preset=preset), Sight(live=live)).means
    assert 0 < worse < better < 1
