"""What a table of outcomes says of specialists and routers, as one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fabric.catalog.catalog import suggestion
from fabric.core.cards import Evidence
from fabric.core.errors import InvalidRequest, NotFound
from fabric.learning import ladder, worth
from fabric.learning.cascades import FittedCascade, cascade_of
from fabric.learning.contest import LEARNED, ROUTERS, contest, folds
from fabric.learning.ladder import Calibration, Curve, Recovery, Rung
from fabric.learning.measures import best_single
from fabric.learning.outcomes import Table
from fabric.learning.worth import Cell, Pair, Worth

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


MANY_PAIRS = 50
"""Pairs of specialists in a report at most."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How to evaluate."""

    generalist: str = ""
    """Who the others are held against; empty for the best single specialist."""
    folds: int = 5
    seed: int = 0
    evidence: Mapping[str, Sequence[Evidence]] = field(default_factory=dict)
    """What the cards say, by specialist."""

    routers: tuple[str, ...] = ()
    """Those to measure; empty for all."""
    blind: bool = False
    """Whether routers are told neither task nor domain of a query, but only its content."""
    risk: float | None = None
    """The share of wrong answers that a cascade is fitted to; None for no cascade."""
    most: int = 0
    """Specialists that a cascade asks at most; 0 for all."""

    def __post_init__(self) -> None:
        for name in self.routers:
            if name not in ROUTERS:
                raise NotFound(f"no router '{name}'; use {', '.join(ROUTERS)}")
        if self.folds < 2:
            raise InvalidRequest(f"folds is {self.folds}, it is at least 2")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Specialists and routers on one table of outcomes. Intervals hold 95 % each."""

    rows: int
    specialists: tuple[str, ...]
    domains: tuple[str, ...]
    generalist: str
    """Who the others are held against."""
    best_single: str
    seed: int
    folds: int
    """0 where routers learned from another table."""
    worth: tuple[Worth, ...]
    cells: tuple[Cell, ...]
    pairs: tuple[Pair, ...]
    """The most redundant first, at most `MANY_PAIRS`."""
    ladder: tuple[Rung, ...]
    """The worst router first."""
    curves: tuple[Curve, ...]
    recoveries: tuple[Recovery, ...]
    """Where there are two specialists."""
    calibrations: tuple[Calibration, ...]
    cascade: FittedCascade | None
    notes: tuple[str, ...]

    def rung(self, router: str) -> Rung:
        return next(rung for rung in self.ladder if rung.router == router)


def evaluate(
    table: Table,
    wanted: Wanted,
    progress: Callable[[float, str], None] = lambda part, what: None,
    train: Table | None = None,
) -> Evaluation:
    """Measures the specialists and routers of *table*; takes from seconds to minutes.

    Routers learn from *train*, by default from the other folds of *table*. Where a query was not
    given to everybody, all are judged on those whose outcome is known.

    Args:
        progress: Told which part is done, from 0 to 1, and what is done.

    Raises:
        InvalidRequest: there is too little to evaluate, or *train* is of other specialists.
        NotFound: there is no such generalist.
    """
    table, notes = _usable(table, wanted)
    cascade = None
    if wanted.risk is not None:
        progress(0.0, "cascade")
        cascade = cascade_of(table, wanted.risk, wanted.most, wanted.seed)
    single = best_single(table.quality)
    generalist = _generalist(table, wanted.generalist, single)
    progress(0.02, "specialists")
    cells, pairs = worth.cells(table, generalist), worth.pairs(table)
    routings = contest(
        _shown(table, wanted),
        _splits(table, train, wanted),
        wanted.evidence,
        wanted.seed,
        lambda part, what: progress(0.05 + 0.85 * part, what),
        wanted.routers,
    )
    progress(0.95, "intervals")
    learned = next((each for each in routings if each.router == LEARNED), None)
    return Evaluation(
        rows=len(table.queries),
        specialists=table.candidates,
        domains=tuple(dict.fromkeys(cell.domain for cell in cells if cell.domain)),
        generalist=table.candidates[generalist],
        best_single=table.candidates[single],
        seed=wanted.seed,
        folds=0 if train is not None else wanted.folds,
        worth=worth.worths(table, learned),
        cells=cells,
        pairs=pairs[:MANY_PAIRS],
        ladder=ladder.rungs(table, routings),
        curves=ladder.curves(table, routings),
        recoveries=ladder.recoveries(table, routings),
        calibrations=ladder.calibrations(table, routings),
        cascade=cascade,
        notes=notes,
    )


def _usable(table: Table, wanted: Wanted) -> tuple[Table, tuple[str, ...]]:
    """The queries with an outcome, and what is to be known of the others."""
    notes = []
    known = np.isfinite(table.quality).any(1)
    if not known.all():
        notes.append(f"{(~known).sum()} queries without any outcome are left out")
        table = table.rows(np.flatnonzero(known))
    missing = float(np.isnan(table.quality).mean()) if known.any() else 0.0
    if missing:
        notes.append(f"{missing:.1%} of outcomes are missing: all are judged on those there are")
    if len(table.queries) < 2 * wanted.folds:
        raise InvalidRequest(
            f"{len(table.queries)} queries are too few to evaluate in {wanted.folds} folds"
        )
    return table, tuple(notes)


def _shown(table: Table, wanted: Wanted) -> Table:
    """What routers see of *table*."""
    if not wanted.blind:
        return table
    hidden = (replace(query, task="", domain="") for query in table.queries)
    return replace(table, queries=tuple(hidden))


def _splits(
    table: Table, train: Table | None, wanted: Wanted
) -> list[tuple[Table, NDArray[np.intp]]]:
    """What routers learn from, and the rows of *table* that each is then judged on."""
    if train is None:
        return folds(_shown(table, wanted), wanted.folds, wanted.seed)
    return [(_shown(_alike(train, table), wanted), np.arange(len(table.queries)))]


def _generalist(table: Table, name: str, single: int) -> int:
    if not name:
        return single
    if name not in table.candidates:
        raise NotFound(f"no specialist '{name}' in the table{suggestion(name, table.candidates)}")
    return table.candidates.index(name)


def _alike(train: Table, table: Table) -> Table:
    """*train* with the specialists in the order of *table*."""
    if set(train.candidates) != set(table.candidates):
        odd = ", ".join(sorted(set(train.candidates) ^ set(table.candidates)))
        raise InvalidRequest(f"routers learn from a table of other specialists: {odd}")
    order = [train.candidates.index(name) for name in table.candidates]
    outcomes = {name: values[:, order] for name, values in train.outcomes.items()}
    return Table(table.candidates, train.queries, **outcomes)
