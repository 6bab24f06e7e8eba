"""Hard requirements: which cards may answer, and why the others may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabric.core.cards import Card
    from fabric.core.routes import Requirements


def refusal(card: Card, wanted: Requirements) -> str:
    """Why *card* does not meet what is *wanted*, naming both sides; empty if it does."""
    for what, asked, stated in (
        ("task", wanted.task, card.task),
        ("owner", wanted.owner, card.owner),
        *(
            (f"label {key}", value, card.labels.get(key, ""))
            for key, value in wanted.labels.items()
        ),
    ):
        if asked and asked != stated:
            return f"{what} is {stated or 'not stated'}, not {asked}"
    for what, asked, limits in (
        ("domain", wanted.domain, card.domains),
        ("language", wanted.language, card.languages),
        ("modality", wanted.modality, (card.modality,) if card.modality else ()),
    ):
        if asked and limits and asked not in limits:
            return f"{what} {asked} is not among {', '.join(limits)}"
    return ""
