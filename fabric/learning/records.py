"""What happened, joined by the request's id: decisions, how they went, and what was said later.

A record tells the reward of a candidate as far as anybody knows it. From records a table to train
on is made (`table_of`), and other policies are scored (`fabric.learning.replay`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fabric.core.decisions import Decision, Feedback, Outcome
from fabric.core.errors import SpecialistFailed
from fabric.learning.outcomes import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Record:
    """One decision with all that is known of it."""

    decision: Decision
    outcomes: tuple[Outcome, ...] = ()
    """One for each specialist that was asked."""
    feedback: tuple[Feedback, ...] = ()
    """One for each id."""

    @cached_property
    def rewards(self) -> dict[str, float]:
        """From 0 to 1 for every specialist of which something is known.

        A label rewards whoever answered it, a score whom it is about, a preference the one over
        the other; of several the mean counts, so that their order does not matter. A model that
        ran and failed was wrong, but only where something was said of the request: failures of
        requests that nobody speaks of would outweigh the successes that nobody speaks of.
        """
        said: dict[str, list[float]] = defaultdict(list)
        for feedback in self.feedback:
            for specialist, reward in feedback.rewards(self.outcomes):
                said[specialist].append(reward)
        if self.feedback:
            for outcome in self.outcomes:
                if outcome.error == SpecialistFailed.reason:
                    said[outcome.specialist] = [0.0]
        return {specialist: sum(told) / len(told) for specialist, told in said.items()}

    @property
    def answered(self) -> tuple[str, ...]:
        """Whose answer the caller was given: one, or all parts of a mixture."""
        return tuple(o.specialist for o in self.outcomes if not o.is_shadow and not o.error)


def records(
    decisions: Iterable[Decision], outcomes: Iterable[Outcome], feedback: Iterable[Feedback]
) -> tuple[Record, ...]:
    """What belongs together, by time of the decision; what is about unknown requests is left out.

    Each may come late, in any order and again. Of outcomes of one specialist at one request the
    one that answered counts, of feedback with one id the last.
    """
    known = {decision.request: decision for decision in decisions}
    asked: dict[str, dict[str, Outcome]] = {request: {} for request in known}
    for outcome in outcomes:
        if (at := asked.get(outcome.request)) is not None:
            before = at.get(outcome.specialist)
            if before is None or _rank(outcome) >= _rank(before):
                at[outcome.specialist] = outcome
    said: dict[str, list[Feedback]] = defaultdict(list)
    for told in {feedback_id(told): told for told in feedback}.values():
        said[told.request].append(told)
    return tuple(
        Record(decision, tuple(asked[decision.request].values()), tuple(said[decision.request]))
        for decision in sorted(
            known.values(), key=lambda decision: (decision.time, decision.request)
        )
    )


def feedback_id(feedback: Feedback) -> tuple[str, ...]:
    """What is said again under the same id takes the place of what was said before."""
    return (feedback.id,) if feedback.id else (feedback.request, feedback.specialist)


def _rank(outcome: Outcome) -> tuple[bool, bool]:
    return (not outcome.error, not outcome.is_shadow)


def table_of(found: Sequence[Record]) -> Table:
    """A row for every record with a reward, a column for every candidate that had a chance.

    What an answer costs and how long it takes is, where nobody asked, what it was on average.
    """
    kept = [record for record in found if record.rewards]
    names = dict.fromkeys(
        name
        for record in kept
        for name in (*record.decision.candidates, *(o.specialist for o in record.outcomes))
    )
    column = {name: place for place, name in enumerate(names)}
    quality, cost, seconds = np.full((3, len(kept), len(names)), np.nan)
    for row, record in enumerate(kept):
        for name, reward in record.rewards.items():
            if name in column:
                quality[row, column[name]] = reward
        for outcome in record.outcomes:
            if not outcome.error:
                cost[row, column[outcome.specialist]] = outcome.cost
                seconds[row, column[outcome.specialist]] = outcome.seconds
    queries = tuple(record.decision.query for record in kept)
    return Table(tuple(names), queries, quality, _filled(cost), _filled(seconds))


def _filled(measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is not known is the mean of its column, and zero where nothing is."""
    known = ~np.isnan(measured)
    total = np.where(known, measured, 0.0).sum(axis=0)
    return np.where(known, measured, total / np.maximum(known.sum(axis=0), 1))
