"""A replica without a model: registers and renews like a real one. Run as a script.

What its specialist has under `arguments` says how it behaves: `fail` raises with that message.
"""

from __future__ import annotations

import asyncio
import os
import uuid

import grpc
from google.protobuf.json_format import Parse

from fabric.api.catalog.v1 import card_pb2
from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.processes import until_told_to_stop


async def main() -> None:
    specialist = Parse(os.environ["FABRIC_SPECIALIST"], card_pb2.Specialist())
    if "fail" in specialist.hosting.arguments:
        raise RuntimeError(specialist.hosting.arguments["fail"])
    replica = card_pb2.Replica(
        id=uuid.uuid4().hex,
        specialist=specialist.card.name,
        version=specialist.card.version,
        address="127.0.0.1:1",
        pid=os.getpid(),
        node=os.environ["FABRIC_NODE"],
    )
    async with grpc.aio.insecure_channel(
        os.environ["FABRIC_CONTROL"], options=[("grpc.max_reconnect_backoff_ms", 100)]
    ) as channel:
        stub = CatalogServiceStub(channel)
        renewing = asyncio.create_task(renew(stub, replica))
        await until_told_to_stop()
        await stub.Withdraw(pb.WithdrawRequest(replica_id=replica.id))
        renewing.cancel()


async def renew(stub: CatalogServiceStub, replica: card_pb2.Replica) -> None:
    async def requests():
        while True:
            yield pb.RenewRequest(replica_id=replica.id)
            await asyncio.sleep(0.05)

    while True:
        try:
            await stub.Register(pb.RegisterRequest(replica=replica), wait_for_ready=True)
            async for _ in stub.Renew(requests()):
                pass
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main())
