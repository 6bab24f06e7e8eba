"""What a cascade keeps of the best answers, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fabric.learning.measures import Interval, interval, means
from fabric.learning.resampling import resampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.learning.measures import Floats


@dataclass(frozen=True, slots=True)
class Stage:
    """One candidate of a cascade."""

    specialist: str
    accuracy: Interval
    """Alone, on all rows."""
    asked: Interval
    """The share of all rows that it was asked,"""
    escalated: Interval
    """and the share of these that were passed on to the next; not a number where it was never
    asked."""


@dataclass(frozen=True, slots=True)
class CascadeReport:
    """What a cascade does on the rows that it was fitted to.

    Intervals hold 95 % each, by the bootstrap over rows with the thresholds and calibrations that
    are deployed, so they are of requests like these to this very cascade. One threshold hardly
    flatters itself: where cascades were fitted to 600 to 3000 drawn rows, `wrong` was 0.1 points
    too small, and the intervals held what was true of `wrong` in 96 to 98 % of them, of `saved` in
    91 to 93 %. Those of cascades cross-fitted to fewer rows, which are others with other
    thresholds, held what the deployed one saved in 35 to 52 %.
    """

    rows: int
    risk: float
    is_met: bool
    """Whether a threshold was found that is wrong in no more than *risk* of all answers, but for
    a chance of `cascades.DELTA`. If not, the cascade has the one that was wrong least."""
    wrong: Interval
    accuracy: Interval
    accuracy_of_last: Interval
    """Of the last candidate alone, who is the most expensive."""
    kept: Interval
    """The first over the second."""
    cost: Interval
    """Per request."""
    saved: Interval
    """The share of the last candidate's cost that is not spent; negative where more is, and not a
    number where that one costs nothing."""
    stages: tuple[Stage, ...]


def reported(
    order: Sequence[str],
    stage: NDArray[np.intp],
    correct: Floats,
    cost: Floats,
    risk: float,
    is_met: bool,
    seed: int,
) -> CascadeReport:
    """What comes of it that *stage* [n] of *order* answers each row; see `fit_cascade`."""
    places = np.arange(len(order))
    right, spent = correct[np.arange(len(stage)), stage], np.cumsum(cost)[stage]
    asked, passed_on = stage[:, None] >= places, stage[:, None] > places
    columns: Floats = np.column_stack((right, spent, correct, asked, passed_on)).astype(np.float64)
    # Of each column the mean over all rows, then those over resampled rows.
    drawn = np.vstack((means(columns), resampled(columns, seed=seed))).T
    right_, spent_ = drawn[:2]
    correct_, asked_, passed_ = np.split(drawn[2:], 3)
    return CascadeReport(
        rows=len(stage),
        risk=risk,
        is_met=is_met,
        wrong=_interval(1 - right_),
        accuracy=_interval(right_),
        accuracy_of_last=_interval(correct_[-1]),
        kept=_interval(_ratio(right_, correct_[-1])),
        cost=_interval(spent_),
        saved=_interval(1 - _ratio(spent_, np.full_like(spent_, cost[-1]))),
        stages=tuple(
            Stage(
                name,
                accuracy=_interval(correct_[j]),
                asked=_interval(asked_[j]),
                escalated=_interval(_ratio(passed_[j], asked_[j])),
            )
            for j, name in enumerate(order)
        ),
    )


def _interval(found: Floats) -> Interval:
    """The first of *found*, with where it lies by the others."""
    return interval(float(found[0]), found[1:])


def _ratio(above: Floats, below: Floats) -> Floats:
    """Not a number where there is nothing below."""
    nothing = np.full_like(above, np.nan)
    return np.divide(above, below, out=nothing, where=below > 0)
