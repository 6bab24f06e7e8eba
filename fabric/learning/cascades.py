"""Thresholds and calibrations of cascades, from answers of which is known whether they were right.

How sure an answer must be follows from the share of wrong answers that is accepted, with a
guarantee for any number of rows: "Learn then Test" by fixed sequence testing (Angelopoulos et al.,
2021, section 2.2). A few of the rows make the calibrations, and say from which threshold on there
is hope; on all others the thresholds are tested in their order, from the surest answers on, up to
the first one that may miss the risk. So the chance that any of those that pass is wrong more often
than that is `DELTA` at most. What can be certified depends on the rows that are left to test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fabric.core.errors import InvalidRequest
from fabric.core.routes import Calibration, Cascade
from fabric.learning.savings import CascadeReport, reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.learning.outcomes import Table

DELTA = 0.1
"""The chance that the risk is missed."""
_MOST_THRESHOLDS = 100
_MOST_POINTS = 20
"""Of a calibration,"""
_FEWEST_ROWS = 20
"""and rows for each of them."""
_DIGITS = 6
"""Of its numbers, which people read."""
_ENOUGH = 200
"""Rows to learn from: more than that, and than a tenth of all, are better used to test."""
_CLEAR = 2.0
"""Standard errors of a difference that is more than luck."""


@dataclass(frozen=True, slots=True)
class FittedCascade:
    threshold: float
    calibrations: tuple[Calibration, ...]
    report: CascadeReport

    def settings(self, cascade: Cascade) -> Cascade:
        """*cascade*, by whose measure the confidence was read, with what was fitted."""
        return replace(
            cascade,
            threshold=self.threshold,
            risk=self.report.risk,
            calibrations=self.calibrations,
        )


def cascade_of(table: Table, risk: float, most: int = 0, seed: int = 0) -> FittedCascade:
    """That of the specialists of *table*, the cheapest first, by `fit_cascade`.

    Only queries that all of them answered count.

    Args:
        most: Specialists that are asked at most; 0 for all.

    Raises:
        InvalidRequest: the table has no confidence, no costs, or too few rows.
    """
    if table.confidence is None:
        raise InvalidRequest("a cascade needs the confidence of answers: name its columns")
    asked = np.isfinite(table.quality)
    answers = asked.sum(axis=0)
    for place in np.flatnonzero(answers == 0):
        raise InvalidRequest(f"a cascade needs answers of {table.candidates[place]}: it gave none")
    cost = np.where(asked, table.cost, 0).sum(axis=0) / answers
    order = np.argsort(cost, kind="stable")[: most or None]
    if not cost[order[-1]]:
        raise InvalidRequest("a cascade needs the costs of its specialists, and all are 0")
    rows = asked[:, order].all(axis=1)
    try:
        return fit_cascade(
            [table.candidates[place] for place in order],
            table.confidence[rows][:, order],
            table.quality[rows][:, order],
            cost[order],
            risk,
            seed,
        )
    except ValueError as error:
        raise InvalidRequest(f"no cascade: {error}") from error


def fit_cascade(
    order: Sequence[str],
    confidence: NDArray[np.float64],
    correct: NDArray[np.float64],
    cost: NDArray[np.float64],
    risk: float,
    seed: int = 0,
) -> FittedCascade:
    """The cheapest threshold for a cascade along *order* that is wrong in *risk* of all answers.

    *confidence* [n, k] is that of each candidate's answer to each row; not a number where it cannot
    be read, and such an answer is never sure. *correct* [n, k] is from 0 (wrong) to 1 (right),
    *cost* [k] per call. The rows should be like the requests to come.

    Raises:
        ValueError: the shapes do not fit, numbers are missing, or there are too few rows.
    """
    _check(order, confidence, correct, cost, risk)
    draw = np.random.default_rng(seed)
    fitted = _fit(confidence, correct, cost, risk, draw)
    return FittedCascade(
        fitted.threshold,
        tuple(
            Calibration(
                specialist=name, confidence=tuple(at.tolist()), accuracy=tuple(is_.tolist())
            )
            for name, (at, is_) in zip(order, fitted.points, strict=True)
            if len(at)
        ),
        reported(order, fitted.stages(confidence), correct, cost, risk, fitted.is_met, seed),
    )


def _check(
    order: Sequence[str],
    confidence: NDArray[np.float64],
    correct: NDArray[np.float64],
    cost: NDArray[np.float64],
    risk: float,
) -> None:
    rows, count = len(confidence), len(order)
    for name, given, shape in (
        ("confidence", confidence, (rows, count)),
        ("correct", correct, (rows, count)),
        ("cost", cost, (count,)),
    ):
        if given.shape != shape:
            raise ValueError(f"{name} is of {given.shape}, not of {shape}")
    if not np.isfinite(correct).all():
        raise ValueError("correct lacks numbers: each candidate must answer each row")
    for name, column in zip(order[:-1], confidence.T, strict=False):
        if not np.isfinite(column).any():
            raise ValueError(f"nobody knows how sure {name} is of any answer")
    if count < 2:
        raise ValueError("a cascade has two candidates at least")
    if rows < 2 * _FEWEST_ROWS * 2:
        raise ValueError(f"{rows} rows are too few to fit a cascade to; use {4 * _FEWEST_ROWS}")
    if np.min(correct) < 0 or np.max(correct) > 1 or not 0 <= risk <= 1:
        raise ValueError("correct and risk lie from 0 to 1")


# ------------------------------------------------------------------ fitting
_Points = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""Of a calibration: confidence, and the share of right answers."""


@dataclass(frozen=True, slots=True)
class _Fit:
    threshold: float
    points: tuple[_Points, ...]
    is_met: bool

    def stages(self, confidence: NDArray[np.float64]) -> NDArray[np.intp]:
        """[n], who answers each row."""
        return _answering(_read(self.points, confidence), self.threshold)


def _fit(
    confidence: NDArray[np.float64],
    correct: NDArray[np.float64],
    cost: NDArray[np.float64],
    risk: float,
    draw: np.random.Generator,
) -> _Fit:
    rows = draw.permutation(len(confidence))
    learned = max(2 * _FEWEST_ROWS, min(len(rows) // 4, _ENOUGH), len(rows) // 10)
    learn, test = rows[:learned], rows[learned:]
    columns = range(confidence.shape[1])
    points = tuple(calibration(confidence[learn, j], correct[learn, j]) for j in columns)
    spent = np.cumsum(cost)
    sure = _read(points, confidence[learn])[:, :-1]
    shares = np.linspace(0, 1, _MOST_THRESHOLDS)
    thresholds = np.unique([0.0, 1.0, *np.round(np.nanquantile(sure, shares), 4)])[::-1]

    def tried(rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[thresholds, n]: how wrong each answer would be, and what it would cost."""
        sure, wrong = _read(points, confidence[rows]), 1 - correct[rows]
        stage = np.stack([_answering(sure, threshold) for threshold in thresholds])
        return wrong[np.arange(len(rows)), stage], spent[stage]

    start = _start(tried(learn)[0])
    wrong, costs = tried(test)
    passed: list[int] = []
    for place in range(start, len(thresholds)):
        if _chance(wrong[place], risk) > DELTA:
            break
        passed.append(place)
    chosen = min(passed, key=lambda place: float(costs[place].mean()), default=start)
    return _Fit(float(thresholds[chosen]), points, bool(passed))


def _start(wrong: NDArray[np.float64]) -> int:
    """Which threshold is tested first, by how *wrong* each answer is under each [thresholds, n]:
    the highest, which asks the last, unless that is clearly worse than the best."""
    best = int(wrong.mean(axis=1).argmin())
    behind = wrong[0] - wrong[best]
    is_clear = behind.mean() > _CLEAR * behind.std() / np.sqrt(len(behind))
    return best if is_clear else 0


def calibration(confidence: NDArray[np.float64], correct: NDArray[np.float64]) -> _Points:
    """How often answers are right by their confidence: isotonic over quantiles of it, and centred
    (Oron and Flournoy, "Centered Isotonic Regression", 2017), so that it rises between any two
    levels, and a threshold can part the answers of one.

    Each of up to 20 groups of rows has one answer more that is right and one that is wrong
    (Laplace), so that a few right ones do not make certainty. It has no points if nobody knows
    the confidence of any answer.
    """
    from sklearn.isotonic import isotonic_regression

    known = np.isfinite(confidence)
    confidence, correct = np.round(confidence[known], _DIGITS), correct[known]
    if not len(confidence):
        return confidence, correct
    count = int(np.clip(len(confidence) // _FEWEST_ROWS, 1, _MOST_POINTS))
    edges = np.unique(np.quantile(confidence, np.arange(1, count) / count))
    group = np.searchsorted(edges, confidence, side="right")
    sizes = np.bincount(group)
    kept = sizes > 0
    sizes, sums = sizes[kept], np.bincount(group, confidence)[kept]
    shares = (np.bincount(group, correct)[kept] + 1) / (sizes + 2)
    fitted = isotonic_regression(shares, sample_weight=sizes)
    accuracy, level = np.unique(np.round(fitted, _DIGITS), return_inverse=True)
    centers = np.bincount(level, sums) / np.bincount(level, sizes)
    return np.round(centers, _DIGITS), accuracy


def _read(points: Sequence[_Points], confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, k], as the gateway reads confidence."""
    sure = np.full(confidence.shape, np.nan)
    for j, each in enumerate(points):
        if len(each[0]):
            sure[:, j] = np.interp(confidence[:, j], *each)
    return sure


def _answering(sure: NDArray[np.float64], threshold: float) -> NDArray[np.intp]:
    """[n], the first who is sure enough, or the last."""
    is_sure = sure >= threshold
    is_sure[:, -1] = True
    return np.asarray(np.argmax(is_sure, axis=1))


def _chance(wrong: NDArray[np.float64], risk: float) -> float:
    """The largest chance of so few wrong answers if their true share were above *risk*.

    Exact for right and wrong (binomial); else by Hoeffding's and Bentkus's inequalities, as in
    "Learn then Test", section 2.3.
    """
    from scipy.stats import binom

    rows, mean = len(wrong), float(wrong.mean())
    if np.all((wrong == 0) | (wrong == 1)):
        return float(binom.cdf(wrong.sum(), rows, risk))
    bentkus = float(np.e * binom.cdf(np.ceil(wrong.sum()), rows, risk))
    if mean >= risk or risk >= 1:
        return 1.0 if risk < 1 else 0.0
    divergence = (1 - mean) * np.log((1 - mean) / (1 - risk))
    if mean > 0:
        divergence += mean * np.log(mean / risk)
    return min(float(np.exp(-rows * divergence)), bentkus)
