"""Where each specialist is worth its place: by domain, beside the generalist, and to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fabric.learning.measures import Interval, means
from fabric.learning.resampling import intervals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fabric.core.decisions import Query
    from fabric.learning.contest import Routing
    from fabric.learning.measures import Floats
    from fabric.learning.outcomes import Table

ALL = ""
"""The domain of all queries."""
REDUNDANT = 0.01
"""A specialist that cannot add as much quality to another as this is redundant beside it."""


def domain_of(query: Query) -> str:
    """What the evaluation calls the domain of *query*: its domain, or else its task."""
    return query.domain or query.task


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One specialist in one domain."""

    specialist: str
    domain: str
    """Empty for all queries."""
    rows: int
    """With an outcome."""
    quality: Interval
    gain: Interval
    """Of quality over the generalist, on the queries that both were given."""
    verdict: str
    """better, worse or even beside the generalist; empty for itself."""


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What one specialist does for the portfolio."""

    specialist: str
    quality: Interval
    cost: float
    """Mean of a call,"""
    seconds: float
    """and its median seconds."""
    first: float
    """Share of queries at which nobody did better."""
    alone: float
    """Share of queries at which everybody else did worse."""
    oracle_loss: Interval
    """Quality that the oracle loses without it,"""
    routed_loss: Interval | None
    """and the routed portfolio, which then takes whom it holds for the next best."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How far two specialists can stand in for each other."""

    specialists: tuple[str, str]
    agreement: float
    """Share of queries with the same outcome for both."""
    added: tuple[float, float]
    """Quality that each adds to the other, if who is better is known every time."""
    most: float
    """The upper 95 % bound of the smaller of the two."""
    redundant: str
    """Who adds nothing to the other, if the bound is so small; empty if both have their worth."""


# ------------------------------------------------------------------ by domain
def cells(table: Table, generalist: int) -> tuple[Cell, ...]:
    """Every specialist in every domain, all queries first."""
    named = [domain_of(query) for query in table.queries]
    domains = np.array(named)
    found = [*_cells(table.candidates, table.quality, generalist, ALL)]
    for domain in sorted(set(named) - {ALL}):
        found += _cells(table.candidates, table.quality[domains == domain], generalist, domain)
    return tuple(found)


def _cells(
    candidates: Sequence[str], quality: Floats, generalist: int, domain: str
) -> Iterator[Cell]:
    both = np.hstack([quality, quality - quality[:, [generalist]]])
    found = intervals(both)
    rows = np.isfinite(quality).sum(0)
    for at, name in enumerate(candidates):
        gain = found[at + len(candidates)]
        yield Cell(
            specialist=name,
            domain=domain,
            rows=int(rows[at]),
            quality=found[at],
            gain=gain,
            verdict="" if at == generalist else _verdict(gain),
        )


def _verdict(gain: Interval) -> str:
    if gain.low > 0:
        return "better"
    return "worse" if gain.high < 0 else "even"


# ------------------------------------------------------------------ in the portfolio
def worths(table: Table, routing: Routing | None) -> tuple[Worth, ...]:
    """What each specialist does for the oracle, and for a router where there is one."""
    quality, columns = table.quality, range(len(table.candidates))
    oracle_losses = np.column_stack([_oracle_loss(quality, k) for k in columns])
    routed: Sequence[Interval | None] = [None] * len(columns)
    if routing is not None:
        losses = [_routed_loss(quality, routing.ranks, routing.choices, k) for k in columns]
        routed = intervals(np.column_stack(losses))
    best = np.nanmax(quality, axis=1, keepdims=True)
    is_first = quality == best
    is_alone = is_first & (is_first.sum(1, keepdims=True) == 1)
    mean, lost = intervals(quality), intervals(oracle_losses)
    asked = np.isfinite(quality)
    cost = means(np.where(asked, table.cost, np.nan))
    seconds = np.where(asked, table.seconds, np.nan)
    return tuple(
        Worth(
            specialist=name,
            quality=mean[k],
            cost=float(cost[k]),
            seconds=float(np.nanmedian(seconds[:, k])) if asked[:, k].any() else np.nan,
            first=float(is_first[:, k].mean()),
            alone=float(is_alone[:, k].mean()),
            oracle_loss=lost[k],
            routed_loss=routed[k],
        )
        for k, name in enumerate(table.candidates)
    )


def _oracle_loss(quality: Floats, without: int) -> Floats:
    """Of every query: what the best answer is worth more than the best of the others."""
    rest = _without(quality, without)
    return np.asarray(np.nanmax(quality, axis=1) - rest.max(1, initial=0.0))


def _routed_loss(quality: Floats, ranks: Floats, chosen: NDArray[np.intp], without: int) -> Floats:
    """Of every query: what the router's choice is worth more than its choice of the others."""
    rows = np.arange(len(quality))
    hidden = np.where(np.isfinite(quality), ranks, -np.inf)
    hidden[:, without] = -np.inf
    instead = np.where(np.isfinite(hidden.max(1)), quality[rows, hidden.argmax(1)], 0.0)
    return np.where(chosen == without, quality[rows, chosen] - instead, 0.0)


def _without(quality: Floats, column: int) -> Floats:
    """The other columns; nobody asked is worth nothing."""
    return np.nan_to_num(np.delete(quality, column, axis=1), nan=0.0)


# ------------------------------------------------------------------ one beside another
def pairs(table: Table) -> tuple[Pair, ...]:
    """All pairs that were given the same queries, the most redundant first."""
    count = len(table.candidates)
    made = [_pair(table, i, j) for i in range(count) for j in range(i + 1, count)]
    return tuple(sorted((pair for pair in made if pair is not None), key=lambda p: p.most))


def _pair(table: Table, i: int, j: int) -> Pair | None:
    both = table.quality[:, [i, j]]
    both = both[np.isfinite(both).all(1)]
    if not len(both):
        return None
    added = np.maximum(both - both[:, ::-1], 0)
    values = means(added)
    cost = table.cost[:, [i, j]].mean(0)
    less = int(np.lexsort((-cost, values))[0])  # of equals the dearer
    names = (table.candidates[i], table.candidates[j])
    most = _bound(added[:, less])
    return Pair(
        specialists=names,
        agreement=float((both[:, 0] == both[:, 1]).mean()),
        added=(float(values[0]), float(values[1])),
        most=most,
        redundant=names[less] if most < REDUNDANT else "",
    )


def _bound(added: Floats) -> float:
    """The upper 95 % bound of the mean of *added*; of n zeros it is 3 / n.

    Hanley and Lippman-Hand, If Nothing Goes Wrong, Is Everything All Right? (1983).
    """
    if not added.any():
        return 3 / len(added)
    return float(added.mean() + 1.645 * added.std() / np.sqrt(len(added)))
