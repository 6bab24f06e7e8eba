"""ModelStreamInfer: requests and answers on one stream.

The requests of a stream are worked on at the same time. Those for models with one answer are
answered in the order in which they came; the answers of decoupled models come between them as they
are given, and are told apart by the request's id.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from fabric.api.inference.v2.extensions_pb2 import ModelStreamInferResponse
from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.errors import DeadlineExceeded, FabricError, InvalidRequest
from fabric.gateway.grpc import SERVICE, header
from fabric.gateway.inference import DIALECT, call_of, request_of
from fabric.gateway.settings import check_dialect
from fabric.wire.heads import head_of, varint
from fabric.wire.reserved import EMPTY_FINAL_RESPONSE, WANTS_TYPED, is_typed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from fabric.api.inference.v2.open_inference_pb2 import InferParameter, ModelInferRequest
    from fabric.gateway.grpc import Parts, Scope, StreamHandler
    from fabric.gateway.inference import Inference
    from fabric.gateway.shared_memory import SharedMemory, Slot
    from fabric.gateway.view import View

_AT_ONCE = 64
"""Requests of one stream that are worked on at a time; further ones are not read."""
_WAITING = 16
"""Answers of one stream that wait for a slow client; then the replicas are held back."""
_EARLY = 0.01
"""Seconds by which a replica, whose timers are its own, may find a deadline passed before us."""
_ANSWER = b"\x12"  # infer_response = 2, length-delimited
_FINAL = "triton_final_response"


def _final(is_final: bool) -> bytes:
    message = ModelInferResponse()
    message.parameters[_FINAL].bool_param = is_final
    return bytes(message.SerializeToString())


_IS_FINAL = {is_final: _final(is_final) for is_final in (False, True)}
"""Fields of a response, to be appended to its others."""


class Streams:
    """The protocol's call for answers on a stream, in the dialect of Triton or of MLServer."""

    def __init__(
        self, view: View, inference: Inference, dialect: str, memory: SharedMemory
    ) -> None:
        self._view = view
        self._inference = inference
        self._dialect = dialect
        self._memory = memory

    def stream_handlers(self) -> dict[str, StreamHandler]:
        return {f"{SERVICE}ModelStreamInfer": self.model_stream_infer}

    async def model_stream_infer(
        self, requests: AsyncIterator[bytes], scope: Scope
    ) -> AsyncGenerator[Parts, None]:
        """Ends when all is answered after the client has closed its half."""
        dialect = header(scope, DIALECT).decode("latin-1") or self._dialect
        try:
            check_dialect(dialect)
        except ValueError as error:
            raise InvalidRequest(f"fabric-{error}") from None
        async with _Exchange(
            self._view, self._inference, self._memory, requests, scope, dialect
        ) as exchange:
            while (parts := await exchange.next()) is not None:
                yield parts


class _Exchange:
    """One stream. Used with `async with`, at whose end none of its requests is worked on."""

    def __init__(
        self,
        view: View,
        inference: Inference,
        memory: SharedMemory,
        requests: AsyncIterator[bytes],
        scope: Scope,
        dialect: str,
    ) -> None:
        self._view = view
        self._inference = inference
        self._memory = memory
        self._requests = requests
        self._scope = scope
        self._deadline, self._trace, self._tenant = call_of(scope)
        self._is_bare = dialect == "mlserver"
        self._ends_with_error = self._is_bare or header(scope, b"triton_grpc_error") == b"true"
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._out: asyncio.Queue[Parts | Exception | None] = asyncio.Queue(_WAITING)
        self._work: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._work.cancel()
        await asyncio.wait((self._work,))

    async def next(self) -> Parts | None:
        """The next answer; None after the last.

        Raises what ends the stream.
        """
        item = await self._out.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def _run(self) -> None:
        end: Exception | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                before = now = asyncio.Event()
                now.set()
                async for payload in self._requests:
                    message = head_of(payload)
                    await self._slots.acquire()
                    after = asyncio.Event()
                    if self._is_decoupled(message):
                        tasks.create_task(self._answer(message, payload, now, after))
                    else:
                        tasks.create_task(self._answer(message, payload, before, after))
                        before = after
                    del payload  # it may be large, and the next one be long in coming
        except ExceptionGroup as group:
            end = group.exceptions[0]
        await self._out.put(end)

    def _is_decoupled(self, message: ModelInferRequest) -> bool:
        """Whether its answers have no place in the order of the others."""
        if (pipeline := self._view.catalog.pipelines.get(message.model_name)) is not None:
            return pipeline.streams
        try:
            plan = self._view.planner.plan(message.model_name, message.model_version, None)
        except FabricError:
            return False
        signatures = (candidate.card.signature for candidate in plan.candidates)
        return any(signature is not None and signature.decoupled for signature in signatures)

    async def _answer(
        self,
        message: ModelInferRequest,
        payload: bytes,
        before: asyncio.Event,
        after: asyncio.Event,
    ) -> None:
        """Gives all answers to one request: the last, or an error, when *before* is set.

        Then *after* is set.
        """
        try:
            wants_empty = _wants_empty(message.parameters)
            outputs: Mapping[str, Slot] = {}
            if self._memory.regions:
                payload, outputs = await self._memory.taken(message, payload, self._scope)
            if self._is_bare and is_typed(message):
                payload += WANTS_TYPED
            request = request_of(message, payload, self._trace, self._tenant)
            del payload
            async with aclosing(self._inference.answers(request, self._deadline)) as answers:
                async for answer, who in answers:
                    response = answer.response
                    if response.payload:
                        given = response.payload
                        if outputs:
                            given = await self._memory.given(given, outputs)
                        if response.is_last:
                            await before.wait()
                        await self._give(given, who, _IS_FINAL[response.is_last])
                    elif wants_empty:
                        empty = ModelInferResponse(model_version=answer.version, id=message.id)
                        await self._give(empty.SerializeToString(), who, _IS_FINAL[True])
        except FabricError as error:
            await before.wait()
            if self._ends_with_error or self._is_late(error):
                raise
            await self._out.put((_failed(message.id, error),))
        finally:
            after.set()
            self._slots.release()

    def _is_late(self, error: FabricError) -> bool:
        """Whether the call's own deadline is what the request has missed."""
        left = self._deadline.remaining(time.monotonic())
        return isinstance(error, DeadlineExceeded) and left < _EARLY

    async def _give(self, *fields: bytes | memoryview) -> None:
        if self._is_bare:
            await self._out.put(fields)
        else:
            await self._out.put((_ANSWER, varint(sum(map(len, fields))), *fields))


def _wants_empty(parameters: Mapping[str, InferParameter]) -> bool:
    """Whether the end of a decoupled model's answers is to be told by an empty one."""
    wanted = parameters.get(EMPTY_FINAL_RESPONSE)
    if wanted is None:
        return False
    if wanted.WhichOneof("parameter_choice") != "bool_param":
        raise InvalidRequest(
            f"invalid value type for '{EMPTY_FINAL_RESPONSE}' parameter, expected bool_param."
        )
    return wanted.bool_param


def _failed(request_id: str, error: FabricError) -> bytes:
    response = ModelInferResponse(id=request_id)
    response.parameters[_FINAL].bool_param = True
    message = ModelStreamInferResponse(error_message=error.message, infer_response=response)
    return bytes(message.SerializeToString())
