"""Hard requirements."""

from __future__ import annotations

import pytest

from fabric.core.cards import Card, Evidence
from fabric.core.routes import MinQuality, Requirements, TensorNeed
from fabric.core.tensors import Signature, TensorSpec
from fabric.routing.filters import refusal
from fabric.routing.live import Live

CARD = Card(
    name="rotated",
    task="classify-digit",
    domains=("rotated", "noisy"),
    languages=("de",),
    modality="image",
    owner="vision",
    region="eu",
    data_classes=("public", "internal"),
    labels={"tier": "gold"},
    cost=2.0,
    evidence=(
        Evidence(metric="accuracy", value=0.9),
        Evidence(metric="accuracy", value=0.8, domain="rotated", measured="2026-01-31"),
        Evidence(metric="accuracy", value=0.7, domain="rotated", measured="2025-01-31"),
        Evidence(metric="f1", value=0.6, domain="rotated"),
        Evidence(metric="f1", value=0.5, domain="noisy"),
    ),
    signature=Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 64)),),
        outputs=(TensorSpec(name="y", datatype="INT64", shape=(-1,)),),
    ),
)
LIVE = Live({"rotated:1": 0.25})


def least(metric, value):
    return MinQuality(metric=metric, value=value)


def tensor(name, datatype="", *shape):
    return (TensorNeed(name=name, datatype=datatype, shape=shape),)


@pytest.mark.parametrize(
    "wanted",
    [
        Requirements(),
        Requirements(task="classify-digit"),
        Requirements(domain="noisy", language="de", modality="image", owner="vision"),
        Requirements(labels={"tier": "gold"}),
        Requirements(region="eu", data_classes=("internal", "public"), versions=("2", "1")),
        Requirements(max_cost=2.0, max_latency=0.25),
        Requirements(min_quality=least("accuracy", 0.9)),
        Requirements(min_quality=least("accuracy", 0.9), domain="noisy"),
        Requirements(min_quality=least("accuracy", 0.8), domain="rotated"),
        Requirements(min_quality=least("f1", 0.5)),
        Requirements(inputs=tensor("x"), outputs=tensor("y", "INT64")),
        Requirements(inputs=tensor("x", "FP32", 8, 64)),
        Requirements(inputs=tensor("x", "", -1, -1)),
        Requirements(expression="card.cost < 3 && 'de' in card.languages"),
    ],
)
def test_a_card_that_states_what_is_wanted_may_answer(wanted):
    """No requirement is unmet."""
    assert refusal(CARD, wanted, live=LIVE) == ""


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Requirements(task="ocr"), "task is classify-digit, not ocr"),
        (Requirements(domain="inverted"), "domain inverted is not among rotated, noisy"),
        (Requirements(language="fr"), "language fr is not among de"),
        (Requirements(modality="text"), "modality text is not among image"),
        (Requirements(owner="nlp"), "owner is vision, not nlp"),
        (Requirements(labels={"tier": "free"}), "label tier is gold, not free"),
        (Requirements(labels={"region": "eu"}), "label region is not stated, not eu"),
        (Requirements(region="us"), "region is eu, not us"),
        (
            Requirements(data_classes=("public", "personal")),
            "data class personal is not among public, internal",
        ),
        (Requirements(versions=("2", "3")), "version is 1, not 2 or 3"),
        (Requirements(max_cost=0.0), "cost is 2, above max_cost 0"),
        (
            Requirements(max_latency=0.2),
            "nine of ten answers take up to 0.25 s, above max_latency 0.2",
        ),
        (
            Requirements(min_quality=least("accuracy", 0.85), domain="rotated"),
            "accuracy for rotated is 0.8, below min_quality 0.85",
        ),
        (
            Requirements(min_quality=least("accuracy", 0.95), domain="noisy"),
            "accuracy is 0.9, below min_quality 0.95",
        ),
        (
            Requirements(min_quality=least("f1", 0.55)),
            "f1 for noisy is 0.5, below min_quality 0.55",
        ),
        (
            Requirements(min_quality=least("recall", 0.5), domain="noisy"),
            "states no recall for noisy, which min_quality asks for; add it to its evidence",
        ),
        (Requirements(inputs=tensor("z")), "has no input z; its inputs are x"),
        (
            Requirements(inputs=tensor("x", "FP16", 1, 64)),
            "input x is FP32 [-1, 64], not FP16 [1, 64]",
        ),
        (Requirements(inputs=tensor("x", "", 64)), "input x is FP32 [-1, 64], not [64]"),
        (Requirements(outputs=tensor("y", "", 3, 4)), "output y is INT64 [-1], not [3, 4]"),
        (Requirements(expression="card.cost < 2"), "expression `card.cost < 2` is false"),
    ],
)
def test_a_refusal_names_both_sides(wanted, reason):
    """The reason says what the card states and what was asked."""
    assert refusal(CARD, wanted, live=LIVE) == reason


def test_a_card_that_states_no_limits_is_not_limited():
    """An empty list of domains, languages or an unstated modality meets any requirement."""
    wanted = Requirements(domain="rotated", language="fr", modality="image")
    assert refusal(Card(name="generalist"), wanted) == ""
    assert refusal(Card(name="generalist"), Requirements(task="ocr")) != ""
    assert refusal(Card(name="generalist"), Requirements(data_classes=("personal",))) == ""


def test_what_has_not_answered_yet_is_not_too_slow():
    """There is nothing that could be held against it."""
    assert refusal(CARD, Requirements(max_latency=0.001)) == ""


def test_quality_is_that_of_the_domain_that_is_asked_for_elsewhere():
    """A route may ask for a quality, and its caller for the domain."""
    wanted = Requirements(min_quality=least("accuracy", 0.85))
    assert refusal(CARD, wanted) == ""
    assert "for rotated is 0.8" in refusal(CARD, wanted, domain="rotated")


def test_a_signature_that_is_not_known_yet_cannot_be_met():
    """It comes with the first replica."""
    reason = refusal(Card(name="new"), Requirements(outputs=tensor("y")))
    assert reason == "has no signature yet, of which outputs are asked; a replica brings it along"
