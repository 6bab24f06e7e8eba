"""The ladder of routers: what each reaches of what could be reached, at which cost, how surely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fabric.learning.contest import FIXED
from fabric.learning.measures import (
    Interval,
    average_recovered,
    best_single,
    calibration_error,
    calls_needed,
    cost_at_quality,
    hull,
    interval,
    means,
    quality_area,
    taken,
)
from fabric.learning.resampling import resampled
from fabric.learning.worth import domain_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.learning.contest import Routing
    from fabric.learning.measures import Floats
    from fabric.learning.outcomes import Table

ORACLE, TASK_ORACLE, SINGLE, RANDOM = "oracle", "task oracle", "best single", "random"
_TRADES = 60
"""Prices at which quality is traded for cost."""
_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What a router reaches at which cost, by how much it may spend."""

    router: str
    cost: tuple[float, ...]
    """Mean of a query, increasing,"""
    quality: tuple[float, ...]
    """and the mean quality there: the non-decreasing convex hull."""
    area: Interval
    """AIQ: its mean height from the cheapest to the dearest specialist."""
    saving: float
    """Cost at which it is as good as the best single specialist, as a share of that one's; not a
    number where it never is."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How often what a router gives a probability comes out."""

    router: str
    error: float
    """ECE, over all candidates of all queries."""
    estimated: tuple[float, ...]
    """Mean estimate of a bin,"""
    reached: tuple[float, ...]
    """the mean quality that came out,"""
    rows: tuple[int, ...]
    """and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One router on the ladder."""

    router: str
    quality: Interval
    m: Interval
    """Of the gap between the best single specialist (0) and the oracle (1)."""
    regret: Interval
    """Quality that the oracle has more."""
    switched: float
    """Share of queries that it gives to another than the best single specialist."""
    cost: float
    """Mean of a query."""
    seconds: float
    """Mean of a query."""
    fitting: float | None = None
    """Seconds of training,"""
    deciding: float | None = None
    """and of a decision; None for what cannot be had."""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What a router makes of two specialists, a weak and a strong one, as RouteLLM measures it."""

    router: str
    area: float
    """APGR: share of the gap that is recovered, over all shares of strong calls; 0.5 is random."""
    half: float
    """CPT: the share of strong calls that recovers half of the gap,"""
    most: float
    """and four fifths."""


# ------------------------------------------------------------------ how good
def rungs(table: Table, routings: Sequence[Routing]) -> tuple[Rung, ...]:
    """Random, every router, and what knows more than a router can; the worst comes first."""
    quality, single = table.quality, best_single(table.quality)
    shares = references(table) | {r.router: one_hot(r.choices, table) for r in routings}
    reached = np.column_stack([_mean(share, quality) for share in shares.values()])
    names = list(shares)
    mean, drawn = means(reached), resampled(reached)
    top, base = names.index(ORACLE), names.index(SINGLE)
    timed = {routing.router: routing for routing in routings}
    made = [
        Rung(
            router=name,
            quality=interval(float(mean[at]), drawn[:, at]),
            m=interval(*_closed(mean, drawn, at, base, top)),
            regret=interval(float(mean[top] - mean[at]), drawn[:, top] - drawn[:, at]),
            switched=float(1 - shares[name][:, single].mean()),
            cost=float(_mean(shares[name], table.cost).mean()),
            seconds=float(_mean(shares[name], table.seconds).mean()),
            fitting=timed[name].fitting if name in timed else None,
            deciding=timed[name].deciding if name in timed else None,
        )
        for at, name in enumerate(names)
    ]
    return tuple(sorted(made, key=lambda rung: rung.quality.value))


def references(table: Table) -> dict[str, Floats]:
    """What routers are held against: how often each candidate answers each query, [n, k]."""
    quality, asked = table.quality, np.isfinite(table.quality)
    known = np.where(asked, quality, -np.inf)
    best = known == known.max(1, keepdims=True)
    cheapest = np.where(best, table.cost, np.inf).argmin(1)
    shares = {RANDOM: asked / asked.sum(1, keepdims=True)}
    shares[SINGLE] = one_hot(_preferred(means(quality), asked), table)
    domains = np.array([domain_of(query) for query in table.queries])
    if len(set(domains)) > 1:
        by_domain = {d: means(quality[domains == d]) for d in set(domains)}
        preferred = _preferred(np.array([by_domain[d] for d in domains]), asked)
        shares[TASK_ORACLE] = one_hot(preferred, table)
    shares[ORACLE] = one_hot(cheapest, table)
    return shares


def one_hot(choices: NDArray[np.intp], table: Table) -> Floats:
    return np.eye(len(table.candidates))[choices]


def _preferred(mean: Floats, asked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Of each row, who has the best *mean* among those who were asked."""
    best: NDArray[np.intp] = np.where(asked, np.nan_to_num(mean), -np.inf).argmax(1)
    return best


def _mean(share: Floats, values: Floats) -> Floats:
    return np.asarray((share * np.nan_to_num(values)).sum(1))


def _closed(mean: Floats, drawn: Floats, at: int, base: int, top: int) -> tuple[float, Floats]:
    """m, as `measures.gap_closed` has it, of the means and of all draws."""
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn_m = (drawn[:, at] - drawn[:, base]) / (drawn[:, top] - drawn[:, base])
        value = (mean[at] - mean[base]) / (mean[top] - mean[base])
    return (float(value) if mean[top] > mean[base] else np.nan), drawn_m


# ------------------------------------------------------------------ at which cost
def curves(table: Table, routings: Sequence[Routing]) -> tuple[Curve, ...]:
    """What the routers reach at which cost, the specialists by lot, and the oracle.

    The first is RouterBench's Zero router. None at all where nobody costs more than another.
    """
    asked = np.isfinite(table.quality)
    used = asked.any(0)
    paid = np.where(asked, table.cost, np.nan)
    cost = np.where(used, means(paid), 0)
    low, high = float(cost[used].min()), float(cost[used].max())
    if low == high:
        return ()
    prices = np.append(0, np.geomspace(1e-3, 1e3, _TRADES)) / (high - low)
    known = [("by lot", paid[:, used], table.quality[:, used])]
    known += [
        (each.router, *_traded(table, each.ranks, each.choices, prices, cost))
        for each in routings
        if each.router != FIXED
    ]
    oracle = references(table)[ORACLE].argmax(1)
    known.append((ORACLE, *_traded(table, table.quality, oracle, prices, table.cost)))
    return tuple(_curve(table, (low, high), *each) for each in known)


def _traded(
    table: Table, ranks: Floats, choices: NDArray[np.intp], prices: Floats, cost: Floats
) -> tuple[Floats, Floats]:
    """Cost and quality of each query [n, trades]: of the *choices*, and of who is best for each of
    *prices*, in quality, of the *cost* that is expected."""
    known = np.where(np.isfinite(table.quality), ranks, -np.inf)
    picked = [choices, *((known - price * cost).argmax(1) for price in prices)]
    return (
        np.column_stack([taken(table.cost, each) for each in picked]),
        np.column_stack([taken(table.quality, each) for each in picked]),
    )


def _curve(
    table: Table, costs: tuple[float, float], router: str, cost: Floats, quality: Floats
) -> Curve:
    points = means(cost), means(quality)
    xs, ys = hull(*points)
    drawn = zip(resampled(cost, draws=200), resampled(quality, draws=200), strict=True)
    areas = np.array([quality_area(x, y, *costs) for x, y in drawn])
    single = references(table)[SINGLE].argmax(1)
    wanted = float(taken(table.quality, single).mean()) - 1e-9
    spent = float(taken(table.cost, single).mean()) or np.nan
    return Curve(
        router=router,
        cost=tuple(xs.tolist()),
        quality=tuple(ys.tolist()),
        area=interval(quality_area(*points, *costs), areas),
        saving=cost_at_quality(*points, wanted) / spent,
    )


def recoveries(table: Table, routings: Sequence[Routing]) -> tuple[Recovery, ...]:
    """Of every router but the fixed one, where there are two specialists and both were asked."""
    if len(table.candidates) != 2 or np.isnan(table.quality).any():
        return ()
    strong = best_single(table.quality)
    two = table.quality[:, 1 - strong], table.quality[:, strong]
    made = []
    for routing in routings:
        if routing.router != FIXED:
            score = routing.ranks[:, strong] - routing.ranks[:, 1 - strong]
            area = average_recovered(score, *two)
            half, most = (calls_needed(score, *two, part) for part in (0.5, 0.8))
            made.append(Recovery(router=routing.router, area=area, half=half, most=most))
    return tuple(made)


# ------------------------------------------------------------------ how surely
def calibrations(table: Table, routings: Sequence[Routing]) -> tuple[Calibration, ...]:
    """Of every router but the fixed one, which tells no query from another."""
    return tuple(
        _calibration(routing, table.quality) for routing in routings if routing.router != FIXED
    )


def _calibration(routing: Routing, quality: Floats) -> Calibration:
    known = np.isfinite(quality)
    estimated, reached = routing.estimates[known], quality[known]
    place = np.minimum((estimated * _BINS).astype(np.intp), _BINS - 1)
    rows = np.bincount(place, minlength=_BINS)
    used = rows > 0
    return Calibration(
        router=routing.router,
        error=calibration_error(estimated, reached),
        estimated=tuple((np.bincount(place, estimated, _BINS)[used] / rows[used]).tolist()),
        reached=tuple((np.bincount(place, reached, _BINS)[used] / rows[used]).tolist()),
        rows=tuple(rows[used].tolist()),
    )
