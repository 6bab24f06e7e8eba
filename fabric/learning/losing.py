"""Whether a policy does worse than the best single candidate, by what came after its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fabric.core.errors import InvalidRequest
from fabric.learning.replay import replay
from fabric.routing.learned import Learned

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabric.core.decisions import Query, Record

NEWEST = 5_000
"""Records that are looked at."""
_LEAST = 30
"""Records in which the policy leaves the best single candidate; fewer say nothing."""
_DEVIATIONS = 2.575829
"""Of a normal distribution, for an interval that holds 99 %: it is looked at again and again."""
_IN_95 = 1.959964
_UNSUPPORTED = 0.1
"""Of the choices in which the two differ, what the log could not have made, at most."""


@dataclass(frozen=True)
class _Chooses:
    """Who is put first; what else a policy says does not matter here."""

    learned: Learned
    guard: bool

    def first(self, query: Query, candidates: Sequence[str]) -> str:
        choice = self.learned.choose(query, candidates)
        if self.guard or np.isnan(choice.probabilities).all():
            return candidates[choice.first]
        return candidates[int(np.nanargmax(choice.probabilities))]


def why_lost(learned: Learned, guard: bool, records: Iterable[Record]) -> str:
    """Why *learned* has lost on *records* that it was not trained on; empty where it has not.

    It has when its upper bound against its own best single candidate is below zero: by the rewards
    of requests for which both are known, or by those of all, weighted by how likely they were.
    """
    chooses, best = _Chooses(learned, guard), learned.best
    newest = sorted(records, key=lambda record: record.decision.time)[-NEWEST:]
    known = [record for record in newest if best in record.decision.candidates]
    firsts = {
        record.decision.request: chooses.first(record.decision.query, record.decision.candidates)
        for record in known
    }
    left = [record for record in known if firsts[record.decision.request] != best]
    if len(left) < _LEAST:
        return ""
    return _by_pairs(left, firsts, best) or _by_propensity(known, chooses, best, len(left))


def _by_pairs(left: Sequence[Record], firsts: dict[str, str], best: str) -> str:
    both = [
        rewards[first] - rewards[best]
        for record in left
        if (first := firsts[record.decision.request]) in (rewards := record.rewards)
        and best in rewards
    ]
    if len(both) < _LEAST:
        return ""
    value, error = float(np.mean(both)), float(np.std(both) / np.sqrt(len(both)))
    if value + _DEVIATIONS * error >= 0:
        return ""
    return _said(value, error, f"in {len(both)} requests that both answered", best)


def _by_propensity(known: Sequence[Record], chooses: _Chooses, best: str, left: int) -> str:
    def policy(query: Query, candidates: tuple[str, ...]) -> list[float]:
        first = chooses.first(query, candidates)
        return [float(name == first) for name in candidates]

    def single(query: Query, candidates: tuple[str, ...]) -> list[float]:
        return [float(name == best) for name in candidates]

    try:
        estimate = replay(known).difference(policy, single)
    except InvalidRequest:
        return ""  # no record has a propensity
    share = left / len(known)
    error = (estimate.high - estimate.value) / _IN_95
    is_known = estimate.unsupported <= _UNSUPPORTED * share
    if not is_known or estimate.effective_sample_size < _LEAST:
        return ""
    if estimate.value + _DEVIATIONS * error >= 0:
        return ""
    return _said(estimate.value, error, f"by {estimate.records} decisions, doubly robust", best)


def _said(value: float, error: float, where: str, best: str) -> str:
    low, high = value - _DEVIATIONS * error, value + _DEVIATIONS * error
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}] against {best} {where}"
