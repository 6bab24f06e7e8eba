"""From a decision to a policy and back, through real processes."""

from __future__ import annotations

import struct

import numpy as np
from running import served, unique, until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.decisions import Feedback
from fabric.core.routes import ChainEntry, Content, Exploration, Learning, Route


class Knowing:
    """Answers 1 on the side of 0 that it knows, and 0 on the other."""

    def __init__(self, side: int) -> None:
        self.side = side

    def handle(self, call) -> None:
        request = ModelInferRequest.FromString(bytes(call.payload))
        (x, _) = struct.unpack("<2f", request.raw_input_contents[0])
        response = ModelInferResponse()
        tensor = response.outputs.add(name="label", datatype="INT64", shape=[1])
        tensor.contents.int64_contents.append(int(x * self.side > 0))
        call.respond(response.SerializeToString())

    def statistics(self) -> bytes:
        return b""


async def asked(client, route, count, seed=0):
    """The side of each request, who answered it, and its id; the right answer is always 1."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        x = random.normal(size=2).astype(np.float32)
        answer = await client.infer(route, {"x": x})
        found.append((float(x[0]), answer.specialist, answer.request))
    await client.feedback_many(Feedback(request=request, label="1") for *_, request in found)
    return found


async def known(client, route, count):
    """Returns when of *count* requests both answers and what was said are recorded."""

    async def are_known():
        found = await client.decisions(route)
        return sum(len(each.outcomes) == 2 and len(each.feedback) == 1 for each in found) >= count

    await until(are_known)


async def test_a_route_learns_who_knows_what(running, client):
    """Requests go to who knows their side; once that is wrong, the policy has lost."""
    left, right, route = unique("left"), unique("right"), unique("route")
    knows_left, knows_right = Knowing(-1), Knowing(1)
    async with (
        served(running, client, left, knows_left),
        served(running, client, right, knows_right),
    ):
        learning = Route(
            name=route,
            order="scored",
            chain=(ChainEntry(name=left), ChainEntry(name=right)),
            content=Content(input="x"),
            learning=Learning(mode="apply", discount=1.0, min_labels=150),
            exploration=Exploration(shadow=1.0),
        )
        await client.apply(routes=[learning])
        await asked(client, route, 200)
        await known(client, route, 200)
        first = await client.train(route)
        assert first.version > 0, first.report

        async def decides():
            ((*_, request),) = await asked(client, route, 1)
            return (await client.explain(request=request)).decision.policy >= first.version

        await until(decides)
        found = await asked(client, route, 50, seed=1)
        assert np.mean([(side < 0) == (who == left) for side, who, _ in found]) > 0.9

        knows_left.side, knows_right.side = 1, -1
        await asked(client, route, 150, seed=2)
        await known(client, route, 400)
        assert (await client.train(route)).version > first.version
        policies = [each for each in await client.list("policy") if each.route == route]
        assert any("requests that both answered" in policy.lost for policy in policies)
