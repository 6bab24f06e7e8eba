"""Scores as probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from fabric.core.scores import are_probabilities, probabilities


def rows(*numbers, dtype=np.float32):
    return np.array(numbers, dtype)


def test_scores_that_sum_to_one_are_probabilities():
    """Others are logits, and their softmax is taken."""
    given = rows([0.7, 0.2, 0.1])
    assert probabilities(given) == pytest.approx(given)
    logits = rows([2.0, 1.0, 0.0])
    powers = np.exp([2.0, 1.0, 0.0])
    assert probabilities(logits)[0] == pytest.approx(powers / powers.sum())
    assert are_probabilities(given)
    assert not are_probabilities(logits)


def test_one_row_that_does_not_sum_to_one_makes_all_of_them_logits():
    """What a model gives does not differ from row to row."""
    assert not are_probabilities(rows([0.5, 0.5], [0.5, 0.9]))


def test_one_score_alone_is_that_of_yes():
    """A probability, or the logit of one."""
    assert probabilities(rows([0.9], [0.2])) == pytest.approx(rows([0.1, 0.9], [0.8, 0.2]))
    assert probabilities(rows([0.0], [2.0]))[0] == pytest.approx([0.5, 0.5])


def test_probabilities_in_half_precision_are_some():
    """Their sum is a little off."""
    many = np.full((1, 1000), 1e-3, np.float16)
    assert many.sum(dtype=np.float64) != 1
    assert are_probabilities(many)
