"""Routers on the same queries: each learns from some of the table and is judged on the rest."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fabric.learning import baselines
from fabric.learning.baselines import Judged
from fabric.learning.measures import Floats
from fabric.learning.training import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from fabric.core.cards import Evidence
    from fabric.core.decisions import Query
    from fabric.learning.baselines import Judge
    from fabric.learning.outcomes import Table

FIXED, PRIOR, DECLARED, LEARNED = "fixed", "prior per task", "declared evidence", "learned"
ROUTERS = (FIXED, PRIOR, DECLARED, "kNN", "clusters", "MLP", LEARNED)


@dataclass(frozen=True, kw_only=True, eq=False)
class Routing:
    """What one router did with all n queries of a table."""

    router: str
    estimates: Floats
    """Of the quality of each candidate: [n, k]."""
    ranks: Floats
    """What it tells candidates apart by: the estimates, or what they were made of."""
    choices: NDArray[np.intp]
    """Whom it took, of those with an outcome: [n]."""
    fitting: float
    """Seconds of training, per fold,"""
    deciding: float
    """and of a decision, many made at once."""


@dataclass(eq=False)
class _Parts:
    """What comes of a router, fold by fold."""

    estimates: Floats
    ranks: Floats
    choices: NDArray[np.intp]
    fitting: list[float] = field(default_factory=list)
    deciding: list[float] = field(default_factory=list)


def folds(table: Table, count: int, seed: int) -> list[tuple[Table, NDArray[np.intp]]]:
    """Splits of *table* in which every row is judged once, by what was learned from the others."""
    order = np.random.default_rng(seed).permutation(len(table.queries))
    parts = [np.sort(part) for part in np.array_split(order, min(count, len(order)))]
    return [(table.rows(np.setdiff1d(order, part)), part) for part in parts]


def contest(
    table: Table,
    splits: Sequence[tuple[Table, NDArray[np.intp]]],
    evidence: Mapping[str, Sequence[Evidence]],
    seed: int,
    progress: Callable[[float, str], None],
    only: Collection[str] = (),
) -> tuple[Routing, ...]:
    """What every router, or *only* some, does with *table*: trained and asked split by split."""
    shape, asked = table.quality.shape, np.isfinite(table.quality)
    found: dict[str, _Parts] = {}
    for done, (train, rows) in enumerate(splits):
        queries = [table.queries[row] for row in rows]
        for name, training in _trainings(train, evidence, seed, only):
            started = time.perf_counter()
            judge = training()
            trained = time.perf_counter()
            judged = judge(queries)
            decided = time.perf_counter()
            parts = found.setdefault(
                name, _Parts(np.zeros(shape), np.zeros(shape), np.zeros(shape[0], np.intp))
            )
            parts.estimates[rows] = judged.estimates
            parts.ranks[rows] = judged.ranks() if judged.ranks else judged.estimates
            parts.choices[rows] = _choices(judged, asked[rows])
            parts.fitting.append(trained - started)
            parts.deciding.append((decided - trained) / len(rows))
            progress((done + 0.5) / len(splits), f"fold {done + 1} of {len(splits)}: {name}")
    return tuple(
        Routing(
            router=name,
            estimates=parts.estimates,
            ranks=parts.ranks,
            choices=parts.choices,
            fitting=float(np.mean(parts.fitting)),
            deciding=float(np.mean(parts.deciding)),
        )
        for name, parts in found.items()
    )


def _trainings(
    train: Table, evidence: Mapping[str, Sequence[Evidence]], seed: int, only: Collection[str]
) -> Iterator[tuple[str, Callable[[], Judge]]]:
    """How each router is trained on *train*; those that find nothing to go by are left out."""
    features = cache(lambda: baselines.Features(train.queries, seed))
    trainings: dict[str, Callable[[], Judge]] = {
        FIXED: lambda: baselines.best_single(train),
        PRIOR: lambda: baselines.prior(train),
        DECLARED: lambda: baselines.declared(evidence)(train),
        "kNN": lambda: baselines.neighbours(train, features()),
        "clusters": lambda: baselines.clusters(train, features(), seed),
        "MLP": lambda: baselines.network(train, features(), seed),
        LEARNED: lambda: _learned(train, evidence, seed),
    }
    is_declared = any(query.task or query.domain for query in train.queries)
    if not is_declared:
        del trainings[PRIOR]
    if not is_declared or not evidence:
        del trainings[DECLARED]
    return ((name, make) for name, make in trainings.items() if not only or name in only)


def _learned(train: Table, evidence: Mapping[str, Sequence[Evidence]], seed: int) -> Judge:
    """The policy that a fabric would train, with its guard."""
    policy = fit(train, seed=seed, evidence=evidence)

    def judge(queries: Sequence[Query]) -> Judged:
        made = [policy.choose(query, train.candidates) for query in queries]
        return Judged(
            np.array([choice.probabilities for choice in made]),
            np.array([choice.first for choice in made], dtype=np.intp),
            lambda: np.array([policy.score(query) for query in queries]),
        )

    return judge


def _choices(judged: Judged, asked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Whom the router takes of those whose outcome is known."""
    best: NDArray[np.intp] = np.where(asked, judged.estimates, -np.inf).argmax(1)
    if judged.choices is None:
        return best
    known = asked[np.arange(len(asked)), judged.choices]
    return np.where(known, judged.choices, best)
