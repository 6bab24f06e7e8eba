"""A route that starts from nothing: requests one after another, labels of who was asked alone.

`python -m tests.benchmarks.stream FOLDER` takes a folder with LLMRouter's table `train.parquet`
(columns question, task, metric and one of scores for each model). Requests come in random order.
What a gateway and a control plane do with each is done here by the same code: `decided` ranks,
explores and names shadows by the policy in use, its explorer takes every label at once, and `study`
trains the next policy when the control plane would hold it due. Beside it stand the best single
model in hindsight, the best model by task in hindsight and the oracle. With `--drift` the best
model fails most requests from the middle on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from fabric.control.training import is_due
from fabric.core.decisions import Feedback, Outcome, Query, Record
from fabric.core.plans import Candidate, Plan
from fabric.core.routes import Exploration, Learning, Preferences, Retry, Route
from fabric.learning.outcomes import Table
from fabric.learning.studying import study
from fabric.learning.training import Training, fit
from fabric.routing.deciding import Frame, Judged, Seen, decided, likely
from fabric.routing.exploration import Explorer
from fabric.routing.learned import Learned
from fabric.testing import specialist

FAILING = 0.8
"""Share of the requests that the drifted model fails."""
ONLY_QUALITY = Preferences(preset="quality", weights={"latency": 0.0, "cost": 0.0})


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


class Routed:
    """A gateway that decides along one route, and the control plane that learns for it."""

    def __init__(self, names: tuple[str, ...], route: Route, settings: Training) -> None:
        cards = [specialist(name.removesuffix(":1")).card for name in names]
        candidates = tuple(Candidate(card, "", 1.0) for card in cards)
        plan = Plan(route.name, candidates, (), Retry(), 1.0)
        self._route = route
        self._cards = {card.key: card for card in cards}
        self._frame = Frame(plan, route, lambda key: True)
        self._train = partial(fit, settings=settings) if settings.stages else None
        self._explorer = Explorer(route.exploration)
        self._learned: Learned | None = None
        self._version, self._trained = 0, 0
        self.records: list[Record] = []

    def decide(self, request: str, query: Query) -> Record:
        """The decision, with an outcome of each who is asked."""
        seen = Seen(request=request, time=float(len(self.records)), query=query)
        _, decision = decided(self._frame, seen, self._judged(query), self._explorer)
        asked = filter(None, (decision.candidates[0], decision.shadow))
        outcomes = [Outcome(request=request, specialist=name, seconds=0.0) for name in asked]
        return Record(decision, tuple(outcomes))

    def learn(self, record: Record) -> None:
        """Takes what was said of a request."""
        query = record.decision.query
        expected = likely(self._frame, self._judged(query))
        for name, reward in record.rewards.items():
            self._explorer.learn(query, name, reward, expected[name])
        self.records.append(record)
        labels, learning = len(self.records), self._route.learning
        if self._train and is_due(learning, labels, labels - self._trained, self._trained):
            self._study()

    def _study(self) -> None:
        self._trained = len(self.records)
        policy = study(self._route, (), self.records, self._cards, self._train, "").policy
        self._version += 1
        self._learned = Learned.read(policy.data)
        self._explorer = Explorer(self._route.exploration, policy.explored)

    def _judged(self, query: Query) -> Judged | None:
        if self._learned is None:
            return None
        choice = self._learned.choose(query, self._frame.keys)
        return Judged(self._version, choice.probabilities, choice.order)


def stream(table: Table, arguments: argparse.Namespace, seed: int) -> tuple[np.ndarray, ...]:
    """[n] What each request was rewarded with, in their order, which were explored or shadowed."""
    exploration = Exploration(
        shadow=arguments.shadow,
        share=arguments.share,
        method=arguments.method,
        discount=arguments.discount,
    )
    route = Route(
        name="r",
        order="scored",
        preferences=ONLY_QUALITY,
        learning=Learning(mode="apply", discount=arguments.forget),
        exploration=exploration,
    )
    routed = Routed(table.candidates, route, Training(stages=tuple(arguments.stages)))
    table = table.rows(np.random.default_rng(seed).permutation(len(table.queries)))
    if arguments.drift:
        worsened(table, seed)
    place = {name: column for column, name in enumerate(table.candidates)}
    rewards = np.empty(len(table.queries))
    explored, shadowed = np.zeros((2, len(rewards)), bool)
    for row, query in enumerate(table.queries):
        record = routed.decide(f"{seed}/{row}", query)
        decision = record.decision
        told = [
            Feedback(
                request=decision.request,
                specialist=each.specialist,
                score=float(table.quality[row, place[each.specialist]]),
            )
            for each in record.outcomes
        ]
        routed.learn(replace(record, feedback=tuple(told)))
        rewards[row] = table.quality[row, place[decision.candidates[0]]]
        explored[row] = decision.kind == "exploration"
        shadowed[row] = bool(decision.shadow)
    return rewards, explored, shadowed


def worsened(table: Table, seed: int) -> None:
    best = table.quality.mean(axis=0).argmax()
    middle = len(table.quality) // 2
    failed = np.random.default_rng(seed).random(len(table.quality)) < FAILING
    table.quality[middle:, best] *= ~failed[middle:]


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
    parser.add_argument("--shadow", type=float, default=0.05)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--discount", type=float, default=0.995)
    parser.add_argument("--forget", type=float, default=1.0, help="discount of the training")
    parser.add_argument("--stages", nargs="*", default=["prior"])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--drift", action="store_true")
    arguments = parser.parse_args()
    table = table_of(arguments.folder, len(arguments.stages) > 1)
    print(hindsight(table))
    means = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        rewards, explored, shadowed = stream(table, arguments, seed)
        means.append(rewards.mean())
        parts = " ".join(f"{part.mean():.3f}" for part in np.array_split(rewards, 8))
        print(
            f"seed {seed}: {means[-1]:.3f}, by eighths {parts}; "
            f"{explored.mean():.1%} explored; {shadowed.mean():.1%} with a shadow"
        )
        sys.stdout.flush()
    error = np.std(means) / np.sqrt(max(len(means) - 1, 1))
    print(f"mean {np.mean(means):.4f}, standard error {error:.4f}")


if __name__ == "__main__":
    main()
