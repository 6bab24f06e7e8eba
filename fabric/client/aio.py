"""The SDK for asyncio."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import grpc

from fabric.client import calls
from fabric.client.conducting import ServerCalls, conduct
from fabric.client.retrying import Retries
from fabric.client.transport import OPTIONS, error_of, metadata_of
from fabric.wire.status import is_lost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping

    from numpy.typing import ArrayLike

    from fabric.client.calls import Call
    from fabric.core.changes import Changes
    from fabric.core.decisions import Feedback
    from fabric.core.pipelines import Pipeline
    from fabric.core.tensors import Tensors

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    make: Callable[P, Call[Any, T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(make)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._perform(make(*args, **kwargs))

    return method


class AsyncClient:
    """A fabric, as seen through its gateway at `host:port`. Belongs to one event loop.

    One client carries any number of calls at once over one connection, which is made with the first
    call and again whenever it is lost. An inference that was lost with it is sent again, within its
    timeout, unless it is not `idempotent`. A cancelled call is cancelled at the gateway too.

    A *tenant* says who asks: nobody else gets answers that were made for it.
    """

    def __init__(
        self,
        server: str = "localhost:8080",
        *,
        credentials: grpc.ChannelCredentials | None = None,
        tenant: str = "",
    ) -> None:
        self.server = server
        self.tenant = tenant
        self._retries = Retries()
        self._channel = (
            grpc.aio.secure_channel(server, credentials, options=OPTIONS)
            if credentials
            else grpc.aio.insecure_channel(server, options=OPTIONS)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and what is still under way on it."""
        await self._channel.close()

    infer = _method(calls.infer)
    metadata = _method(calls.metadata)
    live = _method(calls.live)
    ready = _method(calls.ready)
    explain = _method(calls.explain)
    health = _method(calls.health)
    run_of = _method(calls.run_of)
    profile = _method(calls.profile)
    feedback = _method(calls.feedback)
    decisions = _method(calls.decisions)
    train = _method(calls.train)
    apply = _method(calls.apply)
    get = _method(calls.get)
    list = _method(calls.list_)
    delete = _method(calls.delete)
    load = _method(calls.load)
    unload = _method(calls.unload)

    async def feedback_many(self, feedback: Iterable[Feedback]) -> int:
        """Says many things; returns how many of them are about requests that are not known yet."""
        return sum([await self._perform(call) for call in calls.feedback_many(feedback)])

    async def run(
        self, pipeline: Pipeline, inputs: Mapping[str, ArrayLike], *, timeout: float | None = None
    ) -> Tensors:
        """The outputs of *pipeline*, by name, without those that are missing.

        It is run here: each of its calls is a call of the server, which need not know the pipeline.

        Args:
            timeout: Seconds for all of it; that of the pipeline itself holds, too.

        Raises:
            InvalidRequest: it has no such input, or lacks one; or values do not fit together.
            FabricError: of the step that failed.
        """
        return await conduct(pipeline, inputs, ServerCalls(self.infer), timeout)

    async def watch(self, *, after: int = 0) -> AsyncGenerator[Changes]:
        """The catalog, then what changes in it, for as long as the control plane is there.

        Close it, or leave it by `break` under `contextlib.aclosing`, to end the stream.

        Args:
            after: The last revision seen: only what is newer comes, where that is still known.
        """
        call = calls.watch(after=after)
        stream = self._channel.unary_stream(
            call.method, response_deserializer=call.response.FromString
        )(call.request.SerializeToString(), metadata=metadata_of(self.tenant))
        try:
            async for response in stream:
                yield call.read(response)
        except grpc.aio.AioRpcError as error:
            raise error_of(self.server, error) from None
        finally:
            stream.cancel()

    async def _perform(self, call: Call[Any, T]) -> T:
        method = self._channel.unary_unary(
            call.method, response_deserializer=call.response.FromString
        )
        payload, attempts = call.request.SerializeToString(), self._retries.begin(call)
        while True:
            try:
                response = await method(
                    payload, timeout=attempts.left(), metadata=metadata_of(self.tenant)
                )
            except grpc.aio.AioRpcError as error:
                failure = error_of(self.server, error)
                pause = attempts.pause(failure, lost=is_lost(error))
                if pause is None:
                    raise failure from None
            else:
                return call.read(response)
            await asyncio.sleep(pause)
