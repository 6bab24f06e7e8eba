"""For tests of fabric and of what is built on it: fakes with the behaviour of the real thing."""

from __future__ import annotations

import asyncio
import threading
from copy import copy
from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf.duration_pb2 import Duration

from fabric.api.catalog.v1 import catalog_service_pb2 as catalog
from fabric.api.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    add_CatalogServiceServicer_to_server,
)
from fabric.client.conducting import conduct
from fabric.core.cards import Card, Hosting, Model, Specialist
from fabric.core.errors import Unavailable
from fabric.core.pipelines import Pipeline, PipelineInput, PipelineOutput, Source, Step
from fabric.core.replicas import Replica
from fabric.core.requests import InferRequest, InferResponse
from fabric.core.routes import ChainEntry, Route
from fabric.pipelines.values import tensors
from fabric.routing.candidates import Known
from fabric.routing.planner import Planner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from fabric.core.deadlines import Deadline
    from fabric.core.tensors import Tensors
    from fabric.pipelines.calls import Called
    from fabric.pipelines.values import Values


class ManualClock:
    """A clock that stands still until it is told to move; call it for the time in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeInvoker:
    """Answers as it is told, by name of the specialist, and remembers who was asked.

    `answers[name]` is a response, an error to raise, a future of either, or a list of these for one
    call each; a specialist without any answers with its own name. Where a stream is asked for, a
    tuple is its responses, and an error among them ends it; anything else is a stream of one.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Deadline, frozenset[str]]] = []
        self.busy: set[str] = set()
        """Specialists that have no time for a further request."""
        self.seconds: dict[str, float] = {}
        """What answers usually take, by name of the specialist."""
        self.replicas = 1
        """Of every specialist, `name/0` and so on."""
        self.objections: dict[str, str] = {}
        """Why specialists should not be asked; they are refused where nobody insists."""

    def promises(self, card: Card, seconds: float, tenant: str = "", priority: int = 0) -> bool:
        return card.name not in self.busy

    def usual(self, card: Card, quantile: float) -> float | None:
        return self.seconds.get(card.name)

    def others(self, card: Card, avoid: frozenset[str]) -> bool:
        return any(f"{card.name}/{n}" not in avoid for n in range(self.replicas))

    @property
    def ill(self) -> set[str]:
        return {f"{name}:1" for name in self.objections}

    def objection(self, card: Card) -> str:
        return self.objections.get(card.name, "")

    async def infer(self, card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
        answer = self._answer(card, request, deadline)
        replicas = [f"{card.name}/{n}" for n in range(self.replicas)]
        request.asked = next((each for each in replicas if each not in request.avoid), replicas[0])
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return InferResponse(answer, request.asked)

    async def stream(
        self, card: Card, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[InferResponse, None]:
        answer = self._answer(card, request, deadline)
        *others, last = answer if isinstance(answer, tuple) else (answer,)
        for response in others:
            yield InferResponse(response, f"{card.name}/0", is_last=False)
        if isinstance(last, BaseException):
            raise last
        yield InferResponse(last, f"{card.name}/0")

    def _answer(self, card: Card, request: InferRequest, deadline: Deadline) -> Any:
        if (objection := self.objection(card)) and not request.insists:
            return Unavailable(objection)
        self.asked.append((card.name, deadline, request.avoid))
        answer = self.answers.get(card.name.replace("-", "_"), card.name.encode())
        return answer.pop(0) if isinstance(answer, list) else answer


class FakeCalls:
    """Answers the calls of pipelines by functions of arrays, by name, and remembers who was asked.

    `functions[name]` is given the inputs by name, and gives outputs by name, or the only one as it
    is, or raises; an error instead of a function is raised. Dashes of names are underscores.
    """

    def __init__(self, **functions: Any) -> None:
        self.functions = functions
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Who, and with what, as lists."""
        self.under_way = 0
        self.most = 0
        """Calls that were under way at the same time."""
        self.limits: dict[str, int] = {}
        """Rows that one call may have, by name."""
        self.go = asyncio.Event()
        """While it is cleared nobody answers."""
        self.go.set()

    async def call(self, called: Called, deadline: Deadline) -> Values:
        arrays = {name: tensor.array for name, tensor in called.inputs.items()}
        self.asked.append((called.name, {name: each.tolist() for name, each in arrays.items()}))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            await self.go.wait()
            function = self.functions[called.name.replace("-", "_")]
            if isinstance(function, BaseException):
                raise copy(function)
            given = function(**arrays)
            called.who, called.attempts = called.name, 1
            return tensors(given if isinstance(given, dict) else {"value": given})
        finally:
            self.under_way -= 1

    def rows(self, name: str) -> int:
        return self.limits.get(name, 0)


async def conducted(
    pipeline: Pipeline, inputs: Mapping[str, Any], /, **functions: Any
) -> dict[str, Any]:
    """The outputs of *pipeline*, by name, whose calls are answered by *functions*, see `FakeCalls`.

    Raises what the pipeline does where it is called by its name.
    """
    return await conduct(pipeline, inputs, FakeCalls(**functions), None)


def planner(
    specialists: Iterable[Specialist] = (), routes: Iterable[Route] = (), **said: Any
) -> Planner:
    """A planner of *specialists*, of which later ones of a name are the latest, and *routes*, which
    else knows what is *said*."""
    by_name = {s.card.name: s for s in specialists}
    by_key = {s.key: s for s in specialists}
    known = Known(
        {route.name: route for route in routes},
        lambda name, version: by_key.get(f"{name}:{version}") if version else by_name.get(name),
        lambda: by_name,
        lambda: [s.card for s in by_key.values()],
        **said,
    )
    return Planner(lambda: known)


class FakeModel:
    """Gives `y`, twice its input `x`; a negative element makes the run fail.

    While it is held, runs in a thread wait until they are released or terminated.
    """

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        """The first element of every row, run by run."""
        self.started = threading.Semaphore(0)
        """Released at the start of every run."""
        self.go = threading.Event()
        self.go.set()

    def hold(self) -> None:
        self.go.clear()

    def release(self) -> None:
        self.go.set()

    def options(self) -> Any:
        return SimpleNamespace(terminate=False)

    def run(self, tensors: Tensors, options: Any = None) -> Tensors:
        x = tensors["x"]
        self.runs.append(x.reshape(len(x), -1)[:, 0].tolist())
        self.started.release()
        while not self.go.wait(0.001):
            if options.terminate:
                raise RuntimeError("terminated")
        if (x < 0).any():
            raise RuntimeError("an element is negative")
        return {"y": x * 2}


class FakeControl(CatalogServiceServicer):
    """The control plane's side of leases, over real gRPC: `async with FakeControl() as control`."""

    def __init__(self, lease: float = 0.15) -> None:
        self.replicas: dict[str, Any] = {}
        """The registered replicas, as their messages, by id."""
        self.signatures: dict[str, Any] = {}
        self.words: list[str] = []
        """What was said, in order: register, renew, draining, withdraw."""
        self.address = "127.0.0.1:0"
        self._lease = Duration()
        self._lease.FromMilliseconds(int(lease * 1000))
        self._server: grpc.aio.Server | None = None
        self._heard = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        add_CatalogServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Gone; enter it again to be back at the same address with an empty memory."""
        if self._server is not None:
            await self._server.stop(None)
        self.replicas.clear()

    async def heard(self, *words: str) -> None:
        """Returns when *words* were said since the last call, in this order, others between."""
        async with self._heard:
            for word in words:
                while word not in self.words:
                    await self._heard.wait()
                del self.words[: self.words.index(word) + 1]

    async def Register(self, request: Any, context: Any) -> Any:  # noqa: N802 - the proto's name
        self.replicas[request.replica.id] = request.replica
        self.signatures[request.replica.id] = request.signature
        await self._say("register")
        return catalog.RegisterResponse(lease=self._lease)

    async def Renew(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            if request.replica_id not in self.replicas:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such replica")
            self.replicas[request.replica_id].load.CopyFrom(request.load)
            await self._say("renew")
            yield catalog.RenewResponse(lease=self._lease)

    async def Withdraw(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.draining:
            self.replicas[request.replica_id].draining = True
            self.replicas[request.replica_id].why = request.why
        else:
            self.replicas.pop(request.replica_id, None)
        await self._say("draining" if request.draining else "withdraw")
        return catalog.WithdrawResponse()

    async def _say(self, word: str) -> None:
        async with self._heard:
            self.words.append(word)
            self._heard.notify_all()


def specialist(name: str, version: str = "1", **said: Any) -> Specialist:
    """A specialist that says little beyond *said*, which are fields of its card and hosting."""
    hosting = {each.name: said.pop(each.name) for each in fields(Hosting) if each.name in said}
    if not {"model", "python"} & hosting.keys():
        hosting["model"] = Model(uri=f"{name}.onnx")
    return Specialist(card=Card(name=name, version=version, **said), hosting=Hosting(**hosting))


def route(name: str, *chain: str) -> Route:
    """A route along *chain*, whose entries read `name` or `name:version`."""
    entries = (ChainEntry(name=n, version=v) for n, _, v in (each.partition(":") for each in chain))
    return Route(name=name, chain=tuple(entries))


def pipeline(name: str, *calls: str, **said: Any) -> Pipeline:
    """A pipeline that gives its input `x` to the first of *calls*, the `y` of each to the next, and
    the last one's as its own; *said* are other fields."""
    steps, value = [], "x"
    for place, called in enumerate(calls):
        inputs = {"x": Source(values=(value,))}
        steps.append(Step(name=f"s{place}", call=called, inputs=inputs))
        value = f"s{place}.y"
    return Pipeline(
        name=name,
        inputs=(PipelineInput(name="x"),),
        steps=tuple(steps),
        outputs=(PipelineOutput(name="y", source=value),),
        **said,
    )


def replica(replica_id: str, key: str, **fields: Any) -> Replica:
    """A replica of the specialist `name:version` that nobody can reach."""
    name, _, version = key.partition(":")
    said = {"address": "127.0.0.1:1", **fields}
    return Replica(id=replica_id, specialist=name, version=version, **said)
