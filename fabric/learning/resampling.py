"""Means over queries and how sure they are, by resampling the queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.learning.measures import Interval, interval, means, ratio

if TYPE_CHECKING:
    from fabric.learning.measures import Floats

DRAWS = 1000
_HELD = 4_000_000
"""Weights that are held at once."""


def resampled(values: Floats, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """The means of each column of *values* [n, c] over resampled rows: [draws, c].

    All columns of a draw are of the same rows, and so are tables of as many rows under the same
    seed: differences of what comes out are paired.
    """
    rows = len(values)
    rng = np.random.default_rng(seed)
    seen = np.isfinite(values)
    filled, counted = np.where(seen, values, 0), seen.astype(np.float64)
    step = max(1, _HELD // rows)
    parts = []
    for start in range(0, draws, step):
        weights = _weights(rng, rows, min(step, draws - start))
        parts.append(ratio(weights @ filled, weights @ counted))
    return np.concatenate(parts)


def _weights(rng: np.random.Generator, rows: int, draws: int) -> Floats:
    """How often each row is in a sample of as many rows: [draws, rows]."""
    drawn = rng.integers(0, rows, (draws, rows)) + np.arange(draws)[:, None] * rows
    counts = np.bincount(drawn.ravel(), minlength=draws * rows)
    return counts.reshape(draws, rows).astype(np.float64)


def intervals(values: Floats) -> tuple[Interval, ...]:
    """The mean of each column of *values* [n, c], and where it lies with 95 % confidence."""
    columns = zip(means(values), resampled(values).T, strict=True)
    return tuple(interval(float(value), column) for value, column in columns)
