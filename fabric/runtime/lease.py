"""A replica's place in the catalog: registered, renewed, given up."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc

from fabric.api.catalog.v1 import card_pb2
from fabric.api.catalog.v1.catalog_service_pb2 import (
    RegisterRequest,
    RenewRequest,
    WithdrawRequest,
)
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.core.errors import InvalidRequest
from fabric.wire.cards import to_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.core.replicas import Load, Replica
    from fabric.core.tensors import Signature

log = logging.getLogger(__name__)

_RENEW_EVERY = 1.0
_RETRY_WITHIN = 1.0
_PATIENCE = 5.0
"""Seconds for one answer of the control plane."""
_LAST_WORD = 1.0
"""Seconds for a withdrawal: a replica does not stay for a control plane that is away."""
_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
"""What reading from, and writing to, a stream that has ended raises."""
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Lease:
    """Keeps *replica* in the catalog at *control* while `keep` runs."""

    def __init__(
        self, control: str, replica: Replica, signature: Signature, load: Callable[[], Load]
    ) -> None:
        self._replica = replica
        self._signature = signature
        self._load = load
        self._channel = grpc.aio.insecure_channel(control, options=_OPTIONS)
        self._stub: Any = CatalogServiceStub(self._channel)
        self.held = asyncio.Event()
        """Set while the replica is known to be in the catalog."""

    async def keep(self) -> None:
        """Registers and renews, for ever; a control plane that is away is tried again and again.

        Raises:
            InvalidRequest: the control plane will never take this replica.
        """
        while True:
            try:
                await self._register()
                await self._renew()
            except (*_ENDED, TimeoutError) as error:
                self._lost(error)
                # All replicas lose a control plane at once; they do not come back at once.
                await asyncio.sleep(random.uniform(0.1, 1) * _RETRY_WITHIN)  # noqa: S311 - a pause

    async def withdraw(self, *, draining: bool = False, why: str = "") -> None:
        """Leaves the catalog, or stays in it as draining; a control plane that is away is left."""
        self._replica = replace(self._replica, draining=True, why=why or self._replica.why)
        request = WithdrawRequest(
            replica_id=self._replica.id, draining=draining, why=self._replica.why
        )
        try:
            await self._stub.Withdraw(request, timeout=_LAST_WORD)
        except grpc.aio.AioRpcError as error:
            log.warning("the control plane was not told of the withdrawal: %s", error.details())

    async def close(self) -> None:
        await self._channel.close()

    async def _register(self) -> None:
        request = RegisterRequest(
            replica=to_message(replace(self._replica, load=self._load()), card_pb2.Replica),
            signature=to_message(self._signature, card_pb2.Signature),
        )
        try:
            await self._stub.Register(request, timeout=_PATIENCE)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            reason = f"the control plane refuses this replica: {error.details()}"
            raise InvalidRequest(reason) from error
        if not self.held.is_set():
            self.held.set()
            log.info("registered as %s at %s", self._replica.id, self._replica.address)

    async def _renew(self) -> None:
        """Returns when the control plane does not know the replica any more."""
        renewals = self._stub.Renew()
        try:
            while True:
                request = RenewRequest(replica_id=self._replica.id)
                request.load.CopyFrom(to_message(self._load(), card_pb2.Load))
                async with asyncio.timeout(_PATIENCE):
                    await renewals.write(request)
                    response = await renewals.read()
                if response is grpc.aio.EOF:
                    raise TimeoutError("the control plane ended the stream of renewals")
                lease = response.lease.ToTimedelta().total_seconds()
                await asyncio.sleep(min(_RENEW_EVERY, lease / 3))
        except _ENDED:
            if await renewals.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        finally:
            renewals.cancel()

    def _lost(self, error: Exception) -> None:
        if self.held.is_set() or not isinstance(error, grpc.aio.AioRpcError):
            details = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
            log.warning("the lease is not renewed, serving goes on: %s", details)
        self.held.clear()
