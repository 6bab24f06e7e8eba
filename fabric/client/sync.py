"""The SDK without asyncio: the same calls, waited for."""

from __future__ import annotations

import asyncio
import time
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import grpc

from fabric.client import calls
from fabric.client.conducting import ServerCalls, conduct
from fabric.client.retrying import Retries
from fabric.client.transport import OPTIONS, error_of, metadata_of
from fabric.wire.status import is_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from numpy.typing import ArrayLike

    from fabric.client.calls import Call
    from fabric.client.results import Answer
    from fabric.core.changes import Changes
    from fabric.core.decisions import Feedback
    from fabric.core.pipelines import Pipeline
    from fabric.core.tensors import Tensors

P = ParamSpec("P")
T = TypeVar("T")


def _method(make: Callable[P, Call[Any, T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(make)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._perform(make(*args, **kwargs))

    return method


class Client:
    """A fabric, as seen through its gateway at `host:port`. Any thread may use it at any time.

    An inference that was lost with its connection is sent again, within its timeout, unless it is
    not `idempotent`.

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
            grpc.secure_channel(server, credentials, options=OPTIONS)
            if credentials
            else grpc.insecure_channel(server, options=OPTIONS)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and what is still under way on it."""
        self._channel.close()

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

    def feedback_many(self, feedback: Iterable[Feedback]) -> int:
        """Says many things; returns how many of them are about requests that are not known yet."""
        return sum([self._perform(call) for call in calls.feedback_many(feedback)])

    def run(
        self, pipeline: Pipeline, inputs: Mapping[str, ArrayLike], *, timeout: float | None = None
    ) -> Tensors:
        """The outputs of *pipeline*; see `AsyncClient.run`. Calls that need not wait for each other
        are made by threads."""

        async def infer(*given: Any, **said: Any) -> Answer:
            return await asyncio.to_thread(self.infer, *given, **said)

        return asyncio.run(conduct(pipeline, inputs, ServerCalls(infer), timeout))

    def watch(self, *, after: int = 0) -> Generator[Changes]:
        """The catalog, then what changes in it, for as long as the control plane is there.

        Args:
            after: The last revision seen: only what is newer comes, where that is still known.
        """
        call = calls.watch(after=after)
        stream = self._channel.unary_stream(
            call.method, response_deserializer=call.response.FromString
        )(call.request.SerializeToString(), metadata=metadata_of(self.tenant))
        try:
            for response in stream:
                yield call.read(response)
        except grpc.RpcError as error:
            raise error_of(self.server, error) from None
        finally:
            stream.cancel()

    def _perform(self, call: Call[Any, T]) -> T:
        method = self._channel.unary_unary(
            call.method, response_deserializer=call.response.FromString
        )
        payload, attempts = call.request.SerializeToString(), self._retries.begin(call)
        while True:
            try:
                response = method(
                    payload, timeout=attempts.left(), metadata=metadata_of(self.tenant)
                )
            except grpc.RpcError as error:
                failure = error_of(self.server, error)
                pause = attempts.pause(failure, lost=is_lost(error))
                if pause is None:
                    raise failure from None
            else:
                return call.read(response)
            time.sleep(pause)
