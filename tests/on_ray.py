"""A whole fabric for tests, what happens in its catalog, and requests that never stop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pytest
from onnx_models import scaling

from fabric.app import Fabric, FabricSettings
from fabric.catalog.catalog import Catalog
from fabric.config import Portfolio
from fabric.core.cards import Model, Replicas
from fabric.core.errors import FabricError, NotFound, Unavailable
from fabric.core.replicas import State, Status
from fabric.resilience.budgets import Budgets
from fabric.testing import route, specialist

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from fabric import AsyncClient
    from fabric.core.cards import Specialist

X = np.array([[1, 2]], np.float32)
STARTING = 120.0
"""Seconds: the machine may be busy with something else."""
PYTHON = '''
"""A specialist in Python."""

import asyncio

from fabric.core.tensors import Signature, TensorSpec

X, Y = (TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in "xy")


class Sleeper:
    """Doubles, after a while."""

    signature = Signature(inputs=(X,), outputs=(Y,))

    def __init__(self, seconds="0"):
        self.seconds = float(seconds)

    async def infer(self, inputs):
        await asyncio.sleep(self.seconds)
        return {"y": 2 * inputs["x"]}
'''


class OnRay:
    """Specialists `double` and `triple`, and the route `scale` over both: `with OnRay(folder)`.

    The fabric has a thread and a loop of its own, so that tests with loops of theirs share it.

    Args:
        doubles: Replicas of `double`.
    """

    def __init__(
        self, folder: Path, host: str = "ray", *, doubles: int = 1, gateways: int = 1
    ) -> None:
        self.folder = folder
        """Modules of Python specialists are found in it; `sleeping` with `Sleeper` is one."""
        (folder / "sleeping.py").write_text(PYTHON)
        self.state = folder / "state"
        several = Replicas(min=doubles, max=doubles)
        portfolio = Portfolio(
            (self.scaler("double", 2, replicas=several), self.scaler("triple", 3)),
            (route("scale", "double", "triple"),),
        )
        settings = FabricSettings(
            state=self.state,
            host=host,
            listen="127.0.0.1:0",
            gateways=gateways,
            python_path=(folder,),
        )
        self.fabric = Fabric(settings, portfolio)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="fabric")
        self._is_up = threading.Event()
        self._error: BaseException | None = None

    @property
    def server(self) -> str:
        return self.fabric.server

    def scaler(self, name: str, factor: float, version: str = "1", **said: object) -> Specialist:
        """A specialist that multiplies by *factor*."""
        file = self.folder / f"times-{factor:g}.onnx"
        if not file.exists():
            scaling(file, factor)
        return specialist(name, version, model=Model(uri=str(file)), **said)

    def named(self, title: str) -> list[int]:
        """The processes of the fabric whose title has *title* in it."""
        found = []
        for pid in self.fabric._family.alive():
            with contextlib.suppress(OSError):
                if title.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def __enter__(self) -> Self:
        with pytest.MonkeyPatch.context() as patched:  # the gateway takes it at its start
            patched.setenv("FABRIC_SHARED_MEMORY", "true")
            self._thread.start()
            self._is_up.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Ends it, and checks that only its store is left."""
        family, scratch = self.fabric._family, self.fabric._state.scratch
        self._loop.call_soon_threadsafe(self._told.set)
        self._thread.join()
        assert self._error is None
        assert not family.alive()
        assert not scratch.exists()
        assert [path.name for path in self.state.iterdir()] == ["fabric.db"]

    async def _run(self) -> None:
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self.fabric:
                assert await self.fabric.ready() == {}
                self._is_up.set()
                await self._told.wait()
        except BaseException as error:  # noqa: BLE001 - raised where the fabric is used
            self._error = error
            self._is_up.set()


class Watched:
    """The catalog as a client sees it, and when what happened to it."""

    def __init__(self, client: AsyncClient) -> None:
        self.catalog = Catalog()
        self._client = client
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):  # the control plane is away
                async with contextlib.aclosing(
                    self._client.watch(after=self.catalog.revision)
                ) as stream:
                    async for changes in stream:
                        self.catalog.update(changes)
                        self._changed.set()
            await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> float:
        """The time at which *condition* was seen to hold; asked at every change."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic()

    async def until_ready(self, key: str, seconds: float = 60.0) -> float:
        """The time at which *key* was ready; returns once the gateway can ask it, too."""
        ready = await self.until(lambda: self.status(key).state is State.READY, seconds)
        name, _, version = key.partition(":")
        async with asyncio.timeout(seconds):
            while not await self._is_linked(name, version):
                await asyncio.sleep(0.005)
        return ready

    async def _is_linked(self, name: str, version: str) -> bool:
        with contextlib.suppress(NotFound, Unavailable):  # the gateway has not heard of it yet
            return await self._client.ready(name, version=version)
        return False

    def status(self, key: str) -> Status:
        """How *key* fares; as one that has not begun to, while nothing is known of it."""
        return self.catalog.statuses.get(key, Status())

    def replicas(self, key: str) -> dict[str, int]:
        """The process ids of the replicas of *key*, by replica id."""
        return {replica.id: replica.pid for replica in self.catalog.replicas_of(key)}


@contextlib.asynccontextmanager
async def watching(client: AsyncClient) -> AsyncIterator[Watched]:
    watched = Watched(client)
    following = asyncio.create_task(watched.follow())
    try:
        await watched.until(lambda: watched.catalog.revision)
        yield watched
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


class Seen(NamedTuple):
    """How one request was answered."""

    at: float
    seconds: float
    specialist: str
    replica: str
    factor: float
    """Of all outputs to the inputs; NaN where it is not one and the same."""
    attempts: int
    fallback: bool


class Spent(Budgets):
    """Allows nothing."""

    def spend(self, key: str) -> bool:
        return False


class Traffic:
    """Requests to one model, *in_flight* at once without a pause, while the `async with` lasts.

    No two are alike, so that no answer passes for that of another.

    Args:
        again: Whether the client sends again what was lost; else it hides nothing.
    """

    def __init__(
        self,
        client: AsyncClient,
        model: str,
        in_flight: int,
        timeout: float = 20.0,
        *,
        again: bool = False,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        self.answers: list[Seen] = []
        self.errors: list[FabricError] = []
        self._client = client
        client._retries.budgets = Budgets() if again else Spent()
        self._model = model
        self._in_flight = in_flight
        self._timeout = timeout
        self._said = {"parameters": parameters or {}}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, float] = {}
        """When those that are in flight were sent, by number."""
        self._ends = False

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._in_flight)]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Every request that was sent ends."""
        self._ends = True
        await asyncio.gather(*self._workers)

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def until_answered(self, seconds: float = 60.0) -> None:
        """Returns when nobody who waits now does any more."""
        now = time.monotonic()
        await self.until(lambda: min(self._waiting.values(), default=now) >= now, seconds)

    async def _work(self) -> None:
        while not self._ends:
            number = next(self._numbers)
            self._waiting[number] = began = time.monotonic()
            x = np.array([[number % 1_000_000 + 1, 1]], np.float32)
            try:
                got = await self._client.infer(
                    self._model, {"x": x}, timeout=self._timeout, **self._said
                )
            except FabricError as error:
                error.__context__ = error.__traceback__ = None  # thousands hold up the collector
                self.errors.append(error)
                continue
            finally:
                del self._waiting[number]
            now = time.monotonic()
            factors = set((got["y"] / x).ravel().tolist())
            self.answers.append(
                Seen(
                    at=now,
                    seconds=now - began,
                    specialist=got.specialist,
                    replica=got.replica,
                    factor=factors.pop() if len(factors) == 1 else math.nan,
                    attempts=got.attempts,
                    fallback=got.fallback,
                )
            )

    def gaps(self, since: int = 0) -> Iterator[float]:
        """The seconds between answers, from the number *since* on."""
        times = sorted(answer.at for answer in self.answers[since:])
        return (later - earlier for earlier, later in pairwise(times))
