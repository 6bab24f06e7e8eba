"""The mathematics of exploring: who may be the best, and what a request looks like in numbers."""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fabric.core.decisions import Query

Vector = NDArray[np.float64]

FEATURES = 32
"""Length of what `features` makes of a request."""
_HASHED = FEATURES - 1
_WORDS = 48
"""Of a text that are read."""
_MIDPOINTS = (np.arange(64) + 0.5) / 64
_RIDGE = 10.0
"""Labels that a score is worth, before any of its candidate's own in some direction."""
_OPTIMISM = 0.5
"""What LinUCB hopes for beyond the mean, in its standard errors of a label of deviation one: a
success has 0.5 at most, so it is one of its own."""
_NOTHING = 1e-9
_REACH = 5.0
"""Standard deviations beyond which nobody is expected."""


def best_of(means: Vector, strengths: Vector) -> Vector:
    """The probability of each candidate to be the best: what Thompson sampling draws from.

    Success of candidate a is Beta(1 + mean * strength, 1 + (1 - mean) * strength) and
    independent of the others', so P(a is best) is the integral of its density times the
    distributions of all others (Russo et al. 2018, A Tutorial on Thompson Sampling,
    arXiv:1707.02038), here by the midpoint rule on 64 points where the best may lie: within 0.01
    of the integral for strengths up to 10,000. They sum to 1.
    """
    alpha = 1 + means * strengths
    beta = 1 + (1 - means) * strengths
    total = alpha + beta
    middle = alpha / total
    reach = _REACH * np.sqrt(middle * (1 - middle) / (total + 1))
    low = max(0.0, float((middle - reach).max()))
    width = min(1.0, float((middle + reach).max())) - low
    points = low + width * _MIDPOINTS
    scale = [
        math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
        for a, b in zip(alpha.tolist(), beta.tolist(), strict=True)
    ]
    exponents = np.column_stack((alpha - 1, beta - 1)) @ np.log((points, 1 - points))
    mass = np.exp(exponents - np.array(scale)[:, None]) * (width / len(points))
    above = mass[:, ::-1].cumsum(axis=1)[:, ::-1] - mass / 2
    below = np.clip(1 - above, 1e-12, 1.0)
    best: Vector = (mass / below * below.prod(axis=0)).sum(axis=1)
    best /= best.sum()
    return best


def features(query: Query) -> Vector:
    """[FEATURES]: a constant, then task, domain, words and numbers in what is left.

    Each of the four has length 1, and names and words lie in directions of their own: that many of
    them can be told apart as there are places (Weinberger et al. 2009, arXiv:0902.2206, with as
    many hashes as places).
    """
    made = np.zeros(FEATURES)
    made[0] = 1.0
    for name, value in (("task", query.task), ("domain", query.domain)):
        if value:
            made[1:] += _direction(f"{name}\0{value}")
    words = query.text[: _WORDS * 16].lower().split()[:_WORDS]
    if words:
        made[1:] += sum(map(_direction, words)) / math.sqrt(len(words))
    if query.numbers:
        numbers = np.array(query.numbers)
        length = math.sqrt(float(numbers @ numbers))
        places, signs = _sketch(len(numbers))
        if 0 < length < math.inf:
            made[1:] += np.bincount(places, signs * numbers / length, _HASHED)
    return made


@lru_cache(maxsize=4096)
def _direction(name: str) -> Vector:
    """[FEATURES - 1], of length 1."""
    bits = np.unpackbits(np.frombuffer(blake2b(name.encode(), digest_size=4).digest(), np.uint8))
    direction: Vector = (1.0 - 2.0 * bits[1:].astype(np.float64)) / math.sqrt(_HASHED)
    return direction


@lru_cache(maxsize=16)
def _sketch(size: int) -> tuple[NDArray[np.intp], Vector]:
    """Place and sign of each of *size* numbers, by Fibonacci hashing."""
    codes = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    places = (codes >> np.uint64(32)) % np.uint64(_HASHED)
    signs = 1.0 - 2.0 * (codes >> np.uint64(31) & np.uint64(1)).astype(np.float64)
    return places.astype(np.intp), signs


class Linear:
    """Discounted ridge regressions of gains on the features of requests, one for each candidate.

    LinUCB (Li et al. 2010, arXiv:1003.0146), discounted (Russac et al. 2019, arXiv:1909.09146) in
    the direction of each new label alone: labels of one kind of requests do not make what is known
    of others forgotten (directional forgetting, Kulhavý 1987; Cao and Schwartz 2000).
    """

    def __init__(self, rows: int) -> None:
        self.gram = np.zeros((rows, FEATURES, FEATURES))
        self.moment = np.zeros((rows, FEATURES))
        self._inverse = np.tile(np.eye(FEATURES) / _RIDGE, (rows, 1, 1))

    def hopes(self, rows: list[int], weights: Vector, x: Vector) -> Vector:
        """The upper bound of the gain of each."""
        inverse = self._inverse[rows]
        for place in np.flatnonzero(weights < 1):
            inverse[place] = _inverted(self.gram[rows[place]] * weights[place])
        ways = inverse @ x
        gains = (ways * self.moment[rows]).sum(axis=1) * weights
        hopes: Vector = gains + _OPTIMISM * np.sqrt(ways @ x)
        return hopes

    def learn(self, row: int, x: Vector, gain: float, kept: float) -> None:
        gram, moment = self.gram[row], self.moment[row]
        way = gram @ x
        if (known := float(x @ way)) > _NOTHING:
            gone = (1.0 - kept) / known * way
            moment -= gone * float(x @ moment)
            gram -= np.outer(gone, way)
        gram += np.outer(x, x)
        moment += gain * x
        self.solve(row)

    def solve(self, rows: int | slice) -> None:
        self._inverse[rows] = _inverted(self.gram[rows])


def _inverted(gram: Vector) -> Vector:
    return np.linalg.inv(gram + _RIDGE * np.eye(FEATURES)).astype(np.float64, copy=False)
