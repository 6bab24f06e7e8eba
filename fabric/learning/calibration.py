"""From scores to probabilities: isotonic regression, made strictly ascending."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

Floats = NDArray[np.float64]

_LEAST_SLOPE = 1e-6
_DIGITS = 6
_LEAST_LABELS = 25
_MOST_BINS = 200


def fit_curve(scores: Floats, outcomes: Floats, weights: Floats) -> Floats:
    """A curve [2, points] of scores and probabilities, for linear interpolation.

    Isotonic regression, through the middle of each of its steps, so that equal probabilities are
    given to equal scores only (Oron and Flournoy, Centered Isotonic Regression, 2017).
    """
    known = weights > 0
    x, y, w = scores[known], outcomes[known], weights[known]
    if not len(x):
        return np.array([[0.0, 1.0], [0.0, 1.0]])
    x, y, w = _binned(*_equal(x, y, w))
    regression = IsotonicRegression(
        y_min=0, y_max=1, out_of_bounds="clip"
    )  # of a single score, too
    levels = regression.fit_transform(x, y, sample_weight=w)
    step = np.append(0, np.cumsum(np.diff(levels) > 1e-12))
    total = np.bincount(step, w)
    xs, ys = np.bincount(step, w * x) / total, np.bincount(step, w * levels) / total
    return _widened(xs, ys)


def _equal(x: Floats, y: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
    """Ascending scores, each once, with the mean outcome and the weight of those that have it.

    What differs in the last digits only is equal, or rounding would say who belongs to which bin.
    """
    values, at = np.unique(np.round(x, _DIGITS), return_inverse=True)
    weight = np.bincount(at, w).astype(np.float64)
    return values, np.bincount(at, w * y) / weight, weight


def _binned(x: Floats, y: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
    """Ascending scores in bins of equal weight, so that no step of the curve rests on a few."""
    total = w.cumsum()
    count = int(np.clip(total[-1] // _LEAST_LABELS, 1, _MOST_BINS))
    place = np.minimum((total - w / 2) / total[-1] * count, count - 1).astype(np.intp)
    place = np.unique(place, return_inverse=True)[1]
    weight = np.bincount(place, w).astype(np.float64)
    return np.bincount(place, w * x) / weight, np.bincount(place, w * y) / weight, weight


def _widened(xs: Floats, ys: Floats) -> Floats:
    """Beyond its ends the curve goes on with the least slope, to -10 and to 11."""
    low, high = min(xs[0], 0) - 10, max(xs[-1], 1) + 10
    xs, ys = np.concatenate(([low], xs, [high])), np.concatenate(([ys[0]], ys, [ys[-1]]))
    ys = np.maximum.accumulate(ys) + _LEAST_SLOPE * (xs - xs.mean())
    return np.stack([xs, np.clip(ys, 0, 1)])
