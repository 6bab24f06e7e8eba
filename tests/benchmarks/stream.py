"""A route that starts from nothing: requests one after another, labels of who was asked alone.

`python -m tests.benchmarks.stream FOLDER` takes a folder with LLMRouter's table `train.parquet`
(columns question, task, metric and one of scores for each model). Requests come in random order.
Each is decided by the latest policy, corrected by what the explorer learned since, and explored
within a budget that is larger for the first requests: on the whole less than 5 % have a shadow.
Policies are trained on the log whenever it has doubled, later every `--every` requests; with
`--stages` and no names there are none, and the explorer alone decides. Beside it stand the best
single model in hindsight, the best model by task in hindsight and the oracle. With `--drift` the
best model fails most requests from the middle on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import polars as pl

from fabric.core.decisions import Query
from fabric.core.routes import Exploration
from fabric.learning.outcomes import Table
from fabric.learning.training import Training, fit
from fabric.routing.exploration import Explorer

FIRST = 100
"""Requests before the first policy."""
FAILING = 0.8
"""Share of the requests that the drifted model fails."""


def table_of(folder: Path, with_text: bool) -> Table:
    frame = pl.read_parquet(folder / "train.parquet")
    names = frame.columns[3:]
    queries = tuple(
        Query(task=task, text=text if with_text else "")
        for task, text in frame.select("task", "question").iter_rows()
    )
    quality = frame.select(names).to_numpy()
    nothing = np.zeros_like(quality)
    return Table(tuple(f"{name}:1" for name in names), queries, quality, nothing, nothing)


def stream(table: Table, arguments: argparse.Namespace, seed: int) -> tuple[np.ndarray, ...]:
    """[n] What each request was rewarded with, in their order, which were explored or shadowed."""
    explorer = Explorer(budget(arguments.early, arguments), seed)
    table = table.rows(np.random.default_rng(seed).permutation(len(table.queries)))
    if arguments.drift:
        worsened(table, seed)
    seen = np.full(table.quality.shape, np.nan)
    rewards, explored = np.empty(len(seen)), np.zeros(len(seen), bool)
    shadowed = np.zeros(len(seen), bool)
    learned, trained = None, FIRST
    for row, query in enumerate(table.queries):
        if row == arguments.warm:
            later = budget(arguments.later, arguments)
            explorer = Explorer(later, seed, explorer.state())
        if arguments.stages and row == trained:
            learned = fit(log(table, seen, row), Training(stages=tuple(arguments.stages)), seed)
            explorer.rebase()
            trained += min(trained, arguments.every)
        scores = dict.fromkeys(table.candidates, 0.5)
        if learned is not None:
            guessed = np.clip(learned.score(query), 0, 1).tolist()
            scores = dict(zip(table.candidates, guessed, strict=True))
        corrected = explorer.corrected(query, scores)
        ranked = sorted(scores, key=lambda name: -corrected[name])
        choice = explorer.decide(str(row), query, {name: scores[name] for name in ranked})
        for asked in filter(None, (choice.first, choice.shadow)):
            column = table.candidates.index(asked)
            seen[row, column] = table.quality[row, column]
            explorer.learn(query, asked, seen[row, column], scores[asked])
        rewards[row] = table.quality[row, table.candidates.index(choice.first)]
        explored[row] = choice.kind == "exploration"
        shadowed[row] = bool(choice.shadow)
    return rewards, explored, shadowed


def budget(shares: tuple[float, float], arguments: argparse.Namespace) -> Exploration:
    shadow, share = shares
    return Exploration(
        shadow=shadow, share=share, method=arguments.method, discount=arguments.discount
    )


def worsened(table: Table, seed: int) -> None:
    best = table.quality.mean(axis=0).argmax()
    middle = len(table.quality) // 2
    failed = np.random.default_rng(seed).random(len(table.quality)) < FAILING
    table.quality[middle:, best] *= ~failed[middle:]


def log(table: Table, seen: np.ndarray, rows: int) -> Table:
    queries = table.queries[:rows]
    return Table(table.candidates, queries, seen[:rows], table.cost[:rows], table.seconds[:rows])


def hindsight(table: Table) -> str:
    tasks = np.unique([query.task for query in table.queries], return_inverse=True)[1]
    by_task = sum(table.quality[tasks == t].sum(axis=0).max() for t in set(tasks.tolist()))
    return (
        f"in hindsight: best single {table.quality.mean(axis=0).max():.3f}, "
        f"by task {by_task / len(tasks):.3f}, oracle {table.quality.max(axis=1).mean():.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", choices=("thompson", "linucb"), default="thompson")
    shares = {"type": float, "nargs": 2, "metavar": ("SHADOW", "SHARE")}
    parser.add_argument("--early", default=(0.2, 0.3), help="of the first requests", **shares)
    parser.add_argument("--later", default=(0.015, 0.05), help="of the others", **shares)
    parser.add_argument("--warm", type=int, default=1000, help="how many are the first")
    parser.add_argument("--discount", type=float, default=0.995)
    parser.add_argument("--stages", nargs="*", default=["prior", "words"])
    parser.add_argument("--every", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--drift", action="store_true")
    arguments = parser.parse_args()
    table = table_of(arguments.folder, "words" in arguments.stages)
    print(hindsight(table))
    means = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        rewards, explored, shadowed = stream(table, arguments, seed)
        means.append(rewards.mean())
        parts = " ".join(f"{part.mean():.3f}" for part in np.array_split(rewards, 8))
        spent, kept = rewards[explored].mean(), rewards[~explored].mean()
        print(
            f"seed {seed}: {means[-1]:.3f}, by eighths {parts}; {explored.mean():.1%} explored "
            f"at {spent:.3f}, the others at {kept:.3f}; {shadowed.mean():.1%} with a shadow"
        )
        sys.stdout.flush()
    error = np.std(means) / np.sqrt(max(len(means) - 1, 1))
    print(f"mean {np.mean(means):.4f}, standard error {error:.4f}")


if __name__ == "__main__":
    main()
