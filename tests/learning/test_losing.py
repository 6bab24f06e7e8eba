"""Policies that lose against their own best single candidate, and those that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from logs import log, trained

from fabric.learning.losing import why_lost


@pytest.fixture(scope="module")
def learned():
    """Leaves `usual:1` at "odd", where `other:1` was right in 95 of 100."""
    return trained()


def test_one_that_does_worse_on_pairs_has_lost(learned):
    """Shadows tell what the best single candidate would have done; the reason has the figures."""
    reason = why_lost(learned, True, log(400, other=0.4, shadows=True))
    assert reason.endswith("against usual:1 in 200 requests that both answered")
    assert reason.startswith("-0.")


def test_one_that_does_worse_by_propensity_has_lost(learned):
    """Where no request has both, those that were explored stand for the others."""
    reason = why_lost(learned, True, log(1500, other=0.4, explored=0.2))
    assert reason.endswith("against usual:1 by 1500 decisions, doubly robust")


@pytest.mark.parametrize("seed", range(10))
def test_one_that_still_gains_has_not_lost(learned, seed):
    """By either way of looking."""
    assert why_lost(learned, True, log(400, other=0.9, shadows=True, seed=seed)) == ""
    assert why_lost(learned, True, log(800, other=0.9, explored=0.2, seed=seed)) == ""


def test_one_as_good_as_the_best_hardly_ever_loses(learned):
    """It takes more than chance: one in two hundred by the bound, looked at fifty times here."""
    lost = [
        bool(why_lost(learned, True, log(200, other=0.7, shadows=True, seed=seed)))
        for seed in range(50)
    ]
    assert sum(lost) <= 2


def test_little_says_nothing(learned):
    """Few requests, or a log that never saw the best single candidate there."""
    assert why_lost(learned, True, []) == ""
    assert why_lost(learned, True, log(50, other=0.0, shadows=True)) == ""
    assert why_lost(learned, True, log(1500, other=0.0, explored=0.0)) == ""


def test_one_that_never_leaves_the_best_cannot_lose():
    """The guard of a policy that found no gain keeps it where it is."""
    assert why_lost(trained(other=0.3), True, log(400, other=0.1, shadows=True)) == ""


def test_without_the_guard_it_answers_for_whoever_it_likes_best(learned):
    """A route that has none is judged by what it does."""
    careful = replace(learned, margin=float("inf"))
    records = log(400, other=0.3, shadows=True)
    assert why_lost(careful, True, records) == ""
    assert why_lost(careful, False, records)
