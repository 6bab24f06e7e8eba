"""Runs of a model: the inputs of several requests stacked, the outputs split among them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fabric.core.errors import FabricError
from fabric.core.tensors import Tensors
from fabric.runtime.jobs import Job, failure

if TYPE_CHECKING:
    from fabric.core.deadlines import Clock

log = logging.getLogger(__name__)


class Model(Protocol):
    """What the batcher runs."""

    def run(self, tensors: Tensors, options: Any = None) -> Tensors:
        """Blocks; any exception is the failure of this run."""

    def options(self) -> Any:
        """For one run; setting `terminate` on it stops that run."""


@dataclass(slots=True, eq=False)
class Run:
    """One run of a model: its jobs with their answers, and the times on the runner's clock."""

    jobs: list[Job]
    answers: Sequence[Tensors | FabricError]
    rows: int
    begun: float
    stacked: float
    """When the inputs were as the model needs them."""
    ended: float
    is_failed: bool = False


def run(model: Model, batch: list[Job], rows: int, clock: Clock, options: Any = None) -> list[Run]:
    """The runs that answer the jobs of *batch*, which have so many *rows*: one, as a rule.

    Where a run of several fails, each is run alone: one bad request fails none but itself.
    """
    begun = ready = clock()
    try:
        tensors = stacked([job.inputs.tensors for job in batch])
        ready = clock()
        outputs = model.run(tensors, options)
        ended = clock()
        answers = split(outputs, [job.inputs.rows for job in batch])
        return [Run(batch, answers, rows, begun, ready, ended)]
    except Exception as error:  # noqa: BLE001 - whatever a model raises is its failure
        if len(batch) == 1 or all(job.is_gone for job in batch):
            failures = [failure(error)] * len(batch)
            return [Run(batch, failures, rows, begun, ready, clock(), is_failed=True)]
        log.warning("a run of %d requests failed, each is run alone: %s", len(batch), error)
        alone = [run(model, [job], job.inputs.rows, clock, options) for job in batch]
        return [each for runs in alone for each in runs]


def stacked(batch: Sequence[Tensors]) -> Tensors:
    """The tensors of *batch* one below the other, in memory as models need it."""
    first = batch[0]
    if len(batch) == 1:
        return {
            name: array if array.flags.aligned else array.copy() for name, array in first.items()
        }
    return {name: np.concatenate([tensors[name] for tensors in batch]) for name in first}


def split(outputs: Tensors, rows: Sequence[int]) -> list[Tensors]:
    """What of *outputs* belongs to each of the requests with so many *rows*.

    Raises:
        ValueError: an output has another number of rows than went in.
    """
    if len(rows) == 1:
        return [outputs]
    total = sum(rows)
    for name, array in outputs.items():
        if not array.shape or array.shape[0] != total:
            raise ValueError(f"output '{name}' is {list(array.shape)} for a batch of {total} rows")
    parts: list[Tensors] = [{} for _ in rows]
    count = rows[0]
    if count * len(rows) == total and max(rows) == count:
        for name, array in outputs.items():  # numpy itself cuts equal parts, three times as fast
            pieces = array.reshape(len(rows), count, *array.shape[1:])
            for part, piece in zip(parts, pieces, strict=True):
                part[name] = piece
        return parts
    start = 0
    for part, count in zip(parts, rows, strict=True):
        end = start + count
        for name, array in outputs.items():
            part[name] = array[start:end]
        start = end
    return parts
