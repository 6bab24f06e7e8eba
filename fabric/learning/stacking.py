"""How much each stage counts, and when a gain is certain, from predictions of held-out queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]

_LEAST_PAIRS = 50
"""Queries observed of two candidates at least, for the differences between candidates."""
_LEAST_BOTH = 30
_LEAST_SEEN = 10
_CUTS = 50
_SHRINKAGE = 20
"""Labels before a candidate's own offset counts half."""


def centred(values: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Values [n, k] without the mean of each row over what was observed, and those means [n, 1]."""
    total = w.sum(1, keepdims=True)
    means = (w * values).sum(1, keepdims=True) / np.where(total > 0, total, 1)
    return values - means, means


def weigh(stages: Sequence[Floats], y: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Weights [stages, 2] of differences between candidates and of levels, and offsets [k].

    Stages are stacked non-negatively (Breiman, Stacked Regressions, 1996) on outcomes without the
    mean of their row: what decides between candidates is the difference. Squared errors hardly tell
    which stages choose better, and the last one knows what those before it say; so weights lie
    halfway to those of the last stage alone. The means of rows are stacked by themselves, for the
    probabilities to be right.
    """
    pairs = (w > 0).sum(1) > 1
    root = np.sqrt(w)
    if pairs.sum() >= _LEAST_PAIRS:
        columns = [centred(s, w)[0] * root for s in [*stages, y]]
    else:  # of each query one candidate was observed: differences show over queries only
        total = np.maximum(w.sum(0), 1e-9)
        columns = [(s - (w * s).sum(0) / total) * root for s in [*stages, y]]
    between = _solve(columns[:-1], columns[-1])
    between[-1] += float(_solve(columns[-2:-1], columns[-1])[0])
    between /= 2
    heavy = np.sqrt(w.sum(1, keepdims=True))
    rows = [centred(s, w)[1] for s in [*stages, y]]
    usual = [(heavy**2 * r).sum() / np.maximum((heavy**2).sum(), 1e-9) for r in rows]
    flat = [(r - m) * heavy for r, m in zip(rows, usual, strict=True)]
    level = _solve(flat[:-1], flat[-1])
    weights = np.stack([between, level], axis=1)
    left = w * (y - combined(stages, weights, np.zeros(y.shape[1])))
    common = float(left.sum() / max(float(w.sum()), 1e-9))
    own = (left - w * common).sum(0) / (w.sum(0) + _SHRINKAGE)
    return weights, common + own


def combined(stages: Sequence[Floats], weights: Floats, offset: Floats) -> Floats:
    """The weighed sum [n, k] of the stages, as `Learned.score` makes it of one query."""
    total = np.broadcast_to(offset, stages[0].shape).copy()
    for stage, (between, level) in zip(stages, weights, strict=True):
        mean = stage.mean(1, keepdims=True)
        total += between * (stage - mean) + level * mean
    return total


def _solve(columns: Sequence[Floats], target: Floats) -> Floats:
    """Non-negative least squares, from the triangle of the normal equations."""
    design = np.stack([column.ravel() for column in columns], axis=1)
    scale = 1e-9 + 1e-6 * float((design**2).mean(0).sum()) * len(design)
    lower = np.linalg.cholesky(design.T @ design + scale * np.eye(len(columns)))
    solved: Floats = nnls(lower.T, np.linalg.solve(lower, design.T @ target.ravel()))[0]
    return solved


def margin(scores: Floats, y: Floats, w: Floats, best: int, certainty: float) -> float:
    """What the gain in score over the *best* single candidate must exceed for a switch to pay.

    Of all margins under which the lower bound of the switched queries' gain, at *certainty*
    standard errors, is above zero, the one that gains most; infinite where there is none. The bound
    takes one more query to be lost altogether, as few queries say nothing of rare losses. What they
    gained counts as much as what was predicted, since where gains end is a matter of a few queries.
    """
    top = scores.argmax(1)
    rows = np.flatnonzero(top != best)
    predicted = scores[rows, top[rows]] - scores[rows, best]
    rows, predicted = rows[np.argsort(-predicted)], np.sort(predicted)[::-1]
    found, most = float("inf"), 0.0
    if len(rows) < _LEAST_SEEN:
        return found
    for count in np.unique(np.linspace(_LEAST_SEEN, len(rows), _CUTS).astype(int)):
        gain, error = _gain(y, w, rows[:count], top, best)
        hoped = count * (gain + float(predicted[:count].mean()))
        certain = (count * gain - 1) / (count + 1) - certainty * error
        if certain > 0 and hoped > most:
            found, most = float(predicted[count] if count < len(rows) else 0.0), hoped
    return found


def _gain(
    y: Floats, w: Floats, rows: NDArray[np.intp], top: NDArray[np.intp], best: int
) -> tuple[float, float]:
    """The mean gain of *top* over *best* in some rows and its standard error, 0 where unknown.

    From queries that both answered where there are enough, else from those that either did.
    """
    ours, theirs, seen, usual = y[rows, top[rows]], y[rows, best], w[rows, top[rows]], w[rows, best]
    both = np.minimum(seen, usual)
    if (both > 0).sum() >= min(_LEAST_BOTH, len(rows)):
        samples = [(ours - theirs, both)]
    else:
        samples = [(ours, seen), (-theirs, usual)]
    mean = error = 0.0
    for values, weights in samples:
        count = float(weights.sum()) ** 2 / max(float((weights**2).sum()), 1e-12)  # Kish (1965)
        if count < _LEAST_SEEN:
            return 0.0, 0.0
        middle = float(np.average(values, weights=weights))
        spread = float(np.average((values - middle) ** 2, weights=weights))
        mean, error = mean + middle, error + (spread + 1 / count) / count
    return mean, float(np.sqrt(error))
