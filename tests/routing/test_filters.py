"""Hard requirements."""

from __future__ import annotations

import pytest

from fabric.core.cards import Card
from fabric.core.routes import Requirements
from fabric.routing.filters import refusal

CARD = Card(
    name="rotated",
    task="classify-digit",
    domains=("rotated", "noisy"),
    languages=("de",),
    modality="image",
    owner="vision",
    labels={"tier": "gold"},
)


@pytest.mark.parametrize(
    "wanted",
    [
        Requirements(),
        Requirements(task="classify-digit"),
        Requirements(domain="noisy", language="de", modality="image", owner="vision"),
        Requirements(labels={"tier": "gold"}),
    ],
)
def test_a_card_that_states_what_is_wanted_may_answer(wanted):
    """No requirement is unmet."""
    assert refusal(CARD, wanted) == ""


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
    ],
)
def test_a_refusal_names_both_sides(wanted, reason):
    """The reason says what the card states and what was asked."""
    assert refusal(CARD, wanted) == reason


def test_a_card_that_states_no_limits_is_not_limited():
    """An empty list of domains, languages or an unstated modality meets any requirement."""
    wanted = Requirements(domain="rotated", language="fr", modality="image")
    assert refusal(Card(name="generalist"), wanted) == ""
    assert refusal(Card(name="generalist"), Requirements(task="ocr")) != ""
