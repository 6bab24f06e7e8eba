"""Stages of a policy, fitted to outcomes."""

import numpy as np
import pytest

from fabric.learning import stacking, stages, training
from fabric.learning.training import Training, fit
from tests.learning import tables


def test_ranks_tell_who_is_ahead_where_all_succeed():
    """Of graded outcomes ties stay ties, who is ahead is further ahead, and the mean stays."""
    graded = np.array([[0.9, 0.92, 0.94], [0.0, 0.0, 0.9]])

    mixed = stages.blended(graded, np.ones((2, 3)))

    assert mixed.mean(1) == pytest.approx(graded.mean(1))
    assert np.diff(mixed[0]) == pytest.approx(0.8 * 0.02 + 0.2 * 2 / 3)
    assert mixed[1, 0] == mixed[1, 1]


def test_ranks_change_nothing_else():
    """Outcomes that are 0 or 1 stay as they are, and those of queries that not all were asked."""
    outcomes = np.array([[1.0, 0.0, 1.0], [0.2, 0.4, 0.9]])
    asked = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])

    assert stages.blended(outcomes, asked) == pytest.approx(outcomes)


def test_the_forest_is_not_told_the_fold(monkeypatch):
    """Of queries without tags the prior is the same for all, also where it was held out."""
    seen = []
    grow = stages.fit_forest
    monkeypatch.setattr(
        training.stages, "fit_forest", lambda x, *rest: (seen.append(x), grow(x, *rest))[1]
    )
    made = tables.of_numbers()

    fit(made, Training(trees=2))

    k = len(made.candidates)
    assert (np.ptp(seen[0][:, :k], axis=0) == 0).all()


def test_the_last_stage_counts_half_of_what_it_would_alone():
    """However right those before it are: it was told what they say."""
    rng = np.random.default_rng(0)
    right = rng.random((200, 3))
    doubled = 2 * right

    weights, _ = stacking.weigh([right, doubled + rng.normal(size=right.shape)], right, right > -1)

    alone, _ = stacking.weigh([doubled], right, right > -1)
    assert weights[0, 0] == pytest.approx(0.5, abs=0.01)
    assert 0.05 < weights[1, 0] < alone[0, 0] / 2
