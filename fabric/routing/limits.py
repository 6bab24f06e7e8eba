"""Limits of requests, as far as they make a difference: those between the same two cards are one.

A caller may ask for any number as its limit, and each kind of request has a plan of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.cards import Card
    from fabric.core.routes import MinQuality, Requirements
    from fabric.routing.live import Live


class Limits:
    """The numbers of *cards*, and how they fare, that limits are held against."""

    def __init__(self, cards: Iterable[Card], live: Live) -> None:
        costs, qualities = set[float](), dict[str, set[float]]()
        for card in cards:
            costs.add(card.cost)
            for evidence in card.evidence:
                qualities.setdefault(evidence.metric, set()).add(evidence.value)
        self._costs = sorted(costs)
        self._latencies = sorted({0.0, *live.latencies.values()})
        self._qualities = {metric: sorted(values) for metric, values in qualities.items()}

    def rounded(self, wanted: Requirements) -> Requirements:
        """Requirements that the same cards meet as *wanted*, and the same for all that these meet.

        A limit that nobody meets stays as it is.
        """
        changes: dict[str, Any] = {}
        if wanted.max_cost is not None:
            changes["max_cost"] = _down(self._costs, wanted.max_cost)
        if wanted.max_latency is not None:
            changes["max_latency"] = _down(self._latencies, wanted.max_latency)
        if wanted.min_quality is not None:
            changes["min_quality"] = self._up(wanted.min_quality)
        return replace(wanted, **changes) if changes else wanted

    def _up(self, wanted: MinQuality) -> MinQuality:
        values = self._qualities.get(wanted.metric, [])
        place = bisect_left(values, wanted.value)
        return replace(wanted, value=values[place]) if place < len(values) else wanted


def _down(values: list[float], limit: float) -> float:
    """The largest of *values* within *limit*; the limit itself where there is none."""
    place = bisect_right(values, limit)
    return values[place - 1] if place else limit
