"""What the runs so far say of those to come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.runtime.pace import Pace, averaged, size_class

SIZES = st.integers(1, 1 << 40)
SECONDS = st.floats(1e-6, 100.0)


def test_the_average_falls_quickly_and_rises_slowly():
    """A pause of the machine does not pass for a slow model for long."""
    assert averaged(0.010, 0.0) == pytest.approx(0.005)
    assert averaged(0.0, 0.010) == pytest.approx(0.001)


@given(SIZES, SIZES)
def test_size_classes_are_in_order(one, other):
    """Four to every doubling: sizes of one class differ by less than a quarter."""
    small, large = sorted((one, other))
    assert size_class(small) <= size_class(large)
    assert size_class(2 * small) == size_class(small) + 4
    if small > 4 and size_class(small) == size_class(large):
        assert large < 1.25 * small


def test_nothing_measured_is_nothing_needed():
    """Nobody is refused for a guess."""
    pace = Pace()
    assert pace.seconds(100) == 0.0
    assert pace.wait(1000) == 0.0


def test_one_outlier_counts_as_a_run_of_three_times_the_length():
    """It moves the average by a fifth, however long it was."""
    pace = Pace()
    pace.took(40, 0.010)
    pace.took(40, 10.0)
    assert pace.seconds(40) == pytest.approx(0.012)


@given(st.lists(st.tuples(st.integers(4, 160), SECONDS), min_size=1, max_size=30))
def test_a_larger_batch_takes_longer_but_not_more_than_in_proportion(runs):
    """Whatever was measured, in whatever order; also of sizes that were not."""
    pace = Pace()
    for size, seconds in runs:
        pace.took(size, seconds)
    sizes = sorted(pace._seconds)
    for small, large in pairwise(sizes):
        least, most = pace.seconds(small), pace.seconds(small) * 2 ** ((large - small) / 4)
        assert least * 0.999999 <= pace.seconds(large) <= most * 1.000001
    guesses = [pace.seconds(size) for size in range(4, 170)]
    assert all(a <= b * 1.000001 for a, b in pairwise(guesses))
    assert guesses[-1] == pace.seconds(sizes[-1])


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.01), (0.01, 1.0)])
def test_every_size_learns_from_the_runs_of_one(before, after):
    """So batches grow again that had become too slow to be run, and the other way around."""
    pace = Pace()
    for size in range(40, 65):
        pace.took(size, before)
    for _ in range(120):
        pace.took(40, after)
    assert pace.seconds(40) == pytest.approx(after, rel=0.01)
    assert after * 0.99 <= pace.seconds(64) <= 64 * after * 1.01


def test_the_wait_is_that_of_whole_batches_and_the_own_one():
    """Three of four jobs each before the job, which shares the fourth with those behind it."""
    pace = Pace()
    for jobs, seconds in ((1, 0.010), (4, 0.016)):
        pace.took(size_class(jobs * 1000), seconds)
    pace.batched(4, 4000, others=True)
    assert pace.wait(0) == pytest.approx(0.010)
    assert pace.wait(12) == pytest.approx(3 * 0.016 + 0.010)
    assert pace.wait(15) == pytest.approx(3 * 0.016 + 0.016)
    for _ in range(100):
        pace.batched(4, 4000, others=True)
    assert pace.wait(0) == pytest.approx(0.016, rel=0.3)


def test_batches_that_leave_nobody_waiting_say_nothing_of_full_ones():
    """Lone requests all day are no reason to refuse a burst."""
    pace = Pace()
    pace.took(size_class(1000), 0.010)
    for _ in range(100):
        pace.batched(1, 1000, others=False)
    assert pace.wait(1000) == pytest.approx(0.010)
