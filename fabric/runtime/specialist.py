"""Specialists written in Python, where a model alone is not enough."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import os
import sys
import time
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fabric.core.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    SpecialistFailed,
    Unavailable,
    Unimplemented,
)
from fabric.processes import PYTHON_PATH
from fabric.runtime.jobs import StreamJob, failure
from fabric.runtime.load import LoadMeter
from fabric.runtime.runs import Run
from fabric.runtime.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.core.cards import Batching
    from fabric.core.deadlines import Clock
    from fabric.core.tensors import Signature, Tensors
    from fabric.runtime.jobs import Job

log = logging.getLogger(__name__)


class Specialist(Protocol):
    """What `python: package.module:Class` names.

    The class is called with `hosting.arguments` as keyword arguments, in a thread: it may load
    what it needs. Everything else is called on the event loop. A class may also have

    * `signature`, a `fabric.core.tensors.Signature`, where the card declares none; it says so where
      equal requests have different answers (`random`);
    * `async def open(self)`, awaited before the first `infer`;
    * `async def close(self)`, awaited after the last.

    Where `hosting.sequences` is declared, `infer` also takes the `fabric.runtime.memory.Turn` of
    the request: `async def infer(self, inputs, sequence)`.
    """

    async def infer(self, inputs: Tensors) -> Tensors:
        """The outputs of the signature for *inputs*, which are read-only.

        Each request has a task of its own, which is cancelled when the caller leaves or its
        deadline passes. An error of `fabric.core.errors` reaches the caller as it is, any other
        as `SpecialistFailed`.

        An async generator makes the specialist decoupled: a request is answered with whatever it
        yields, which may be nothing, and only on a stream. It goes on when the caller has room
        for its next answer, and is closed when the caller leaves.
        """


def load(python: str, arguments: Mapping[str, str], *, sequences: bool = False) -> Any:
    """The specialist that *python* names, which takes *sequences* or does not; blocks.

    Raises:
        NotFound: there is no such module or class.
        Conflict: the class does not take *arguments*, or has no async `infer` of the right kind.
    """
    folders = os.environ.get(PYTHON_PATH, "").split(os.pathsep)
    sys.path += [folder for folder in folders if folder and folder not in sys.path]
    module, _, name = python.partition(":")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NotFound(f"cannot load the specialist {python}: {error}") from error
    infer = getattr(cls, "infer", None)
    if not inspect.iscoroutinefunction(infer) and not inspect.isasyncgenfunction(infer):
        raise Conflict(f"{python} has no 'async def infer(self, inputs)'")
    if sequences and not _takes_sequences(cls):
        raise Conflict(
            f"{python} has no 'async def infer(self, inputs, sequence)', which 'sequences' needs"
        )
    try:
        return cls(**arguments)
    except TypeError as error:
        raise Conflict(
            f"{python} does not take the arguments {dict(arguments)}: {error}"
        ) from error


def _takes_sequences(cls: Any) -> bool:
    try:
        inspect.signature(cls.infer).bind("self", "inputs", "sequence")
    except TypeError:
        return False
    return True


def signature_of(specialist: Any, declared: Signature | None, python: str) -> Signature:
    """The card's signature, or the specialist's own where the card declares none.

    Raises:
        Conflict: there is none, or it is decoupled and the specialist is not.
    """
    signature = declared or getattr(specialist, "signature", None)
    if signature is None or not signature.inputs or not signature.outputs:
        raise Conflict(
            f"nothing says what {python} takes and gives: declare the card's signature with inputs "
            "and outputs, or give the class a 'signature'"
        )
    decoupled = inspect.isasyncgenfunction(specialist.infer)
    if signature.decoupled and not decoupled:
        raise Conflict(f"the signature is decoupled, and 'infer' of {python} is no async generator")
    return replace(signature, decoupled=decoupled)


def runner_of(specialist: Any, batching: Batching, *, sequences: bool = False) -> Tasks:
    """What answers the requests for *specialist*."""
    decoupled = inspect.isasyncgenfunction(specialist.infer)
    return (Streams if decoupled else Tasks)(specialist, batching, sequences=sequences)


class Tasks:
    """Answers every job in a task of its own; at most `max_queue` of them at a time.

    With *sequences* the specialist is also given the turn of each.
    """

    def __init__(
        self,
        specialist: Any,
        batching: Batching,
        *,
        sequences: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self.meter = LoadMeter()
        self.statistics = Statistics()
        self._specialist = specialist
        self._sequences = sequences
        self._batching = batching
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def queued(self) -> int:
        return 0

    def admit(self, job: Job) -> None:
        self._admit(self._batching.max_queue)

    def _admit(self, most: float) -> None:
        if len(self._tasks) >= most:
            self.statistics.failed(1, 0.0)
            raise Overloaded(
                f"Exceeds maximum queue size: {len(self._tasks)} requests are in progress already"
            )
        if self._is_closed:
            raise Unavailable("the replica is closed")

    def submit(self, job: Job) -> None:
        self._admit(self._batching.max_queue * self._batching.share(job.inputs.priority))
        self.meter.arrived(self._clock())
        task = asyncio.create_task(self._answer(job))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, job))
        job.on_gone(partial(_cancel, task))

    def reconfigure(self, batching: Batching) -> None:
        self._batching = batching

    async def close(self) -> None:
        self._is_closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, job: Job) -> None:
        begun = self._clock()
        remaining = job.expires - begun
        try:
            async with asyncio.timeout(remaining if remaining < math.inf else None) as limit:
                await self._run(job, begun)
        except Exception as error:
            self._count_failure(job)
            if limit.expired():
                job.fail(DeadlineExceeded("Request timeout expired before the specialist answered"))
                return
            log.warning("a request failed", exc_info=True)
            job.fail(failure(error))

    async def _run(self, job: Job, begun: float) -> None:
        outputs = _checked(await self._infer(job))
        ended = self._clock()
        if job.done(outputs, job.inputs.rows):
            self._count(job, begun, ended)
        else:
            self._count_failure(job)

    def _infer(self, job: Job) -> Any:
        turn = (job.inputs.sequence,) if self._sequences else ()
        return self._specialist.infer(job.inputs.tensors, *turn)

    def _count(self, job: Job, begun: float, ended: float) -> None:
        run = Run([job], [], job.inputs.rows, begun, begun, ended)
        self.statistics.ran(run, self._clock(), 1, run.rows, job.arrived)

    def _count_failure(self, job: Job) -> None:
        self.statistics.failed(1, self._clock() - job.arrived)

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.meter.left(self._clock())
        if task.cancelled():  # perhaps before it began
            if not job.is_gone:
                self._count_failure(job)
            job.fail(Unavailable("the replica closed before the request was answered"))


class Streams(Tasks):
    """The same for a decoupled specialist, whose `infer` is an async generator."""

    def submit(self, job: Job) -> None:
        """Raises Unimplemented unless *job* is a `StreamJob`, and what `admit` raises."""
        if not isinstance(job, StreamJob):
            raise Unimplemented(
                "ModelInfer RPC doesn't support models with decoupled transaction policy"
            )
        super().submit(job)

    async def _run(self, job: Job, begun: float) -> None:
        assert isinstance(job, StreamJob)  # noqa: S101 - as `submit` has seen
        async with aclosing(self._infer(job)) as answers:
            async for outputs in answers:
                job.send(_checked(outputs))
                await job.has_room()
        job.end()
        self._count(job, begun, self._clock())


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _checked(outputs: object) -> Tensors:
    if isinstance(outputs, dict) and all(isinstance(a, np.ndarray) for a in outputs.values()):
        return outputs
    raise SpecialistFailed("infer did not give a dict of numpy arrays")
