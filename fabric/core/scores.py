"""Scores of classes as probabilities, whatever a model gives, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def margin(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, by how much the likeliest class is ahead of the next."""
    largest = np.partition(probabilities, -2, axis=1)
    return np.asarray(largest[:, -1] - largest[:, -2])


def entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, 1 less its entropy over the largest there is: 0 where all classes are alike."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    spread = -np.sum(probabilities * logs, axis=1)
    return np.asarray(np.clip(1 - spread / np.log(probabilities.shape[1]), 0, 1))


def classes(output: NDArray[Any]) -> NDArray[Any]:
    """The class of each row: where the largest of its scores is, or what it says if it is no
    floating-point number; of one score alone whether it is for "yes"."""
    if not np.issubdtype(output.dtype, np.floating):
        return output.reshape(-1)
    return np.asarray(np.argmax(probabilities(output), axis=1))


def voted(arrays: Sequence[NDArray[Any]], weights: NDArray[np.float64]) -> NDArray[Any]:
    """For each row the class that most of *arrays* give, of as many the one with the larger sum of
    *weights*, in the numbers of the first who gives it.

    They have one shape, and weights sum to 1.
    """
    if not arrays[0].size:
        return arrays[0]
    ballots = np.stack([classes(array) for array in arrays])  # [parts, rows]
    agree = ballots[:, None] == ballots[None]
    # A vote more counts for more than all weights, which sum to 1.
    support = np.einsum("ijr,j->ir", agree, 1 + weights / 2)
    chosen = np.argmax(support, axis=0)  # the heaviest of those who gave the class
    rows = np.stack([array.reshape(ballots.shape[1], -1) for array in arrays])
    picked = rows[chosen, np.arange(ballots.shape[1])]
    return np.asarray(picked.reshape(arrays[0].shape))


def _are_shares(rows: NDArray[np.float64]) -> bool:
    return not rows.size or bool(rows.min() >= 0 and rows.max() <= 1)


def _sum_to_one(sums: NDArray[np.float64]) -> bool:
    return bool((np.abs(sums - 1) <= _SUM_TO_ONE).all())


def _rows(scores: NDArray[Any]) -> NDArray[np.float64]:
    if not np.issubdtype(scores.dtype, np.floating):
        raise TypeError(f"{scores.dtype} are no scores of classes")
    last = scores.shape[-1] if scores.ndim else 1
    return scores.astype(np.float64).reshape(-1, last) if last else np.ones((0, 1))
