"""What any policy would have been worth, from the log of another.

A decision's propensities say how likely the logged choice was; a policy that likes it more is
credited with more of its reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fabric.core.decisions import Query
from fabric.core.errors import InvalidRequest
from fabric.learning.rewards import cross_fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.core.decisions import Record

ForCandidates = Callable[[Query, tuple[str, ...]], Sequence[float]]
"""From a query and its candidates to a number for each: as a policy the probability with which it
is chosen, as foresight the reward that is expected of it."""

METHODS = ("dr", "snips", "ips")
_DEVIATIONS = 1.959964
"""Of a normal distribution, for an interval that holds 95 %."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean reward that a policy would have had."""

    value: float
    low: float
    """Lower and"""
    high: float
    """upper bound of the 95 % interval, by the normal approximation."""
    effective_sample_size: float
    """Records that would say as much if the policy itself had decided (Kish 1965)."""
    method: str
    records: int
    """Those that count: the reward and propensity of their first choice are known."""
    unsupported: float
    """Share of the policy's choices that the log could not have made: of their rewards it says
    nothing, and only `dr` has a guess."""


class Replay:
    """A log that policies are scored from."""

    def __init__(self, log: Iterable[Record], foresight: ForCandidates | None, seed: int) -> None:
        found = [record for record in log if _counts(record)]
        if not found:
            raise InvalidRequest(
                "no record of the log counts: none has both propensities and a reward of the "
                "candidate that was put first; let requests be explored and send feedback"
            )
        self._decisions = [record.decision for record in found]
        names = dict.fromkeys(name for d in self._decisions for name in d.candidates)
        self._columns = {name: column for column, name in enumerate(names)}
        rewards = self._rewards(found)
        self._propensities, self._known = self._seen(~np.isnan(rewards))
        """[n, k] With which the reward of each was to be known, and where it is by that."""
        self._reward = np.where(self._known, rewards, 0.0)
        if foresight is None:
            queries = [decision.query for decision in self._decisions]
            self._expected = cross_fitted(queries, rewards, seed)
        else:
            self._expected = self._asked(foresight)

    def estimate(self, policy: ForCandidates, method: str = "dr") -> Estimate:
        """The value of *policy*, where labels are missing at random.

        `ips` weights rewards by how much likelier the policy makes them (Horvitz and Thompson
        1952), `snips` divides by the sum of the weights (Swaminathan and Joachims 2015), `dr` adds
        the weighted surprises to what a model of rewards expects (Dudík et al. 2011,
        arXiv:1103.4601): right on average by the propensities, and closer the better the model.

        Raises:
            InvalidRequest: no such method, or the policy's probabilities do not sum to 1.
        """
        chances = self._chances(policy)
        weights = self._weights(chances)
        value, error = self._valued(chances, weights, method)
        return Estimate(
            value=value,
            low=value - _DEVIATIONS * error,
            high=value + _DEVIATIONS * error,
            effective_sample_size=float(weights.sum() ** 2 / max((weights**2).sum(), 1e-12)),
            method=method,
            records=len(self._decisions),
            unsupported=float(chances[self._propensities == 0].sum() / len(self._decisions)),
        )

    def difference(self, policy: ForCandidates, other: ForCandidates) -> Estimate:
        """By how much *policy* is worth more than *other*, by `dr`, record for record: what both
        choose alike adds no noise.

        Raises:
            InvalidRequest: the probabilities of one of them do not sum to 1.
        """
        apart = self._chances(policy) - self._chances(other)
        weights = self._weights(apart)
        value, error = self._valued(apart, weights, "dr")
        unsupported = np.abs(apart[self._propensities == 0]).sum() / 2
        return Estimate(
            value=value,
            low=value - _DEVIATIONS * error,
            high=value + _DEVIATIONS * error,
            effective_sample_size=float(
                np.abs(weights).sum() ** 2 / max((weights**2).sum(), 1e-12)
            ),
            method="dr",
            records=len(self._decisions),
            unsupported=float(unsupported / len(self._decisions)),
        )

    def _chances(self, policy: ForCandidates) -> NDArray[np.float64]:
        chances = self._asked(policy)
        if not (np.abs(chances.sum(axis=1) - 1) < 1e-6).all() or chances.min() < 0:
            raise InvalidRequest("a policy gives each candidate a probability, and they sum to 1")
        return chances

    def _valued(
        self, chances: NDArray[np.float64], weights: NDArray[np.float64], method: str
    ) -> tuple[float, float]:
        """The estimate and its standard error, of *weights* [n, k]."""
        if method == "ips":
            return _mean((weights * self._reward).sum(axis=1))
        if method == "snips":
            total = float(weights.sum())
            if not total:
                raise InvalidRequest("the log has none of the policy's choices; use method 'dr'")
            value = float((weights * self._reward).sum()) / total
            off = (weights * (self._reward - value)).sum(axis=1)
            return value, float(np.linalg.norm(off)) / total
        if method == "dr":
            surprise = weights * (self._reward - self._expected)
            return _mean((chances * self._expected + surprise).sum(axis=1))
        raise InvalidRequest(f"no method {method!r}; use {', '.join(METHODS)}")

    def _weights(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n, k] How much likelier each reward that is known is under *chances* than it was."""
        return np.divide(
            chances, self._propensities, out=np.zeros(chances.shape), where=self._known
        )

    def _seen(self, told: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """[n, k] The probability of each to be first or, with a label, the shadow; who was either.

        A shadow counts where its own probability was logged. Labels often are of the first alone,
        so how often a shadow has one is counted (Horvitz and Thompson 1952, for several draws).
        """
        first = self._table([d.propensities for d in self._decisions])
        none = (0.0,) * len(self._columns)
        shadow = self._table(
            [d.shadow_propensities or none[: len(d.candidates)] for d in self._decisions]
        )
        seen = np.zeros(told.shape, np.bool_)
        asked = np.zeros(told.shape, np.bool_)
        for row, decision in enumerate(self._decisions):
            seen[row, self._columns[decision.candidates[0]]] = True
            if decision.shadow in self._columns:
                asked[row, self._columns[decision.shadow]] = True
        asked &= shadow > 0
        share = (asked & told).sum() / max(asked.sum(), 1)
        return first + share * shadow, seen | (asked & told)

    def _asked(self, function: ForCandidates) -> NDArray[np.float64]:
        return self._table([function(d.query, d.candidates) for d in self._decisions])

    def _table(self, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """[n, k] From numbers in the order of each decision's candidates; zero for the others."""
        table = np.zeros((len(self._decisions), len(self._columns)))
        for row, (decision, numbers) in enumerate(zip(self._decisions, rows, strict=True)):
            for name, number in zip(decision.candidates, numbers, strict=True):
                table[row, self._columns[name]] = number
        return table

    def _rewards(self, found: Sequence[Record]) -> NDArray[np.float64]:
        """[n, k] All that is known, of shadows too; not a number elsewhere."""
        table = np.full((len(found), len(self._columns)), np.nan)
        for row, record in enumerate(found):
            for name, reward in record.rewards.items():
                if name in self._columns:
                    table[row, self._columns[name]] = reward
        return table


def replay(log: Iterable[Record], foresight: ForCandidates | None = None, seed: int = 0) -> Replay:
    """The log as `Replay(...).estimate(policy)` needs it.

    *foresight* is the model of rewards for `dr`, which must not have been fitted to this log;
    without it one is fitted here, to other parts of the log than it is used for, split by *seed*.

    Raises:
        InvalidRequest: no record counts.
    """
    return Replay(log, foresight, seed)


def _counts(record: Record) -> bool:
    decision = record.decision
    return (
        len(decision.propensities) == len(decision.candidates) > 0
        and decision.propensities[0] > 0
        and decision.candidates[0] in record.rewards
    )


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))
