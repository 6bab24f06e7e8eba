"""Routes that rank who may answer, through a gateway."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from running import Saying, replica, until
from tritonclient.utils import InferenceServerException

from fabric.core.cards import Evidence
from fabric.core.errors import InvalidRequest, NotFound
from fabric.core.routes import MinQuality, Preferences, Requirements, Route
from fabric.testing import specialist

X = {"x": np.zeros(1, np.float32)}


class Slow(Saying):
    """Answers after a moment."""

    def handle(self, call):
        asyncio.get_running_loop().call_later(0.05, super().handle, call)


def measured(name, cursive, printed, **said):
    evidence = tuple(
        Evidence(metric="accuracy", value=value, domain=domain, rows=1000, measured="2026-01-31")
        for domain, value in (("cursive", cursive), ("printed", printed))
    )
    return specialist(name, task="ranked", evidence=evidence, **said)


CARDS = (
    measured("ranked-a", 0.9, 0.5, cost=4.0, region="eu", data_classes=("personal",)),
    measured("ranked-b", 0.5, 0.9, cost=1.0, region="us", data_classes=("public",)),
    measured("ranked-c", 0.6, 0.6, cost=0.5, labels={"tier": "gold"}),
)
FOR_RANKED = Requirements(task="ranked")
ROUTES = tuple(
    Route(
        name=f"ranked-{preset}",
        order="scored",
        requirements=FOR_RANKED,
        preferences=Preferences(preset=preset),
    )
    for preset in ("quality", "cheapest", "fastest")
)


@pytest.fixture
async def ranked(running, client, stack):
    """Three specialists, of which the second is slow, and routes to all that suit."""
    await client.apply(CARDS, ROUTES)
    for card, handler in zip(CARDS, (Saying(), Slow(), Saying()), strict=True):
        await stack.enter_async_context(replica(running.control_address, card, handler))
        await running.until_linked(client, card.card.name)
    return client


async def test_the_better_one_answers(ranked):
    """By the domain that is asked for, and by what is preferred."""
    for domain, best in (("cursive", "ranked-a"), ("printed", "ranked-b")):
        answer = await ranked.infer("ranked-quality", X, requirements={"domain": domain})
        assert (answer.specialist, answer.fallback) == (best, False)
    assert (await ranked.infer("ranked-cheapest", X)).specialist == "ranked-c"


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ({"region": "eu"}, "ranked-a"),
        ({"data_classes": "public", "domain": "printed"}, "ranked-b"),
        ({"data_classes": "public,personal"}, "ranked-c"),
        ({"max_cost": 0.5}, "ranked-c"),
        ({"domain": "printed", "max_cost": 4}, "ranked-b"),
        ({"domain": "cursive", "min_quality": "accuracy>=0.7"}, "ranked-a"),
        ({"versions": "1", "domain": "printed"}, "ranked-b"),
        ({"expression": "has(card.labels.tier)"}, "ranked-c"),
    ],
)
async def test_clients_of_triton_ask_by_parameters(running, ranked, asked, answers):
    """Texts and numbers in the parameters of a request."""
    tensor = triton.InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(X["x"])
    async with triton.InferenceServerClient(running.address) as client:
        answer = await client.infer(
            "ranked-quality",
            [tensor],
            parameters={f"fabric_{name}": value for name, value in asked.items()},
        )
    said = answer.get_response().parameters
    assert said["fabric_specialist"].string_param == answers
    assert said["fabric_route"].string_param == "ranked-quality"


async def test_the_sdk_asks_by_requirements(ranked):
    """The same, as one object."""
    least = MinQuality(metric="accuracy", value=0.7)
    wanted = Requirements(domain="printed", min_quality=least, max_cost=2.0)
    assert (await ranked.infer("ranked-quality", X, requirements=wanted)).specialist == "ranked-b"


async def test_what_cannot_be_met_or_read_is_refused(running, ranked):
    """With what each says against it, or the way to say it."""
    with pytest.raises(NotFound, match="no specialist of route 'ranked-quality' may answer"):
        await ranked.infer("ranked-quality", X, requirements={"max_cost": 0.1})
    plan = await ranked.explain("ranked-quality", requirements={"max_cost": 0.1})
    reasons = {refusal.specialist: refusal.reason for refusal in plan.refusals}
    assert reasons["ranked-c"] == "cost is 0.5, above max_cost 0.1"
    with pytest.raises(InvalidRequest, match="no expression: column 8"):
        await ranked.infer("ranked-quality", X, requirements={"expression": "card.a ="})
    tensor = triton.InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(X["x"])
    async with triton.InferenceServerClient(running.address) as client:
        with pytest.raises(InferenceServerException, match="METRIC>=VALUE"):
            await client.infer("ranked-quality", [tensor], parameters={"fabric_min_quality": "a"})


async def test_an_explanation_has_every_card_and_every_part(ranked):
    """Those refused by what, the others scored how; it is what happens."""
    wanted = {"domain": "printed", "region": "us"}
    plan = await ranked.explain("ranked-quality", requirements=wanted)
    assert dict(plan.weights) == {"quality": 1.0, "latency": 0.05, "cost": 0.05}
    (only,) = plan.candidates
    assert (only.specialist, set(only.parts)) == ("ranked-b", {"quality", "latency", "cost"})
    mean = sum(plan.weights[name] * part for name, part in only.parts.items()) / 1.1
    assert only.score == pytest.approx(mean)
    assert only.reason.startswith("quality 0.90 of accuracy for printed, latency ")
    refused = {r.specialist: r.reason for r in plan.refusals if r.specialist.startswith("ranked")}
    assert refused == {
        "ranked-a": "region is eu, not us",
        "ranked-c": "region is not stated, not us",
    }
    assert (await ranked.infer("ranked-quality", X, requirements=wanted)).specialist == "ranked-b"


async def test_an_explanation_may_have_no_candidates(ranked):
    """Then it says why."""
    plan = await ranked.explain("ranked-quality", requirements={"max_cost": 0.1})
    assert plan.candidates == ()
    assert {"ranked-a", "ranked-b", "ranked-c"} <= {r.specialist for r in plan.refusals}


async def test_the_slow_one_is_known_after_a_while(ranked):
    """It is last where speed is preferred, and refused where so much time is not left."""
    for name in ("ranked-a", "ranked-b", "ranked-c"):
        await asyncio.gather(*(ranked.infer(name, X) for _ in range(20)))

    async def is_last():
        plan = await ranked.explain("ranked-fastest")
        await ranked.infer("ranked-fastest", X)
        return plan.candidates[-1].specialist == "ranked-b"

    await until(is_last)

    async def refused():
        await ranked.infer("ranked-quality", X, requirements={"max_latency": 0.04})
        plan = await ranked.explain("ranked-quality", requirements={"max_latency": 0.04})
        return [r for r in plan.refusals if r.specialist == "ranked-b"]

    (refusal,) = await until(refused)
    assert refusal.reason.startswith("nine of ten answers take up to 0.0")
    assert refusal.reason.endswith("above max_latency 0.04")
