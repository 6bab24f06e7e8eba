"""What a candidate would have been rewarded with at a request that it was not given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.core.decisions import Query

_SHRUNK = 10.0
"""Labels that what is expected of a cell is worth before any of its own."""
_ROUNDS = 5
_FOLDS = 5
_HASHED = 256
_FEWEST = 30
"""Labels of a candidate from which on its rewards are regressed on contents."""
_PENALTIES = np.logspace(0, 4, 9)


def cross_fitted(
    queries: Sequence[Query], quality: NDArray[np.float64], seed: int = 0
) -> NDArray[np.float64]:
    """[n, k] The expected reward of each candidate at each query, from the labels of others.

    *quality* has not a number where nothing is known. The queries are split at random into five;
    what is expected of one part comes from the other four, so that no label is used to foresee
    itself (Chernozhukov et al. 2018, arXiv:1608.00060).
    """
    cells = np.unique([f"{q.task}\0{q.domain}" for q in queries], return_inverse=True)[1]
    contents = _contents(queries)
    fold = np.random.default_rng(seed).permutation(len(queries)) % _FOLDS
    expected = np.empty_like(quality)
    for part in range(_FOLDS):
        known, asked = fold != part, fold == part
        means = _means(cells[known], quality[known], int(cells.max(initial=0)) + 1)
        expected[asked] = means[cells[asked]]
        if contents is not None:
            gains = quality[known] - means[cells[known]]
            expected[asked] += _foreseen(contents[known], gains, contents[asked])
    return np.clip(expected, 0.0, 1.0)


def _means(cells: NDArray[np.intp], quality: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """[size, k] Mean reward of each candidate in each cell, shrunk to cell plus candidate.

    Empirical Bayes with a fixed strength of the prior (Efron and Morris 1975).
    """
    known = ~np.isnan(quality)
    labels, sums = np.zeros((2, size, quality.shape[1]))
    np.add.at(labels, cells, known)
    np.add.at(sums, cells, np.where(known, quality, 0.0))
    mean = sums.sum() / max(labels.sum(), 1)
    by_candidate, by_cell = np.zeros((1, quality.shape[1])), np.zeros((size, 1))
    for _ in range(_ROUNDS):
        for effect, axis, other in ((by_candidate, 0, by_cell), (by_cell, 1, by_candidate)):
            rest = (sums - labels * (mean + other)).sum(axis=axis, keepdims=True)
            effect[:] = rest / (labels.sum(axis=axis, keepdims=True) + _SHRUNK)
    prior = mean + by_candidate + by_cell
    means: NDArray[np.float64] = prior + (sums - labels * prior) / (labels + _SHRUNK)
    return means


def _contents(queries: Sequence[Query]) -> NDArray[np.float64] | None:
    """[n, d] Numbers where all queries have as many, else hashed words; none without either."""
    sizes = {len(query.numbers) for query in queries}
    if len(sizes) == 1 and sizes != {0}:
        numbers = np.array([query.numbers for query in queries])
        spread = numbers.std(axis=0)
        scaled: NDArray[np.float64] = (numbers - numbers.mean(axis=0)) / np.where(spread, spread, 1)
        return scaled
    if not any(query.text for query in queries):
        return None
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(n_features=_HASHED).transform([query.text for query in queries])
    dense: NDArray[np.float64] = hashed.toarray()
    return dense


def _foreseen(
    contents: NDArray[np.float64], gains: NDArray[np.float64], asked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[m, k] What contents say of gains, by one ridge regression for each candidate."""
    from sklearn.linear_model import RidgeCV

    foreseen = np.zeros((len(asked), gains.shape[1]))
    for column, gain in enumerate(gains.T):
        known = ~np.isnan(gain)
        if known.sum() >= _FEWEST:
            ridge = RidgeCV(_PENALTIES).fit(contents[known], gain[known])
            foreseen[:, column] = ridge.predict(asked)
    return foreseen
