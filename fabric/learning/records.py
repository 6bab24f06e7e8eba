"""From records of requests to a table to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.learning.outcomes import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.core.decisions import Record


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
