"""What is kept of decisions, and how it reaches the control plane."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from running import until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.api.routing.v1.learning_service_pb2_grpc import (
    LearningServiceServicer,
    LearningServiceStub,
    add_LearningServiceServicer_to_server,
)
from fabric.core.decisions import Decision, Outcome, Query
from fabric.core.errors import SpecialistFailed
from fabric.core.plans import Candidate, Plan
from fabric.core.requests import InferRequest, InferResponse
from fabric.core.routes import Retry
from fabric.gateway.records import Records, reported
from fabric.testing import specialist
from fabric.wire.cards import from_message

CANDIDATE = Candidate(specialist("a", cost=2.0).card, "", 1.0)
PLAN = Plan("r", (CANDIDATE,), (), Retry(), 1.0)


def decision(request, **said):
    return Decision(request=str(request), route="r", time=1.0, **said)


def of(*requests, most=10, **said):
    records = Records(most, **said)
    for request in requests:
        records.decided(decision(request), PLAN, is_reported=True)
    return records


def classified():
    response = ModelInferResponse()
    label = response.outputs.add(name="label", datatype="INT64", shape=[1])
    label.contents.int64_contents.append(7)
    return InferResponse(response.SerializeToString(), "a/0")


def observe(records, request, response=None, error=None, **said):
    asked = InferRequest("r", "", b"", request=str(request))
    records(asked, CANDIDATE, response, error, 0.5, **{"is_shadow": False, **said})


# ------------------------------------------------------------------ what is kept
def test_a_decision_is_found_with_all_that_came_of_it():
    """Each attempt is one outcome, with the class that was answered and what it cost."""
    records = of(1)
    observe(records, 1, error=SpecialistFailed("it is ill"))
    observe(records, 1, classified())
    observe(records, 1, InferResponse(b"", "a/0"), is_shadow=True)

    kept = records.find("1")

    failed = Outcome(request="1", specialist="a:1", seconds=0.5, error="SPECIALIST_FAILED")
    answered = Outcome(request="1", specialist="a:1", seconds=0.5, cost=2.0, label="7")
    shadow = Outcome(request="1", specialist="a:1", seconds=0.5, cost=2.0, is_shadow=True)
    assert (kept.decision, kept.plan) == (decision(1), PLAN)
    assert kept.outcomes == [failed, answered, shadow]


def test_the_oldest_are_forgotten():
    """By their number, or by what they hold in memory; and with them what comes of them."""
    records = of(1, 2, 3, most=2)
    assert [records.find(each) is not None for each in "123"] == [False, True, True]
    observe(records, 1, classified())
    assert records.find("1") is None

    large = Query(numbers=(0.0,) * 4096)
    records = Records(10, most_bytes=300_000)
    for each in range(3):
        records.decided(decision(each, query=large), PLAN, is_reported=False)
    assert [records.find(each) is not None for each in "012"] == [False, True, True]


def test_what_is_said_of_a_decision_takes_room():
    """So does what came of it: the oldest go for it, and are worth what they held."""
    records = of(*range(4), most_bytes=10_000)
    for each in range(64):
        records.hear(records.find("0"), (str(each), "x" * 256))
        if records.find("0") is None:
            break
    assert [records.find(each) is not None for each in "0123"] == [False, True, True, True]

    records.decided(decision(4), PLAN, is_reported=False)
    assert records.find("1") is not None
    for _ in range(20):
        observe(records, 2, classified())
    assert [records.find(each) is not None for each in "1234"] == [False, False, True, True]


def test_what_waits_is_bounded():
    """The oldest is dropped, and counted."""
    records = of(*range(25))

    assert records.dropped == 5
    assert [each.request for each in records.take()] == [str(each) for each in range(5, 25)]
    assert records.take() == []


def test_what_is_not_to_be_reported_is_kept_alone():
    """Neither the decision goes out nor its outcomes."""
    records = Records()
    records.decided(decision(1), PLAN, is_reported=False)
    observe(records, 1, classified())

    assert len(records.find("1").outcomes) == 1
    assert records.take() == []


# ------------------------------------------------------------------ to the control plane
class Learning(LearningServiceServicer):
    """Takes records, or refuses them with the codes in `refusals` first."""

    def __init__(self, *refusals):
        self.refusals = list(refusals)
        self.taken = []
        self.asked = asyncio.Event()
        self.is_held = False
        """Whether the next call is never answered."""
        self.bad = set()
        """Requests of which no decision is taken,"""
        self.refusal = grpc.StatusCode.INVALID_ARGUMENT
        """and what is said of those."""

    async def Record(self, request, context):  # noqa: N802 - the proto's name
        self.asked.set()
        if self.is_held:
            self.is_held = False
            await asyncio.Event().wait()
        if self.refusals:
            await context.abort(self.refusals.pop(0), "no")
        if self.bad & {each.request for each in request.decisions}:
            await context.abort(self.refusal, "it is too large")
        self.taken += [from_message(each, Decision) for each in request.decisions]
        self.taken += [from_message(each, Outcome) for each in request.outcomes]
        return pb.RecordResponse()


@contextlib.asynccontextmanager
async def reporting(records, learning):
    """*records* are reported to *learning*, over real gRPC."""
    server = grpc.aio.server()
    add_LearningServiceServicer_to_server(learning, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            reported(records, LearningServiceStub(channel)),
        ):
            yield
    finally:
        await server.stop(None)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nobody waits for others to come along, nor long for the control plane."""
    for name in ("_GATHERED", "_FIRST_WAIT", "_LONGEST_WAIT"):
        monkeypatch.setattr(f"fabric.gateway.records.{name}", 0.001)


async def test_decisions_and_outcomes_are_reported():
    """As they were, in their order."""
    learning, records = Learning(), of(1, 2)
    observe(records, 1, classified())
    query = Query(task="t", text="x", numbers=(0.5, 1.0))
    last = decision(3, query=query, candidates=("a:1",), scores=(0.5,), propensities=(1.0,))

    async with reporting(records, learning):
        await until(lambda: len(learning.taken) == 3)
        records.decided(last, PLAN, is_reported=True)
        await until(lambda: len(learning.taken) == 4)

    assert learning.taken == [decision(1), decision(2), *records.find("1").outcomes, last]


async def test_what_is_refused_for_now_is_said_again():
    """Nothing is lost, and nothing said twice."""
    records = of(1, 2)
    learning = Learning(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

    async with reporting(records, learning):
        await until(lambda: learning.taken)

    assert learning.taken == [decision(1), decision(2)]
    assert records.dropped == 0


async def test_what_is_refused_for_good_is_dropped():
    """It does not stand in the way of the rest."""
    learning, records = Learning(grpc.StatusCode.INVALID_ARGUMENT), of(1)

    async with reporting(records, learning):
        await until(lambda: records.dropped == 1)
        records.decided(decision(2), PLAN, is_reported=True)
        await until(lambda: learning.taken)

    assert learning.taken == [decision(2)]


@pytest.mark.parametrize("refusal", ["INVALID_ARGUMENT", "INTERNAL", "UNKNOWN"])
async def test_what_is_refused_costs_nothing_else(refusal, caplog):
    """Wherever it stands in its batch, it alone is dropped, counted and logged."""
    learning, records = Learning(), Records()
    learning.bad, learning.refusal = {"0", "77", "78", "299"}, grpc.StatusCode[refusal]
    for each in range(300):
        records.decided(decision(each), PLAN, is_reported=True)

    async with reporting(records, learning):
        await until(lambda: len(learning.taken) + records.dropped == 300)

    taken = {each.request for each in learning.taken}
    assert taken == {str(each) for each in range(300)} - learning.bad
    assert len(learning.taken) == 296
    assert records.dropped == 4
    assert "the decision of request 77 is not reported: it is too large" in caplog.text


async def test_what_cannot_be_written_costs_nothing_else(caplog):
    """Nor does it end the reports."""
    learning, records = Learning(), of(1, 2, most=100)
    records.decided(decision("3", scores=("x",)), PLAN, is_reported=True)
    records.decided(decision("4"), PLAN, is_reported=True)

    async with reporting(records, learning):
        await until(lambda: records.dropped == 1)
        records.decided(decision("5"), PLAN, is_reported=True)
        await until(lambda: len(learning.taken) == 4)

    assert learning.taken == [decision(each) for each in (1, 2, 4, 5)]
    assert "the decision of request 3 is not reported: TypeError" in caplog.text


async def test_at_the_end_one_that_is_refused_costs_nothing_else(monkeypatch):
    """The rest is said before the gateway stops."""
    monkeypatch.setattr("fabric.gateway.records._GATHERED", 60.0)
    learning, records = Learning(), of(1, 2, 3)
    learning.bad = {"2"}

    async with reporting(records, learning):
        pass

    assert learning.taken == [decision(1), decision(3)]


async def test_at_the_end_what_waits_is_said_once_more(monkeypatch):
    """A gateway that stops takes nothing with it that the control plane could have."""
    monkeypatch.setattr("fabric.gateway.records._GATHERED", 60.0)
    learning, records = Learning(), of(1)

    async with reporting(records, learning):
        await asyncio.sleep(0.01)
        assert not learning.taken

    assert learning.taken == [decision(1)]


async def test_leaving_while_it_is_said_says_it_again():
    """Whether it had arrived is not known."""
    learning, records = Learning(), of(1)
    learning.is_held = True

    async with reporting(records, learning):
        await learning.asked.wait()

    assert learning.taken == [decision(1)]
