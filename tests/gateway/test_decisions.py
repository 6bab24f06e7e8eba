"""Requests that are decided one by one."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import numpy as np
import pytest
from deciding import (
    BY_ENCODER,
    CONTENT,
    ILL,
    Pool,
    ask,
    change,
    embedded,
    kept,
    policy,
    request,
    view_of,
)
from deciding import route as scored
from running import until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.core.deadlines import NEVER
from fabric.core.decisions import Outcome, Query
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from fabric.core.routes import Content, Exploration, Learning, Requirements
from fabric.core.tensors import Signature, TensorSpec
from fabric.routing.exploration import Explorer
from fabric.testing import route, specialist
from fabric.wire.content import Input

A = specialist("a", description="Reads contracts.", cost=2.0)
B = specialist("b", examples=("How long does rice boil?",))
READER = Signature(
    inputs=(TensorSpec(name="x", datatype="BYTES", shape=(-1, 1)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
)
ENCODER = specialist("e", signature=READER)
APPLIED = Learning(mode="apply")


def by(kept):
    return [candidate.card.name for candidate in kept.plan.candidates]


def chain(*names, **said):
    """A scored route along a chain."""
    return scored(**{"chain": route("r", *names).chain, **said})


async def learned(view):
    """Returns when all policies have been read."""
    used = view.decisions._policies._used
    await until(lambda: set(used) == set(view.catalog.policies) or None)


# ------------------------------------------------------------------ what is decided
async def test_other_routes_are_not_decided_one_by_one():
    """Nor specialists called by their names."""
    view = view_of(A, B, route("r", "a", "b"), chain("a", learning=Learning(mode="bypass")))

    assert view.deciding == {}


async def test_a_decision_is_remembered_with_what_came_of_it():
    """By the id that the request gets."""
    asked = request("hello")
    asked.requirements = Requirements(domain="legal")
    own = Requirements(task="", language="en")
    view = view_of(A, B, chain("a", "b", content=CONTENT, requirements=own))

    answer, record = await ask(view, asked)

    assert (answer.specialist, answer.route) == ("a", "r")
    assert record.decision.request == asked.request
    assert record.decision.candidates == ("a:1", "b:1")
    query = record.decision.query
    assert (query.text, query.domain, query.language) == ("hello", "legal", "en")
    (outcome,) = record.outcomes
    assert (outcome.specialist, outcome.cost, outcome.error) == ("a:1", 2.0, "")


async def test_whoever_was_passed_over_may_be_decided_for():
    """Then it has been asked, and not been busy."""
    view = view_of(A, B, chain("a", "b", learning=Learning()), pool=Pool(a=ILL))
    asked = request("hello")
    view.pool.busy = {"a"}
    view.dispatcher.admit(asked, NEVER)
    view.pool.busy = set()

    answer = await view.decisions.infer(asked, NEVER)

    assert [(each.specialist, each.error) for each in answer.attempts] == [("a", ILL.reason)]


async def test_every_attempt_is_an_outcome():
    """Failures as well."""
    view = view_of(A, B, chain("a", "b", learning=Learning()), pool=Pool(a=ILL))

    answer, record = await ask(view)

    assert answer.fallback
    assert [(o.specialist, o.error) for o in record.outcomes] == [
        ("a:1", "SPECIALIST_FAILED"),
        ("b:1", ""),
    ]
    assert all(isinstance(outcome, Outcome) for outcome in record.outcomes)


async def test_only_routes_that_learn_are_reported():
    """A decision by content alone teaches nothing."""
    view = view_of(A, chain("a", content=CONTENT))
    await ask(view)
    assert view.records.take() == []

    view = view_of(A, chain("a", learning=Learning()))
    await ask(view)
    assert len(view.records.take()) == 2


async def test_answers_on_a_stream_are_decided_too():
    """All answers of one decision."""
    asked = request("hello")
    view = view_of(A, B, chain("a", "b", content=CONTENT), pool=Pool(a=(b"1", b"2")))

    answers = [each async for each in view.decisions.stream(asked, NEVER)]

    assert [answer.response.payload for answer in answers] == [b"1", b"2"]
    assert len(view.records.find(asked.request).outcomes) == 1


async def test_nobody_who_may_answer_is_said_as_ever():
    """The route's requirements hold."""
    view = view_of(A, chain("a", requirements=Requirements(task="t"), content=CONTENT))

    with pytest.raises(NotFound, match="task"):
        await ask(view)


async def test_a_request_without_the_input_is_refused():
    """By name."""
    view = view_of(A, chain("a", content=CONTENT))

    with pytest.raises(InvalidRequest, match="'r' decides by the input 'x'"):
        await ask(view, request("hello", name="other"))


# ------------------------------------------------------------------ similarity
async def test_without_an_encoder_words_are_compared():
    """With what cards say."""
    view = view_of(A, B, chain("a", "b", content=CONTENT))

    assert by((await ask(view, request("a contract to read")))[1]) == ["a", "b"]
    assert by((await ask(view, request("does rice boil?")))[1]) == ["b", "a"]


async def test_cards_that_change_are_compared_as_they_are():
    """Under the same name."""
    view = view_of(A, B, chain("a", "b", content=CONTENT))
    await ask(view)

    change(view, specialist("a", description="Cooks rice."))

    assert by((await ask(view, request("cooks rice")))[1]) == ["a", "b"]


async def test_with_an_encoder_meanings_are_compared():
    """Cards are embedded in the background, requests on their way."""
    pool = Pool(e=[embedded(1, 0), embedded(0, 1), embedded(0.1, 0.9)])
    view = view_of(A, B, ENCODER, chain("a", "b", content=BY_ENCODER), pool=pool)
    async with kept(view):
        await until(lambda: len(pool.asked) == 2)
        _, record = await ask(view, request("whatever"))

    assert by(record) == ["b", "a"]
    assert record.decision.query.numbers == pytest.approx((0.1, 0.9))
    parts = [dict(each.parts)["similarity"] for each in record.plan.candidates]
    assert parts == pytest.approx([0.994, 0.110], abs=0.001)


async def test_an_encoder_is_asked_for_the_tenant():
    """What it gives for one may be kept, and is no other's."""
    pool = Pool(e=embedded(1, 0))
    asked = request("hello")
    asked.tenant = "team-a"

    await ask(view_of(A, ENCODER, chain("a", content=BY_ENCODER), pool=pool), asked)

    assert pool.tenants == {"e": "team-a", "a": "team-a"}


async def test_what_an_encoder_is_sent():
    """The caller's own input, under its name there."""
    pool = Pool(e=embedded(1, 0))
    content = Content(input="x", encoder="e", encoder_input="text", encoder_output="y")
    view = view_of(A, ENCODER, chain("a", content=content), pool=pool)

    await ask(view, request("hello", mask=np.ones(1, np.float32)))

    name, sent = pool.payloads[0]
    message = ModelInferRequest.FromString(sent)
    assert (name, message.model_name, message.outputs[0].name) == ("e", "e", "y")
    assert Input.of(sent, "text").text() == "hello"
    assert len(message.inputs) == 1


async def test_vectors_need_no_encoder():
    """They are what a policy is asked with."""
    view = view_of(A, chain("a", content=CONTENT))

    _, record = await ask(view, request(None, x=np.array([1, 2], np.int16)))

    assert record.decision.query.numbers == (1.0, 2.0)


# ------------------------------------------------------------------ encoders that do not help
@pytest.mark.parametrize(
    ("said", "doubt"),
    [
        (ILL, "it is ill"),
        (DeadlineExceeded("the deadline passed"), "the deadline passed"),
        (Unavailable("no replica of 'e:1' is ready"), "no replica"),
        (b"", "no vector"),
        (b"\xff", "no ModelInferResponse"),
    ],
)
async def test_an_encoder_that_fails_costs_no_answer(said, doubt):
    """Words are compared then, and the reason says so."""
    view = view_of(A, B, ENCODER, chain("a", "b", content=BY_ENCODER), pool=Pool(e=said))

    answer, record = await ask(view, request("does rice boil"))

    assert answer.specialist == "b"
    assert record.decision.query.text == "does rice boil"
    assert record.decision.query.numbers == ()
    reason = record.plan.candidates[0].reason
    assert "encoder e gave no embedding: " in reason
    assert doubt in reason


async def test_a_mistake_in_embedding_costs_no_answer(monkeypatch, caplog):
    """It is logged, and words are compared."""
    monkeypatch.setattr("fabric.gateway.encoders.embedding", _fail)
    view = view_of(A, B, ENCODER, chain("a", "b", content=BY_ENCODER), pool=Pool(e=b""))

    answer, record = await ask(view, request("does rice boil"))

    assert answer.specialist == "b"
    assert "gave no embedding: ZeroDivisionError" in record.plan.candidates[0].reason
    assert "by zero" in caplog.text


async def test_a_mistake_in_embedding_cards_ends_nothing(monkeypatch, caplog):
    """It is logged, and tried again; meanwhile requests are answered."""
    monkeypatch.setattr("fabric.gateway.encoders.text_request", _fail)
    view = view_of(A, ENCODER, chain("a", content=BY_ENCODER), pool=Pool(e=embedded(1)))
    async with kept(view):
        await until(lambda: "by zero" in caplog.text)
        answer, _ = await ask(view)

    assert answer.specialist == "a"


async def test_an_encoder_that_is_not_there_costs_no_answer():
    """It may be declared later."""
    view = view_of(A, chain("a", content=BY_ENCODER))

    _, record = await ask(view)

    assert "unknown model: 'e'" in record.plan.candidates[0].reason


async def test_an_encoder_has_a_share_of_the_time():
    """A quarter, and a second at most."""
    pool = Pool(e=embedded(1, 0))
    view = view_of(A, ENCODER, chain("a", content=BY_ENCODER), pool=pool)

    for seconds, most in ((0.4, 0.1), (60.0, 1.0)):
        pool.asked.clear()
        await ask(view, seconds=seconds)
        (_, first, _), (_, last, _) = pool.asked
        assert last.at - first.at > 0
        assert last.at - first.at >= min(seconds, 30.0) - most - 0.05


async def test_the_time_that_an_encoder_takes_is_taken_from_the_route():
    """Its timeout is that of the whole call."""
    pool = Pool(e=embedded(1, 0))
    view = view_of(A, ENCODER, chain("a", content=BY_ENCODER, timeout=20.0), pool=pool)

    await ask(view, seconds=60.0)

    (_, encoding, _), (_, answering, _) = pool.asked
    assert answering.at - encoding.at <= 20.0 - 1.0


async def test_an_encoder_that_kept_others_waiting_is_left_alone(monkeypatch):
    """For a second, in which nobody waits for it."""
    monkeypatch.setattr("fabric.gateway.encoders._TOO_LONG", 0.0)
    pool = Pool(e=DeadlineExceeded("the deadline passed"))
    view = view_of(A, ENCODER, chain("a", content=BY_ENCODER), pool=pool)
    clock = view.decisions._encoders._clock = lambda: now[0]
    now = [1000.0]

    for moment, count in ((0.0, 1), (0.5, 1), (1.5, 2)):
        now[0] = 1000.0 + moment
        asked = request("hello")
        assert clock() == now[0]
        await ask(view, asked)
        assert [name for name, _, _ in pool.asked].count("e") == count


async def test_few_requests_wait_for_encoders(monkeypatch):
    """The others are decided without."""
    monkeypatch.setattr("fabric.gateway.encoders._AT_ONCE", 0)
    view = view_of(A, ENCODER, chain("a", content=BY_ENCODER), pool=Pool(e=embedded(1)))

    _, record = await ask(view)

    assert "wait for encoders already" in record.plan.candidates[0].reason


async def test_embeddings_of_two_lengths_are_not_compared():
    """Words are, as long as that is so."""
    pool = Pool(e=[embedded(1, 0), embedded(1, 0, 0), embedded(1, 0)])
    view = view_of(A, B, ENCODER, chain("a", "b", content=BY_ENCODER), pool=pool)
    async with kept(view):
        await until(lambda: len(pool.asked) == 2)
        answer, record = await ask(view, request("does rice boil"))

    assert answer.specialist == "b"
    assert record.decision.query.numbers == (1.0, 0.0)


# ------------------------------------------------------------------ policies
async def test_a_policy_decides():
    """As soon as it has been read; until then evidence does."""
    view = view_of(A, B, chain("a", "b", learning=APPLIED), policies=[policy(a=0.2, b=0.8)])
    _, before = await ask(view)
    async with kept(view):
        await learned(view)
        _, after = await ask(view)

    assert (by(before), before.decision.kind) == (["a", "b"], "evidence")
    assert (by(after), after.decision.kind, after.decision.policy) == (["b", "a"], "policy", 1)
    assert after.plan.candidates[0].reason == "policy 1 expects 0.80: 0.80"


async def test_the_latest_that_has_not_lost_is_used_or_the_one_that_is_named():
    """Whatever is newer."""
    policies = [
        policy(1, a=0.9, b=0.1),
        policy(2, a=0.1, b=0.9),
        policy(3, a=0.9, b=0.1, lost="it was worse"),
    ]
    for pinned, version, first in ((0, 2, "b"), (1, 1, "a"), (3, 3, "a")):
        learning = Learning(mode="apply", policy=pinned)
        view = view_of(A, B, chain("a", "b", learning=learning), policies=policies)
        async with kept(view):
            await learned(view)
            _, record = await ask(view)
        assert (record.decision.policy, by(record)[0]) == (version, first)


async def test_a_policy_takes_the_place_of_the_last():
    """And when all are gone evidence decides again."""
    view = view_of(A, B, chain("a", "b", learning=APPLIED), policies=[policy(1, a=0.2, b=0.8)])
    async with kept(view):
        await learned(view)
        for version, success in ((2, {"a": 0.8, "b": 0.2}), (3, {"a": 0.2, "b": 0.8})):
            change(view, policies=[policy(version, **success)])
            await until(lambda v=version: view.decisions._policies._used["r"].version == v)
            _, record = await ask(view)
            assert record.decision.policy == version
        view.catalog.policies.clear()
        view.changed()
        await until(lambda: not view.decisions._policies._used)
        _, record = await ask(view)

    assert record.decision.kind == "evidence"


async def test_the_guard_stays_with_the_best_unless_the_gain_is_sure():
    """Without it, whoever is likelier to succeed is asked."""
    for guard, first in ((True, "a"), (False, "b")):
        learning = Learning(mode="apply", guard=guard)
        made = [policy(a=0.80, b=0.85)]
        view = view_of(A, B, chain("b", "a", learning=learning), policies=made)
        async with kept(view):
            await learned(view)
            _, record = await ask(view)
        assert by(record)[0] == first


class Poisoned:
    """Chooses as it is told."""

    def __init__(self, choose):
        self.choose = choose


class Says:
    def __init__(self, probabilities, order=(0, 1)):
        self.probabilities = np.array(probabilities)
        self.order = order


def _fail(*_):
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("choose", "doubt"),
    [
        (_fail, "failed: ZeroDivisionError: by zero"),
        (lambda *_: None, "failed: AttributeError"),
        (lambda *_: Says([0.5]), "speaks of other than 2 candidates"),
        (lambda *_: Says([0.5, 0.5], (0, 0)), "speaks of other than 2 candidates"),
        (lambda *_: Says([np.nan, 0.5]), "would ask somebody whom it does not know"),
        (lambda *_: Says([np.nan, np.inf]), "knows none of the candidates"),
    ],
)
async def test_a_poisoned_policy_costs_no_answer(choose, doubt, caplog):
    """Evidence decides, the reason says so, and the log does once."""
    view = view_of(A, B, chain("a", "b", learning=APPLIED), policies=[policy(a=0.2, b=0.8)])
    view.decisions._policies._read = lambda data: Poisoned(choose)
    async with kept(view):
        await learned(view)
        records = [(await ask(view))[1] for _ in range(3)]

    for record in records:
        assert (by(record), record.decision.kind) == (["a", "b"], "evidence")
        assert doubt in record.plan.candidates[0].reason
    said = [each for each in caplog.messages if "policy 1 of route r" in each]
    assert len(said) == (0 if "knows none" in doubt else 1)


async def test_a_policy_that_cannot_be_read_costs_no_answer(caplog):
    """Damaged bytes, and a version that is not there."""
    broken = [policy(data=b"no policy", a=0.5)]
    for learning, why in (
        (APPLIED, "policy 1 cannot be read: ValueError"),
        (Learning(mode="apply", policy=7), "policy 7 is not there"),
    ):
        view = view_of(A, B, chain("a", "b", learning=learning), policies=broken)
        async with kept(view):
            await learned(view)
            _, record = await ask(view)
        assert why in record.plan.candidates[0].reason
        assert record.decision.kind == "evidence"
    assert len(caplog.messages) == 2


async def test_a_slow_policy_is_set_aside(caplog):
    """After a few requests in a row; its answers until then count."""
    now = [0.0]

    def choose(query, keys):
        now[0] += 0.05
        return Says([0.2, 0.8], (1, 0))

    view = view_of(A, B, chain("a", "b", learning=APPLIED), policies=[policy(a=0.2, b=0.8)])
    view.decisions._policies._read = lambda data: Poisoned(choose)
    view.decisions._policies._clock = lambda: now[0]
    async with kept(view):
        await learned(view)
        kinds = [(await ask(view))[1].decision.kind for _ in range(4)]
        _, record = await ask(view)

    assert kinds == ["policy", "policy", "policy", "evidence"]
    assert "policy 1 is set aside: it takes 0.050 s" in record.plan.candidates[0].reason
    assert len(caplog.messages) == 1
    assert now[0] == pytest.approx(0.15)


async def test_deciding_that_fails_costs_no_answer(caplog):
    """Whatever fails: it is logged, and evidence decides."""
    exploration = Exploration(share=0.5)
    view = view_of(A, B, chain("a", "b", learning=Learning(), exploration=exploration))

    class Broken:
        decide = staticmethod(_fail)

    view.decisions._explorer = lambda route, policy: Broken()
    answer, record = await ask(view)

    assert answer.specialist == "a"
    assert "deciding failed: ZeroDivisionError" in record.plan.candidates[0].reason
    assert "ZeroDivisionError" in caplog.text


# ------------------------------------------------------------------ exploration
async def test_shadows_are_asked_and_remembered():
    """Another than who answers, whose answer nobody is given."""
    learning, exploration = Learning(), Exploration(shadow=1.0)
    view = view_of(A, B, chain("a", "b", learning=learning, exploration=exploration))

    answer, record = await ask(view)
    await until(lambda: len(record.outcomes) == 2)

    assert (answer.specialist, record.decision.shadow) == ("a", "b:1")
    assert [(o.specialist, o.is_shadow) for o in record.outcomes] == [("a:1", False), ("b:1", True)]


async def test_some_requests_try_somebody_else():
    """Within the share, and all is said of how likely that was."""
    exploration = Exploration(share=0.5)
    view = view_of(A, B, chain("a", "b", learning=Learning(), exploration=exploration))

    decisions = [(await ask(view))[1].decision for _ in range(60)]

    assert {decision.kind for decision in decisions} == {"evidence", "exploration"}
    assert {decision.candidates[0] for decision in decisions} == {"a:1", "b:1"}
    for decision in decisions:
        assert sum(decision.propensities) == pytest.approx(1)
        assert min(decision.propensities) > 0


async def test_nobody_is_tried_on_who_wants_the_first_or_nobody():
    """The first is then who is expected to do best, and that is what the propensities say."""
    exploration = Exploration(share=1.0)
    view = view_of(A, B, chain("a", "b", learning=Learning(), exploration=exploration))
    for _ in range(30):
        asked = request("hello")
        asked.substitute = False
        _, record = await ask(view, asked)
        assert record.decision.candidates[0] == "a:1"
        assert record.decision.propensities == (1.0, 0.0)
        assert record.expected


async def test_who_is_tried_starts_from_what_a_new_policy_knows():
    """Whoever heard it: a gateway that has just started is as sure as any other."""
    exploration = Exploration(share=0.5)
    at = chain("a", "b", learning=APPLIED, exploration=exploration)
    teacher = Explorer(exploration)
    for key in ("a:1", "b:1"):
        for _ in range(400):
            teacher.learn(Query(), key, 0.5, 0.5)
    teacher.rebase()
    chances = []
    for explored in (b"", teacher.write()):
        made = replace(policy(a=0.6, b=0.45), explored=explored)
        view = view_of(A, B, at, policies=[made])
        async with kept(view):
            await learned(view)
            _, record = await ask(view)
        chances.append(tried(record.decision, "b:1"))

    assert chances[1] < 0.01 < chances[0]


async def test_knowledge_that_cannot_be_read_costs_no_answer(caplog):
    """Then nothing is known, and what is said from then on is learned."""
    exploration = Exploration(share=0.5)
    at = chain("a", "b", learning=APPLIED, exploration=exploration)
    view = view_of(A, B, at, policies=[replace(policy(a=0.6, b=0.5), explored=b"damaged")])
    async with kept(view):
        await learned(view)
        (answer, record), _ = await ask(view), await ask(view)

    assert answer.specialist in ("a", "b")
    assert record.decision.policy == 1
    assert caplog.text.count("what is known along r cannot be read") == 1


# ------------------------------------------------------------------ callers that leave
async def test_a_caller_that_leaves_while_the_encoder_is_asked():
    """Nothing is left of it, and the next one is answered."""
    started, never = asyncio.Event(), asyncio.Event()

    class Hanging(Pool):
        async def infer(self, card, request, deadline):
            if card.name == "e":
                started.set()
                await never.wait()
            return await super().infer(card, request, deadline)

    view = view_of(A, ENCODER, chain("a", content=BY_ENCODER), pool=Hanging(e=embedded(1)))
    before = asyncio.all_tasks()
    task = asyncio.create_task(ask(view))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert view.decisions._encoders._running == 0
    assert asyncio.all_tasks() == before
    never.set()
    answer, _ = await ask(view)
    assert answer.specialist == "a"


async def test_keeping_up_ends_when_it_is_told_to():
    """Wherever it is: with nothing to do, and while cards are embedded."""
    for pool in (Pool(e=embedded(1, 0)), Pool(e=Unavailable("away"))):
        view = view_of(A, B, ENCODER, chain("a", "b", content=BY_ENCODER), pool=pool)
        async with kept(view):
            await until(lambda pool=pool: pool.asked)


# ------------------------------------------------------------------ what is said later
def said(*feedback):
    message = pb.SubmitFeedbackRequest(feedback=feedback)
    return message.SerializeToString()


def tried(decisions, key):
    """How often each comes first, by the last of *decisions*."""
    chances = dict(zip(decisions.candidates, decisions.propensities, strict=True))
    return chances[key]


def labels_of(view):
    """How many each candidate has, of all that was heard along r."""
    _, explorer, _ = view.decisions._explorers["r"]
    with np.load(io.BytesIO(explorer.write())) as stored:
        names = stored["candidates"].tolist()
        return dict(zip(names, stored["labels"][:, 0].tolist(), strict=True))


async def test_what_is_said_changes_who_is_tried():
    """At once: who does better than expected is tried more often."""
    exploration = Exploration(share=0.5)
    view = view_of(A, B, chain("a", "b", learning=Learning(), exploration=exploration))
    _, before = await ask(view)
    for _ in range(40):
        _, record = await ask(view)
        about = record.decision.request
        await view.decisions.hear(
            said(
                {"request": about, "specialist": "a:1", "score": 0.0},
                {"request": about, "specialist": "b:1", "score": 1.0},
            )
        )
    _, after = await ask(view)

    assert tried(before.decision, "b:1") < 0.3
    assert tried(after.decision, "b:1") > 0.45


async def test_what_is_said_again_is_heard_once():
    """And what is about nobody that is known, never."""
    exploration = Exploration(share=0.5)
    view = view_of(A, B, chain("a", "b", learning=Learning(), exploration=exploration))
    _, record = await ask(view)
    once = {"request": record.decision.request, "specialist": "b:1", "score": 1.0}

    await view.decisions.hear(said(*[once] * 50, {"request": "other", "score": 1.0}))

    assert labels_of(view) == {"b:1": 1.0}


async def test_one_id_is_heard_once_of_a_request():
    """Whomever it is about."""
    exploration = Exploration(share=0.5)
    view = view_of(A, B, chain("a", "b", learning=Learning(), exploration=exploration))
    _, record = await ask(view)
    about = {"request": record.decision.request, "id": "x", "score": 1.0}

    await view.decisions.hear(said(about | {"specialist": "a:1"}, about | {"specialist": "b:1"}))

    assert labels_of(view) == {"a:1": 1.0}


async def test_without_exploration_nothing_is_heard():
    """Training hears it all the same, at the control plane."""
    view = view_of(A, B, chain("a", "b", learning=Learning()))
    _, record = await ask(view)

    await view.decisions.hear(said({"request": record.decision.request, "score": 1.0}))

    assert view.decisions._explorers == {}
