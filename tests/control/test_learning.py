"""`LearningService` over real gRPC, and what routes learn in the background."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from planes import control_plane, until

from fabric.api.catalog.v1 import catalog_service_pb2 as catalog_pb2
from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.api.routing.v1.learning_service_pb2_grpc import LearningServiceStub
from fabric.control import training as module
from fabric.control.training import Studies, is_due
from fabric.core.changes import Key, Kind
from fabric.core.policies import Policy
from fabric.core.routes import Learning, Route
from fabric.routing.learned import Learned
from fabric.testing import specialist

STUDY = (sys.executable, str(Path(__file__).with_name("fake_study.py")))
"""Its trainer is what the environment variable STUDY names."""
QUICK = Studies(command=STUDY, pause=0.01, limit=60.0)


def route(name: str = "digits", **fields: object) -> Route:
    return Route(name=name, order="scored", learning=Learning(**fields))


def decision(number: int, name: str = "digits", **fields: object) -> pb.Decision:
    return pb.Decision(
        request=f"{name}-{number}",
        route=name,
        time=1.0 + number,
        query=pb.Query(task=("odd", "even")[number % 2]),
        candidates=["a:1", "b:1"],
        propensities=[0.5, 0.5],
        **fields,
    )


def outcome(number: int, name: str = "digits") -> pb.Outcome:
    return pb.Outcome(request=f"{name}-{number}", specialist="ab"[number % 2] + ":1", seconds=0.1)


async def record(stub, numbers, name="digits", scored=True):
    """Decisions and outcomes, and what was said of them."""
    numbers = list(numbers)
    await stub.Record(
        pb.RecordRequest(
            decisions=[decision(number, name) for number in numbers],
            outcomes=[outcome(number, name) for number in numbers],
        )
    )
    if scored:
        said = [pb.Feedback(request=f"{name}-{n}", score=float(n % 3 > 0)) for n in numbers]
        await stub.SubmitFeedback(pb.SubmitFeedbackRequest(feedback=said))


@pytest.fixture
async def plane(sqlite_url):
    async with control_plane(sqlite_url, studies=QUICK) as plane:
        await plane.controller.apply([specialist("a"), specialist("b")], [route()])
        yield plane


@pytest.fixture
def stub(plane):
    return LearningServiceStub(plane.channel)


async def refused(call, code: grpc.StatusCode, message: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is code
    assert message in raised.value.details()


# ------------------------------------------------------------------ what is said
async def test_what_gateways_record_can_be_listed(plane, stub):
    """By route and by request, with outcomes and feedback, the latest first."""
    await record(stub, range(3))
    listed = await stub.ListDecisions(pb.ListDecisionsRequest(route="digits", limit=2))
    assert [each.decision.request for each in listed.records] == ["digits-2", "digits-1"]
    one = await stub.ListDecisions(pb.ListDecisionsRequest(request="digits-0"))
    assert one.records == [
        pb.Record(
            decision=decision(0),
            outcomes=[outcome(0)],
            feedback=[pb.Feedback(request="digits-0", score=0.0)],
        )
    ]


async def test_two_gateways_record_at_once(plane, stub):
    """All that both say is kept, and what both say is kept once."""
    await asyncio.gather(
        *(record(stub, range(n, n + 20), scored=False) for n in range(0, 200, 20)),
        *(record(stub, range(n, n + 20), scored=False) for n in range(100, 300, 20)),
    )
    listed = await stub.ListDecisions(pb.ListDecisionsRequest(route="digits"))
    assert len(listed.records) == 300
    assert all(len(each.outcomes) == 1 for each in listed.records)


async def test_what_is_of_no_declared_route_is_left_out(plane, stub):
    """A gateway may not have heard that a route is gone; the rest of its batch counts."""
    await stub.Record(
        pb.RecordRequest(
            decisions=[decision(1, "gone"), decision(1)], outcomes=[outcome(1, "gone"), outcome(1)]
        )
    )
    listed = await stub.ListDecisions(pb.ListDecisionsRequest())
    assert [each.decision.request for each in listed.records] == ["digits-1"]


async def test_feedback_may_come_first(plane, stub):
    """It says how much of it waits, and counts once its request is known."""
    said = [pb.Feedback(request="digits-1", label="7"), pb.Feedback(request="x", label="7")]
    response = await stub.SubmitFeedback(pb.SubmitFeedbackRequest(feedback=said))
    assert response.unmatched == 2
    await record(stub, [1], scored=False)
    listed = await stub.ListDecisions(pb.ListDecisionsRequest(request="digits-1"))
    assert listed.records[0].feedback == said[:1]


async def test_feedback_is_about_candidates(plane, stub):
    """Whoever was none of its request is named, and nothing of the call is kept; one that is gone
    since is as good as any."""
    await record(stub, [1, 2], scored=False)
    await plane.controller.delete(Key(Kind.SPECIALIST, "b:1"))
    one, two = "digits-1", "digits-2"
    said = [pb.Feedback(request=one, score=1), pb.Feedback(request=two, score=1, specialist="a:2")]
    message = (
        "feedback 1: specialist is 'a:2', which was no candidate of request 'digits-2'; did you"
    )
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    await refused(stub.SubmitFeedback(pb.SubmitFeedbackRequest(feedback=said)), invalid, message)
    said = [pb.Feedback(request=one, preferred="nobody:1")]
    message = "feedback 0: preferred is 'nobody:1', which was no candidate of request 'digits-1'"
    await refused(stub.SubmitFeedback(pb.SubmitFeedbackRequest(feedback=said)), invalid, message)
    listed = await stub.ListDecisions(pb.ListDecisionsRequest())
    assert not any(each.feedback for each in listed.records)

    said = [pb.Feedback(request=one, score=0, specialist="b:1"), pb.Feedback(request=two, score=1)]
    unknown = pb.Feedback(request="unknown", score=0, specialist="nobody:1")
    given = pb.SubmitFeedbackRequest(feedback=[*said, unknown])
    assert (await stub.SubmitFeedback(given)).unmatched == 1


@pytest.mark.parametrize(
    ("method", "request_", "code", "message"),
    [
        ("Record", {"decisions": [{"route": "digits"}]}, "INVALID", "decision 0: request is empty"),
        ("Record", {"decisions": [{"request": "x"}]}, "INVALID", "decision 0: route is empty"),
        (
            "Record",
            {"decisions": [{"request": "x", "route": "r", "candidates": ["a"], "scores": [1, 2]}]},
            "INVALID",
            "decision 0: 1 candidates have 2 scores",
        ),
        (
            "Record",
            {"decisions": [{"request": "x", "route": "r", "time": float("nan")}]},
            "INVALID",
            "decision 0: time is nan",
        ),
        ("Record", {"outcomes": [{"request": "x"}]}, "INVALID", "outcome 0: specialist is empty"),
        (
            "Record",
            {"outcomes": [{"request": "x" * 300, "specialist": "a"}]},
            "INVALID",
            "has 300 characters; 256",
        ),
        (
            "Record",
            {"outcomes": [{"request": "x", "specialist": "a", "label": "x" * 70000}]},
            "INVALID",
            "outcome 0 has 70",
        ),
        ("SubmitFeedback", {"feedback": [{"request": "x"}]}, "INVALID", "feedback 0: feedback has"),
        (
            "SubmitFeedback",
            {"feedback": [{"request": "x", "score": 1}, {"request": "x", "score": 2}]},
            "INVALID",
            "feedback 1: score is 2, it must be from 0 to 1",
        ),
        (
            "SubmitFeedback",
            {"feedback": [{"request": "x", "preferred": "a"}]},
            "INVALID",
            "feedback 0: preferred is 'a', it must read name:version",
        ),
        (
            "SubmitFeedback",
            {"feedback": [{"request": "x", "score": 1, "specialist": "a:"}]},
            "INVALID",
            "feedback 0: specialist is 'a:', it must read name:version",
        ),
        (
            "SubmitFeedback",
            {"feedback": [{"request": "a\0b", "score": 1}]},
            "INVALID",
            "feedback 0: request has 3 characters; 256 may be, no NUL",
        ),
        (
            "SubmitFeedback",
            {"feedback": [{"request": "x", "score": 1}] * 1001},
            "INVALID",
            "there are 1001 feedback; send 1000 at a time",
        ),
        ("ListDecisions", {"route": "digit"}, "NOT_FOUND", "no route digit; did you mean 'digits'"),
        ("ListDecisions", {"request": "x"}, "NOT_FOUND", "nothing is known of request 'x'"),
        ("ListDecisions", {"limit": 10001}, "INVALID", "limit is 10001, it must be from 1"),
        ("Train", {"route": "digit"}, "NOT_FOUND", "no route digit"),
        ("Train", {"route": "plain"}, "FAILED_PRECONDITION", "route 'plain' does not learn"),
    ],
)
async def test_mistakes_are_refused_with_their_place(plane, stub, method, request_, code, message):
    """And nothing of the call is kept."""
    await plane.controller.apply([], [Route(name="plain", order="scored")])
    cls = getattr(pb, f"{method}Request")
    status = grpc.StatusCode["INVALID_ARGUMENT" if code == "INVALID" else code]
    await refused(getattr(stub, method)(cls(**request_)), status, message)
    assert not (await stub.ListDecisions(pb.ListDecisionsRequest())).records


# ------------------------------------------------------------------ what is learned
async def test_a_route_learns_when_enough_was_said(plane, stub):
    """By itself, and hands out a policy that can be read."""
    await record(stub, range(60))
    await until(plane.controller, lambda: plane.controller.catalog.policies.get("digits"))

    (policy,) = plane.controller.catalog.policies["digits"]
    assert (policy.version, policy.labels) == (1, 60)
    assert Learned.read(policy.data).candidates == ("a:1", "b:1")
    assert '"labels": 60' in policy.report


async def test_what_was_said_before_a_restart_is_learned_from(sqlite_url):
    """Without another word, and once."""
    async with control_plane(sqlite_url, studies=replace(QUICK, pause=600.0)) as plane:
        await plane.controller.apply([specialist("a"), specialist("b")], [route()])
        await record(LearningServiceStub(plane.channel), range(60))
        assert not plane.controller.catalog.policies
    for _ in range(2):
        async with control_plane(sqlite_url, studies=QUICK) as plane:
            await until(plane.controller, lambda: plane.controller.catalog.policies.get("digits"))
            (policy,) = plane.controller.catalog.policies["digits"]
            assert (policy.version, policy.labels) == (1, 60)


async def test_training_now_says_what_came_of_it(plane, stub):
    """A version, or why there is none."""
    await record(stub, range(10))
    trained = await stub.Train(pb.TrainRequest(route="digits"))
    assert trained.version == 0
    assert trained.report.startswith("10 of the 10 requests")
    await record(stub, range(10, 60))
    trained = await stub.Train(pb.TrainRequest(route="digits"))
    assert trained.version in (1, 2)
    assert '"labels": 60' in trained.report


@pytest.mark.parametrize(
    ("study", "note"),
    [
        ("fails", "the training has failed: "),
        ("dies", "the training has failed: "),
        ("hangs", "the training took more than 4 s"),
        ("gives_nonsense", "the training has failed: the policy is damaged"),
        ("gives_too_much", "more than the 8 MiB that are handed out"),
    ],
)
async def test_a_training_that_goes_wrong_costs_nothing(sqlite_url, monkeypatch, study, note):
    """Whoever asks for the policy is told why there is none; leases and the catalog go on."""
    monkeypatch.setenv("STUDY", study)
    studies = replace(QUICK, limit=4.0 if study == "hangs" else 60.0)
    async with control_plane(sqlite_url, studies=studies) as plane:
        stub = LearningServiceStub(plane.channel)
        await plane.controller.apply([specialist("a"), specialist("b")], [route()])
        await record(stub, range(60))
        asked = catalog_pb2.GetRequest(key={"kind": "KIND_POLICY", "name": "digits"})
        while True:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await plane.stub.Get(asked)
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            if raised.value.details() != "no policy digits: nothing was learned yet":
                break
            await asyncio.sleep(0.02)
        assert note in raised.value.details()
        await plane.controller.apply([specialist("c")], [])


async def test_a_mistake_in_training_ends_nothing(plane, stub, monkeypatch):
    """It is noted, and the next training takes place."""
    taken, mistakes = module.Training._take, [ValueError("a mistake")]

    async def take(self, name, studied):
        if mistakes:
            raise mistakes.pop()
        return await taken(self, name, studied)

    monkeypatch.setattr(module.Training, "_take", take)
    await record(stub, range(60))
    while mistakes:
        await asyncio.sleep(0.02)
    await record(stub, range(60, 120))
    await until(plane.controller, lambda: plane.controller.catalog.policies.get("digits"))


async def test_a_child_that_cannot_be_watched_is_ended(monkeypatch, tmp_path):
    """And nobody waits for it."""

    def none(pid):
        raise OSError("no descriptors")

    monkeypatch.setattr(os, "pidfd_open", none)
    with (tmp_path / "out").open("wb") as out, pytest.raises(OSError, match="no descriptors"):
        await module._run(("sleep", "60"), dict(os.environ), out, out)


async def test_what_a_training_prints_is_no_part_of_the_policy(plane, stub, monkeypatch):
    """Its output is kept apart."""
    monkeypatch.setenv("STUDY", "prints")
    await record(stub, range(60), scored=True)
    trained = await stub.Train(pb.TrainRequest(route="digits"))
    assert trained.version > 0
    Learned.read(plane.controller.catalog.policies["digits"][0].data)


async def test_a_failure_after_a_policy_is_noted_with_it(plane, stub, monkeypatch):
    """The policy stays, and says why there is no newer one."""
    await record(stub, range(60))
    await until(plane.controller, lambda: plane.controller.catalog.policies.get("digits"))
    monkeypatch.setenv("STUDY", "fails")
    trained = await stub.Train(pb.TrainRequest(route="digits"))
    assert "ZeroDivisionError: no labels at all" in trained.report
    listed = await plane.stub.List(catalog_pb2.ListRequest(kind=catalog_pb2.KIND_POLICY))
    assert "ZeroDivisionError" in listed.resources[0].policy.note
    assert plane.controller.catalog.policies["digits"][0].note == ""


async def test_without_scikit_learn_it_says_so(sqlite_url, monkeypatch):
    """Nothing is learned, and everything else works."""
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    async with control_plane(sqlite_url, studies=QUICK) as plane:
        stub = LearningServiceStub(plane.channel)
        await plane.controller.apply([specialist("a")], [route()])
        await record(stub, range(3))
        extra = r"fabric-specialists[learn]"
        train = stub.Train(pb.TrainRequest(route="digits"))
        await refused(train, grpc.StatusCode.UNIMPLEMENTED, extra)
        asked = catalog_pb2.GetRequest(key={"kind": "KIND_POLICY", "name": "digits"})
        await refused(plane.stub.Get(asked), grpc.StatusCode.NOT_FOUND, extra)


async def test_a_training_ends_with_the_control_plane(sqlite_url, monkeypatch):
    """However long it would take; its process is gone."""
    monkeypatch.setenv("STUDY", "hangs")
    started = []

    class Seen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Seen)
    async with control_plane(sqlite_url, studies=QUICK) as plane:
        stub = LearningServiceStub(plane.channel)
        await plane.controller.apply([specialist("a")], [route()])
        await record(stub, range(60))
        while not started:
            await asyncio.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].pid, 0)


async def test_a_policy_that_has_lost_is_marked(plane, stub):
    """By the next study, with the reason; the one before is used again."""
    controller = plane.controller
    await controller.learn(Policy(route="digits", version=1, data=b"damaged"))
    await record(stub, range(60))
    await stub.Train(pb.TrainRequest(route="digits"))

    lost = controller.get(Key(Kind.POLICY, "digits:1"))
    assert lost.lost.startswith("it cannot be read")
    assert not controller.catalog.policies["digits"][0].lost


async def test_a_study_ends_with_whoever_started_it(sqlite_url, monkeypatch):
    """Its input closes, however the control plane went."""
    monkeypatch.setenv("STUDY", "hangs")
    monkeypatch.setenv("FABRIC_STORE", sqlite_url)
    async with control_plane(sqlite_url, studies=replace(QUICK, pause=600.0)) as plane:
        await plane.controller.apply([specialist("a"), specialist("b")], [route()])
        await record(LearningServiceStub(plane.channel), range(60))
    process = await asyncio.create_subprocess_exec(*STUDY, "digits", stdin=asyncio.subprocess.PIPE)
    process.stdin.close()
    async with asyncio.timeout(20):
        assert await process.wait() == 1


@pytest.mark.parametrize(
    ("labels", "new", "before", "due"),
    [
        (49, 49, 0, False),
        (50, 50, 0, True),
        (50, 0, 0, False),
        (59, 9, 50, False),
        (60, 10, 50, True),
        (5199, 199, 5000, False),
        (5200, 200, 5000, True),
        (50_000, 200, 50_000, True),
    ],
)
def test_training_is_due_when_enough_is_new(labels, new, before, due):
    """The first labels, then a fifth more, or two hundred."""
    assert is_due(Learning(min_labels=50), labels, new, before) is due
