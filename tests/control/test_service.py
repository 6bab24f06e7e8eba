"""`CatalogService` over real gRPC."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status as RpcStatus
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from planes import control_plane, until

from fabric.api.catalog.v1 import card_pb2
from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.api.pipelines.v1 import pipeline_pb2
from fabric.api.routing.v1 import route_pb2
from fabric.catalog.catalog import Catalog
from fabric.catalog.health import Report
from fabric.core.errors import Unavailable
from fabric.core.replicas import Load
from fabric.core.routes import Requirements, Route
from fabric.core.tensors import Signature, TensorSpec
from fabric.testing import pipeline, replica, route, specialist
from fabric.wire.cards import to_message
from fabric.wire.changes import from_resource, from_watch
from fabric.wire.status import DETAILS_KEY

SIGNATURE = Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),))


def applying(*resources: object, **options: bool) -> pb.ApplyRequest:
    request = pb.ApplyRequest(**options)
    for each in resources:
        if hasattr(each, "chain"):
            request.routes.append(to_message(each, route_pb2.Route))
        elif hasattr(each, "steps"):
            request.pipelines.append(to_message(each, pipeline_pb2.Pipeline))
        else:
            request.specialists.append(to_message(each, card_pb2.Specialist))
    return request


def registering(*args: object, signature: Signature | None = None, **fields: object):
    request = pb.RegisterRequest(replica=to_message(replica(*args, **fields), card_pb2.Replica))
    if signature:
        request.signature.CopyFrom(to_message(signature, card_pb2.Signature))
    return request


def key(kind: str, name: str) -> pb.Key:
    return pb.Key(kind=f"KIND_{kind.upper()}", name=name)


@pytest.fixture
async def plane(sqlite_url):
    async with control_plane(sqlite_url) as plane:
        yield plane


@asynccontextmanager
async def refused(code: grpc.StatusCode, reason: str, message: str):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield
    assert raised.value.code() is code
    assert message in raised.value.details()
    details = RpcStatus.FromString(dict(raised.value.trailing_metadata())[DETAILS_KEY])
    info = ErrorInfo()
    assert details.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("fabric", reason)
    assert details.message == raised.value.details()


async def test_what_is_applied_can_be_read(plane):
    """Apply answers with what changed and the revision; Get and List have it from then on."""
    stub = plane.stub
    applied = await stub.Apply(applying(specialist("a"), specialist("a", "2"), route("r", "a")))

    assert [(c.key.name, c.action) for c in applied.changes] == [
        ("a:1", pb.Change.ACTION_CREATE),
        ("a:2", pb.Change.ACTION_CREATE),
        ("r", pb.Change.ACTION_CREATE),
    ]
    latest = (await stub.Get(pb.GetRequest(key=key("specialist", "a")))).resource
    assert latest.specialist.card.version == "2"
    assert latest.status.state == "pending"
    one = (await stub.Get(pb.GetRequest(key=key("specialist", "a:1")))).resource
    assert one.specialist.card.version == "1"
    listed = await stub.List(pb.ListRequest(kind=pb.KIND_SPECIALIST))
    assert [r.specialist.card.version for r in listed.resources] == ["2", "1"]
    assert listed.revision == applied.revision
    routes = await stub.List(pb.ListRequest(kind=pb.KIND_ROUTE))
    assert [r.route.name for r in routes.resources] == ["r"]


async def test_a_pipeline_is_declared_as_specialists_and_routes_are(sqlite_url):
    """It is applied with what it calls, read, changed, kept over a restart, and deleted."""
    first, other = pipeline("p", "a", "r"), pipeline("p", "a", timeout=1.0)
    async with control_plane(sqlite_url) as plane:
        await plane.stub.Apply(applying(specialist("a"), route("r", "a"), first))
        read = await plane.stub.Get(pb.GetRequest(key=key("pipeline", "p")))
        assert from_resource(read.resource) == first
        applied = await plane.stub.Apply(applying(other))
        assert [(c.key.name, c.action) for c in applied.changes] == [("p", pb.Change.ACTION_UPDATE)]
        assert list(applied.changes[0].fields) == ["steps", "outputs", "timeout"]
    async with control_plane(sqlite_url) as plane:
        listed = await plane.stub.List(pb.ListRequest(kind=pb.KIND_PIPELINE))
        assert [from_resource(each) for each in listed.resources] == [other]
        await plane.stub.Delete(pb.DeleteRequest(key=key("pipeline", "p")))
        assert plane.controller.catalog.pipelines == {}


async def test_a_dry_run_changes_nothing(plane):
    """It says what would change."""
    controller, stub, *_ = plane
    before = controller.catalog.revision
    applied = await stub.Apply(applying(specialist("a"), dry_run=True))

    assert applied.changes[0].action == pb.Change.ACTION_CREATE
    assert applied.revision == controller.catalog.revision == before
    assert not (await stub.List(pb.ListRequest(kind=pb.KIND_SPECIALIST))).resources


async def test_all_of_a_request_takes_effect_or_nothing(plane):
    """One thing wrong in it, and nothing of it is there."""
    controller, stub, *_ = plane
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "names 'b'"):
        await stub.Apply(applying(specialist("a"), route("r", "b")))

    assert controller.catalog.specialists == {}


async def test_what_is_no_expression_is_not_declared(plane):
    """The position of what is wrong is told."""
    bad = Route(name="r", order="scored", requirements=Requirements(expression="card.cost <"))
    said = "route 'r': expression `card.cost <` is no expression: column 12"
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", said):
        await plane.stub.Apply(applying(bad))


async def test_errors_carry_their_reason(plane):
    """Every kind of refusal arrives as `google.rpc.Status`, from unary calls and from streams."""
    stub = plane.stub
    await stub.Apply(applying(specialist("a"), route("r", "a")))
    bad = applying(specialist("b"))
    bad.specialists[0].hosting.replicas.min = 3

    async with refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no route rs; did you mean"):
        await stub.Get(pb.GetRequest(key=key("route", "rs")))
    async with refused(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "specialist 'b': min is 3 rep"
    ):
        await stub.Apply(bad)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "names no kind"):
        await stub.List(pb.ListRequest())
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT", "route 'r' names 'a'"):
        await stub.Delete(pb.DeleteRequest(key=key("specialist", "a")))
    async with refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no specialist c:1"):
        await stub.Register(registering("x", "c:1"))
    async with refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "register again"):
        await anext(aiter(stub.Renew(iter([pb.RenewRequest(replica_id="x")]))))


async def test_what_nobody_expected_arrives_as_internal_with_an_id(plane, monkeypatch, caplog):
    """The caller gets the id, the log has the rest under it."""
    controller, stub, *_ = plane
    monkeypatch.setattr(controller, "all", lambda kind: 1 / 0)
    monkeypatch.setattr(controller.feed, "watch", lambda revision: 1 / 0)

    async with refused(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error "):
        await stub.List(pb.ListRequest(kind=pb.KIND_ROUTE))
    async with refused(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error "):
        await anext(aiter(stub.Watch(pb.WatchRequest())))
    assert "ZeroDivisionError" in caplog.text


async def test_a_replica_is_there_from_its_registration_to_its_withdrawal(plane):
    """Its specialist is ready meanwhile, and has the signature that the replica read."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a")))
    lease = (await stub.Register(registering("x", "a:1", signature=SIGNATURE))).lease
    got = (await stub.Get(pb.GetRequest(key=key("specialist", "a:1")))).resource

    assert lease.ToTimedelta().total_seconds() == 10.0
    assert (got.status.state, got.status.ready) == ("ready", 1)
    assert got.specialist.card.signature == to_message(SIGNATURE, card_pb2.Signature)

    revision = controller.catalog.revision
    await stub.Register(registering("x", "a:1", signature=SIGNATURE))
    assert controller.catalog.revision == revision

    for _ in range(2):
        await stub.Withdraw(pb.WithdrawRequest(replica_id="x"))
    assert controller.catalog.replicas == {}
    assert controller.catalog.statuses["a:1"].state == "pending"


async def test_a_signature_that_was_read_is_no_change_of_the_declaration(plane):
    """What is declared again without a signature replaces nothing."""
    stub = plane.stub
    await stub.Apply(applying(specialist("a")))
    await stub.Register(registering("x", "a:1", signature=SIGNATURE))
    again = await stub.Apply(applying(specialist("a")))

    assert [c.action for c in again.changes] == [pb.Change.ACTION_NONE]


async def test_renewals_carry_load_and_are_no_changes(plane):
    """The load is listed; the revision stays."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a")))
    await stub.Register(registering("x", "a:1"))
    revision = controller.catalog.revision
    renewals = stub.Renew()
    await renewals.write(pb.RenewRequest(replica_id="x", load=card_pb2.Load(running=3, queued=4)))

    assert (await renewals.read()).lease.seconds == 10
    listed = await stub.List(pb.ListRequest(kind=pb.KIND_REPLICA))
    assert listed.resources[0].replica.load == card_pb2.Load(running=3, queued=4)
    assert listed.revision == revision


async def test_a_replica_whose_stream_breaks_is_gone_within_a_second(plane):
    """It needs no renewal to be missed."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a")))
    await stub.Register(registering("x", "a:1"))
    renewals = stub.Renew()
    await renewals.write(pb.RenewRequest(replica_id="x"))
    await renewals.read()
    renewals.cancel()

    async with asyncio.timeout(1.0):
        await until(controller, lambda: not controller.catalog.replicas)


async def test_a_replica_that_drains_is_marked_until_it_is_gone(plane):
    """It is kept under its lease, and not counted as ready."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a")))
    await stub.Register(registering("x", "a:1"))
    await stub.Withdraw(pb.WithdrawRequest(replica_id="x", draining=True))

    assert controller.catalog.replicas["x"].draining
    assert controller.catalog.statuses["a:1"].ready == 0
    await stub.Withdraw(pb.WithdrawRequest(replica_id="x"))
    assert controller.catalog.replicas == {}


async def test_a_watcher_mirrors_the_catalog(plane):
    """Snapshot, then changes: at every revision the mirror is the catalog."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a"), route("r", "a")))
    mirror, watch = Catalog(), stub.Watch(pb.WatchRequest())
    first = from_watch(await watch.read())
    mirror.update(first)
    assert first.snapshot

    await stub.Register(registering("x", "a:1", signature=SIGNATURE))
    await stub.Apply(applying(specialist("b"), prune=True))
    await stub.Withdraw(pb.WithdrawRequest(replica_id="x"))
    while mirror.revision < controller.catalog.revision:
        changes = from_watch(await watch.read())
        assert not changes.snapshot
        mirror.update(changes)

    assert mirror.snapshot() == controller.catalog.snapshot()


async def test_a_caller_that_leaves_does_not_split_store_and_catalog(sqlite_url):
    """A change that has begun is finished whether or not its caller is still there."""
    async with control_plane(sqlite_url) as (controller, *_):
        for number in range(30):
            task = asyncio.ensure_future(controller.apply([specialist(f"s{number}")], []))
            for _ in range(number % 6):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await controller.close()
        known = set(controller.catalog.specialists)
    async with control_plane(sqlite_url) as (controller, *_):
        assert set(controller.catalog.specialists) == known


async def test_a_good_version_serves_until_the_new_one_does(plane):
    """A new version that fails leaves the removed one in place; one that gets ready does not."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a"), route("r", "a")))
    await stub.Register(registering("x", "a:1"))
    await stub.Apply(applying(specialist("a", "2"), route("r", "a"), prune=True))
    await controller.report(
        controller.catalog.revision, {"a:2": Report(wanted=1, failure="no such file")}
    )

    assert controller.catalog.statuses["a:2"].reason == "no such file"
    assert controller.catalog.statuses["a:1"].state == "degraded"
    assert set(controller.wanted) == {"a:1", "a:2"}

    await stub.Register(registering("y", "a:2"))
    await controller.report(controller.catalog.revision, {"a:2": Report(wanted=1)})
    assert set(controller.wanted) == set(controller.catalog.specialists) == {"a:2"}


async def test_a_change_stands_when_what_it_lets_retire_cannot(plane, monkeypatch):
    """The replica is there and has its lease; what is to retire goes with the next change."""
    controller, *_ = plane
    await controller.apply([specialist("a")], [])
    await controller.register(replica("x", "a:1"), None)
    await controller.apply([specialist("a", "2")], [], prune=True)
    write, writes = controller._store.write, []

    async def fails_second(each):
        writes.append(each)
        if len(writes) == 2:
            raise Unavailable("the store is away")
        await write(each)

    monkeypatch.setattr(controller._store, "write", fails_second)
    await controller.register(replica("y", "a:2"), None)

    controller.renew("y", Load(), None)
    assert set(controller.wanted) == {"a:1", "a:2"}
    await controller.apply([specialist("b")], [])
    assert set(controller.wanted) == {"a:2", "b:1"}


async def test_a_version_that_is_kept_can_be_deleted(plane):
    """Who asks for it by name gets it out, ready heir or not."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a")))
    await stub.Register(registering("x", "a:1"))
    await stub.Apply(applying(specialist("a", "2"), prune=True))
    assert "a:1" in controller.wanted
    gone = await stub.Delete(pb.DeleteRequest(key=key("specialist", "a:1")))

    assert [c.action for c in gone.changes] == [pb.Change.ACTION_DELETE]
    assert set(controller.wanted) == {"a:2"}


async def test_what_the_host_said_before_a_change_is_not_taken_for_after_it(plane):
    """A replacement counts as under way until the host has seen it."""
    controller, stub, *_ = plane
    await stub.Apply(applying(specialist("a")))
    await stub.Register(registering("x", "a:1"))
    before = controller.catalog.revision
    await stub.Apply(applying(specialist("a", arguments={"changed": "yes"})))
    await controller.report(before, {"a:1": Report(wanted=1)})
    assert controller.catalog.statuses["a:1"].state == "degraded"
    await controller.report(controller.catalog.revision, {"a:1": Report(wanted=1)})
    assert controller.catalog.statuses["a:1"].state == "ready"


async def test_health_and_reflection_are_served(plane):
    """Standard tools find out what is served and how it is."""
    health = health_pb2_grpc.HealthStub(plane.channel)
    for service in ("", "fabric.api.catalog.v1.CatalogService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await anext(
        aiter(
            reflection_pb2_grpc.ServerReflectionStub(plane.channel).ServerReflectionInfo(
                iter([asked])
            )
        )
    )
    names = {service.name for service in answer.list_services_response.service}
    assert {"fabric.api.catalog.v1.CatalogService", "grpc.health.v1.Health"} <= names


async def test_stopping_tells_watchers_to_come_again(sqlite_url):
    """A watch ends as unavailable, and at once."""
    async with control_plane(sqlite_url) as (controller, stub, *_):
        watch = stub.Watch(pb.WatchRequest())
        await watch.read()
        controller.feed.close()
        async with refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "watch again"):
            await watch.read()
            await watch.read()


async def test_a_taken_port_is_refused(sqlite_url):
    """Two control planes never share a port."""
    async with control_plane(sqlite_url) as plane:
        with pytest.raises(ValueError, match="is the port taken"):
            async with control_plane(sqlite_url.replace(".db", "2.db"), port=plane.port):
                pass


@pytest.mark.parametrize("name", ["Delete", "Renew", "Watch"])
async def test_what_is_no_message_is_the_callers_fault(plane, name):
    """Of calls of every shape: it ends as an invalid request, not as a bug of ours."""
    method = pb.DESCRIPTOR.services_by_name["CatalogService"].methods_by_name[name]
    shape = ("stream" if method.client_streaming else "unary") + (
        "_stream" if method.server_streaming else "_unary"
    )
    call = getattr(plane.channel, shape)(f"/fabric.api.catalog.v1.CatalogService/{name}")
    garbage = iter([b"\xff"]) if method.client_streaming else b"\xff"
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", f"{name} was sent"):
        answer = call(garbage)
        if method.server_streaming:
            await answer.read()
        else:
            await answer
