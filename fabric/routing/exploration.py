"""Exploration within a budget: who else is asked, to learn of candidates that are not the first.

What is known of a candidate is how much better or worse it did than its scores said, for all
requests and for each kind of them. So the scores, of evidence or of a learned policy, are the prior
mean of every method here, and what has changed since they were made is learned within few labels.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from fabric.core.cards import name_of
from fabric.routing.bandits import Linear, Vector, best_of, features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fabric.core.decisions import Query
    from fabric.core.routes import Exploration

MOST = 128
"""Candidates that something is known of; who was heard of longest ago goes."""
KINDS = 64
"""Kinds of requests, by task and domain, that are told apart; those that come later share."""
_WIDENED = 10.0
"""Labels, at most, that all is worth that was known of a candidate before it changed."""
_SCORED = 10.0
"""Labels that a score is worth for all requests,"""
_SHRUNK = 20.0
"""and what is known for all requests is worth for one kind of them, at most."""
_SHARPENED = 4.0
"""Times as many labels as there are, for the draw: half the deviation explores less, and in
thousands of requests rather than millions loses less (Chapelle and Li 2011, An Empirical Evaluation
of Thompson Sampling, section 3, posterior reshaping)."""
_SPREAD = 0.01
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
    shadows: tuple[float, ...] = ()
    """With which each is asked too; they sum to the budget. Empty where nobody is to be."""


class Explorer:
    """What is known of the candidates of one route, and who is tried next.

    `decide` changes nothing: what comes out follows from what is known and the request's id.
    """

    def __init__(self, settings: Exploration, known: bytes = b"") -> None:
        """*known* is what another one wrote; without it nothing is known.

        Raises whatever bytes that are something else make numpy and zipfile raise.
        """
        self._settings = settings
        self._discount = settings.discount
        self._rows: dict[str, int] = {}
        """By candidate; who was heard of last is last."""
        self._newest: dict[str, str] = {}
        """The version heard of last, by name."""
        self._kinds: dict[tuple[str, str], int] = {}
        """The place of each kind of requests, by task and domain."""
        self._labels = np.zeros((MOST, 1 + KINDS))
        """Discounted number of labels, of all requests and of each kind,"""
        self._gains = np.zeros((MOST, 1 + KINDS))
        """and sums of how much better than its score each was."""
        self._surprise = np.zeros((MOST, 2))
        """Sums of surprises, bad and good."""
        self._linear = Linear(MOST) if settings.method == "linucb" else None
        if known:
            self._load(known)

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
        coin, which = _uniforms(request)
        explored = (1 - shadow) * share
        picks = self._picks(query, scores) if explored else np.zeros(len(names))
        chances = explored * picks
        chances[0] += 1 - explored
        propensities = tuple(chances.tolist())
        shadows: tuple[float, ...] = ()
        if shadow:
            others = self._picks(query, {name: scores[name] for name in names[1:]})
            shadows = (0.0, *(shadow * others).tolist())
        if coin < shadow:
            picked = names[1 + _drawn(others, which)]
            return Choice(names[0], propensities, shadow=picked, shadows=shadows)
        if coin < shadow + explored:
            tried = names[_drawn(picks, which)]
            return Choice(tried, propensities, "exploration", shadows=shadows)
        return Choice(names[0], propensities, shadows=shadows)

    def learn(self, query: Query, candidate: str, success: float, score: float) -> float:
        """Takes a label: how well *candidate* did, from 0 to 1, and what it was scored.

        What was known of it still counts so much: 1 but where it has changed, by its surprises.
        """
        score = _UNKNOWN if math.isnan(score) else score
        (expected,), _ = self._expected(query, {candidate: score})
        row = self._row(candidate)
        kept = 1.0
        if self._drifted(row, success - float(expected)):
            kept = self._widened(row)
            for array in self._arrays().values():
                array[row] *= kept
        place = self._place(query)
        if len(self._kinds) < KINDS:
            self._kinds.setdefault((query.task, query.domain), place)
        gain = success - score
        for at, gained in ((0, gain - self._kind(place)), (place, gain)):
            self._labels[row, at] = 1.0 + self._discount * self._labels[row, at]
            self._gains[row, at] = gained + self._discount * self._gains[row, at]
        if self._linear is not None:
            self._linear.learn(row, features(query), gain, self._discount)
        return kept

    def rebase(self) -> None:
        """The scores now come from a policy that was trained on the labels so far.

        What they missed starts at zero again; how much is known of each candidate stays.
        """
        self._gains[:] = 0.0
        self._surprise[:] = 0.0
        if self._linear is not None:
            self._linear.moment[:] = 0.0

    def write(self) -> bytes:
        """Everything that was learned: arrays with a row for each candidate, as npz.

        `heard` has the rows in the order in which they were heard of.
        """
        count = len(self._rows)
        names = sorted(self._rows, key=self._rows.__getitem__)
        arrays: dict[str, NDArray[np.generic]] = {
            "candidates": np.array(names, dtype=np.str_),
            "heard": np.array(list(self._rows.values()), dtype=np.intp),
            "kinds": np.array(list(self._kinds), dtype=np.str_).reshape(-1, 2),
        }
        arrays |= {name: array[:count] for name, array in self._arrays().items()}
        out = io.BytesIO()
        np.savez_compressed(out, allow_pickle=False, **arrays)
        return out.getvalue()

    def _load(self, written: bytes) -> None:
        with np.load(io.BytesIO(written), allow_pickle=False) as stored:
            state = {name: stored[name] for name in stored.files}
        names = state["candidates"].tolist()
        for row in state["heard"].tolist():
            self._rows[names[row]] = row
            self._newest[name_of(names[row])] = names[row]
        kinds = ((str(task), str(domain)) for task, domain in state["kinds"][:KINDS])
        self._kinds = {kind: 1 + number for number, kind in enumerate(kinds)}
        for name, array in self._arrays().items():
            if name in state:
                array[: len(names)] = state[name]
            if not np.isfinite(array).all():
                raise ValueError(f"{name} is not of finite numbers")
        if self._linear is not None:
            self._linear.solve(slice(len(names)))

    def _arrays(self) -> dict[str, Vector]:
        own = {"labels": self._labels, "gains": self._gains, "surprise": self._surprise}
        linear = self._linear
        return own if linear is None else own | {"gram": linear.gram, "moment": linear.moment}

    def _picks(self, query: Query, scores: Mapping[str, float]) -> Vector:
        """The probability with which the method would pick each."""
        if self._linear is None:
            means, labels = self._expected(query, scores)
            picks = best_of(means, labels * _SHARPENED)
        else:
            rows, weights = self._known(scores)
            hopes = _given(scores) + self._linear.hopes(rows, weights, features(query))
            picks = np.zeros(len(rows))
            picks[hopes.argmax()] = 1.0
        return (1 - _SPREAD) * picks + _SPREAD / len(picks)

    def _expected(self, query: Query, scores: Mapping[str, float]) -> tuple[Vector, Vector]:
        """Mean of the success of each candidate, and how many labels that is worth.

        Empirical Bayes: gains for one kind of requests are shrunk to those for all, and these to 0.
        """
        rows, weights = self._known(scores)
        place = self._place(query)
        labels, gains = self._labels[rows], self._gains[rows]
        overall, here = labels[:, 0] * weights, labels[:, place] * weights
        gain = gains[:, 0] * weights / (_SCORED + overall) + self._kind(place)
        gain = (gains[:, place] * weights + _SHRUNK * gain) / (_SHRUNK + here)
        given = _given(scores)
        return np.clip(given + gain, 0.01, 0.99), np.minimum(_SHRUNK, _SCORED + overall) + here

    def _place(self, query: Query) -> int:
        """Where the kind of *query* is kept, or would be."""
        kind = (query.task, query.domain)
        place = self._kinds.get(kind)
        if place is None:
            place = 1 + len(self._kinds)
            if place > KINDS:
                place = 1 + crc32("\0".join(kind).encode()) % KINDS
        return place

    def _kind(self, place: int) -> float:
        """How much better than expected all candidates do at one kind of requests."""
        known = len(self._rows)
        labels, gains = self._labels[:known, place], self._gains[:known]
        each = gains[:, 0] / (_SCORED + self._labels[:known, 0])
        return float((gains[:, place] - labels * each).sum() / (_SHRUNK + labels.sum()))

    def _known(self, names: Mapping[str, float]) -> tuple[list[int], Vector]:
        """The row of each candidate and its weight: less for a new version, none for a stranger."""
        rows, weights = [], np.ones(len(names))
        for place, name in enumerate(names):
            row = self._rows.get(name)
            if row is None:
                before = self._newest.get(name_of(name))
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
                if self._newest.get(name_of(oldest)) == oldest:
                    del self._newest[name_of(oldest)]
            for array in self._arrays().values():
                array[row] = array[before] * weight
            self._surprise[row] = 0.0
        self._newest[name_of(candidate)] = candidate
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


def _drawn(chances: Vector, point: float) -> int:
    return min(int(chances.cumsum().searchsorted(point, "right")), len(chances) - 1)


def _uniforms(request: str) -> tuple[float, float]:
    """Two numbers from 0 to 1 that follow from the request's id."""
    number = int.from_bytes(hashlib.blake2b(request.encode(), digest_size=16).digest(), "big")
    return (number >> 75) / 2**53, (number >> 11 & (2**53 - 1)) / 2**53
