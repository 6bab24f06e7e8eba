"""A replica over a real link, under a lease over real gRPC."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import replace

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from onnx_models import doubling, looking_up, shifting, slow

from fabric import telemetry
from fabric.api.catalog.v1 import card_pb2
from fabric.api.inference.v2.extensions_pb2 import ModelStatistics
from fabric.api.inference.v2.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from fabric.core.cards import (
    Batching,
    Card,
    Hosting,
    Model,
    Replicas,
    Specialist,
    Timeouts,
)
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.tensors import Signature, TensorSpec
from fabric.link.client import connect
from fabric.processes import to_environ
from fabric.runtime.replica import Replica
from fabric.runtime.settings import ReplicaSettings
from fabric.testing import FakeControl
from fabric.wire.cards import from_message, to_message
from fabric.wire.tensors import decode_outputs, encode_inputs

NOBODY = "127.0.0.1:1"


def specialist_of(path, **hosting):
    model = Model(uri=str(path))
    return Specialist(card=Card(name="s", version="3"), hosting=Hosting(model=model, **hosting))


def request(value, rows=1, **fields):
    message = ModelInferRequest(model_name="asked", **fields)
    encode_inputs(message, {"x": np.full((rows, 2), value, np.float32)})
    return message.SerializeToString()


def answer(payload):
    return decode_outputs(ModelInferResponse.FromString(bytes(payload)))["y"].tolist()


@pytest.fixture
async def serving():
    """Opens a replica and a link to it; both are closed at the end."""
    opened = []

    async def serve(specialist, control=NOBODY):
        replica = Replica(specialist, control, node="here")
        await replica.open()
        link = await connect(replica.address)
        opened.append((replica, link))
        return replica, link

    yield serve
    for replica, link in opened:
        link.close()
        await replica.close()


# ------------------------------------------------------------------ answers
async def test_requests_are_answered(serving, tmp_path):
    """By name and version, with the caller's id."""
    _, link = await serving(specialist_of(doubling(tmp_path / "m.onnx")))
    payload = await link.call(request(1.5, id="a"), NEVER)
    response = ModelInferResponse.FromString(payload)
    assert answer(payload) == [[3, 3]]
    assert (response.model_name, response.model_version, response.id) == ("asked", "3", "a")
    assert (link.peer.specialist, link.peer.version) == ("s", "3")
    assert len(link.peer.digest) == 64


async def test_requests_that_come_together_are_batched(serving, tmp_path):
    """Everyone gets their own rows."""
    batching = Batching(max_size=8)
    _, link = await serving(specialist_of(doubling(tmp_path / "m.onnx"), batching=batching))
    calls = [link.call(request(value, rows=value % 3 + 1), NEVER) for value in range(30)]
    for value, payload in enumerate(await asyncio.gather(*calls)):
        assert answer(payload) == [[2 * value] * 2] * (value % 3 + 1)


async def test_large_requests_are_answered(serving, tmp_path):
    """Frames beyond what is copied at once."""
    _, link = await serving(specialist_of(doubling(tmp_path / "m.onnx")))
    assert answer(await link.call(request(1, rows=50_000), NEVER)) == [[2, 2]] * 50_000


async def test_a_bad_request_fails_none_but_itself(serving, tmp_path):
    """A value that the model refuses costs the others of the batch nothing."""
    specialist = specialist_of(looking_up(tmp_path / "m.onnx"), batching=Batching(max_size=8))
    _, link = await serving(specialist)

    def row(number):
        message = ModelInferRequest()
        encode_inputs(message, {"x": np.array([number], np.int64)})
        return link.call(message.SerializeToString(), NEVER)

    good, bad, other = await asyncio.gather(row(1), row(9), row(3), return_exceptions=True)
    assert (answer(good), answer(other)) == ([1], [3])
    assert isinstance(bad, SpecialistFailed)
    assert "indices element out of data bounds" in bad.message


async def test_what_the_signature_does_not_take_is_refused(serving, tmp_path):
    """By the specialist's name."""
    _, link = await serving(specialist_of(doubling(tmp_path / "m.onnx")))
    with pytest.raises(InvalidRequest, match="for model 's'"):
        await link.call(ModelInferRequest(model_name="asked").SerializeToString(), NEVER)


async def test_a_caller_who_leaves_stops_a_lone_run(serving, tmp_path):
    """The model is free for the next one long before the run would have ended."""
    replica, link = await serving(specialist_of(slow(tmp_path / "m.onnx")))
    message = ModelInferRequest()
    encode_inputs(message, {"x": np.ones((256, 256), np.float32)})
    loop = asyncio.get_running_loop()
    start = loop.time()
    await link.call(message.SerializeToString(), NEVER)
    whole = loop.time() - start
    call = asyncio.create_task(link.call(message.SerializeToString(), NEVER))
    while not replica._runner.meter.count:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.005)
    call.cancel()
    start = loop.time()
    while replica._runner.meter.count:
        await asyncio.sleep(0.001)
    assert loop.time() - start < whole / 2


async def test_a_request_waits_no_longer_than_the_specialist_allows(serving, tmp_path):
    """`timeouts.request` holds where the caller sets no deadline."""
    specialist = Specialist(
        card=Card(name="s"),
        hosting=Hosting(python=f"{__name__}:Sleeper", timeouts=Timeouts(request=0.01)),
    )
    _, link = await serving(specialist)
    with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
        await link.call(request(10), NEVER)


async def test_classes_have_the_names_of_their_file(serving, tmp_path):
    """Also after a change of options."""
    (tmp_path / "labels.txt").write_text("cat\ndog\nfox\n")
    classes = {"y": str(tmp_path / "labels.txt")}
    replica, link = await serving(specialist_of(doubling(tmp_path / "m.onnx"), classes=classes))
    asked = [{"name": "y", "parameters": {"classification": {"int64_param": 1}}}]
    payload = request(1, outputs=asked)
    assert answer(await link.call(payload, NEVER)) == [b"2.000000:0:cat"]
    replica.reconfigure(Batching(max_size=4), Timeouts())
    assert answer(await link.call(payload, NEVER)) == [[b"2.000000:0:cat"]]


async def test_classes_of_an_output_that_is_not_there_are_an_error_at_the_start(tmp_path):
    """Before anybody is served."""
    wrong = specialist_of(doubling(tmp_path / "m.onnx"), classes={"z": "/labels"})
    with pytest.raises(Conflict, match="names the output 'z', the model has y"):
        await Replica(wrong, NOBODY).open()


async def test_requests_that_left_out_different_inputs_are_run_apart(serving, tmp_path):
    """Each as if it were alone, though they came together."""
    inputs = tuple(TensorSpec(name=n, datatype="FP32", shape=(-1, 2)) for n in ("x", "by"))
    declared = specialist_of(shifting(tmp_path / "m.onnx"), batching=Batching(max_size=8))
    card = replace(declared.card, signature=Signature(inputs=inputs))
    _, link = await serving(replace(declared, card=card))
    both = ModelInferRequest(model_name="s")
    encode_inputs(both, {n: np.full((1, 2), 5, np.float32) for n in ("x", "by")})
    payloads = [request(1), both.SerializeToString(), request(2)]
    answers = await asyncio.gather(*(link.call(payload, NEVER) for payload in payloads))
    assert [answer(payload) for payload in answers] == [[[2, 2]], [[10, 10]], [[3, 3]]]


# ------------------------------------------------------------------ Python specialists
ANY = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
SIGNATURE = Signature(
    inputs=(ANY,), outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),)
)


class Sleeper:
    """Sleeps x seconds, then gives x times `factor`."""

    signature = SIGNATURE
    events: list[str]

    def __init__(self, factor="1"):
        self.factor = np.float32(factor)
        Sleeper.events = []

    async def open(self):
        self.events.append("open")

    async def infer(self, inputs):
        x = inputs["x"]
        if x[0, 0] == 13:
            raise KeyError("thirteen")
        if x[0, 0] == 14:
            raise NotFound("fourteen is not here")
        if x[0, 0] == 15:
            return [x]
        try:
            await asyncio.sleep(float(x[0, 0]))
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        return {"y": x * self.factor}

    async def close(self):
        self.events.append("close")


def python_specialist(cls="Sleeper", arguments=(), signature=None, **hosting):
    return Specialist(
        card=Card(name="s", signature=signature),
        hosting=Hosting(python=f"{__name__}:{cls}", arguments=dict(arguments), **hosting),
    )


async def test_replicas_that_answer_alike_greet_alike(serving, tmp_path):
    """Whatever else is said of them; another model, or another way to run it, is told apart."""
    of = specialist_of(doubling(tmp_path / "m.onnx"))
    moved = replace(
        of,
        card=replace(of.card, cost=9.0),
        hosting=replace(of.hosting, batching=Batching(max_size=4), replicas=Replicas(max=3)),
    )
    shifted = specialist_of(shifting(tmp_path / "n.onnx"))
    other = replace(of, hosting=replace(of.hosting, classes={"y": str(tmp_path / "labels")}))
    (tmp_path / "labels").write_text("cat")
    python = [python_specialist(arguments={"factor": factor}) for factor in "33"]
    slower = python_specialist(arguments={"factor": "4"})
    told = []
    for each in (of, moved, shifted, other, *python, slower):
        _, link = await serving(each)
        told.append(link.peer.digest)
    assert told[0] == told[1]
    assert told[4] == told[5]
    assert len(set(told)) == 5


async def test_a_python_specialist_answers(serving):
    """It is made with its arguments, opened, and closed at the end."""
    replica, link = await serving(python_specialist(arguments={"factor": "3"}))
    calls = [link.call(request(0.001 * n), NEVER) for n in range(5)]
    for n, payload in enumerate(await asyncio.gather(*calls)):
        assert np.allclose(answer(payload), 0.003 * n)
    assert Sleeper.events == ["open"]
    await replica.close()
    assert Sleeper.events == ["open", "close"]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (13, SpecialistFailed, "KeyError: 'thirteen'"),
        (14, NotFound, "fourteen is not here"),
        (15, SpecialistFailed, "infer did not give a dict of numpy arrays"),
    ],
)
async def test_errors_of_python_specialists_reach_the_caller(serving, value, error, text):
    """fabric's own as they are, others as the specialist's failure."""
    _, link = await serving(python_specialist())
    with pytest.raises(error, match=text):
        await link.call(request(value), NEVER)


async def test_a_python_specialist_is_cancelled_with_its_caller(serving):
    """Its task sees the cancellation."""
    _, link = await serving(python_specialist())
    with pytest.raises(DeadlineExceeded):
        await link.call(request(10), Deadline.after(0.02))
    while Sleeper.events != ["open", "cancelled"]:
        await asyncio.sleep(0.001)


async def test_a_python_specialist_has_room_for_so_many(serving):
    """One more than `max_queue` in progress is refused."""
    _, link = await serving(python_specialist(batching=Batching(max_queue=2)))
    calls = [link.call(request(0.05), NEVER) for _ in range(3)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(result, "reason", "") for result in results] == ["", "", "OVERLOADED"]


async def test_a_python_specialist_keeps_room_for_higher_priorities(serving):
    """A fifth of it is not for the lowest."""
    batching = Batching(max_queue=5, priorities=2)
    _, link = await serving(python_specialist(batching=batching))
    low = [link.call(request(0.05), NEVER) for _ in range(5)]
    urgent = request(0.05, parameters={"priority": InferParameter(uint64_param=1)})
    high = [link.call(urgent, NEVER) for _ in range(2)]
    results = await asyncio.gather(*low, *high, return_exceptions=True)
    reasons = [getattr(result, "reason", "") for result in results]
    assert reasons == [*[""] * 4, "OVERLOADED", "", "OVERLOADED"]


class Mute:
    def infer(self, inputs):
        return inputs


class Unsigned:
    async def infer(self, inputs):
        return {"y": inputs["x"]}


async def test_the_card_may_give_the_signature(serving):
    """A class needs none of its own."""
    _, link = await serving(python_specialist("Unsigned", signature=SIGNATURE))
    assert answer(await link.call(request(1), NEVER)) == [[1, 1]]


class Shifter:
    """Adds `by`, or one."""

    async def infer(self, inputs):
        return {"y": inputs["x"] + inputs.get("by", np.float32(1))}


async def test_a_python_specialist_gets_what_was_given(serving):
    """An optional input that was left out is not there."""
    by = replace(ANY, name="by", optional=True)
    signature = replace(SIGNATURE, inputs=(ANY, by))
    _, link = await serving(python_specialist("Shifter", signature=signature))
    assert answer(await link.call(request(1), NEVER)) == [[2, 2]]


@pytest.mark.parametrize(
    ("cls", "arguments", "error", "text"),
    [
        ("Nothing", {}, NotFound, "has no attribute 'Nothing'"),
        ("Mute", {}, Conflict, "has no 'async def infer"),
        ("Unsigned", {}, Conflict, "declare the card's signature"),
        ("Sleeper", {"speed": "1"}, Conflict, "does not take the arguments {'speed': '1'}"),
    ],
)
async def test_a_class_that_is_no_specialist_is_refused(cls, arguments, error, text):
    """At the start, with the way out."""
    with pytest.raises(error, match=text):
        await Replica(python_specialist(cls, arguments), NOBODY).open()


# ------------------------------------------------------------------ statistics
async def statistics(link):
    return ModelStatistics.FromString(await link.ask_statistics(NEVER))


async def test_a_replica_tells_what_it_has_done(serving, tmp_path):
    """Of requests that it could take; one that is not right has never been one."""
    specialist = specialist_of(doubling(tmp_path / "m.onnx"), batching=Batching(max_size=8))
    _, link = await serving(specialist)
    before = time.time()
    for rows in (1, 3):
        await link.call(request(1, rows=rows), NEVER)
    with pytest.raises(InvalidRequest):
        await link.call(request(1, rows=9), NEVER)
    said = await statistics(link)
    assert (said.name, said.version) == ("s", "3")
    assert before - 1 <= said.last_inference / 1000 <= time.time() + 1
    assert (said.inference_count, said.execution_count) == (4, 2)
    stats = said.inference_stats
    assert (stats.success.count, stats.fail.count) == (2, 0)
    parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert [part.count for part in parts] == [2, 2, 2, 2]
    assert abs(sum(part.ns for part in parts) - stats.success.ns) <= 4  # each is rounded
    assert [batch.batch_size for batch in said.batch_stats] == [1, 3]


async def test_a_python_specialist_tells_what_it_has_done(serving):
    """Its tasks are runs of their own."""
    _, link = await serving(python_specialist())
    await link.call(request(0.02), NEVER)
    with pytest.raises(SpecialistFailed):
        await link.call(request(13), NEVER)
    leaving = asyncio.create_task(link.call(request(10), NEVER))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.wait((leaving,))
    said = await statistics(link)
    assert (said.inference_count, said.execution_count) == (1, 1)
    stats = said.inference_stats
    assert (stats.success.count, stats.fail.count) == (1, 1)
    assert stats.success.ns >= stats.compute_infer.ns >= 10_000_000
    assert [batch.batch_size for batch in said.batch_stats] == [1]


# ------------------------------------------------------------------ life
async def test_a_replica_lives_under_a_lease(serving, tmp_path):
    """It registers with its signature, renews, drains and withdraws."""
    async with FakeControl() as control:
        replica, link = await serving(specialist_of(doubling(tmp_path / "m.onnx")), control.address)
        await control.heard("register", "renew", "renew")
        known = control.replicas[replica.id]
        assert (known.specialist, known.version, known.node) == ("s", "3", "here")
        assert (known.address, known.pid) == (replica.address, os.getpid())
        x, y = (
            replace(spec, symbols=("N", "")) for spec in (*SIGNATURE.inputs, *SIGNATURE.outputs)
        )
        known = from_message(control.signatures[replica.id], Signature)
        assert known == Signature(inputs=(x,), outputs=(y,))
        replica.check()

        await replica.close()

        await control.heard("draining", "withdraw")
        assert link.is_draining
        assert control.replicas == {}
        with pytest.raises(Unavailable):
            replica.check()


async def test_a_replica_that_is_not_known_any_more_registers_anew(serving, tmp_path):
    """A control plane that lost its memory has it back at once."""
    async with FakeControl() as control:
        replica, _ = await serving(specialist_of(doubling(tmp_path / "m.onnx")), control.address)
        await control.heard("register", "renew")
        control.replicas.clear()
        await control.heard("register", "renew")
        assert list(control.replicas) == [replica.id]


class RefusingControl(FakeControl):
    """Takes no replica."""

    async def Register(self, request, context):  # noqa: N802 - the proto's name
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "that is no replica")


async def test_a_replica_that_the_catalog_refuses_for_good_ends(serving):
    """With the reason, which whoever hosts it is told; it does not try for ever."""
    async with RefusingControl() as control:
        replica, _ = await serving(python_specialist(), control.address)
        async with asyncio.timeout(10):
            await replica.failed()
        with pytest.raises(Unavailable, match="refuses this replica: that is no replica"):
            replica.check()


async def test_a_start_may_wait_for_the_catalog(serving):
    """Until the replica is in it, or for as long as it has patience."""
    alone, _ = await serving(python_specialist())
    assert not await alone.registered(0.01)
    async with FakeControl() as control:
        replica, _ = await serving(python_specialist(), control.address)
        assert await replica.registered(10)
        assert list(control.replicas) == [replica.id]


async def test_a_replica_serves_while_the_control_plane_is_away(serving, tmp_path):
    """And is registered when it is back."""
    control = FakeControl()
    async with control:
        replica, link = await serving(specialist_of(doubling(tmp_path / "m.onnx")), control.address)
        await control.heard("register", "renew")
    assert answer(await link.call(request(1), NEVER)) == [[2, 2]]
    replica.check()
    control.words.clear()
    async with control:
        async with asyncio.timeout(10):
            await control.heard("register", "renew")
        assert list(control.replicas) == [replica.id]
        await replica.close()


async def test_what_is_in_flight_is_answered_before_the_end(serving):
    """Draining waits for it."""
    replica, link = await serving(python_specialist())
    call = asyncio.create_task(link.call(request(0.05), NEVER))
    while not replica._runner.meter.count:
        await asyncio.sleep(0.001)
    await replica.close()
    assert np.allclose(answer(await call), 0.05)


async def test_draining_does_not_wait_for_ever(serving):
    """After `timeouts.drain` the callers are told."""
    replica, link = await serving(python_specialist(timeouts=Timeouts(drain=0.01)))
    call = asyncio.create_task(link.call(request(30), NEVER))
    while not replica._runner.meter.count:
        await asyncio.sleep(0.001)
    await replica.close()
    with pytest.raises(Unavailable):
        await call


async def test_options_change_in_place(serving, tmp_path):
    """Batching and timeouts hold from the next request on; what cannot be is refused."""
    replica, link = await serving(specialist_of(doubling(tmp_path / "m.onnx")))
    assert answer(await link.call(request(1, rows=5), NEVER)) == [[2, 2]] * 5
    replica.reconfigure(Batching(max_size=4), Timeouts())
    with pytest.raises(InvalidRequest, match="batch-size must be <= 4"):
        await link.call(request(1, rows=5), NEVER)


async def test_options_that_the_model_cannot_follow_are_refused(serving, tmp_path):
    """What was valid stays."""
    replica, link = await serving(specialist_of(doubling(tmp_path / "m.onnx", (1, 2))))
    with pytest.raises(Conflict, match="first dimension must be -1"):
        replica.reconfigure(Batching(max_size=4), Timeouts())
    assert answer(await link.call(request(1), NEVER)) == [[2, 2]]


async def test_a_model_that_is_not_there_is_an_error_at_the_start():
    """Nothing is left open."""
    with pytest.raises(NotFound, match="there is no model at /no/model"):
        await Replica(specialist_of("/no/model.onnx"), NOBODY).open()


class Late(Unsigned):
    async def open(self):
        await asyncio.sleep(10)


async def test_a_specialist_must_open_in_time():
    """`timeouts.startup` says in what."""
    late = python_specialist("Late", timeouts=Timeouts(startup=0.02))
    with pytest.raises(DeadlineExceeded, match=r"did not open within 0\.02 s"):
        await Replica(late, NOBODY).open()


@pytest.fixture
def exporter(monkeypatch):
    """Keeps the spans that end."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(telemetry, "_enabled", True)
    return exporter


async def test_a_refused_request_leaves_a_span_too(serving, tmp_path, exporter):
    """Overload is seen in the traces, with its reason."""
    batching = Batching(max_queue=1)
    _, link = await serving(specialist_of(doubling(tmp_path / "m.onnx"), batching=batching))
    trace = telemetry.parse("00-" + "ab" * 16 + "-" + "cd" * 8 + "-01")

    calls = [link.call(request(1), NEVER, trace) for _ in range(3)]
    results = await asyncio.gather(*calls, return_exceptions=True)

    refused = [result for result in results if isinstance(result, Overloaded)]
    spans = exporter.get_finished_spans()
    assert refused
    assert len(spans) == 3
    assert sum(not span.status.is_ok for span in spans) == len(refused)


async def test_what_finds_no_room_is_not_decoded(serving, tmp_path):
    """A full replica spends nothing on what it refuses, be it right or wrong."""
    batching = Batching(max_queue=1)
    _, link = await serving(specialist_of(doubling(tmp_path / "m.onnx"), batching=batching))
    served, refused = await asyncio.gather(
        link.call(request(1), NEVER), link.call(b"no message", NEVER), return_exceptions=True
    )
    assert answer(served) == [[2, 2]]
    assert isinstance(refused, Overloaded)


async def test_a_span_says_how_many_rows_ran_together(serving, tmp_path, exporter):
    """It is below the span of the caller."""
    batching = Batching(max_size=8)
    replica, link = await serving(specialist_of(doubling(tmp_path / "m.onnx"), batching=batching))
    trace = telemetry.parse("00-" + "ab" * 16 + "-" + "cd" * 8 + "-01")

    await asyncio.gather(*[link.call(request(1), NEVER, trace) for _ in range(3)])

    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == [telemetry.REPLICA_SPAN] * 3
    assert {span.attributes[telemetry.BATCH_ROWS] for span in spans} == {3}
    assert {span.attributes[telemetry.REPLICA] for span in spans} == {replica.id}
    assert {span.parent.span_id for span in spans} == {int("cd" * 8, 16)}


# ------------------------------------------------------------------ as a process
async def test_a_replica_is_a_process_of_its_own(tmp_path):
    """Told by variables, it serves; on SIGTERM it drains, withdraws and ends well."""
    specialist = to_message(specialist_of(doubling(tmp_path / "m.onnx")), card_pb2.Specialist)
    async with FakeControl() as control:
        settings = ReplicaSettings(specialist=MessageToJson(specialist), control=control.address)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fabric.runtime", env={**os.environ, **to_environ(settings)}
        )
        try:
            async with asyncio.timeout(20):
                await control.heard("register")
            (replica,) = control.replicas.values()
            assert replica.pid == process.pid
            link = await connect(replica.address)
            assert answer(await link.call(request(1), NEVER)) == [[2, 2]]
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
            await control.heard("draining", "withdraw")
            link.close()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_replica_that_cannot_open_says_why_and_fails(tmp_path):
    """In its log, with exit code 1."""
    specialist = to_message(specialist_of("/no/model.onnx"), card_pb2.Specialist)
    settings = ReplicaSettings(specialist=MessageToJson(specialist), control=NOBODY)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fabric.runtime",
        env={**os.environ, **to_environ(settings)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, log = await process.communicate()
    assert process.returncode == 1
    assert b"there is no model at /no/model.onnx" in log
