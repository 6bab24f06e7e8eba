"""Measures what `fabric.runtime.tuning` asks for, by processes that take turns.

Each way to run the model has a process of its own: thread pools do not share one, and what ends a
process costs only the setting that was being measured. Those that wait for their turn use no time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fabric.api.catalog.v1 import card_pb2
from fabric.core.errors import DeadlineExceeded, FabricError, Unimplemented
from fabric.runtime.model import cache_folder, fetch
from fabric.runtime.settings import MeasuringSettings, Opened
from fabric.runtime.tuning import (
    STAGES,
    Goal,
    Results,
    Setting,
    Space,
    Stage,
    Verdict,
    space_of,
    verdict,
)
from fabric.runtime.workers import Worker
from fabric.wire.cards import as_dict, to_message

if TYPE_CHECKING:
    from fabric.core.cards import OnnxRuntime, Specialist

Progress = Callable[[float, str], None]
"""Told which part of the time is gone, and what is done now."""
_TURNS = 400
"""In the time there is, if turns were of the best length, which has these bounds in seconds."""
_SHORTEST, _LONGEST = 0.02, 0.2


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `fabric tune` is asked for."""

    goal: Goal
    p99: float
    """Seconds that a run may take, but for one in a hundred."""
    seconds: float
    """That all of it may take."""
    largest: int
    """Rows of a batch to try at most."""
    inputs: Path | None = None
    """A file with real inputs."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Of made-up inputs, where the model leaves them open."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What came out."""

    space: Space
    results: Results
    verdict: Verdict
    note: str
    """On what it was measured with."""


async def tune(specialist: Specialist, wanted: Wanted, progress: Progress) -> Tuning:
    """Measures settings of *specialist*, for no longer than wanted, and says which is best.

    Raises:
        FabricError: it cannot be opened as it is declared, does not run, or is no model, or there
            is no time to measure anything.
    """
    end = time.monotonic() + wanted.seconds
    model = specialist.hosting.model
    if model is None:
        raise Unimplemented(
            f"{specialist.key} is Python, and `fabric tune` chooses how ONNX Runtime runs a model: "
            "measure the class itself"
        )
    progress(0.0, "opening the model")
    file = await asyncio.to_thread(fetch, model, cache_folder())
    tuner = _Tuner(specialist, file.path, wanted, progress, end)
    try:
        return await tuner.run()
    finally:
        await tuner.close()


class _Tuner:
    def __init__(
        self, specialist: Specialist, file: Path, wanted: Wanted, progress: Progress, end: float
    ) -> None:
        self._specialist = specialist
        self._file = file
        self._wanted = wanted
        self._progress = progress
        self._end = end
        """On the monotonic clock."""
        self._turn = min(_LONGEST, max(_SHORTEST, wanted.seconds / _TURNS))
        self._workers: dict[OnnxRuntime, Worker] = {}
        self._round = 0
        self._space: Space
        self._results: Results

    async def run(self) -> Tuning:
        hosting = self._specialist.hosting
        opened = await self._open_current()
        is_fixed = self._wanted.goal is Goal.LATENCY or hosting.sequences is not None
        self._space = space_of(
            Setting(
                options=hosting.onnxruntime,
                rows=1 if self._wanted.goal is Goal.LATENCY else hosting.batching.max_size,
            ),
            opened.here,
            cores=len(os.sched_getaffinity(0)),
            largest=self._wanted.largest if opened.is_stacked and not is_fixed else 0,
            p99=self._wanted.p99,
        )
        self._results = Results(self._space.current)
        for index, stage in enumerate(STAGES):
            since = self._round + 1
            await self._measure(stage, sum(each.share for each in STAGES[index:]))
        if not self._results.times:
            raise DeadlineExceeded(
                f"nothing of {self._specialist.key} was measured within "
                f"{self._wanted.seconds:g} s: give it more seconds"
            )
        return Tuning(
            space=self._space,
            results=self._results,
            verdict=verdict(self._space, self._results, since),
            note=opened.note,
        )

    async def close(self) -> None:
        while self._workers:
            await self._workers.popitem()[1].close()

    async def _open_current(self) -> Opened:
        try:
            async with self._in_time():
                worker = await self._worker(self._specialist.hosting.onnxruntime)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._specialist.key} was not open within {self._wanted.seconds:g} s: "
                "give it more seconds"
            ) from None
        return worker.opened

    async def _measure(self, stage: Stage, shares: float) -> None:
        """Rounds of *stage*, for its part of the time that is left for so many *shares*."""
        chosen = stage.chosen(self._space, self._results)
        if not chosen:
            return
        order = list(dict.fromkeys((self._space.current, *chosen)))
        self._progress(self._gone(), f"{stage.name}: opening the model")
        await self._open_only({setting.options for setting in order})
        now = time.monotonic()
        until = now + (self._end - now) * stage.share / shares
        for _ in range(stage.rounds):
            self._round += 1
            for setting in order:
                if time.monotonic() >= until:
                    return
                self._progress(self._gone(), f"{stage.name}: {setting}")
                await self._take_turn(setting)
            order.reverse()  # what changes with time hits the last as much as the first

    async def _take_turn(self, setting: Setting) -> None:
        if setting in self._results.failures:
            return
        worker = None
        try:
            async with self._in_time():
                worker = await self._worker(setting.options)
                times = await worker.measure(setting.rows, self._turn)
        except (FabricError, TimeoutError) as error:
            if worker is not None:  # it has ended, or would answer what nobody asks any more
                del self._workers[setting.options]
                await worker.close()
            if isinstance(error, FabricError):
                self._failed(setting, error)
        else:
            self._results.add(setting, self._round, times)

    def _failed(self, setting: Setting, error: FabricError) -> None:
        if setting == self._space.current:
            raise error
        self._results.failures[setting] = error.message

    async def _open_only(self, wanted: set[OnnxRuntime]) -> None:
        """Opens the model in all *wanted* ways at once, and closes it in others."""
        for options in self._workers.keys() - wanted:
            await self._workers.pop(options).close()
        missing = wanted - self._workers.keys()
        with contextlib.suppress(TimeoutError):
            async with self._in_time():
                # What cannot be opened fails again when its turn comes, and is told then.
                await asyncio.gather(*map(self._worker, missing), return_exceptions=True)

    async def _worker(self, options: OnnxRuntime) -> Worker:
        if options not in self._workers:
            hosting = replace(self._specialist.hosting, onnxruntime=options)
            declared = to_message(replace(self._specialist, hosting=hosting), card_pb2.Specialist)
            settings = MeasuringSettings(
                specialist=json.dumps(as_dict(declared)),
                file=str(self._file),
                inputs=str(self._wanted.inputs or ""),
                sizes=self._wanted.sizes,
            )
            self._workers[options] = await Worker.start(settings)
        return self._workers[options]

    def _in_time(self) -> asyncio.Timeout:
        """Ends what is done in it when all of the time is gone."""
        return asyncio.timeout(self._end - time.monotonic())

    def _gone(self) -> float:
        return 1 - max(0.0, self._end - time.monotonic()) / self._wanted.seconds
