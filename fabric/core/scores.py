"""Scores of classes as probabilities, whatever a model gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SUM_TO_ONE = 0.01
"""What sums of probabilities may be off by: in FP16 they are by a thousandth for each class."""


def probabilities(scores: NDArray[Any]) -> NDArray[np.float64]:
    """[rows, classes], from *scores* whose last dimension are the classes.

    Where all scores are from 0 to 1 and each row sums to 1 they are probabilities already; else
    they are taken as logits, of which the softmax is. Of one class alone the score is that of
    "yes": a probability where all are from 0 to 1, else the logistic function of it is.

    Raises:
        TypeError: they are no floating-point numbers.
    """
    rows = _rows(scores)
    are_shares = _are_shares(rows)
    if rows.shape[1] == 1:
        yes = rows if are_shares else 1 / (1 + np.exp(-np.clip(rows, -500, 500)))
        return np.hstack((1 - yes, yes))
    if are_shares and _sum_to_one(sums := rows.sum(axis=1, keepdims=True)):
        return np.asarray(rows / sums)
    with np.errstate(invalid="ignore"):  # what is no number stays none
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def are_probabilities(scores: NDArray[Any]) -> bool:
    """Whether each row of *scores* has several classes, from 0 to 1, that sum to 1."""
    rows = _rows(scores)
    return rows.shape[1] > 1 and _are_shares(rows) and _sum_to_one(rows.sum(axis=1))


def _are_shares(rows: NDArray[np.float64]) -> bool:
    return not rows.size or bool(rows.min() >= 0 and rows.max() <= 1)


def _sum_to_one(sums: NDArray[np.float64]) -> bool:
    return bool((np.abs(sums - 1) <= _SUM_TO_ONE).all())


def _rows(scores: NDArray[Any]) -> NDArray[np.float64]:
    if not np.issubdtype(scores.dtype, np.floating):
        raise TypeError(f"{scores.dtype} are no scores of classes")
    last = scores.shape[-1] if scores.ndim else 1
    return scores.astype(np.float64).reshape(-1, last) if last else np.ones((0, 1))
