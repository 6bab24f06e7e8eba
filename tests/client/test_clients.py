"""Both clients against a real gRPC server; the sync one runs in a thread beside it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider

import fabric
from fabric import Requirements
from fabric.api.catalog.v1 import catalog_service_pb2
from fabric.core.cards import Card, Hosting, Model, Specialist
from fabric.core.changes import Hosted, Key, Kind
from fabric.core.decisions import Decision, Feedback, Outcome
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.replicas import State
from fabric.core.routes import ChainEntry, Route

X = np.array([[1, 2]], np.float32)


class Threaded:
    """The sync client with its calls made in a thread, so that the test's loop can serve them."""

    def __init__(self, server, **said):
        self.client = fabric.Client(server, **said)

    def __getattr__(self, name):
        method = getattr(self.client, name)

        async def call(*args, **kwargs):
            return await asyncio.to_thread(method, *args, **kwargs)

        return call

    async def watch(self, **options):
        stream = self.client.watch(**options)
        try:
            while True:
                yield await asyncio.to_thread(next, stream)
        finally:
            await asyncio.to_thread(stream.close)


@pytest.fixture(params=[fabric.AsyncClient, Threaded])
async def client(request, gateway):
    made = request.param(gateway.address)
    yield made
    await made.close()


async def test_an_answer_has_arrays_and_says_who_gave_it(client):
    """Outputs are read by name, and the parameters of fabric are fields."""
    answer = await client.infer("digits", {"x": X}, id="7")

    assert answer["y"].tolist() == [[2, 4]]
    assert dict(answer) == answer.outputs
    assert (answer.model, answer.specialist, answer.version) == ("digits", "rotated", "2")
    assert (answer.route, answer.attempts, answer.fallback) == ("digits", 2, True)
    assert (answer.id, answer.parameters) == ("7", {"confidence": 0.5})


async def test_what_the_caller_asks_for_travels_as_parameters(client, gateway):
    """Requirements, substitution, outputs and other parameters are in the request."""
    await client.infer(
        "digits",
        {"x": X},
        version="3",
        requirements=Requirements(domain="rotated", labels={"team": "vision"}),
        substitute=False,
        parameters={"temperature": 0.5},
        outputs=["y"],
    )
    (request,) = gateway.requests
    assert (request.model_version, [o.name for o in request.outputs]) == ("3", ["y"])
    said = {name: str(value).strip() for name, value in request.parameters.items()}
    assert said == {
        "fabric_domain": 'string_param: "rotated"',
        "fabric_label.team": 'string_param: "vision"',
        "fabric_substitute": "bool_param: false",
        "temperature": "double_param: 0.5",
    }


async def test_requirements_may_be_a_mapping(client, gateway):
    """Its keys are those of the parameters; another one is refused before anything is sent."""
    await client.infer("digits", {"x": X}, requirements={"domain": "noisy", "label.team": "a"})
    assert set(gateway.requests[0].parameters) == {"fabric_domain", "fabric_label.team"}

    with pytest.raises(InvalidRequest, match="did you mean 'fabric_domain'"):
        await client.infer("digits", {"x": X}, requirements={"domains": "noisy"})
    assert len(gateway.requests) == 1


async def test_the_timeout_travels_as_the_deadline_of_the_call(client, gateway):
    """The gateway knows how long there is; without a timeout nobody says."""
    await client.infer("digits", {"x": X}, timeout=5.0)
    assert gateway.remaining == pytest.approx(5, abs=0.5)
    await client.infer("digits", {"x": X})
    assert gateway.remaining is None

    gateway.hang = True
    with pytest.raises(DeadlineExceeded, match=f"{gateway.address} has not answered within 0.05"):
        await client.infer("digits", {"x": X}, timeout=0.05)


@pytest.mark.parametrize("make", [fabric.AsyncClient, Threaded])
async def test_calls_of_the_control_plane_end_in_time(gateway, make):
    """Whatever hangs there; what may take any time is waited for."""
    gateway.hang = True
    impatient = make(gateway.address, timeout=0.05)
    with pytest.raises(DeadlineExceeded, match=r"has not answered within 0\.05 s"):
        await impatient.feedback("7", score=1)
    assert (await impatient.train("digits")).version
    assert gateway.remaining is None
    await impatient.close()

    gateway.hang = False
    patient = make(gateway.address)
    await patient.feedback("7", score=1)
    assert gateway.remaining == pytest.approx(30, abs=5)
    await patient.close()


async def test_a_cancelled_caller_is_noticed_by_the_gateway(gateway):
    """Cancelling the task cancels the call at the other end."""
    gateway.hang = True
    async with fabric.AsyncClient(gateway.address) as client:
        task = asyncio.create_task(client.infer("digits", {"x": X}))
        await gateway.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gateway.left.wait(), 5)


@pytest.mark.parametrize("error", [Overloaded, SpecialistFailed, NotFound])
async def test_errors_arrive_as_they_were_raised(client, gateway, error):
    """The class and the message survive, also where two classes share a status code."""
    gateway.fail = error("digits: it is so")
    with pytest.raises(error, match=r"^digits: it is so$") as caught:
        await client.infer("digits", {"x": X})
    assert type(caught.value) is error


async def test_an_error_without_details_is_known_by_its_code(client):
    """A server that says no more than a status is understood."""
    with pytest.raises(NotFound, match="nothing here"):
        await client.get("specialist", "none")


@pytest.mark.parametrize("way", ["http://{}", "grpc://{}", "http://{}/", "ipv4:{}"])
async def test_a_server_may_be_a_url(gateway, way):
    """Or what gRPC calls a target."""
    async with fabric.AsyncClient(way.format(gateway.address)) as client:
        assert await client.live()


@pytest.mark.parametrize("make", [fabric.AsyncClient, fabric.Client])
@pytest.mark.parametrize(
    ("server", "way_out"),
    [
        ("", ""),
        ("localhost", ""),
        ("localhost:abc", ""),
        ("http://localhost:8080/v2", ""),
        ("https://localhost:8080", "; TLS takes the SDK's `credentials`"),
    ],
)
async def test_a_server_without_a_port_is_refused(make, server, way_out):
    """At once, with what it must read."""
    with pytest.raises(InvalidRequest) as caught:
        make(server)
    assert caught.value.message == (
        f"server is '{server}', it must read HOST:PORT, such as localhost:8080{way_out}"
    )


async def test_nobody_at_the_address_is_unavailable(unused_address):
    """The error names the address."""
    async with fabric.AsyncClient(unused_address) as client:
        with pytest.raises(Unavailable, match=f"no fabric answers at {unused_address}"):
            await client.ready()


@pytest.fixture
async def unused_address():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    return f"{host}:{port}"


async def test_the_callers_span_is_the_parent(client, gateway):
    """The trace context of the current span goes along, and nothing does without one."""
    await client.infer("digits", {"x": X})
    assert "traceparent" not in gateway.metadata

    with TracerProvider().get_tracer("test").start_as_current_span("caller") as span:
        await client.infer("digits", {"x": X})
    context = span.get_span_context()
    expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert gateway.metadata["traceparent"] == expected


@pytest.mark.parametrize("make", [fabric.AsyncClient, Threaded])
async def test_a_tenant_goes_along_with_every_call(gateway, make):
    """And nothing does where none is given."""
    for tenant in ("team-a", ""):
        client = make(gateway.address, tenant=tenant)
        await client.infer("digits", {"x": X})
        await client.close()
        assert gateway.metadata.get("fabric-tenant", "") == tenant


async def test_what_is_declared_is_sent_whole(client, gateway):
    """Specialists and routes arrive with the flags, and changes come back."""
    specialist = Specialist(card=Card(name="rotated"), hosting=Hosting(model=Model(uri="/m.onnx")))
    route = Route(name="digits", chain=(ChainEntry(name="rotated"),))

    applied = await client.apply([specialist], [route], prune=True, dry_run=True)

    (request,) = gateway.requests
    assert request.specialists[0].hosting.model.uri == "/m.onnx"
    assert request.routes[0].chain[0].name == "rotated"
    assert (request.prune, request.dry_run) == (True, True)
    (change,) = applied.changes
    assert change.key == Key(Kind.SPECIALIST, "rotated:1")
    assert (change.action, change.fields) == ("update", ("hosting.batching.max_size",))
    assert applied.revision == 7


async def test_resources_are_asked_for_by_kind(client, gateway):
    """Kinds are texts, and an unknown one is refused here."""
    (replica,) = await client.list("replica")
    assert (replica.id, replica.load.running) == ("r1", 3)
    assert (await client.delete(Kind.ROUTE, "digits")).revision == 8
    assert gateway.requests[-1].key.kind == catalog_service_pb2.KIND_ROUTE
    with pytest.raises(InvalidRequest, match="specialist, route, replica, policy"):
        await client.list("models")


async def test_a_watch_is_a_snapshot_and_then_changes(client, gateway):
    """Leaving it ends the stream at the server."""
    async with contextlib.aclosing(client.watch(after=3)) as stream:
        first = await anext(stream)
        second = await anext(stream)
    assert gateway.requests[0].after_revision == 3
    assert (first.snapshot, first.revision) == (True, 7)
    (hosted,) = first.specialists
    assert isinstance(hosted, Hosted)
    assert (hosted.specialist.key, hosted.status.state) == ("rotated:1", State.READY)
    assert first.routes[0].name == "digits"
    assert second.removed == (Key(Kind.REPLICA, "r1"),)
    await asyncio.wait_for(gateway.left.wait(), 5)


async def test_a_plan_is_explained(client, gateway):
    """Candidates and refusals come with their reasons."""
    plan = await client.explain("digits", requirements={"domain": "rotated"})
    assert gateway.requests[0].requirements.domain == "rotated"
    assert [c.specialist for c in plan.candidates] == ["rotated"]
    assert [(r.specialist, r.reason) for r in plan.refusals] == [("noisy", "domain")]


async def test_what_is_said_of_a_request_travels(client, gateway):
    """One thing by its fields, many as they are; what is neither is refused here."""
    assert await client.feedback("7", label="3", specialist="rotated:1", id="x") == 1
    (said,) = gateway.requests[-1].feedback
    assert (said.request, said.label, said.specialist, said.id) == ("7", "3", "rotated:1", "x")
    await client.feedback("7", score=0.0)
    assert gateway.requests[-1].feedback[0].HasField("score")
    with pytest.raises(InvalidRequest, match="exactly one of label, score and preferred"):
        await client.feedback("7", label="3", score=1.0)


async def test_many_things_are_said_in_several_calls(client, gateway):
    """A thousand at a time, and what waits is added up; nothing is sent where nothing is said."""
    said = (Feedback(request=str(n), score=1.0) for n in range(2500))
    assert await client.feedback_many(said) == 3
    assert [len(request.feedback) for request in gateway.requests] == [1000, 1000, 500]
    assert await client.feedback_many([]) == 0
    assert len(gateway.requests) == 3


async def test_decisions_come_with_how_they_went_and_what_was_said(client, gateway):
    """Zeros that were said are told from what was not said."""
    (recorded,) = await client.decisions("digits", request="7", limit=5)
    assert (gateway.requests[-1].route, gateway.requests[-1].request) == ("digits", "7")
    assert gateway.requests[-1].limit == 5
    assert recorded.decision == Decision(
        request="7", route="digits", time=0.0, candidates=("rotated:1", "general:1")
    )
    outcome = Outcome(request="7", specialist="rotated:1", seconds=0.5, confidence=0.0)
    assert recorded.outcomes == (outcome,)
    assert recorded.feedback == (Feedback(request="7", score=0.0),)


async def test_training_says_what_came_of_it(client, gateway):
    """A version and its report, or why there is none."""
    assert (await client.train("digits")).version == 1
    gateway.unchanged = True
    trained = await client.train("digits")
    assert (trained.version, trained.report) == (0, "3 requests tell, it takes 50")


async def test_readiness_and_metadata_are_those_of_the_protocol(client):
    """A model's signature has its shapes, scalars included."""
    assert await client.live()
    assert await client.ready()
    assert await client.ready("digits")
    assert not await client.ready("other")
    metadata = await client.metadata("digits")
    assert metadata.versions == ("2", "1")
    assert (metadata.inputs[0].shape, metadata.outputs[0].shape) == ((-1, 4), ())


def test_both_clients_have_the_same_calls():
    """Every public name of one is a name of the other, with the same arguments."""

    def calls(cls):
        public = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        return {name: inspect.signature(value) for name, value in public.items() if name != "watch"}

    ours, theirs = calls(fabric.AsyncClient), calls(fabric.Client)
    assert {n: list(s.parameters) for n, s in ours.items()} == {
        n: list(s.parameters) for n, s in theirs.items()
    }


def test_every_call_of_the_services_has_a_method():
    """What a person may ask of the catalog is on the clients; the rest is for replicas."""
    service = catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"]
    for_replicas = {"Register", "Renew", "Withdraw"}
    assert {m.name.lower() for m in service.methods if m.name not in for_replicas} <= set(
        dir(fabric.Client)
    )
