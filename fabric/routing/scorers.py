"""Preferences: scores from 0 to 1 by which candidates are ranked, with the words for each.

A score is relative to the other candidates where the scale is the portfolio's own: what costs as
much as the middle one, or is as slow, has 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import inf
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from fabric.routing.evidence import by_domain, metrics, stated
from fabric.routing.live import NOTHING, Live

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fabric.core.cards import Card, Evidence
    from fabric.core.routes import Preferences

_PRIOR_ROWS = 32
"""Rows that a quality has to be measured on to count half, beside what is known in general."""
_UNKNOWN_ROWS = 100
"""Rows that evidence counts for which does not say how many."""
_HALF_LIFE = 180.0
"""Days after which evidence is half as fresh."""

Column: TypeAlias = "tuple[list[float], Callable[[int], str]]"
"""The score of each card, and why it has it in words, by its place."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What scorers see beside the cards."""

    domain: str = ""
    """The one that is asked for."""
    metric: str = ""
    """Of the evidence that counts; empty for the one that most cards have."""
    region: str = ""
    """Where locality is best."""
    live: Live = NOTHING
    today: date = date.min


class Scores:
    """The scores of cards among them all.

    A scorer that needs the request, as similarity does, is left out: see `routing/deciding.py`.
    """

    def __init__(self, cards: Sequence[Card], preferences: Preferences, sight: Sight) -> None:
        weights = {n: weight for n, weight in preferences.weighted.items() if n in _SCORERS}
        total = sum(weights.values())
        self._columns = {name: _SCORERS[name](cards, sight) for name in weights}
        self.means = [0.0] * len(cards)
        """Weighted, of the scores of each card; 0 where no scorer has a weight."""
        for name, weight in weights.items():
            share, (scores, _) = weight / total, self._columns[name]
            self.means = [
                mean + share * score for mean, score in zip(self.means, scores, strict=True)
            ]

    def parts(self, place: int) -> tuple[tuple[str, float], ...]:
        """Each scorer with the score of the card at *place*."""
        return tuple([(name, scores[place]) for name, (scores, _) in self._columns.items()])

    def reason(self, place: int) -> str:
        """Such as `quality 0.93 of accuracy for cursive, cost 2: 0.81`."""
        words = ", ".join([why(place) for _, why in self._columns.values()])
        return f"{words}: {self.means[place]:.2f}"


# ------------------------------------------------------------------ evidence
def _quality(cards: Sequence[Card], sight: Sight) -> Column:
    """The evidence for the domain, shrunken towards that for all, and that towards the mean of all
    cards, by the rows it was measured on (Efron and Morris, "Data analysis using Stein's estimator
    and its generalizations", 1975). Who has none has a half, or what the worst has if that is less.
    """
    metric = sight.metric or _commonest(cards)
    measured = [_measured(card, metric, sight.domain) for card in cards]
    values = [evidence[0].value for evidence in measured if evidence]
    mean = sum(values) / len(values) if values else 0.5
    known = [_shrunken(evidence, mean) if evidence else None for evidence in measured]
    least = min([0.5, *(score for score in known if score is not None)])
    scores = [least if score is None else score for score in known]

    def why(place: int) -> str:
        if not measured[place]:
            return f"no {metric or 'quality'} measured"
        domain = measured[place][-1].domain
        where = f" for {domain}" if sight.domain and domain else ""
        where = " in the middle of its domains" if domain and not sight.domain else where
        return f"quality {scores[place]:.2f} of {metric}{where}"

    return scores, why


def _measured(card: Card, metric: str, domain: str) -> list[Evidence]:
    """The evidence that counts: for all domains, and behind it for *domain*.

    Where there is neither, and no domain is asked for, the middle one of those that there are.
    """
    if not card.evidence:
        return []
    general = stated(card, metric)
    special = stated(card, metric, domain) if domain else None
    found = [evidence for evidence in (general, special) if evidence is not None]
    if not found and not domain and (of_any := by_domain(card, metric)):
        return [sorted(of_any, key=lambda e: e.value)[(len(of_any) - 1) // 2]]
    return found


def _shrunken(measured: list[Evidence], mean: float) -> float:
    for evidence in measured:
        rows = evidence.rows or _UNKNOWN_ROWS
        mean = (evidence.value * rows + mean * _PRIOR_ROWS) / (rows + _PRIOR_ROWS)
    return min(max(mean, 0.0), 1.0)


def _freshness(cards: Sequence[Card], sight: Sight) -> Column:
    metric = sight.metric or _commonest(cards)
    measured = [_measured(card, metric, sight.domain) for card in cards]
    days = [evidence[-1].measured if evidence else "" for evidence in measured]

    def fresh(day: str) -> float:
        age = max((sight.today - date.fromisoformat(day)).days, 0) if day else inf
        return float(0.5 ** (age / _HALF_LIFE))

    return [fresh(day) for day in days], lambda at: f"measured {days[at] or 'at no known day'}"


def _commonest(cards: Sequence[Card]) -> str:
    counts = metrics(cards)
    return min(counts, key=lambda metric: (-counts[metric], metric), default="")


# ------------------------------------------------------------------ what it takes
def _cost(cards: Sequence[Card], _: Sight) -> Column:
    middle = _middle([card.cost for card in cards])
    return [_small(card.cost, middle) for card in cards], lambda at: f"cost {cards[at].cost:g}"


def _latency(cards: Sequence[Card], sight: Sight) -> Column:
    """Who has not answered of late is taken to be in the middle."""
    seconds = [sight.live.latencies.get(card.key) for card in cards]
    middle = _middle([each for each in seconds if each is not None])

    def why(place: int) -> str:
        each = seconds[place]
        return "latency unknown" if each is None else f"latency {each:.2g} s"

    return [_small(middle if each is None else each, middle) for each in seconds], why


def _load(cards: Sequence[Card], sight: Sight) -> Column:
    loads = [sight.live.loads.get(card.key, 0.0) for card in cards]
    return [_small(load, 1.0) for load in loads], lambda at: f"load {loads[at]:.2g}"


def _locality(cards: Sequence[Card], sight: Sight) -> Column:
    """Who does not say where it is may be anywhere."""

    def score(region: str) -> float:
        return float(region == sight.region) if region and sight.region else 0.5

    scores = [score(card.region) for card in cards]
    return scores, lambda at: f"region {cards[at].region or 'not stated'}"


def _middle(values: Sequence[float]) -> float:
    return median([value for value in values if value > 0] or [1.0])


def _small(value: float, middle: float) -> float:
    """1 for nothing, 0.5 for the *middle*, and towards 0 for more; in any unit."""
    return middle / (middle + value)


_SCORERS: Mapping[str, Callable[[Sequence[Card], Sight], Column]] = {
    "quality": _quality,
    "cost": _cost,
    "latency": _latency,
    "load": _load,
    "locality": _locality,
    "freshness": _freshness,
}
