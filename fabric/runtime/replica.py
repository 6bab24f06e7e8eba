"""One replica of a specialist: opens it, serves it on a link, keeps its place in the catalog."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial, reduce
from hashlib import sha256
from operator import getitem
from typing import TYPE_CHECKING, Any, Self

from fabric import telemetry
from fabric.catalog.declaring import REPLACING
from fabric.core.errors import (
    Conflict,
    DeadlineExceeded,
    FabricError,
    InvalidAnswer,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.replicas import Load
from fabric.core.replicas import Replica as Registration
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.runtime import specialist as python_specialist
from fabric.runtime.batching import Batcher
from fabric.runtime.checks import check_declared, try_canary
from fabric.runtime.lease import Lease
from fabric.runtime.load import MeanLoad
from fabric.runtime.memory import Memory
from fabric.runtime.resident import excess
from fabric.runtime.sequences import Sequencer, by_slot
from fabric.runtime.serving import Serving
from fabric.runtime.signatures import check_batching, check_classes, kept, without
from fabric.wire.codec import Codec

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence

    from fabric.core.cards import Batching, Canary, Model, Sequences, Specialist, Timeouts
    from fabric.core.tensors import Signature
    from fabric.runtime.jobs import Runner

log = logging.getLogger(__name__)

_LOOK = 0.5
"""Seconds between looks at the memory that is held."""


class Replica:
    """Serves *specialist* from `open` to `close`, under a lease of the control plane at *control*.

    A control plane that is away does not matter to those who hold a link.
    """

    def __init__(
        self, specialist: Specialist, control: str, *, host: str = "127.0.0.1", node: str = ""
    ) -> None:
        self.id = uuid.uuid4().hex
        self.specialist = specialist
        self.address = ""
        self._control = control
        self._host = host
        self._node = node
        self._batching = specialist.hosting.batching
        self._timeouts = specialist.hosting.timeouts
        self._exit = contextlib.AsyncExitStack()
        self._signature: Signature
        """What callers see."""
        self._whole: Signature
        """What is run."""
        self._sequencer: Sequencer | None = None
        self._runner: Runner
        self._serving: Serving
        self._link: LinkServer
        self._lease: Lease
        self._keeping: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._unwell = ""
        """Why it takes nothing new, where it was not told to."""
        self._digest = ""
        self._labels: Mapping[str, Sequence[str]] = {}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Serves when it returns, and is registered as soon as the control plane takes it.

        Raises:
            FabricError: the specialist cannot be opened as it is declared, or not in time.
        """
        startup = self._timeouts.startup
        try:
            async with asyncio.timeout(startup) as limit:
                await self._open()
        except BaseException as error:
            await self._exit.aclose()
            if limit.expired():
                raise DeadlineExceeded(
                    f"{self.specialist.key} did not open within {startup:g} s (timeouts.startup)"
                ) from error
            raise

    async def close(self) -> None:
        """Drains: leaves the catalog, answers what is here for at most `timeouts.drain`, ends.

        Sequences that live here go on until they end, within the same time.
        """
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
        if self._keeping is not None:
            await self._lease.withdraw(draining=True)
            await self._drained()
            await self._end_lease(self._keeping)
        await self._exit.aclose()

    def reconfigure(self, batching: Batching, timeouts: Timeouts) -> None:
        """Takes effect for the requests that come from now on.

        Raises:
            Conflict: requests cannot be stacked as *batching* says.
        """
        check_batching(self._whole, batching)
        self._batching, self._timeouts = batching, timeouts
        self._runner.reconfigure(batching)
        self._serving.codec = self._codec()
        self._serving.timeout = timeouts.request

    def check(self) -> None:
        """Raises Unavailable when the replica cannot do its work any more."""
        if not self._link.is_serving:
            raise Unavailable("the link server does not listen any more")
        keeping = self._keeping
        if keeping is None or keeping.done():
            error = keeping.exception() if keeping and not keeping.cancelled() else None
            raise Unavailable(f"the lease is not kept any more{f': {error}' if error else ''}")
        if self._watching is not None and self._watching.done():
            raise Unavailable(self._unwell or "it does not look after itself any more")

    async def registered(self, patience: float) -> bool:
        """Whether it is in the catalog within *patience* seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._lease.held.wait()
        except TimeoutError:
            return False
        return True

    async def failed(self) -> None:
        """Returns when the lease is kept no more, or this is not well any more, for a reason that
        is in the log."""
        if tasks := [task for task in (self._keeping, self._watching) if task is not None]:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    def mean_load(self) -> MeanLoad:
        """A reader of the requests that are running or waiting here."""
        return MeanLoad(self._runner.meter, time.monotonic)

    # ------------------------------------------------------------------ opening
    async def _open(self) -> None:
        executor = ThreadPoolExecutor(1, thread_name_prefix="fabric-model")
        self._exit.callback(executor.shutdown, wait=False)
        if (model := self.specialist.hosting.model) is not None:
            await self._open_model(model, executor)
        else:
            await self._open_python(executor)
        self._exit.push_async_callback(self._runner.close)
        if classes := self.specialist.hosting.classes:
            check_classes(self._signature, classes)
            loop = asyncio.get_running_loop()
            self._labels = await loop.run_in_executor(executor, _labels, classes)
        hosting, checks = self.specialist.hosting, self.specialist.card.checks
        check_declared(self._signature, checks, hosting.canary, self.specialist.key)
        if hosting.canary is not None:
            await self._try(hosting.canary)
        limit = hosting.resources.memory
        if limit and (why := excess(limit)):
            raise Conflict(f"{self.specialist.key} is open, and {why}")
        await self._serve()
        self._begin_lease()
        watches: list[Coroutine[Any, Any, str]] = []
        if hosting.canary is not None and hosting.canary.every:
            watches.append(self._watch_answers(hosting.canary))
        if limit:
            watches.append(_watch_memory(limit))
        if watches:
            self._watching = asyncio.create_task(self._watch(watches))

    async def _try(self, canary: Canary) -> None:
        await try_canary(canary, self._codec(), self._runner, self._timeouts.request)

    async def _watch(self, watches: Iterable[Coroutine[Any, Any, str]]) -> None:
        """Returns when one of *watches* has said why this is not well; nothing new is taken then,
        and what was taken is answered."""
        tasks = [asyncio.create_task(each) for each in watches]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._unwell = done.pop().result()
        log.error("%s is not well any more: %s", self.specialist.key, self._unwell)
        await asyncio.gather(self._lease.withdraw(draining=True, why=self._unwell), self._drained())

    async def _watch_answers(self, canary: Canary) -> str:
        """What is wrong with the answer to *canary*, once it is."""
        while True:
            await asyncio.sleep(canary.every)
            try:
                await self._try(canary)
            except (InvalidAnswer, SpecialistFailed) as error:
                return f"it answers its canary wrong: {error}"
            except FabricError as error:  # it is busy
                log.info("no answer to the canary of %s: %s", self.specialist.key, error)

    async def _drained(self) -> None:
        """Returns when all is answered, and all sequences have ended, within the time for it."""
        draining = [self._link.drain(self._timeouts.drain)]
        if self._sequencer is not None:
            draining.append(self._sequencer.drain(self._timeouts.drain))
        await asyncio.gather(*draining)

    async def _open_model(self, model: Model, executor: ThreadPoolExecutor) -> None:
        # Only replicas of models pay for importing ONNX Runtime.
        def opened() -> tuple[Any, str]:
            from fabric.runtime.model import cache_folder, fetch
            from fabric.runtime.session import Session

            hosting, card = self.specialist.hosting, self.specialist.card
            file = fetch(model, cache_folder())
            session = Session(file.path, hosting.onnxruntime, card.signature, hosting.sequences)
            check_batching(session.signature, self._batching)
            session.warm_up()
            return session, file.digest

        sequences = self.specialist.hosting.sequences
        loop = asyncio.get_running_loop()
        session, self._digest = await loop.run_in_executor(executor, opened)
        self._whole = session.signature
        self._signature = without(session.signature, kept(session.signature, sequences))
        if sequences is None:
            self._runner = Batcher(session, self._batching, executor)
            return
        memory = Memory(session.signature, sequences, self.specialist.card.name)
        order = by_slot if sequences.strategy == "direct" else None
        batcher = Batcher(session, self._batching, executor, order=order)
        self._put_in_sequence(batcher, sequences, memory)

    async def _open_python(self, executor: ThreadPoolExecutor) -> None:
        hosting, card = self.specialist.hosting, self.specialist.card
        sequences = hosting.sequences
        if sequences is not None and (sequences.states or sequences.controls):
            raise Conflict(
                "sequences.states and sequences.controls are for ONNX models: a Python specialist "
                "finds both in what its 'infer' is given"
            )
        stateful = sequences is not None
        loop = asyncio.get_running_loop()
        load = partial(
            python_specialist.load, hosting.python, hosting.arguments, sequences=stateful
        )
        made = await loop.run_in_executor(executor, load)
        if hasattr(made, "open"):
            await made.open()
        if hasattr(made, "close"):
            self._exit.push_async_callback(made.close)
        self._signature = python_specialist.signature_of(made, card.signature, hosting.python)
        self._whole = self._signature
        check_batching(self._whole, self._batching)
        self._runner = python_specialist.runner_of(made, self._batching, sequences=stateful)
        if sequences is not None:
            self._put_in_sequence(self._runner, sequences)

    def _put_in_sequence(
        self, runner: Runner, sequences: Sequences, memory: Memory | None = None
    ) -> None:
        name = self.specialist.card.name
        self._sequencer = Sequencer(runner, sequences, self._batching, name, memory)
        self._runner = self._sequencer

    async def _serve(self) -> None:
        card = self.specialist.card
        attributes = {
            telemetry.SPECIALIST: card.name,
            telemetry.VERSION: card.version,
            telemetry.REPLICA: self.id,
        }
        self._serving = Serving(
            *(self._codec(), self._runner, self._timeouts.request, attributes), checks=card.checks
        )
        hello = Hello(
            replica=self.id,
            specialist=card.name,
            version=card.version,
            digest=_likeness(self.specialist, self._digest),
        )
        self._link = LinkServer(hello, self._serving, self._serving.limits)
        self._exit.push_async_callback(self._link.close)
        self.address = await self._link.start(self._host)

    def _codec(self) -> Codec:
        card = self.specialist.card
        rows = self._batching.max_size
        lends = self.specialist.hosting.model is not None  # each run gives new arrays
        named = (self._signature, card.name, card.version, rows, self._labels)
        return Codec(*named, queue_timeout=self._batching.queue_timeout, lends=lends)

    # ------------------------------------------------------------------ lease
    def _begin_lease(self) -> None:
        registration = Registration(
            id=self.id,
            specialist=self.specialist.card.name,
            version=self.specialist.card.version,
            address=self.address,
            pid=os.getpid(),
            node=self._node,
            digest=self._digest,
        )
        mean = self.mean_load()

        def load() -> Load:
            queued = self._runner.queued
            return Load(running=max(0, math.ceil(mean.read()) - queued), queued=queued)

        self._lease = Lease(self._control, registration, self._signature, load)
        self._keeping = asyncio.create_task(self._lease.keep())
        self._keeping.add_done_callback(_log_end)

    async def _end_lease(self, keeping: asyncio.Task[None]) -> None:
        self._keeping = None
        keeping.cancel()
        await asyncio.wait((keeping,))
        await self._lease.withdraw()
        await self._lease.close()


async def _watch_memory(limit: int) -> str:
    """What is wrong with holding more than *limit* bytes, once it does."""
    while not (why := excess(limit)):
        await asyncio.sleep(_LOOK)
    return why


def _likeness(specialist: Specialist, model: str) -> str:
    """A digest of what the answers of a replica follow from: its *model*, and what it read of its
    *specialist* when it started."""
    told = asdict(specialist)
    read = [reduce(getitem, path.split("."), told) for path in REPLACING]
    return sha256(json.dumps([model, *read], sort_keys=True).encode()).hexdigest()


def _labels(classes: Mapping[str, str]) -> dict[str, Sequence[str]]:
    from fabric.runtime.model import labels  # and fsspec: only for those who have some

    return {output: labels(uri) for output, uri in classes.items()}


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the lease is not kept any more", exc_info=error)
