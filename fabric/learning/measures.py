"""Measures of routers: of the gap to the oracle, of cost against quality, of calibration.

All are functions of arrays with one row a query. Quality is better where it is larger, a loss where
it is smaller; a measure that is given losses says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.float64]
_Point = tuple[float, float]


@dataclass(frozen=True)
class Interval:
    """A figure, and where it lies with the stated confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(value: float, drawn: Floats) -> Interval:
    """The percentile interval of *drawn* [draws] around *value*, with 95 % confidence.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3. Draws that are not
    finite, as of a ratio without a gap, do not count.
    """
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    rows: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """*statistic* of all rows, with its `interval` over resampled rows."""
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, rows, rows)) for _ in range(draws)])
    return interval(float(statistic(np.arange(rows))), drawn)


def means(values: Floats) -> Floats:
    """Of each column of *values* [n, c]: [c]. What is not a number does not count."""
    seen = np.isfinite(values)
    return ratio(np.where(seen, values, 0).sum(0), seen.sum(0))


def ratio(top: Floats, bottom: NDArray[np.float64] | NDArray[np.intp]) -> Floats:
    """*top* over *bottom*, not a number where that is 0 over 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(top / bottom)


def best_single(quality: Floats) -> int:
    """The column with the largest mean quality, over what was observed of it."""
    return int(np.argmax(np.nan_to_num(means(quality))))


def taken(values: Floats, choices: NDArray[np.intp]) -> Floats:
    """Of each row of *values* [n, k] the column that was chosen: [n]."""
    return np.asarray(np.take_along_axis(values, choices[:, None], axis=1)[:, 0])


def gap_closed(loss: ArrayLike, best: ArrayLike, oracle: ArrayLike) -> float:
    """m = (s_SBS - s) / (s_SBS - s_VBS): 0 as the best single candidate, 1 as the oracle.

    Of losses per query of the router, of the best single candidate and of the oracle. Lindauer,
    van Rijn and Kotthoff, The Algorithm Selection Competitions 2015 and 2017 (2019), section 3.3,
    turned so that more is better. Not a number where the oracle is no better than the best single.
    """
    single = float(np.asarray(best).mean())
    gap = single - float(np.asarray(oracle).mean())
    return (single - float(np.asarray(loss).mean())) / gap if gap > 0 else float("nan")


def par10(runtime: Floats, solved: NDArray[np.bool_], cutoff: float) -> Floats:
    """Seconds, and ten times the cutoff where it was not solved in time (Bischl and others, ASlib:
    A benchmark library for algorithm selection, 2016)."""
    return np.where(solved & (runtime <= cutoff), runtime, 10 * cutoff)


def normalized_par10(loss: ArrayLike, best: ArrayLike, oracle: ArrayLike) -> float:
    """nPAR10 = 1 - m on PAR10: 0 as the oracle, 1 as the best single solver (Tornede and others,
    Run2Survive, 2020)."""
    return 1 - gap_closed(loss, best, oracle)


def recovered(score: ArrayLike, weak: ArrayLike, strong: ArrayLike, share: ArrayLike) -> Floats:
    """PGR: of the gap between weak and strong, the part recovered with *share* of strong calls.

    The queries of the largest *score* go to the strong model; of equal scores, as many at random as
    are needed, so what is given is the expectation. Ong and others, RouteLLM (2024), equation 5.
    """
    scores = np.asarray(score, dtype=np.float64)
    gain = np.asarray(strong, dtype=np.float64) - np.asarray(weak, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) + 1
    gained = np.append(0.0, np.cumsum(gain[order])[ends - 1])
    if gain.sum() <= 0:
        return np.full(np.shape(share), np.nan)
    shares = np.append(0, ends) / len(scores)
    return np.asarray(np.interp(np.asarray(share), shares, gained / gain.sum()))


def average_recovered(
    score: ArrayLike, weak: ArrayLike, strong: ArrayLike, bins: int = 10
) -> float:
    """APGR: the area of PGR over the share of strong calls, by trapezoids of *bins* equal bins.

    RouteLLM (2024), equation 6, and `routellm/evals/evaluate.py` of its repository: 0.5 is random.
    """
    return float(np.trapezoid(recovered(score, weak, strong, np.linspace(0, 1, bins + 1))) / bins)


def calls_needed(
    score: ArrayLike, weak: ArrayLike, strong: ArrayLike, part: float, bins: int = 10
) -> float:
    """CPT: the smallest share of strong calls that recovers *part* of the gap.

    RouteLLM (2024), section 3.2, linear between the points of the same *bins* as APGR.
    """
    shares = np.linspace(0, 1, bins + 1)
    points = recovered(score, weak, strong, shares)
    reached = np.flatnonzero(points >= part)
    if not reached.size:
        return float("nan")
    end = int(reached[0])
    if end == 0:
        return 0.0
    start = end - 1
    step = (part - points[start]) / (points[end] - points[start])
    return float(shares[start] + step / bins)


def hull(cost: ArrayLike, quality: ArrayLike) -> tuple[Floats, Floats]:
    """The non-decreasing convex hull of points of cost and quality, from the cheapest point on.

    Between two of its points lies the router that draws one of them by lot. Hu and others,
    RouterBench (2024), section 3.
    """
    points = sorted(
        zip(np.ravel(cost), np.ravel(quality), strict=True), key=lambda p: (p[0], -p[1])
    )
    kept: list[_Point] = []
    for x, y in points:
        if kept and y <= kept[-1][1]:
            continue
        while len(kept) > 1 and _is_under(kept[-2], kept[-1], (x, y)):
            kept.pop()
        kept.append((float(x), float(y)))
    xs, ys = zip(*kept, strict=True)
    return np.array(xs), np.array(ys)


def _is_under(left: _Point, point: _Point, right: _Point) -> bool:
    across = (right[0] - left[0]) * (point[1] - left[1])
    return across <= (right[1] - left[1]) * (point[0] - left[0])


def quality_area(cost: ArrayLike, quality: ArrayLike, low: float, high: float) -> float:
    """AIQ: the mean height of the hull over the costs from *low* to *high*.

    RouterBench (2024), equation 4. Beyond its dearest point the hull goes on level; short of its
    cheapest point it starts at that point's quality.
    """
    xs, ys = hull(cost, quality)
    if high <= low:
        return float(ys[-1])
    inside = xs[(xs > low) & (xs < high)]
    grid = np.concatenate(([low], inside, [high]))
    return float(np.trapezoid(np.interp(grid, xs, ys), grid) / (high - low))


def cost_at_quality(cost: ArrayLike, quality: ArrayLike, wanted: float) -> float:
    """The least cost at which the hull reaches the quality *wanted*, or not a number."""
    xs, ys = hull(cost, quality)
    if wanted > ys[-1]:
        return float("nan")
    return float(np.interp(wanted, ys, xs))


def calibration_error(probability: ArrayLike, outcome: ArrayLike, bins: int = 15) -> float:
    """ECE: how far probabilities lie from what came out, averaged over bins of equal width.

    Guo and others, On Calibration of Modern Neural Networks (2017), equation 3, with its 15 bins.
    Pairs in which either is not a number do not count; outcomes may be anything from 0 to 1.
    """
    p = np.ravel(np.asarray(probability, dtype=np.float64))
    y = np.ravel(np.asarray(outcome, dtype=np.float64))
    known = np.isfinite(p) & np.isfinite(y)
    if not known.any():
        return float("nan")
    p, y = p[known], y[known]
    place = np.minimum((p * bins).astype(np.intp), bins - 1)
    return float(np.abs(np.bincount(place, p - y, minlength=bins)).sum() / len(p))
