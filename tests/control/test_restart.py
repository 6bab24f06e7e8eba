"""A control plane that is killed loses nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from contextlib import asynccontextmanager

import grpc
import pytest
from planes import free_port

from fabric.api.catalog.v1 import card_pb2
from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.api.routing.v1 import learning_service_pb2 as learning_pb2
from fabric.api.routing.v1 import route_pb2
from fabric.api.routing.v1.learning_service_pb2_grpc import LearningServiceStub
from fabric.catalog.catalog import Catalog
from fabric.catalog.feed import EPOCH_BITS
from fabric.control.settings import ControlSettings
from fabric.core.routes import Learning, Route
from fabric.processes import stop, to_environ
from fabric.testing import replica, specialist
from fabric.wire.cards import to_message
from fabric.wire.changes import from_watch

NOWHERE = "http://127.0.0.1:1"
"""A Ray dashboard that is not there, so that nothing is hosted."""


@asynccontextmanager
async def process(url: str, port: int):
    """`python -m fabric.control` as a process."""
    settings = ControlSettings(listen=f"127.0.0.1:{port}", store=url, ray=NOWHERE, lease=2.0)
    environ = {**os.environ, **to_environ(settings), "FABRIC_LOG_LEVEL": "ERROR"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fabric.control", env=environ
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            await stop(child, 5.0)


OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]


@asynccontextmanager
async def client(port: int):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
        yield CatalogServiceStub(channel)


@asynccontextmanager
async def learning_client(port: int):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
        yield LearningServiceStub(channel)


async def kill(child: asyncio.subprocess.Process) -> None:
    child.kill()
    assert await child.wait() == -signal.SIGKILL


def applying(number: int) -> pb.ApplyRequest:
    """Two specialists at once, so that a half is seen."""
    names = (f"a{number}", f"b{number}")
    return pb.ApplyRequest(
        specialists=[to_message(specialist(name), card_pb2.Specialist) for name in names]
    )


async def mirror_changes(stub: CatalogServiceStub, mirror: Catalog, seen: list[bool]) -> None:
    """Keeps *mirror* current through every end of the control plane, as a gateway does."""
    while True:
        try:
            watch = stub.Watch(pb.WatchRequest(after_revision=mirror.revision), wait_for_ready=True)
            async for message in watch:
                changes = from_watch(message)
                assert changes.revision > mirror.revision
                seen.append(changes.snapshot)
                mirror.update(changes)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.01)


async def acknowledged_apply(stub: CatalogServiceStub, number: int) -> None:
    """A call may still go to the connection of a process that was killed: it is made again."""
    while True:
        try:
            await stub.Apply(applying(number), wait_for_ready=True)
        except grpc.aio.AioRpcError:
            continue
        return


async def test_what_was_acknowledged_survives_kills(store_url):
    """Killed between and amid changes, it has all that was acknowledged, and nothing by half."""
    port, acknowledged = free_port(), set()
    mirror, seen = Catalog(), []
    async with client(port) as stub:
        watching = asyncio.create_task(mirror_changes(stub, mirror, seen))
        for start in range(3):
            async with process(store_url, port) as child:
                await acknowledged_apply(stub, start * 1000)
                acknowledged.add(start * 1000)
                applies = [stub.Apply(applying(start * 1000 + n)) for n in range(1, 60)]
                done = 0
                for number, call in enumerate(applies, start * 1000 + 1):
                    try:
                        await call
                    except grpc.aio.AioRpcError:
                        continue
                    acknowledged.add(number)
                    done += 1
                    if done == 20:
                        await kill(child)
        async with process(store_url, port):
            listed = await stub.List(pb.ListRequest(kind=pb.KIND_SPECIALIST), wait_for_ready=True)
            names = {resource.specialist.card.name for resource in listed.resources}
            for number in acknowledged:
                assert f"a{number}" in names
            assert {n[1:] for n in names if n[0] == "a"} == {n[1:] for n in names if n[0] == "b"}
            async with asyncio.timeout(10):
                while mirror.revision < listed.revision:
                    await asyncio.sleep(0.01)
            assert {s.card.name for s in mirror.specialists.values()} == names
            assert listed.revision >> EPOCH_BITS == 4
            assert seen.count(True) >= 4
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_what_routes_learn_from_survives_kills(store_url):
    """Killed amid records and feedback, it has all that was acknowledged."""
    port, acknowledged = free_port(), set()
    async with client(port) as stub, learning_client(port) as learning:
        async with process(store_url, port) as child:
            request = applying(1)
            learns = Route(name="r", order="scored", learning=Learning())
            request.routes.append(to_message(learns, route_pb2.Route))
            await stub.Apply(request, wait_for_ready=True)
            for call in asyncio.as_completed([recorded(learning, n) for n in range(300)]):
                with contextlib.suppress(grpc.aio.AioRpcError):
                    acknowledged.add(await call)
                if len(acknowledged) == 80 and child.returncode is None:
                    await kill(child)
        assert len(acknowledged) >= 80
        async with process(store_url, port):
            asked = learning_pb2.ListDecisionsRequest(route="r")
            listed = await learning.ListDecisions(asked, wait_for_ready=True)
            said = {each.decision.request for each in listed.records if each.feedback}
            assert acknowledged <= said
            assert all(len(each.outcomes) == 1 for each in listed.records)


async def recorded(stub: LearningServiceStub, number: int) -> str:
    """The id of a request of which a decision, an outcome and feedback were acknowledged."""
    name = f"request-{number}"
    candidates = ["a1:1", "b1:1"]
    decision = learning_pb2.Decision(request=name, route="r", time=1.0, candidates=candidates)
    outcome = learning_pb2.Outcome(request=name, specialist=candidates[number % 2], seconds=0.1)
    await stub.Record(learning_pb2.RecordRequest(decisions=[decision], outcomes=[outcome]))
    feedback = learning_pb2.Feedback(request=name, score=float(number % 3 > 0))
    await stub.SubmitFeedback(learning_pb2.SubmitFeedbackRequest(feedback=[feedback]))
    return name


async def test_living_replicas_outlast_the_control_plane(sqlite_url):
    """After a restart a replica has a whole lease to come back in; one that is dead goes then."""
    port = free_port()
    async with client(port) as stub:
        async with process(sqlite_url, port) as child:
            await stub.Apply(applying(1), wait_for_ready=True)
            for replica_id in ("living", "dead"):
                made = to_message(replica(replica_id, "a1:1"), card_pb2.Replica)
                await stub.Register(pb.RegisterRequest(replica=made))
            await kill(child)
        async with process(sqlite_url, port):
            mirror = Catalog()
            watch = stub.Watch(pb.WatchRequest(), wait_for_ready=True)
            mirror.update(from_watch(await watch.read()))
            began = time.monotonic()
            assert set(mirror.replicas) == {"living", "dead"}
            renewals = stub.Renew()
            await renewals.write(pb.RenewRequest(replica_id="living"))
            await renewals.read()
            while set(mirror.replicas) != {"living"}:
                await renewals.write(pb.RenewRequest(replica_id="living"))
                mirror.update(from_watch(await watch.read()))
            assert time.monotonic() - began > 1.0
            renewals.cancel()


async def test_it_stops_cleanly_when_told(sqlite_url):
    """SIGTERM ends it with status 0 while replicas and watchers hold their streams."""
    port = free_port()
    async with process(sqlite_url, port) as child, client(port) as stub:
        await stub.Apply(applying(1), wait_for_ready=True)
        made = to_message(replica("x", "a1:1"), card_pb2.Replica)
        await stub.Register(pb.RegisterRequest(replica=made))
        renewals, watch = stub.Renew(), stub.Watch(pb.WatchRequest())
        await renewals.write(pb.RenewRequest(replica_id="x"))
        await renewals.read()
        await watch.read()
        began = time.monotonic()
        child.terminate()

        assert await child.wait() == 0
        assert time.monotonic() - began < 3
        renewals.cancel()


async def test_one_that_is_followed_by_another_ends(sqlite_url):
    """Of two control planes on one store, the earlier one ends with its next change."""
    ports = free_port(), free_port()
    async with process(sqlite_url, ports[0]) as first, client(ports[0]) as stub:
        await stub.Apply(applying(1), wait_for_ready=True)
        async with process(sqlite_url, ports[1]), client(ports[1]) as other:
            await other.Apply(applying(2), wait_for_ready=True)
            with pytest.raises(grpc.aio.AioRpcError, match="taken over the store"):
                await stub.Apply(applying(3))

            assert await first.wait() == 1


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FABRIC_HOST": "kube"}, "host is 'kube'; use ray or local"),
        ({"FABRIC_LEASE": "soon"}, "FABRIC_LEASE='soon' is not a valid float"),
        ({"FABRIC_STORE": "x"}, "store: Could not parse"),
    ],
)
async def test_settings_that_do_not_hold_end_it_with_a_message(environ, message):
    """It says what is wrong in one line, and its status is 1."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fabric.control",
        env={**os.environ, **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await child.communicate()

    assert child.returncode == 1
    assert message in said.decode()
    assert len(said.splitlines()) == 1
