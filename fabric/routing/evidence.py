"""What cards state of measured quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.cards import Card, Evidence


def stated(card: Card, metric: str, domain: str = "") -> Evidence | None:
    """The evidence of *card* in *metric* for *domain*, or for all domains without one.

    Of several the one measured last counts, and of one day that on the most rows.
    """
    found = [e for e in card.evidence if e.metric == metric and e.domain == domain]
    return max(found, key=lambda e: (e.measured, e.rows)) if len(found) > 1 else _only(found)


def _only(found: list[Evidence]) -> Evidence | None:
    return found[0] if found else None


def by_domain(card: Card, metric: str) -> list[Evidence]:
    """The evidence of *card* in *metric* for each domain that it has some for."""
    domains = {e.domain for e in card.evidence if e.metric == metric and e.domain}
    return [e for domain in sorted(domains) if (e := stated(card, metric, domain)) is not None]


def metrics(cards: Iterable[Card]) -> dict[str, int]:
    """How many of *cards* have evidence in each metric."""
    counts: dict[str, int] = {}
    for card in cards:
        for metric in {e.metric for e in card.evidence}:
            counts[metric] = counts.get(metric, 0) + 1
    return counts
