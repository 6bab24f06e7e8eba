"""Traces and logs: their formats, and one real trace through real processes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from onnx_models import doubling
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from running import Failing, Held, Running, Saying, process, served, unique, until

from fabric import AsyncClient, Value, each, op, pipeline, step, telemetry
from fabric.api.catalog.v1 import card_pb2
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.cards import Caching, Model
from fabric.core.errors import SpecialistFailed
from fabric.core.routes import ChainEntry, Mixture, Route
from fabric.runtime.settings import ReplicaSettings
from fabric.testing import specialist
from fabric.wire.cards import to_message

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
INFER = "/inference.GRPCInferenceService/ModelInfer"


# ------------------------------------------------------------------ trace context
@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_traceparent_survives_the_frame(flags):
    """Text, bytes and context say the same."""
    packed = telemetry.parse(f"00-{TRACE}-{CALLER}-{flags}")
    assert len(packed) == telemetry.CONTEXT_SIZE
    context = telemetry.unpack(packed)
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (TRACE, CALLER)
    assert (int(context.trace_flags), context.is_remote) == (int(flags), True)


def test_a_later_version_is_read_as_far_as_it_is_known():
    """W3C: what follows the flags is for others."""
    packed = telemetry.parse(f"00-{TRACE}-{CALLER}-01")
    assert telemetry.parse(f"01-{TRACE}-{CALLER}-01-more") == packed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}",
        f"00-{TRACE[:-1]}-{CALLER}-01",
        f"00-{TRACE[:-1]}x-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:20]}{' ' * 12}-{CALLER}-01",
    ],
)
def test_what_is_no_context_is_none(text):
    """Nobody fails for a header that is wrong."""
    assert telemetry.parse(text) == b""


def test_a_span_is_packed_as_its_context():
    """One without a context is nothing."""
    span = TracerProvider().get_tracer("test").start_span("s")
    assert telemetry.unpack(telemetry.pack(span)).span_id == span.get_span_context().span_id
    assert telemetry.pack(telemetry.trace.INVALID_SPAN) == b""


# ------------------------------------------------------------------ logs
def line_of(*args, **fields):
    record = logging.LogRecord("fabric.x", logging.WARNING, __file__, 1, *args, **fields)
    return json.loads(telemetry.JsonFormatter("service").format(record))


def test_a_log_line_is_one_json_object():
    """With a time, a level, and whose it is; a message of several lines stays one."""
    line = line_of("a %s\nb", ("ü",), None)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "service": "service",
        "logger": "fabric.x",
        "message": "a ü\nb",
    }


def test_a_log_line_has_the_ids_of_its_span():
    """So that a trace finds its logs."""
    with TracerProvider().get_tracer("test").start_as_current_span("s") as span:
        line = line_of("m", (), None)
    context = span.get_span_context()
    assert line["trace_id"] == f"{context.trace_id:032x}"
    assert line["span_id"] == f"{context.span_id:016x}"


def test_a_log_line_has_its_exception():
    """Whole, in one line."""
    try:
        raise ValueError("this")
    except ValueError:
        line = line_of("m", (), sys.exc_info())
    assert "ValueError: this" in line["exception"]


# ------------------------------------------------------------------ the standard variables
def configured(*statements, **environ):
    """What a fresh process with these variables prints."""
    code = "\n".join(("from fabric import telemetry as t", "t.configure('s')", *statements))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**clean, **environ}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("environ", "enabled"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1"}, False),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_spans_are_recorded_when_an_exporter_is_named(environ, enabled):
    """Without one the SDK is not even imported."""
    shown = configured(
        "import sys",
        "print(t.is_enabled(), 'opentelemetry.sdk.trace' in sys.modules)",
        **environ,
    )
    assert shown.stdout.split() == [str(enabled)] * 2, shown.stderr


def test_an_unknown_exporter_is_refused_by_name():
    """With those that are known."""
    shown = configured(OTEL_TRACES_EXPORTER="zipkin")
    assert "OTEL_TRACES_EXPORTER=zipkin is not known; use otlp, console or none" in shown.stderr


@pytest.mark.parametrize(
    ("environ", "one_in"),
    [
        ({}, 100),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, 1),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, 4),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, 0),
    ],
)
def test_the_sampler_is_that_of_the_variables(environ, one_in):
    """One request in a hundred where they say nothing."""
    show = "print(t.sampled_one_in(), t.is_recorded(b'a' * 24 + b'\\1'), t.is_recorded(b''))"
    shown = configured(show, OTEL_TRACES_EXPORTER="console", **environ)
    assert shown.stdout.split() == [str(one_in), "True", "False"], shown.stderr


@pytest.mark.parametrize(
    ("name", "text"), [("jaeger_remote", "1"), ("traceidratio", "much"), ("traceidratio", "1.5")]
)
def test_a_sampler_that_cannot_be_is_refused(name, text):
    """With those that can."""
    environ = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": text}
    shown = configured(OTEL_TRACES_EXPORTER="console", **environ)
    assert f"OTEL_TRACES_SAMPLER={name} with OTEL_TRACES_SAMPLER_ARG={text}" in shown.stderr
    assert "use always_on, always_off, or traceidratio" in shown.stderr


# ------------------------------------------------------------------ a real trace
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP receiver that keeps what it is sent."""

    def __init__(self):
        self.spans = []

    def Export(self, request, context):  # noqa: N802 - the proto's name
        for resource in request.resource_spans:
            (service,) = (
                a.value.string_value
                for a in resource.resource.attributes
                if a.key == "service.name"
            )
            self.spans += [(service, s) for scope in resource.scope_spans for s in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace):
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A fabric whose processes export to a collector, with a real replica of `double`."""
    folder = tmp_path_factory.mktemp("traced")
    collector = Collector()
    with ThreadPoolExecutor(2) as executor:
        server = grpc.server(executor)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        of = specialist("double", model=Model(uri=str(doubling(folder / "m.onnx"))))
        running = Running(folder, environ=environ)
        settings = ReplicaSettings(
            specialist=MessageToJson(to_message(of, card_pb2.Specialist)),
            control=running.control_address,
        )
        log = folder / "replica.log"
        with running.started(), process("fabric.runtime", settings, log, **environ):
            yield running, collector, of
        server.stop(None).wait()


@pytest.fixture
async def tracing(traced):
    running, collector, of = traced
    async with AsyncClient(running.address) as client:
        await client.apply([of])
        await running.until_linked(client, "double")
        yield running, collector, client


async def ask(running, model, traceparent):
    request = ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(np.zeros(2, np.float32).tobytes())
    async with grpc.aio.insecure_channel(running.address) as channel:
        call = channel.unary_unary(INFER)
        await call(request.SerializeToString(), metadata=[("traceparent", traceparent)])


def attributes(span):
    return {
        a.key: getattr(a.value, a.value.WhichOneof("value"))
        for a in span.attributes
        if a.key.startswith(("fabric.", "error."))
    }


async def test_a_request_is_one_trace_from_gateway_to_replica(tracing):
    """The caller's span is the parent of the gateway's, that of the attempt's, and so on."""
    running, collector, _ = tracing
    trace = TRACE.replace("0af", "1af")
    await ask(running, "double", f"00-{trace}-{CALLER}-01")
    await until(lambda: len(collector.of(trace)) == 3)

    spans = {span.name: (service, span) for service, span in collector.of(trace)}
    service, gateway = spans[telemetry.GATEWAY_SPAN]
    assert (service, gateway.parent_span_id.hex()) == ("fabric-gateway", CALLER)
    assert gateway.kind == Span.SPAN_KIND_SERVER
    assert attributes(gateway) == {
        telemetry.MODEL: "double",
        telemetry.ROUTE: "",
        telemetry.SPECIALIST: "double",
        telemetry.FALLBACK: False,
        telemetry.ATTEMPTS: 1,
    }
    service, attempt = spans[telemetry.ATTEMPT_SPAN]
    assert (service, attempt.parent_span_id) == ("fabric-gateway", gateway.span_id)
    assert attempt.kind == Span.SPAN_KIND_CLIENT
    service, replica = spans[telemetry.REPLICA_SPAN]
    assert (service, replica.parent_span_id) == ("fabric-replica", attempt.span_id)
    assert replica.kind == Span.SPAN_KIND_SERVER
    said = attributes(replica)
    assert said.pop(telemetry.REPLICA) == attributes(attempt)[telemetry.REPLICA]
    assert said == {
        telemetry.SPECIALIST: "double",
        telemetry.VERSION: "1",
        telemetry.BATCH_ROWS: 1,
    }
    assert {span.status.code for _, span in spans.values()} == {Status.STATUS_CODE_UNSET}


async def test_a_pipeline_is_one_trace_with_a_span_for_each_step(tracing):
    """A step's span is the parent of those in its body, and of the attempts of its call."""
    running, collector, client = tracing

    @pipeline(name=unique("traced"))
    def doubled(x: Value) -> Value:
        lost = step("nobody", x=x, optional=True)
        rows = each(x, lambda row: step("double", x=row))
        return op.default([lost, op.concat(rows)])

    await client.apply(pipelines=[doubled.graph])
    name = doubled.graph.name
    await until(partial(client.ready, name))
    trace = TRACE.replace("0af", "9ef")
    await ask(running, name, f"00-{trace}-{CALLER}-01")
    await until(lambda: len(collector.of(trace)) == 6)

    spans = [span for _, span in collector.of(trace)]
    (gateway,) = (span for span in spans if span.name == telemetry.GATEWAY_SPAN)
    steps = {attributes(s)[telemetry.STEP]: s for s in spans if s.name == telemetry.STEP_SPAN}
    (attempt,) = (span for span in spans if span.name == telemetry.ATTEMPT_SPAN)
    assert steps.keys() == {"nobody", "each", "double"}
    assert steps["nobody"].parent_span_id == steps["each"].parent_span_id == gateway.span_id
    assert steps["double"].parent_span_id == steps["each"].span_id
    assert attempt.parent_span_id == steps["double"].span_id
    assert attributes(steps["double"]) == {
        telemetry.STEP: "double",
        telemetry.ITEM: "0",
        telemetry.SPECIALIST: "double:1",
        telemetry.ATTEMPTS: 1,
    }
    assert attributes(steps["nobody"])[telemetry.ERROR_TYPE] == "NOT_FOUND"


async def test_an_attempt_says_whether_its_answer_was_kept(tracing):
    """A hit reaches no replica, and where nothing is kept nothing is said of it."""
    running, collector, client = tracing
    name = unique("kept")
    async with served(running, client, name, Saying(), cache=Caching()):
        said = []
        for number in ("3", "4"):
            trace = TRACE.replace("0af", f"{number}cf")
            await ask(running, name, f"00-{trace}-{CALLER}-01")
            await until(lambda trace=trace: len(collector.of(trace)) == 2)
            spans = {span.name: span for _, span in collector.of(trace)}
            said.append(attributes(spans[telemetry.ATTEMPT_SPAN])[telemetry.CACHE])
    assert said == ["miss", "hit"]


async def test_a_failed_attempt_stands_beside_the_one_that_answered(tracing):
    """Marked as failed, with the kind of its error; the request itself is none."""
    running, collector, client = tracing
    trace = TRACE.replace("0af", "2af")
    name = unique("failing")
    async with served(running, client, name, Failing(SpecialistFailed("nan"))):
        route = Route(
            name=unique("route"), chain=(ChainEntry(name=name), ChainEntry(name="double"))
        )
        await client.apply([], [route])
        await running.until_linked(client, route.name)
        await ask(running, route.name, f"00-{trace}-{CALLER}-01")
    await until(lambda: len(collector.of(trace)) == 4)

    spans = [span for _, span in collector.of(trace)]
    (gateway,) = (span for span in spans if span.name == telemetry.GATEWAY_SPAN)
    attempts = [span for span in spans if span.name == telemetry.ATTEMPT_SPAN]
    failed, answered = sorted(attempts, key=lambda span: span.start_time_unix_nano)
    assert {failed.parent_span_id, answered.parent_span_id} == {gateway.span_id}
    assert attributes(failed)[telemetry.ERROR_TYPE] == "SPECIALIST_FAILED"
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert attributes(answered)[telemetry.SPECIALIST] == "double"
    assert telemetry.ERROR_TYPE not in attributes(answered)
    assert attributes(gateway)[telemetry.ROUTE] == route.name
    assert attributes(gateway)[telemetry.FALLBACK] is True
    assert attributes(gateway)[telemetry.ATTEMPTS] == 2


async def test_attempts_at_the_same_time_stand_beside_each_other(tracing):
    """What a replica does is below its own attempt, and the request says who took part."""
    running, collector, client = tracing
    trace = TRACE.replace("0af", "5af")
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        chain = (ChainEntry(name=name), ChainEntry(name="double"))
        route = Route(name=unique("route"), chain=chain, mixture=Mixture())
        await client.apply([], [route])
        await running.until_linked(client, route.name)
        task = asyncio.create_task(ask(running, route.name, f"00-{trace}-{CALLER}-01"))
        call = await held.next()
        await until(lambda: len(collector.of(trace)) == 2)  # of the one that has answered
        call.fail(SpecialistFailed("nan"))
        await task
    await until(lambda: len(collector.of(trace)) == 4)

    spans = [span for _, span in collector.of(trace)]
    (gateway,) = (span for span in spans if span.name == telemetry.GATEWAY_SPAN)
    (replica,) = (span for span in spans if span.name == telemetry.REPLICA_SPAN)
    attempts = {
        attributes(span)[telemetry.SPECIALIST]: span
        for span in spans
        if span.name == telemetry.ATTEMPT_SPAN
    }
    assert {span.parent_span_id for span in attempts.values()} == {gateway.span_id}
    assert replica.parent_span_id == attempts["double"].span_id
    assert f"{telemetry.unpack(call.trace).span_id:016x}" == attempts[name].span_id.hex()
    said = attributes(gateway)
    assert [each.string_value for each in said[telemetry.MIXTURE].values] == ["double:1"]
    assert (said[telemetry.ATTEMPTS], said[telemetry.FALLBACK]) == (2, True)


async def test_what_the_caller_does_not_sample_is_not_recorded(tracing):
    """Its context still reaches the replica, unsampled."""
    running, collector, client = tracing
    trace = TRACE.replace("0af", "3af")
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        task = asyncio.create_task(ask(running, name, f"00-{trace}-{CALLER}-00"))
        call = await held.next()
        context = telemetry.unpack(call.trace)
        assert (f"{context.trace_id:032x}", int(context.trace_flags)) == (trace, 0)
        call.respond(b"")
        await task
    sampled = TRACE.replace("0af", "4af")
    await ask(running, "double", f"00-{sampled}-{CALLER}-01")
    await until(lambda: len(collector.of(sampled)) == 3)
    assert collector.of(trace) == []
