"""Cascades and mixtures, over fakes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.requests import InferRequest
from fabric.core.routes import Cascade, ChainEntry, Mixture, Retry, Route
from fabric.dispatch import Dispatcher, Tally
from fabric.testing import FakeInvoker, ManualClock, planner, specialist
from fabric.wire import outputs
from fabric.wire.tensors import to_raw

COSTS = {"a": 1.0, "b": 5.0, "c": 9.0}
CHAIN = tuple(ChainEntry(name=name) for name in "cab")
FAILED = SpecialistFailed("nan", replica="x/0")
BUSY = "it is busy for longer than the deadline allows"


def scores(*numbers, name="y", **more):
    """A response with one row of *numbers*."""
    array = np.array([numbers], np.float32)
    message = ModelInferResponse(**more)
    message.outputs.add(name=name, datatype="FP32", shape=array.shape)
    message.raw_output_contents.append(to_raw(array, "FP32"))
    return message.SerializeToString()


SURE, UNSURE, UNSURER = scores(0.95, 0.05), scores(0.4, 0.6), scores(0.55, 0.45)


class Slow(FakeInvoker):
    """Each call takes a second; knows of no time that would not be enough, but what is told."""

    def __init__(self, clock, **answers):
        super().__init__(**answers)
        self.clock = clock
        self.promised = []

    def promises(self, card, seconds, tenant="", priority=0):
        self.promised.append((card.name, seconds))
        return super().promises(card, seconds)

    async def infer(self, card, request, deadline):
        self.clock.advance(1.0)
        return await super().infer(card, request, deadline)


def dispatcher(invoker, clock=None, observe=None, **said):
    route = Route(name="r", chain=CHAIN, timeout=10.0, **said)
    plans = planner([specialist(name, cost=cost) for name, cost in COSTS.items()], [route])
    return Dispatcher(plans, invoker, clock or ManualClock(), observe, outputs)


def request(**more):
    return InferRequest("r", "", b"x", **more)


async def asked(invoker, deadline=NEVER, clock=None, **said):
    asking = dispatcher(invoker, clock, **said)
    of = request()
    asking.admit(of, deadline)
    return await asking.infer(of, deadline)


def names(invoker):
    return "".join(name for name, *_ in invoker.asked)


def tried(answer):
    return [(each.specialist, each.error) for each in answer.attempts]


# ------------------------------------------------------------------ who fails too often
@pytest.mark.parametrize("said", [{"cascade": Cascade(threshold=0.8)}, {"mixture": Mixture()}])
async def test_whoever_should_not_be_asked_has_no_part(said):
    """It costs an attempt nothing, and the answer says why."""
    invoker = FakeInvoker(a=SURE, b=SURE, c=SURE)
    invoker.objections = {"a": "it fails"}
    answer = await asked(invoker, **said)
    assert answer.specialist in ("b", "c")
    (attempt,) = (each for each in answer.attempts if each.specialist == "a")
    assert (attempt.error, attempt.message, attempt.replica) == ("UNAVAILABLE", "it fails", "")
    assert "a" not in names(invoker)


@pytest.mark.parametrize("said", [{"cascade": Cascade(threshold=0.8)}, {"mixture": Mixture()}])
async def test_if_nobody_should_be_asked_there_is_an_answer_still(said):
    """Nobody else can give it."""
    invoker = FakeInvoker(a=FAILED, b=SURE, c=SURE)
    invoker.objections = dict.fromkeys("abc", "it fails")
    assert (await asked(invoker, **said)).specialist in ("b", "c")


async def test_an_unsure_answer_spares_whoever_should_not_be_asked():
    """Though it is the last one who could be surer."""
    invoker = FakeInvoker(a=UNSURE, b=UNSURER, c=SURE)
    invoker.objections = {"c": "it fails"}
    answer = await climbed(invoker)
    assert (answer.specialist, names(invoker)) == ("a", "ab")
    assert tried(answer) == [("b", "UNSURE"), ("c", "UNAVAILABLE")]


# ------------------------------------------------------------------ cascades
async def climbed(invoker, deadline=NEVER, clock=None, **said):
    return await asked(invoker, deadline, clock, cascade=Cascade(threshold=0.8), **said)


async def test_the_cheapest_answers_where_it_is_sure():
    """It is the first, whatever the chain says, and nobody else is asked."""
    invoker = FakeInvoker(a=SURE)
    answer = await climbed(invoker)
    assert (answer.specialist, answer.fallback, answer.attempts) == ("a", False, [])
    assert answer.confidence == pytest.approx(0.9)
    assert names(invoker) == "a"


async def test_where_one_is_not_sure_the_next_is_asked():
    """That is no fallback; the answer says who was not sure, and how sure."""
    invoker = FakeInvoker(a=UNSURE, b=SURE)
    answer = await climbed(invoker)
    assert (answer.specialist, answer.response.payload, answer.fallback) == ("b", SURE, False)
    assert tried(answer) == [("a", "UNSURE")]
    assert answer.attempts[0].message == "its confidence 0.2 is under 0.8"
    assert answer.attempts[0].replica == "a/0"


async def test_the_last_one_answers_in_any_case():
    """Also where another was surer of something else."""
    answer = await climbed(FakeInvoker(a=UNSURE, b=UNSURE, c=UNSURER))
    assert (answer.specialist, answer.fallback) == ("c", False)
    assert answer.confidence == pytest.approx(0.1)
    assert tried(answer) == [("a", "UNSURE"), ("b", "UNSURE")]


async def test_where_a_later_one_fails_the_surest_answers():
    """An answer comes, and it says that somebody else should have given it."""
    answer = await climbed(FakeInvoker(a=UNSURE, b=UNSURER, c=FAILED))
    assert (answer.specialist, answer.fallback) == ("a", True)
    assert answer.confidence == pytest.approx(0.2)
    assert tried(answer) == [("b", "UNSURE"), ("c", "SPECIALIST_FAILED")]


async def test_who_fails_is_followed_by_the_next():
    """As along any route, and that is a fallback."""
    invoker = FakeInvoker(a=FAILED, b=SURE)
    answer = await climbed(invoker)
    assert (answer.specialist, answer.fallback) == ("b", True)
    assert tried(answer) == [("a", "SPECIALIST_FAILED")]


async def test_a_lost_replica_is_followed_by_another_of_the_same():
    """Which is no fallback if that one is sure."""
    invoker = FakeInvoker(a=[Unavailable("lost", replica="a/0"), SURE])
    answer = await climbed(invoker)
    assert (answer.specialist, answer.fallback) == ("a", False)
    assert invoker.asked[1][2] == {"a/0"}


async def test_what_no_candidate_can_answer_is_told():
    """If somebody has answered before, that is the answer."""
    invalid = InvalidRequest("no")
    invoker = FakeInvoker(a=invalid)
    with pytest.raises(InvalidRequest, match=r"^no$"):
        await climbed(invoker)
    assert names(invoker) == "a"
    answer = await climbed(FakeInvoker(a=UNSURE, b=invalid))
    assert (answer.specialist, tried(answer)) == ("a", [("b", "INVALID_REQUEST")])


async def test_if_all_fail_the_caller_is_told_of_all():
    """The last failure, with what the others failed of."""
    with pytest.raises(SpecialistFailed, match="3 attempts failed: a:1: nan; b:1: nan; c:1: nan"):
        await climbed(FakeInvoker(a=FAILED, b=FAILED, c=FAILED))


async def test_the_attempts_of_a_request_are_an_end():
    """Whoever answered last then answers in any case."""
    invoker = FakeInvoker(a=UNSURE, b=UNSURER)
    answer = await climbed(invoker, retry=Retry(attempts=2))
    assert (answer.specialist, answer.fallback, names(invoker)) == ("b", False, "ab")


async def test_who_has_no_time_is_passed_over():
    """Nobody is asked who cannot finish; the answer says so."""
    invoker = FakeInvoker(a=UNSURE, c=SURE)
    invoker.busy = {"b"}
    answer = await climbed(invoker)
    assert (answer.specialist, answer.fallback, names(invoker)) == ("c", True, "ac")
    assert [(each.specialist, each.message) for each in answer.attempts[1:]] == [("b", BUSY)]

    invoker = FakeInvoker(b=SURE)
    invoker.busy = {"a"}
    answer = await climbed(invoker)
    assert (answer.specialist, answer.fallback, names(invoker)) == ("b", True, "b")


async def test_the_time_of_later_candidates_is_what_the_others_leave():
    """A little is kept back for giving the answer that is there."""
    clock = ManualClock(100.0)
    invoker = Slow(clock, a=UNSURE, b=UNSURE, c=UNSURE)
    await climbed(invoker, Deadline(103.0), clock)
    assert [deadline.at for _, deadline, _ in invoker.asked] == pytest.approx(
        [103.0, 102.98, 102.98]
    )
    assert invoker.promised == [
        ("a", pytest.approx(3.0)),
        ("b", pytest.approx(1.98)),
        ("c", pytest.approx(0.98)),
    ]


async def test_when_time_is_up_the_surest_answers():
    """Before the caller has left."""
    clock = ManualClock(100.0)
    invoker = Slow(clock, a=UNSURE)
    answer = await climbed(invoker, Deadline(101.001), clock)
    assert (answer.specialist, answer.fallback, names(invoker)) == ("a", True, "a")

    invoker = Slow(clock, a=FAILED)
    with pytest.raises(DeadlineExceeded, match="a:1: nan"):
        await climbed(invoker, Deadline(clock.now + 1.001), clock)


async def test_who_wants_the_first_or_nobody_gets_the_first():
    """However sure it is."""
    invoker = FakeInvoker(a=UNSURE)
    asking = dispatcher(invoker, cascade=Cascade())
    answer = await asking.infer(request(substitute=False), NEVER)
    assert (answer.specialist, answer.fallback, names(invoker)) == ("a", False, "a")


async def test_agreement_asks_two():
    """And a third where they do not agree."""
    agreement = Cascade(confidence="agreement")
    answer = await asked(FakeInvoker(a=SURE, b=UNSURER), cascade=agreement)
    assert (answer.specialist, answer.confidence) == ("b", 1.0)
    answer = await asked(FakeInvoker(a=SURE, b=UNSURE, c=UNSURE), cascade=agreement)
    assert (answer.specialist, answer.confidence) == ("c", 1.0)


async def test_an_answer_that_nobody_can_read_is_unsure():
    """And given where no other comes."""
    invoker = FakeInvoker(a=b"\xff", b=scores(1.0, 0.0, name="z"), c=FAILED)
    answer = await asked(invoker, cascade=Cascade(output="y"))
    assert (answer.specialist, answer.response.payload) == ("a", b"\xff")
    assert [each.message for each in answer.attempts] == [
        "its confidence cannot be read: no output 'y', only z",
        "nan",
    ]
    answer = await asked(FakeInvoker(a=b"\xff", b=SURE), cascade=Cascade())
    assert answer.attempts[0].message == "the response is not valid"


async def test_a_stream_to_a_cascade_has_one_answer():
    """The same as a single request."""
    invoker = FakeInvoker(a=UNSURE, b=SURE)
    answers = [
        each async for each in dispatcher(invoker, cascade=Cascade()).stream(request(), NEVER)
    ]
    assert [(each.specialist, each.response.is_last) for each in answers] == [("b", True)]


@pytest.mark.parametrize("said", [{"cascade": Cascade()}, {"mixture": Mixture()}])
async def test_a_sequence_is_answered_by_the_first(said):
    """Only who began it knows it."""
    invoker = FakeInvoker(a=UNSURE, c=UNSURE)
    answer = await dispatcher(invoker, **said).infer(request(sequence="7"), NEVER)
    assert (answer.confidence, answer.mixture, len(invoker.asked)) == (None, (), 1)


async def test_a_cascade_is_tallied_as_one_request():
    """However many were asked."""
    clock = ManualClock()
    invoker = Slow(clock, a=[UNSURE, FAILED], b=[SURE, FAILED], c=[FAILED])
    asking = dispatcher(invoker, clock, cascade=Cascade())
    await asking.infer(request(), NEVER)
    with pytest.raises(SpecialistFailed):
        await asking.infer(request(), NEVER)
    assert asking.tallies["r"] == Tally(1, 2.0, 1, 3.0, 1002.0)


@pytest.mark.parametrize(
    ("said", "attempts"), [({"cascade": Cascade()}, "a-b-"), ({"mixture": Mixture()}, "cXa-")]
)
@pytest.mark.parametrize("shadow", "abc")
async def test_each_attempt_is_told_of_and_a_shadow_follows(said, attempts, shadow):
    """As with any other route; who was asked already is none."""
    told = []

    def observe(request, candidate, response, error, seconds, *, is_shadow):
        told.append((candidate.card.name, "X" if error else "-", is_shadow))

    invoker = FakeInvoker(a=UNSURE, b=SURE, c=FAILED)
    asking = dispatcher(invoker, observe=observe, **said)
    await asking.infer(request(request="1", shadow=f"{shadow}:1"), NEVER)
    while asking.shadows._tasks:
        await asyncio.wait(asking.shadows._tasks)
    if shadow not in attempts:
        attempts += {"b": "b-", "c": "cX"}[shadow]
    assert "".join(name + how for name, how, _ in told) == attempts
    assert [is_shadow for *_, is_shadow in told] == [False, False, True][: len(told)]


# ------------------------------------------------------------------ mixtures
async def mixed(invoker, deadline=NEVER, clock=None, retry=Retry(), **said):  # noqa: B008
    return await asked(invoker, deadline, clock, retry=retry, mixture=Mixture(**said))


def read(answer):
    return outputs.read(answer.response.payload)["y"][0].tolist()


async def test_the_best_few_answer_together():
    """By the mean of what they give; the answer says who they were."""
    invoker = FakeInvoker(c=scores(0.75, 0.25, id="7"), a=scores(0.25, 0.75))
    answer = await mixed(invoker, top=2)
    assert read(answer) == pytest.approx([0.5, 0.5])
    assert ModelInferResponse.FromString(answer.response.payload).id == "7"
    assert (answer.specialist, answer.mixture, answer.fallback) == ("c", ("c:1", "a:1"), False)
    assert answer.response.replica == "c/0"
    assert tried(answer) == [("a", "")]
    assert names(invoker) == "ca"


async def test_scores_of_the_plan_are_the_weights():
    """And who has the largest gives the other outputs."""
    invoker = FakeInvoker(c=scores(1.0, 0.0, id="c"), a=scores(0.0, 1.0, id="a"))
    asking = dispatcher(invoker, mixture=Mixture())
    plan = asking._planner.plan("r", "", None)
    weighted = [replace(c, score=s) for c, s in zip(plan.candidates, (0.1, 0.3, 0.2), strict=True)]
    of = request(plan=replace(plan, candidates=tuple(weighted)))
    answer = await asking.infer(of, NEVER)
    assert read(answer) == pytest.approx([0.25, 0.75])
    assert (answer.specialist, answer.mixture) == ("a", ("a:1", "c:1"))
    assert ModelInferResponse.FromString(answer.response.payload).id == "a"


async def test_all_answer_where_all_are_asked():
    """As many as a request has attempts."""
    invoker = FakeInvoker(a=SURE, b=UNSURE, c=UNSURER)
    answer = await mixed(invoker, top=0, combine="vote")
    assert (answer.mixture, read(answer)) == (("c:1", "a:1", "b:1"), pytest.approx([0.55, 0.45]))
    invoker = FakeInvoker(a=SURE, b=UNSURE, c=UNSURER)
    answer = await mixed(invoker, top=0, retry=Retry(attempts=2))
    assert answer.mixture == ("c:1", "a:1")


async def test_the_surest_answers_as_it_is():
    """The answer says how sure it is, and who was asked."""
    answer = await mixed(FakeInvoker(c=UNSURE, a=SURE), combine="best")
    assert (answer.specialist, answer.response.payload) == ("a", SURE)
    assert answer.confidence == pytest.approx(0.9)
    assert (answer.mixture, answer.fallback) == (("a:1", "c:1"), False)


async def test_who_fails_is_left_out():
    """As long as one answers, whose answer is given as it is then."""
    answer = await mixed(FakeInvoker(c=FAILED, a=SURE))
    assert (answer.specialist, answer.response.payload, answer.fallback) == ("a", SURE, True)
    assert (answer.mixture, tried(answer)) == (("a:1",), [("c", "SPECIALIST_FAILED")])

    answer = await mixed(FakeInvoker(c=SURE, a=b"\xff"))
    assert (answer.mixture, tried(answer)) == (("c:1",), [("a", "INTERNAL")])


async def test_who_is_unlike_the_others_is_left_out():
    """With the reason."""
    answer = await mixed(FakeInvoker(c=SURE, a=scores(1.0, 0.0, 0.0)))
    assert (answer.specialist, answer.response.payload) == ("c", SURE)
    assert (answer.mixture, tried(answer)) == (("c:1",), [("a", "UNLIKE")])
    assert "its output 'y' is float32 [1, 3]" in answer.attempts[0].message


async def test_if_all_of_a_mixture_fail_those_behind_them_answer():
    """As many as there are, and as a request has attempts."""
    invoker = FakeInvoker(c=FAILED, a=FAILED, b=SURE)
    answer = await mixed(invoker)
    assert (answer.specialist, answer.mixture, answer.fallback) == ("b", ("b:1",), True)
    assert tried(answer) == [("c", "SPECIALIST_FAILED"), ("a", "SPECIALIST_FAILED")]

    invoker = FakeInvoker(c=FAILED, a=FAILED, b=SURE)
    with pytest.raises(SpecialistFailed, match="2 attempts failed"):
        await mixed(invoker, retry=Retry(attempts=2))
    assert names(invoker) == "ca"


async def test_if_everybody_fails_the_caller_is_told_of_all():
    """The best one's failure, with what the others failed of."""
    with pytest.raises(Overloaded, match="3 attempts failed: c:1: full; a:1: nan; b:1: nan"):
        await mixed(FakeInvoker(c=Overloaded("full", replica="c/0"), a=FAILED, b=FAILED))


async def test_what_nobody_can_answer_is_asked_of_nobody_else():
    """It is the caller's mistake."""
    invoker = FakeInvoker(c=InvalidRequest("no"), a=InvalidRequest("no"))
    with pytest.raises(InvalidRequest, match="2 attempts failed: c:1: no; a:1: no"):
        await mixed(invoker)
    assert names(invoker) == "ca"


async def test_who_has_no_time_has_no_part():
    """The next one has it instead."""
    invoker = FakeInvoker(a=UNSURE, b=SURE)
    invoker.busy = {"c"}
    answer = await mixed(invoker)
    assert (answer.mixture, answer.fallback) == (("a:1", "b:1"), True)
    assert [(each.specialist, each.message) for each in answer.attempts] == [("c", BUSY), ("b", "")]


async def test_all_of_a_mixture_have_the_same_time():
    """A little less than the caller, so that who is late is left out in time."""
    invoker = FakeInvoker(a=SURE, c=SURE)
    await mixed(invoker, Deadline(1001.0))
    assert [deadline.at for _, deadline, _ in invoker.asked] == pytest.approx([1000.98, 1000.98])
    await mixed(invoker, Deadline(1000.1))
    assert invoker.asked[-1][1].at == pytest.approx(1000.09)
    await mixed(invoker, Deadline(math.inf))
    assert invoker.asked[-1][1].at == pytest.approx(1009.98)


async def test_all_of_a_mixture_are_asked_at_once():
    """The last answer is the end, and one that fails before ends no other."""

    class Meeting(FakeInvoker):
        met = asyncio.Event()

        async def infer(self, card, request, deadline):
            response = await super().infer(card, request, deadline)
            if len(self.asked) == 3:
                self.met.set()
            await self.met.wait()
            return response

    answer = await mixed(Meeting(a=FAILED, b=SURE, c=SURE), top=0)
    assert answer.mixture == ("c:1", "b:1")


async def test_of_a_mixture_too_the_first_or_nobody_is_the_first():
    """Alone."""
    invoker = FakeInvoker(c=UNSURE)
    answer = await dispatcher(invoker, mixture=Mixture()).infer(request(substitute=False), NEVER)
    assert (answer.mixture, names(invoker)) == (("c:1",), "c")


def test_plans_have_what_their_routes_say():
    """And the cheapest first where there is a cascade."""
    plan = dispatcher(FakeInvoker(), cascade=Cascade())._planner.plan("r", "", None)
    assert [each.card.name for each in plan.candidates] == ["a", "b", "c"]
    assert plan.cascade == Cascade()
    plan = dispatcher(FakeInvoker(), mixture=Mixture())._planner.plan("r", "", None)
    assert [each.card.name for each in plan.candidates] == ["c", "a", "b"]
    assert plan.mixture == Mixture()


async def test_a_cascade_whose_function_is_missing_is_not_ready():
    """The caller is told what is missing."""
    gone = Cascade(confidence="python", python="nowhere:f")
    with pytest.raises(Unavailable, match="route 'r' is not ready: nowhere:f cannot be imported"):
        await asked(FakeInvoker(), cascade=gone)


@pytest.mark.parametrize(
    "said",
    [{}, {"cascade": Cascade()}, {"mixture": Mixture(top=0)}, {"mixture": Mixture(top=1)}],
)
@pytest.mark.parametrize("kind", [SpecialistFailed, InvalidRequest])
@pytest.mark.parametrize("failing", ["ac", "abc"])
async def test_failures_leave_no_cycles_behind(said, failing, kind):
    """Garbage that has to be looked for, and keeps the request for so long; also where the first
    failure is the last."""

    class Failing(FakeInvoker):
        async def infer(self, card, request, deadline):
            if card.name in failing:
                raise kind("of a cycle", replica="x/0")
            return await super().infer(card, request, deadline)

    class Payload(bytearray):
        """It can be watched."""

    asking, asked = dispatcher(Failing(b=SURE), **said), request()
    asked.payload = Payload()
    held = weakref.ref(asked.payload)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(kind):
            await asking.infer(asked, NEVER)
        del asked
        assert held() is None
    finally:
        gc.enable()
