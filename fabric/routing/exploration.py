"""Exploration within a budget: who else is asked, to learn of candidates that are not the first.

What is known of a candidate is how much better or worse it did than its scores said, for all
requests and for each kind of them. So the scores, of evidence or of a learned policy, are the prior
mean of every method here, and what has changed since they were made is learned within few labels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fabric.routing.bandits import CELLS, Linear, Vector, best_of, cell_of, features

if TYPE_CHECKING:
    from fabric.core.decisions import Query
    from fabric.core.routes import Exploration

State = Mapping[str, NDArray[np.generic]]

MOST = 128
"""Candidates that something is known of; who was heard of longest ago goes."""
_WIDENED = 10.0
"""Labels, at most, that all is worth that was known of a candidate before it changed."""
_SCORED = 10.0
"""Labels that a score is worth for all requests,"""
_SHRUNK = 20.0
"""and what is known for all requests is worth for one kind of them, at most."""
_SPREAD = 0.05
"""Share of the method's picks that is spread evenly, so that everybody may be chosen."""
_UNKNOWN = 0.5
_TOLERATED = 0.1
"""Change of a success rate that is no drift,"""
_ALARM = 12.0
"""and the sum of surprises beyond it that is: one false alarm in about 100,000 labels."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to ask for one request."""

    first: str
    propensities: tuple[float, ...]
    """With which each candidate, in the order given, is put first; they sum to 1."""
    kind: str = ""
    """`exploration` where the method picked the first; empty where the order given stood."""
    shadow: str = ""
    """Who is asked too; empty for nobody."""


class Explorer:
    """What is known of the candidates of one route, and who is tried next.

    `decide` changes nothing: what comes out follows from the state, the seed and the request's id.
    """

    def __init__(
        self,
        settings: Exploration,
        seed: int = 0,
        state: State | None = None,
    ) -> None:
        self._settings = settings
        self._discount = settings.discount
        self._seed = seed
        self._rows: dict[str, int] = {}
        """By candidate; who was heard of last is last."""
        self._newest: dict[str, str] = {}
        """The version heard of last, by name."""
        self._labels = np.zeros((MOST, 1 + CELLS))
        """Discounted number of labels, of all requests and of each kind,"""
        self._gains = np.zeros((MOST, 1 + CELLS))
        """and sums of how much better than its score each was."""
        self._surprise = np.zeros((MOST, 2))
        """Sums of surprises, bad and good."""
        self._linear = Linear(MOST) if settings.method == "linucb" else None
        if state is not None:
            self._load(state)

    def decide(self, request: str, query: Query, scores: Mapping[str, float]) -> Choice:
        """Whom to ask for the request with this id.

        *scores* has the candidates in the order in which they are to be tried, and how likely each
        is to succeed, not a number where nobody knows. Most requests go to the first. A share of
        them, `shadow`, is given to another one too; of the others a share, `share`, goes to whom
        the method picks.
        """
        names = tuple(scores)
        shadow, share = self._settings.shadow, self._settings.share
        if len(names) < 2 or not (shadow or share):
            return Choice(names[0], (1.0,) + (0.0,) * (len(names) - 1))
        coin, which = _uniforms(self._seed, request)
        explored = (1 - shadow) * share
        picks = self._picks(query, scores) if explored else np.zeros(len(names))
        chances = explored * picks
        chances[0] += 1 - explored
        propensities = tuple(chances.tolist())
        if coin < shadow:
            others = {name: scores[name] for name in names[1:]}
            picked = names[1 + _drawn(self._picks(query, others), which)]
            return Choice(names[0], propensities, shadow=picked)
        if coin < shadow + explored:
            return Choice(names[_drawn(picks, which)], propensities, "exploration")
        return Choice(names[0], propensities)

    def corrected(self, query: Query, scores: Mapping[str, float]) -> dict[str, float]:
        """The scores, with what was learned since they were made."""
        means, _ = self._expected(query, scores)
        return dict(zip(scores, means.tolist(), strict=True))

    def learn(
        self, query: Query, candidate: str, success: float, score: float, weight: float = 1.0
    ) -> bool:
        """Takes a label: how well *candidate* did, from 0 to 1, and what it was scored.

        True if it has changed, by its surprises so far; then little of what was known counts.
        """
        score = _UNKNOWN if math.isnan(score) else score
        (expected,), _ = self._expected(query, {candidate: score})
        row = self._row(candidate)
        drifted = self._drifted(row, success - float(expected))
        kept = self._widened(row) if drifted else 1.0
        self._labels[row] *= kept
        self._gains[row] *= kept
        cell = 1 + cell_of(query)
        gain = success - score
        for place, gained in ((0, gain - self._kind(cell)), (cell, gain)):
            self._labels[row, place] = weight + self._discount * self._labels[row, place]
            self._gains[row, place] = weight * gained + self._discount * self._gains[row, place]
        if self._linear is not None:
            self._linear.learn(row, features(query), gain, weight, kept * self._discount)
        return drifted

    def rebase(self) -> None:
        """The scores now come from a policy that was trained on the labels so far.

        What they missed starts at zero again; how much is known of each candidate stays.
        """
        self._gains[:] = 0.0
        self._surprise[:] = 0.0
        if self._linear is not None:
            self._linear.moment[:] = 0.0

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that was learned, as arrays with a row for each candidate.

        `heard` has the rows in the order in which they were heard of.
        """
        known = len(self._rows)
        names = sorted(self._rows, key=self._rows.__getitem__)
        return {
            "candidates": np.array(names, dtype=np.str_),
            "heard": np.array(list(self._rows.values()), dtype=np.intp),
        } | {name: array[:known].copy() for name, array in self._arrays().items()}

    def _load(self, state: State) -> None:
        names = state["candidates"].tolist()
        for row in state["heard"].tolist():
            self._rows[names[row]] = row
            self._newest[_base(names[row])] = names[row]
        for name, array in self._arrays().items():
            if name in state:
                array[: len(self._rows)] = state[name]
        if self._linear is not None:
            self._linear.solve(slice(len(self._rows)))

    def _arrays(self) -> dict[str, Vector]:
        own = {"labels": self._labels, "gains": self._gains, "surprise": self._surprise}
        linear = self._linear
        return own if linear is None else own | {"gram": linear.gram, "moment": linear.moment}

    def _picks(self, query: Query, scores: Mapping[str, float]) -> Vector:
        """The probability with which the method would pick each."""
        if self._linear is None:
            picks = best_of(*self._expected(query, scores))
        else:
            rows, weights = self._known(scores)
            given = _given(scores)
            hopes = given + self._linear.hopes(rows, weights, features(query))
            picks = np.zeros(len(rows))
            picks[hopes.argmax()] = 1.0
        return (1 - _SPREAD) * picks + _SPREAD / len(picks)

    def _expected(self, query: Query, scores: Mapping[str, float]) -> tuple[Vector, Vector]:
        """Mean of the success of each candidate, and how many labels that is worth.

        Empirical Bayes: gains for one kind of requests are shrunk to those for all, and these to 0.
        """
        rows, weights = self._known(scores)
        cell = 1 + cell_of(query)
        labels, gains = self._labels[rows], self._gains[rows]
        overall, here = labels[:, 0] * weights, labels[:, cell] * weights
        gain = gains[:, 0] * weights / (_SCORED + overall) + self._kind(cell)
        gain = (gains[:, cell] * weights + _SHRUNK * gain) / (_SHRUNK + here)
        given = _given(scores)
        return np.clip(given + gain, 0.01, 0.99), np.minimum(_SHRUNK, _SCORED + overall) + here

    def _kind(self, cell: int) -> float:
        """How much better than expected all candidates do at one kind of requests."""
        known = len(self._rows)
        labels, gains = self._labels[:known, cell], self._gains[:known]
        each = gains[:, 0] / (_SCORED + self._labels[:known, 0])
        return float((gains[:, cell] - labels * each).sum() / (_SHRUNK + labels.sum()))

    def _known(self, names: Mapping[str, float]) -> tuple[list[int], Vector]:
        """The row of each candidate and its weight: less for a new version, none for a stranger."""
        rows, weights = [], np.ones(len(names))
        for place, name in enumerate(names):
            row = self._rows.get(name)
            if row is None:
                before = self._newest.get(_base(name))
                row = 0 if before is None else self._rows[before]
                weights[place] = 0.0 if before is None else self._widened(row)
            rows.append(row)
        return rows, weights

    def _row(self, candidate: str) -> int:
        """Where *candidate* is kept from now on; a new version starts with what its last knew."""
        row = self._rows.pop(candidate, None)
        if row is None:
            (before,), (weight,) = self._known({candidate: 0.0})
            row = len(self._rows)
            if row == MOST:
                oldest = next(iter(self._rows))
                row = self._rows.pop(oldest)
                if self._newest.get(_base(oldest)) == oldest:
                    del self._newest[_base(oldest)]
            for array in self._arrays().values():
                array[row] = array[before] * weight
            self._surprise[row] = 0.0
        self._newest[_base(candidate)] = candidate
        self._rows[candidate] = row
        return row

    def _widened(self, row: int) -> float:
        """The weight of what is known in *row* once that is no more than a guess."""
        return min(1.0, _WIDENED / max(float(self._labels[row, 0]), 1e-9))

    def _drifted(self, row: int, surprise: float) -> bool:
        """The Page-Hinkley test, both ways (Page 1954; Gama et al. 2014, section 3.2.2)."""
        sums = self._surprise[row]
        sums += (-surprise - _TOLERATED, surprise - _TOLERATED)
        np.maximum(sums, 0.0, out=sums)
        if sums.max() <= _ALARM:
            return False
        sums[:] = 0.0
        return True


def _given(scores: Mapping[str, float]) -> Vector:
    """The scores; of whom no policy knows anything, one half."""
    given = np.fromiter(scores.values(), np.float64, len(scores))
    given[np.isnan(given)] = _UNKNOWN
    return given


def _base(candidate: str) -> str:
    """The name without the version."""
    return candidate.rpartition(":")[0] or candidate


def _drawn(chances: Vector, point: float) -> int:
    return min(int(chances.cumsum().searchsorted(point, "right")), len(chances) - 1)


def _uniforms(seed: int, request: str) -> tuple[float, float]:
    """Two numbers from 0 to 1 that follow from the request's id."""
    digest = hashlib.blake2b(request.encode(), digest_size=16, salt=seed.to_bytes(16, "big"))
    number = int.from_bytes(digest.digest(), "big")
    return (number >> 75) / 2**53, (number >> 11 & (2**53 - 1)) / 2**53
