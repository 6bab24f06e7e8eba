"""Pipelines at the gateway: run beside dispatch, so that a step costs what a request costs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest, Overloaded
from fabric.core.requests import Answer, InferRequest, InferResponse
from fabric.core.runs import PipelineRun
from fabric.pipelines.running import Holding, Run
from fabric.pipelines.values import Tensor, arrays
from fabric.wire.asking import Asking
from fabric.wire.outputs import read_typed
from fabric.wire.parameters import conducted, remembered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine
    from typing import Any

    from fabric.core.deadlines import Deadline
    from fabric.gateway.grpc import Parts
    from fabric.gateway.prepared import Prepared
    from fabric.gateway.view import View
    from fabric.pipelines.calls import Called
    from fabric.pipelines.values import Value, Values
    from fabric.wire.kinds import Inputs

_MOST_RUNS = 1024
"""That are remembered."""
_MOST_WHO = 4096


class Pipelines:
    """Answers for the pipelines of *view*. Their values take *most* bytes together."""

    def __init__(self, view: View, most: int) -> None:
        self._view = view
        self._asking = Asking()
        self._holding = Holding()
        self._most = most
        self._who: dict[tuple[str, ...], bytes] = {}
        self.runs: OrderedDict[str, PipelineRun] = OrderedDict()
        """The latest, by the id of their requests, the oldest first."""

    def infer(self, request: InferRequest, deadline: Deadline) -> Coroutine[Any, Any, Parts]:
        """The answer to *request*, and who gave it.

        Raises, before it gives a coroutine:
            InvalidRequest: the pipeline does not take such a request.
            Unavailable: what it calls is not known yet.
            Overloaded: there is no room for its values.
        """
        prepared, inputs = self._admit(request)
        return self._infer(prepared, inputs, request, deadline)

    async def stream(
        self, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[tuple[Answer, bytes], None]:
        """The answer to *request*, or each output as soon as it is there where the pipeline says
        so, and who gave it; raises as `infer`."""
        prepared, inputs = self._admit(request)
        if not prepared.pipeline.streams:
            *pieces, who = await self._infer(prepared, inputs, request, deadline)
            yield _answer(request, b"".join(pieces), is_last=True), bytes(who)
            return
        ready: asyncio.Queue[tuple[str, Value] | None] = asyncio.Queue()
        running = asyncio.create_task(self._emitting(prepared, inputs, request, deadline, ready))
        try:
            while (one := await ready.get()) is not None:
                name, value = one
                if name in inputs.wanted and isinstance(value, Tensor):
                    only = replace(inputs, wanted=(name,))
                    payload = prepared.codec.encode(only, {name: value.array})
                    yield _answer(request, payload, is_last=False), b""
            yield _answer(request, b"", is_last=True), await running
        finally:
            running.cancel()
            await asyncio.wait((running,))

    async def call(self, called: Called, request: InferRequest, deadline: Deadline) -> Values:
        """What the pipeline gives that a step of another one calls, which is run for *request*."""
        prepared = self._view.prepared(called.name)
        run = self._run(prepared, request)
        called.who, called.attempts = called.name, 1
        try:
            return await run.outputs(called.inputs, deadline, called.trace)
        finally:
            prepared.tally.add(run)
            called.steps = run.steps

    # ------------------------------------------------------------------ one run
    def _admit(self, request: InferRequest) -> tuple[Prepared, Inputs]:
        self._view.check_unversioned(request.model, request.version)
        prepared = self._view.prepared(request.model)
        if request.sequence:
            raise InvalidRequest(
                f"'{request.model}' is a pipeline, which keeps no sequences: leave sequence_id out"
            )
        if self._holding.bytes > self._most:
            raise Overloaded(
                f"pipelines hold {self._holding.bytes} bytes of values now, of {self._most}"
            )
        return prepared, prepared.codec.decode(request.payload)

    async def _infer(
        self, prepared: Prepared, inputs: Inputs, request: InferRequest, deadline: Deadline
    ) -> Parts:
        run = self._run(prepared, request)
        outputs = await self._remembered(run, prepared, inputs, request, deadline)
        given = arrays({name: outputs[name] for name in inputs.wanted})
        if len(given) < len(inputs.wanted):
            inputs = replace(inputs, wanted=tuple(given))
        return (*prepared.codec.parts(inputs, given), self._told(request, run))

    async def _emitting(
        self,
        prepared: Prepared,
        inputs: Inputs,
        request: InferRequest,
        deadline: Deadline,
        ready: asyncio.Queue[tuple[str, Value] | None],
    ) -> bytes:
        """Runs it, puts outputs in *ready* as they are there, and then None; who gave them."""
        emitted: set[str] = set()

        def emit(name: str, value: Value) -> None:
            emitted.add(name)
            ready.put_nowait((name, value))

        try:
            run = self._run(prepared, request, emit)
            outputs = await self._remembered(run, prepared, inputs, request, deadline)
            for name in outputs.keys() - emitted:
                emit(name, outputs[name])
            return self._told(request, run)
        finally:
            ready.put_nowait(None)

    def _run(self, prepared: Prepared, request: InferRequest, emit: Any = None) -> Run:
        calls = _Calls(self._view, self._asking, request)
        return Run(
            *(prepared.pipeline, prepared.graph, calls),
            emit=emit,
            holding=self._holding,
            idempotent=request.idempotent,
        )

    async def _remembered(
        self,
        run: Run,
        prepared: Prepared,
        inputs: Inputs,
        request: InferRequest,
        deadline: Deadline,
    ) -> Values:
        """What *run* gives; afterwards it is among `runs`, under the id that *request* has then."""
        request.request = uuid.uuid4().hex
        began = time.time()
        values = {
            name: Tensor(array, prepared.datatypes[name], array.shape)
            for name, array in inputs.tensors.items()
        }
        try:
            return await run.outputs(values, deadline, request.trace)
        finally:
            prepared.tally.add(run)
            if len(self.runs) >= _MOST_RUNS:
                self.runs.popitem(last=False)
            self.runs[request.request] = PipelineRun(
                request=request.request,
                pipeline=request.model,
                began=began,
                seconds=run.seconds,
                error=run.error,
                steps=tuple(run.steps),
            )

    def _told(self, request: InferRequest, run: Run) -> bytes:
        """Who gave the answer, encoded."""
        calls = [each for each in run.steps if each.who and "/" not in each.step]
        who = tuple(dict.fromkeys(f"{each.step}={each.who}" for each in calls))
        attempts = sum(each.attempts for each in calls)
        fallback = any(each.fallback for each in calls)
        if run.lost or fallback or attempts != len(who):
            said = conducted(request.model, who, attempts, fallback, run.lost)
        else:
            key = (request.model, *who)
            kept = self._who.get(key)
            if kept is None:
                if len(self._who) >= _MOST_WHO:
                    self._who.clear()
                kept = self._who[key] = conducted(request.model, who, attempts, False, {})
            said = kept
        return said + remembered(request.request)


class _Calls:
    """Asks the candidates of the gateway, as *request*'s caller would."""

    def __init__(self, view: View, asking: Asking, request: InferRequest) -> None:
        self._view = view
        self._asking = asking
        self._request = request

    async def call(self, called: Called, deadline: Deadline) -> Values:
        """See `fabric.pipelines.calls.Calls`."""
        if called.name in self._view.catalog.pipelines:
            return await self._view.pipelines.call(called, self._request, deadline)
        asked = self._request
        name, _, version = called.name.partition(":")
        tensors = {key: (each.datatype, each.array) for key, each in called.inputs.items()}
        request = InferRequest(
            *(name, version, self._asking.encode(name, version, tensors, asked.priority)),
            requirements=called.step.requirements,
            idempotent=asked.idempotent,
            trace=called.trace,
            tenant=asked.tenant,
            priority=asked.priority,
            keep=called.step.cache or 0.0,
        )
        answer = await self._view.answer(request, deadline)
        called.who = f"{answer.specialist}:{answer.version}"
        called.attempts = len(answer.attempts) + 1
        called.fallback = answer.fallback
        outputs = read_typed(answer.response.payload)
        return {
            key: Tensor(array, datatype, array.shape) for key, (datatype, array) in outputs.items()
        }

    def rows(self, name: str) -> int:
        """See `fabric.pipelines.calls.Calls`."""
        return self._view.rows(name)


def _answer(request: InferRequest, payload: bytes, *, is_last: bool) -> Answer:
    return Answer(InferResponse(payload, "", is_last), request.model, "", "", fallback=False)
