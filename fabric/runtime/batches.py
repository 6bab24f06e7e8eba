"""Which of those who wait are run together, so that their answers come in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.runtime.pace import size_class

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from fabric.runtime.jobs import Job

RESERVE = 0.005
"""Seconds before its deadline by which an answer leaves, so that it also arrives before it,"""
_SHARE = 0.1
"""and at most this share of the time that the request had when it came."""


def due(job: Job) -> float:
    """When the answer to *job* must leave."""
    return job.expires - min(RESERVE, _SHARE * (job.expires - job.arrived))


def take(queue: deque[Job], max_rows: int, now: float, batch: list[Job]) -> list[Job]:
    """Moves jobs from *queue* to *batch*; returns those before them that need no run any more.

    Where the batch is empty, the first job that waits is always in it, with those behind it that
    can be stacked with it; the others keep their places. With *max_rows* 1 a batch is one job.
    """
    dropped: list[Job] = []
    passed: list[Job] = []
    rows = _rows(batch)
    while queue and rows < max_rows and len(passed) < max_rows:
        job = queue.popleft()
        inputs = job.inputs
        if job.is_gone or job.expires <= now or job.arrived + inputs.patience <= now:
            dropped.append(job)
        elif not batch or (
            inputs.shapes == batch[0].inputs.shapes and rows + inputs.rows <= max_rows
        ):
            batch.append(job)
            rows += inputs.rows
        else:
            passed.append(job)
    queue.extendleft(reversed(passed))
    return dropped


def is_hurried(batch: Sequence[Job], end: float) -> bool:
    """Whether one of *batch* may be too late if it is answered at *end*."""
    end += RESERVE
    for job in batch:  # noqa: SIM110 - a third of the time of `any`
        if job.expires < end:
            return True
    return False


def sized(batch: Sequence[Job]) -> tuple[int, int]:
    """The rows of *batch* and its bytes."""
    first = batch[0].inputs
    rows = first.rows if len(batch) == 1 else _rows(batch)
    size = 0
    for array in first.tensors.values():
        size += array.nbytes
    return rows, size * rows // first.rows


def in_time(
    batch: list[Job], now: float, seconds: Callable[[int], float]
) -> tuple[list[Job], list[Job], list[Job]]:
    """Those of *batch* to run *now*, those to run later, and those for whom it is too late.

    It goes by the *seconds* that a run of each size class takes. One job is always run: the model
    may have become faster.
    """
    rows, size = sized(batch)

    def lasts(count: int) -> float:
        return seconds(size_class(size * count // rows))

    waiting = sorted(batch, key=due)
    able = [job for job in waiting if due(job) >= now + lasts(job.inputs.rows)]
    chosen = _best(able, rows, now, lasts) if able else waiting[-1:]
    end = now + lasts(_rows(chosen))
    run = set(chosen)
    others = [job for job in waiting if job not in run]
    later = [job for job in others if due(job) >= end + lasts(job.inputs.rows)]
    late = [job for job in others if due(job) < end + lasts(job.inputs.rows)]
    return chosen, later, late


def _best(able: list[Job], rows: int, now: float, lasts: Callable[[int], float]) -> list[Job]:
    """The most of *able*, which stand in order of urgency, that the others can wait for.

    If some are lost whatever is run, it is what answers the most rows a second: so it never comes
    to running a few at a time for the sake of those who have waited longest.
    """
    best, highest = able[:1], 0.0
    most = rows
    while most:
        chosen, others = _parted(able, most, now + lasts(most))
        took = lasts(_rows(chosen))
        if not others or (chosen and due(others[0]) >= now + took + lasts(_rows(others))):
            return chosen
        rate = _rows(chosen) / max(took, 1e-9)
        if rate > highest:
            best, highest = chosen, rate
        most //= 2
    return best


def _parted(able: list[Job], most: int, end: float) -> tuple[list[Job], list[Job]]:
    """The first of *able* that can wait until *end*, so many rows at most, and the others."""
    first: list[Job] = []
    others: list[Job] = []
    for job in able:
        if job.inputs.rows <= most and due(job) >= end:
            first.append(job)
            most -= job.inputs.rows
        else:
            others.append(job)
    return first, others


def _rows(jobs: Sequence[Job]) -> int:
    return sum(job.inputs.rows for job in jobs)
