"""Measures of routers."""

import numpy as np
import pytest

from fabric.learning import measures

WEAK = np.array([0.0, 0.0, 1.0, 1.0])
STRONG = np.array([1.0, 1.0, 1.0, 0.0])


def test_the_gap_is_closed_by_none_of_it_for_the_best_single_and_by_all_for_the_oracle():
    """m is 0 for the best single candidate, 1 for the oracle, and below 0 for what is worse."""
    best, oracle = np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.0, 0.0])

    assert measures.gap_closed(best, best, oracle) == 0
    assert measures.gap_closed(oracle, best, oracle) == 1
    assert measures.gap_closed(np.ones(3), best, oracle) == pytest.approx(-0.5)
    assert measures.normalized_par10(oracle, best, oracle) == 0
    assert np.isnan(measures.gap_closed(best, best, best))


def test_what_was_not_solved_costs_ten_cutoffs():
    """PAR10 counts an unsolved or late run as ten cutoffs."""
    runtime, solved = np.array([5.0, 30.0, 20.0]), np.array([True, True, False])

    assert measures.par10(runtime, solved, 20.0).tolist() == [5.0, 200.0, 200.0]


def test_equal_scores_recover_what_chance_does():
    """A score that tells nothing apart has the line of chance: APGR 0.5, CPT the part asked."""
    assert measures.average_recovered(np.zeros(4), WEAK, STRONG) == pytest.approx(0.5)
    assert measures.calls_needed(np.zeros(4), WEAK, STRONG, 0.8) == pytest.approx(0.8)


def test_a_right_order_recovers_more_than_the_gap():
    """With the queries that only the strong model answers first, half of the calls recover twice
    the gap, since the strong model fails where the weak one does not."""
    score = STRONG - WEAK

    assert measures.recovered(score, WEAK, STRONG, [0, 0.25, 0.5, 1]).tolist() == [0, 1, 2, 1]
    assert measures.calls_needed(score, WEAK, STRONG, 0.5, bins=4) == pytest.approx(0.125)
    assert measures.average_recovered(score, WEAK, STRONG, bins=4) == pytest.approx(5.5 / 4)


def test_the_hull_never_falls_and_leaves_out_what_lies_under_it():
    """Dearer points that are no better, and points under the line of two others, are left out."""
    xs, ys = measures.hull([1, 2, 3, 4, 2], [0.2, 0.3, 0.8, 0.7, 0.1])

    assert xs.tolist() == [1, 3]
    assert ys.tolist() == [0.2, 0.8]


def test_the_area_under_the_hull_goes_on_level_beyond_its_dearest_point():
    """AIQ of a line from 0 to 1 over half of the costs and level from there is three quarters."""
    assert measures.quality_area([0, 1], [0, 1], 0, 2) == pytest.approx(0.75)
    assert measures.quality_area([0, 1], [0, 1], 1, 1) == pytest.approx(1)
    assert measures.cost_at_quality([0, 2], [0, 1], 0.5) == pytest.approx(1)
    assert np.isnan(measures.cost_at_quality([0, 2], [0, 1], 1.5))


def test_calibration_error_is_how_far_each_bin_is_off():
    """Sure predictions that come true half of the time are off by one half; unknown ones do not
    count."""
    assert measures.calibration_error([1, 1, np.nan], [1, 0, 1]) == pytest.approx(0.5)
    assert measures.calibration_error([0.5, 0.5], [1, 0]) == 0


def test_an_interval_holds_its_figure_and_narrows_with_rows():
    """The interval of a mean lies around it, and four times the rows halve it."""
    rng = np.random.default_rng(0)
    values = rng.random(4000)

    few = measures.bootstrap(lambda rows: float(values[:1000][rows].mean()), 1000, draws=300)
    many = measures.bootstrap(lambda rows: float(values[rows].mean()), 4000, draws=300)

    assert few.low < few.value < few.high
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.2)


def test_the_best_single_candidate_is_judged_by_what_was_observed_of_it():
    """Outcomes that nobody observed do not count against a candidate."""
    assert measures.best_single(np.array([[0.5, np.nan], [0.5, 0.9]])) == 1
    assert measures.taken(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0])).tolist() == [2, 3]
