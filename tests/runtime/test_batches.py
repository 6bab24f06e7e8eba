"""Which jobs are run together, by their deadlines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fabric.runtime.batches import due, in_time
from fabric.runtime.pace import size_class


@dataclass(eq=False)
class Waiting:
    """A job that has *left* seconds at 0.0, its reserve taken off."""

    left: float
    rows: int = 1
    arrived: float = -1.0
    inputs: SimpleNamespace = field(init=False)

    def __post_init__(self):
        self.inputs = SimpleNamespace(rows=self.rows, tensors={"x": np.zeros((self.rows, 1000))})

    @property
    def expires(self):
        return self.left + 0.005


def lasting(per_row, always=0.0):
    """What runs last whose rows have 8,000 bytes, as `Pace.seconds` says it."""
    by_class = {size_class(8000 * rows): always + per_row * rows for rows in range(1, 257)}
    return lambda size: max(seconds * (each <= size) for each, seconds in by_class.items())


def test_an_answer_leaves_a_little_before_its_deadline():
    """A tenth of the time that there was, and five milliseconds at most."""
    job = SimpleNamespace(arrived=5.0, expires=5.01)
    assert math.isclose(due(job), 5.009)
    assert math.isclose(due(Waiting(1.0)), 1.0)


def test_a_batch_is_no_larger_than_its_most_urgent_member_can_wait_for():
    """The others, who can wait, are run after it."""
    urgent, *others = jobs = [Waiting(0.045), *(Waiting(1.0) for _ in range(9))]
    assert in_time(jobs, 0.0, lasting(0.010)) == ([urgent, *others[:1]], others[1:], [])
    assert in_time(jobs, 0.0, lasting(0.001)) == (jobs, [], [])


def test_the_most_urgent_goes_first_wherever_it_stands():
    """As long as nobody is lost for it."""
    jobs = [Waiting(1.0), Waiting(0.9), Waiting(0.015)]
    assert in_time(jobs, 0.0, lasting(0.010)) == ([jobs[2]], [jobs[1], jobs[0]], [])


def test_for_whom_it_is_too_late_is_not_run():
    """Nobody else waits for it."""
    late, *others = jobs = [Waiting(0.009), Waiting(1.0), Waiting(1.0)]
    assert in_time(jobs, 0.0, lasting(0.010)) == (others, [], [late])


def test_one_is_run_though_it_is_too_late_for_all():
    """The one with most time left: the model may have become faster."""
    jobs = [Waiting(0.001), Waiting(0.003), Waiting(0.002)]
    assert in_time(jobs, 0.0, lasting(0.010)) == ([jobs[1]], [], [jobs[0], jobs[2]])


def test_where_some_are_lost_most_are_answered():
    """Running those first who have waited longest would lose all of the others."""
    old = [Waiting(0.011) for _ in range(4)]
    jobs = [*old, *(Waiting(0.020) for _ in range(28))]
    batch, later, late = in_time(jobs, 0.0, lasting(0.0002, always=0.010))
    assert (batch, later, late) == (jobs[4:], [], old)


JOBS = st.lists(st.builds(Waiting, st.floats(0.0, 0.1), st.integers(1, 4)), min_size=1, max_size=24)


@given(JOBS, st.floats(0.0, 0.01), st.floats(0.0, 0.02))
def test_every_job_is_in_one_place_and_what_is_run_is_in_time(jobs, per_row, always):
    """Unless it is a lone one for whom it is too late, as it is for all."""
    lasts = lasting(per_row, always)
    batch, later, late = in_time(jobs, 0.0, lasts)
    assert batch
    assert sorted(map(id, [*batch, *later, *late])) == sorted(map(id, jobs))
    end = lasts(size_class(8000 * sum(job.rows for job in batch)))
    assert all(due(job) >= end for job in batch) or (len(batch) == 1 and not later)
    for job in later:
        assert due(job) >= end + lasts(size_class(8000 * job.rows))
