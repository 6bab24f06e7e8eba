"""Made-up logs: `usual:1` is right in 70 of 100 requests, `other:1` depending on the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.core.decisions import Decision, Feedback, Outcome, Query, Record
from fabric.learning.outcomes import Table
from fabric.learning.training import fit

if TYPE_CHECKING:
    from fabric.routing.learned import Learned

NAMES = ("usual:1", "other:1")
_USUAL = 0.7


def rate(name: str, task: str, other: float) -> float:
    """Of success; *other* is that of `other:1` at the task "odd", at others it is hardly right."""
    if name == "usual:1":
        return _USUAL
    return other if task == "odd" else 0.2


def trained(other: float = 0.95, seed: int = 0) -> Learned:
    """A policy from 600 outcomes, which leaves `usual:1` at "odd" if *other* is large enough."""
    random = np.random.default_rng(seed)
    queries = tuple(Query(task=("odd", "even")[row % 2]) for row in range(600))
    chances = np.array([[rate(name, q.task, other) for name in NAMES] for q in queries])
    quality = (random.random(chances.shape) < chances).astype(float)
    nothing = np.zeros(quality.shape)
    return fit(Table(NAMES, queries, quality, nothing, nothing))


def log(
    size: int, other: float, explored: float = 0.0, shadows: bool = False, seed: int = 1
) -> list[Record]:
    """Requests after the training: `other:1` first at "odd", or else with the share *explored*."""
    random = np.random.default_rng(seed)
    records = []
    for number in range(size):
        task = ("odd", "even")[number % 2]
        usual = 0 if task == "odd" else 1
        chances = [1 - explored, explored] if usual else [explored, 1 - explored]
        first = int(random.random() < chances[1])
        order = (first, 1 - first)
        decision = Decision(
            request=str(number),
            route="r",
            time=2e9 + number,
            query=Query(task=task),
            candidates=tuple(NAMES[place] for place in order),
            propensities=tuple(chances[place] for place in order),
            policy=1,
        )
        asked = order if shadows else order[:1]
        right = [bool(random.random() < rate(NAMES[place], task, other)) for place in order]
        outcomes = tuple(
            Outcome(
                request=str(number),
                specialist=NAMES[place],
                seconds=0.1,
                label="yes" if right[at] else "no",
                is_shadow=at > 0,
            )
            for at, place in enumerate(asked)
        )
        records.append(Record(decision, outcomes, (Feedback(request=str(number), label="yes"),)))
    return records
