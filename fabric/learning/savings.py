"""What a cascade keeps of the best answers, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_DRAWS = 1000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, with the ends of its 95 % interval (percentiles of the bootstrap over rows)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One candidate of a cascade."""

    specialist: str
    accuracy: Estimate
    """Alone, on all rows."""
    asked: Estimate
    """The share of all rows that it was asked,"""
    escalated: Estimate
    """and the share of these that were passed on to the next."""


@dataclass(frozen=True, slots=True)
class CascadeReport:
    """What a cascade would do on rows that it was not fitted to, by five-fold cross-fitting."""

    rows: int
    risk: float
    is_met: bool
    """Whether a threshold was found that is wrong in no more than *risk* of all answers, but for
    a chance of `cascades.DELTA`. If not, the cascade has the one that was wrong least."""
    wrong: Estimate
    accuracy: Estimate
    accuracy_of_last: Estimate
    """Of the last candidate alone, who is the most expensive."""
    kept: Estimate
    """The first over the second."""
    cost: Estimate
    """Per request."""
    saved: Estimate
    """The share of the last candidate's cost that is not spent; negative where more is."""
    stages: tuple[Stage, ...]


def reported(
    order: Sequence[str],
    stage: NDArray[np.intp],
    correct: NDArray[np.float64],
    cost: NDArray[np.float64],
    risk: float,
    is_met: bool,
    draw: np.random.Generator,
) -> CascadeReport:
    """What comes of it that *stage* [n] of *order* answers each row; see `fit_cascade`."""
    count, ones = len(order), np.ones(len(stage))
    right, spent = correct[np.arange(len(stage)), stage], np.cumsum(cost)[stage]
    asked = stage[:, None] >= np.arange(count)
    passed_on = stage[:, None] > np.arange(count)
    sums = _resampled(
        np.column_stack((ones, right, spent, ones * cost[-1], correct, asked, passed_on)), draw
    )
    all_, right_, spent_, dear_ = sums[:4]
    correct_, asked_, passed_ = np.split(sums[4:], 3)
    accuracy, saved = _ratio(right_, all_), _ratio(spent_, dear_)
    return CascadeReport(
        rows=len(stage),
        risk=risk,
        is_met=is_met,
        wrong=_less(accuracy),
        accuracy=accuracy,
        accuracy_of_last=_ratio(correct_[-1], all_),
        kept=_ratio(right_, correct_[-1]),
        cost=_ratio(spent_, all_),
        saved=_less(saved),
        stages=tuple(
            Stage(
                name,
                accuracy=_ratio(correct_[j], all_),
                asked=_ratio(asked_[j], all_),
                escalated=_ratio(passed_[j], asked_[j]),
            )
            for j, name in enumerate(order)
        ),
    )


def _resampled(columns: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """[columns, 1 + draws], the sum of each over the rows, and over each resample of these."""
    rows = len(columns)
    even = np.full(rows, 1 / rows)
    drawn = [draw.multinomial(rows, even) @ columns for _ in range(_DRAWS)]
    return np.stack((columns.sum(axis=0), *drawn), axis=1)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> Estimate:
    """Of two sums; 0 where the second is none."""
    ratios = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(ratios[1:], (tail, 1 - tail))
    return Estimate(float(ratios[0]), float(low), float(high))


def _less(share: Estimate) -> Estimate:
    """What a share leaves of 1."""
    return Estimate(1 - share.value, 1 - share.high, 1 - share.low)
