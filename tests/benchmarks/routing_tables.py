"""Public tables of outcomes, read from a folder: what kind each is, and how it is split.

A table is told by its columns: `weak_…` and `strong_…` make a pair of models, `…|total_cost` a
priced pool, `question` and `task` a pool, and the arrays of an ASlib scenario a pool of solvers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fabric.core.decisions import Query
from fabric.learning import measures
from fabric.learning.outcomes import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDS = 5
SHORT = 1500
DRAWS = 3

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Task:
    """A table with the rows to train on and to test on, once or for several folds."""

    name: str
    kind: str
    """`pair`, `pool`, `priced` or `solvers`."""
    table: Table
    splits: tuple[Split, ...]
    is_repeated: bool = False
    """Whether splits are repetitions, whose figures are averaged, and no folds of one whole."""

    @property
    def is_tagged(self) -> bool:
        return any(query.task or query.domain for query in self.table.queries)

    def untagged(self) -> Task:
        """The same with texts alone."""
        queries = tuple(replace(query, task="", domain="") for query in self.table.queries)
        return replace(
            self, name=f"{self.name}, text only", table=replace(self.table, queries=queries)
        )


def tables(folder: Path) -> Iterator[Task]:
    """All that are under *folder*."""
    for path in sorted(folder.rglob("*.parquet")):
        if path.stem == "test":
            continue
        other = path.with_name("test.parquet") if path.stem == "train" else None
        yield from _of_texts(path, other if other and other.exists() else None)
    for path in sorted(folder.rglob("*.npz")):
        yield _solvers(path)


def _of_texts(path: Path, other: Path | None) -> Iterator[Task]:
    data = pl.read_parquet(path)
    weak = [name for name in data.columns if name.startswith("weak_") and name != "weak_chars"]
    name = path.parent.name if path.stem == "train" else f"{path.parent.name}/{path.stem}"
    if weak:
        yield from _pair(name, data, weak[0])
        return
    priced = [c.partition("|")[0] for c in data.columns if c.endswith("|total_cost")]
    models = priced or [c for c in data.columns if c not in {"question", "task", "metric"}]
    kind = "priced" if priced else "pool"
    table = _pool(data, models, bool(priced))
    yield Task(name, kind, table, _folds(len(table.queries)))
    if other is not None:
        tested = _pool(pl.read_parquet(other), models, bool(priced))
        both = _joined(table, tested)
        rows = np.arange(len(both.queries))
        split = (rows[: len(table.queries)], rows[len(table.queries) :])
        yield Task(f"{name}, own split", kind, both, (split,))


def _pair(name: str, data: pl.DataFrame, weak: str) -> Iterator[Task]:
    strong = next(column for column in data.columns if column.startswith("strong_"))
    if "contaminated" in data.columns:
        data = data.filter(~pl.col("contaminated"))
    domains = data["domain"] if "domain" in data.columns else [""] * len(data)
    queries = tuple(
        Query(text=text, domain=domain)
        for text, domain in zip(data["prompt"], domains, strict=True)
    )
    quality = data.select(weak, strong).to_numpy().astype(float)
    none = np.zeros(quality.shape)
    table = Table((weak, strong), queries, quality, none, none)
    if len(queries) > 4 * SHORT:
        drawn = [np.random.default_rng(draw).permutation(len(queries)) for draw in range(DRAWS)]
        short = tuple((rows[:SHORT], rows[SHORT:]) for rows in drawn)
        yield Task(f"{name}, {SHORT} labels", "pair", table, short, is_repeated=True)
    yield Task(name, "pair", table, _folds(len(queries)))


def _pool(data: pl.DataFrame, models: list[str], is_priced: bool) -> Table:
    text = "prompt" if "prompt" in data.columns else "question"
    task = "eval_name" if "eval_name" in data.columns else "task"
    data = data.filter(pl.all_horizontal(pl.col(m).is_finite() for m in models))
    queries = tuple(
        Query(text=text, task=task) for text, task in zip(data[text], data[task], strict=True)
    )
    quality = data.select(models).to_numpy().astype(float)
    costs = [f"{model}|total_cost" for model in models]
    cost = data.select(costs).to_numpy().astype(float) if is_priced else np.zeros(quality.shape)
    return Table(tuple(models), queries, quality, cost, np.zeros(quality.shape))


def _joined(first: Table, second: Table) -> Table:
    return Table(
        first.candidates,
        first.queries + second.queries,
        np.concatenate([first.quality, second.quality]),
        np.concatenate([first.cost, second.cost]),
        np.concatenate([first.seconds, second.seconds]),
    )


def _folds(rows: int) -> tuple[Split, ...]:
    fold = np.random.default_rng(0).permutation(rows) % FOLDS
    return tuple((np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(FOLDS))


def _solvers(path: Path) -> Task:
    """Quality is what is left of ten cutoffs after PAR10, so that gaps of both are the same."""
    with np.load(path, allow_pickle=False) as data:
        found = {key: data[key] for key in ("X", "perf", "ok", "fold", "algorithms")}
    cutoff = json.loads(path.with_name("meta.json").read_text())[path.stem]["cutoff"]
    loss = measures.par10(found["perf"].astype(float), found["ok"], cutoff)
    queries = tuple(Query(numbers=tuple(map(float, row))) for row in found["X"])
    names = tuple(map(str, found["algorithms"]))
    table = Table(names, queries, 1 - loss / (10 * cutoff), np.zeros(loss.shape), loss)
    splits = tuple(
        (np.flatnonzero(found["fold"] != f), np.flatnonzero(found["fold"] == f))
        for f in np.unique(found["fold"])
    )
    return Task(f"{path.parent.name}/{path.stem}", "solvers", table, splits)
