"""How errors leave the control plane: as `google.rpc.Status` in the trailers of any call."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
from google.protobuf.message import DecodeError

from fabric.core.errors import FabricError, Internal, InvalidRequest
from fabric.wire.status import DETAILS_KEY, to_details

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Errors(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Ends a call of a fabric service that raises with what it raised.

    Covers all four shapes of calls with one wrapper, because fabric's servicers are coroutines
    throughout: those that answer with a stream use `context.write`.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/fabric."):
            return handler
        shape = f"{'stream' if handler.request_streaming else 'unary'}_" + (
            "stream" if handler.response_streaming else "unary"
        )
        return getattr(grpc, f"{shape}_rpc_method_handler")(
            _guarded(handler, getattr(handler, shape), handler_call_details.method),
            None,  # what cannot be read is the caller's fault, gRPC would call it ours
            handler.response_serializer,
        )


def _guarded(
    handler: grpc.RpcMethodHandler, call: Callable[..., Awaitable[Any]], method: str
) -> Callable[..., Awaitable[Any]]:
    def read(message: bytes) -> Any:
        try:
            return handler.request_deserializer(message)
        except DecodeError as error:
            raise InvalidRequest(f"{method} was sent a message that is none of its own") from error

    async def guarded(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            if handler.request_streaming:
                return await call((read(message) async for message in request), context)
            return await call(read(request), context)
        except grpc.aio.AbortError:
            raise
        except FabricError as error:
            return await _abort(context, error)
        except Exception:
            number = uuid4().hex[:12]
            log.exception("%s failed, error %s", method, number)
            return await _abort(context, Internal(f"internal error {number}: see the log"))

    return guarded


async def _abort(context: grpc.aio.ServicerContext, error: FabricError) -> Any:
    details = ((DETAILS_KEY, to_details(error)),)
    await context.abort(_CODES[int(error.code)], error.message, details)
