"""Routes that learn, through a real gateway: ids, what is remembered, and where it can be asked."""

from __future__ import annotations

import contextlib

import httpx
import numpy as np
import pytest
from running import Failing, Saying, answering, free_port, gateway_process, served, unique, until

from fabric import AsyncClient
from fabric.api.inference.v2.extensions_pb2 import ModelStreamInferResponse
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.cards import Sequences
from fabric.core.decisions import Feedback
from fabric.core.errors import InvalidRequest, NotFound, SpecialistFailed, Unavailable
from fabric.core.routes import ChainEntry, Content, Exploration, Learning, Preferences, Route
from fabric.core.tensors import Signature, TensorSpec
from fabric.wire.tensors import encode_inputs

X = {"x": np.ones(2, np.float32)}


def labelled(label):
    response = ModelInferResponse()
    tensor = response.outputs.add(name="label", datatype="INT64", shape=[1])
    tensor.contents.int64_contents.append(label)
    return response.SerializeToString()


def learning(name, *chain, **said):
    entries = tuple(ChainEntry(name=each) for each in chain)
    said = {"content": Content(input="x"), "learning": Learning(), **said}
    return Route(name=name, order="scored", chain=entries, **said)


async def test_a_decision_is_explained_as_it_was_made(running, client):
    """By this gateway, and by another that asks the control plane."""
    name, ill, route = unique("good"), unique("ill"), unique("route")
    failing = Failing(SpecialistFailed("it is ill"))
    async with (
        served(running, client, name, Saying(labelled(7)), cost=2.0),
        served(running, client, ill, failing, cost=1.0),
    ):
        await client.apply(routes=[learning(route, ill, name)])
        answer = await client.infer(route, X, requirements={"domain": "d"})
        explained = await client.explain(request=answer.request)

        assert (answer.specialist, answer.route) == (name, route)
        decision = explained.decision
        assert decision.candidates == (f"{ill}:1", f"{name}:1")
        assert decision.propensities == (1.0, 0.0)
        assert (decision.query.domain, decision.query.numbers) == ("d", (1.0, 1.0))
        assert [c.specialist for c in explained.candidates] == [ill, name]
        assert all(candidate.reason for candidate in explained.candidates)
        said = [(o.specialist, o.error, o.label, o.cost) for o in explained.outcomes]
        failed, answered = (f"{ill}:1", "SPECIALIST_FAILED", "", 0.0), (f"{name}:1", "", "7", 2.0)
        assert said == [failed, answered]
        await until(lambda: recorded(client, answer.request))
        await client.feedback(answer.request, label="7")
        said = (await client.explain(request=answer.request)).feedback
        assert [each.label for each in said] == ["7"]

        other = free_port()
        folder = running.folder / unique("other")
        folder.mkdir()
        with gateway_process(folder, other, running.control_port):
            answering(other)
            async with AsyncClient(f"127.0.0.1:{other}") as elsewhere:
                again = await elsewhere.explain(request=answer.request)
        assert again.decision == decision
        assert sorted(map(repr, again.outcomes)) == sorted(map(repr, explained.outcomes))


async def recorded(client, request):
    with contextlib.suppress(NotFound):
        (found,) = await client.decisions(request=request)
        return len(found.outcomes) == 2


async def test_nobody_knows_a_request_that_never_was(running, client):
    """Neither the gateway nor the control plane."""
    with pytest.raises(NotFound, match="nothing is known of request '0"):
        await client.explain(request="0" * 32)


async def test_ids_are_for_routes_that_decide_one_by_one(running, client):
    """Others have none, and each request has its own."""
    name, route = unique("good"), unique("route")
    async with served(running, client, name, Saying(labelled(1))):
        await client.apply(routes=[learning(route, name, exploration=Exploration(shadow=0.1))])
        ids = [(await client.infer(route, X)).request for _ in range(3)]
        assert len(set(ids)) == 3
        assert all(len(each) == 32 for each in ids)
        assert (await client.infer(name, X)).request == ""


async def test_a_request_without_the_input_is_refused(running, client):
    """Before anybody is asked."""
    name, route = unique("good"), unique("route")
    saying = Saying(labelled(1))
    async with served(running, client, name, saying):
        await client.apply(routes=[learning(route, name)])
        with pytest.raises(InvalidRequest, match="decides by the input 'x'"):
            await client.infer(route, {"y": np.ones(1)})
        assert saying.count == 0


async def test_rest_and_streams_say_the_id_too(running, client, channel):
    """Each answer on a stream, and the JSON of one by REST."""
    name, route = unique("good"), unique("route")
    async with served(running, client, name, Saying(labelled(1))):
        await client.apply(routes=[learning(route, name)])
        document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}
        async with httpx.AsyncClient(base_url=f"http://{running.address}") as http:
            answer = (await http.post(f"/v2/models/{route}/infer", json=document)).json()
        said = answer["parameters"]["fabric_request"]
        assert (await client.explain(request=said)).decision.request == said

        message = ModelInferRequest(model_name=route)
        encode_inputs(message, X)
        call = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            response_deserializer=ModelStreamInferResponse.FromString,
        )(iter([message.SerializeToString()]))
        (answer,) = [each.infer_response async for each in call]
        said = answer.parameters["fabric_request"].string_param
        assert (await client.explain(request=said)).decision.query.numbers == (1.0, 1.0)


async def test_requests_of_sequences_are_not_decided(running, client):
    """They go where their sequence is, and nobody looks at them."""
    name, route = unique("good"), unique("route")
    async with served(running, client, name, Saying(labelled(1)), sequences=Sequences()):
        await client.apply(routes=[learning(route, name)])
        step = {"sequence_id": 5, "sequence_start": True}
        answer = await client.infer(route, {"y": np.ones(1)}, parameters=step)
        assert (answer.specialist, answer.request) == (name, "")


async def test_feedback_through_the_gateway_changes_who_is_tried(running, client):
    """At once, before anything was trained."""
    good, bad, route = unique("good"), unique("bad"), unique("route")
    async with (
        served(running, client, good, Saying(labelled(1)), cost=2.0),
        served(running, client, bad, Saying(labelled(2)), cost=1.0),
    ):
        exploration = Exploration(share=0.5)
        await client.apply(routes=[learning(route, bad, good, exploration=exploration)])

        async def chance():
            """Of the good one to be first."""
            request = (await client.infer(route, X)).request
            decision = (await client.explain(request=request)).decision
            chances = zip(decision.candidates, decision.propensities, strict=True)
            return request, dict(chances)[f"{good}:1"]

        _, before = await chance()
        for _ in range(30):
            request, _ = await chance()
            await client.feedback(request, score=1.0, specialist=f"{good}:1")
            await client.feedback(request, score=0.0, specialist=f"{bad}:1")
        _, after = await chance()

    assert before < 0.4 < after


async def test_a_gateway_that_starts_knows_what_others_were_told(running, client):
    """By the policy: another one, or the same after a restart, tries nobody who is known."""
    good, bad, route = unique("good"), unique("bad"), unique("route")
    async with (
        served(running, client, good, Saying(labelled(1)), cost=2.0),
        served(running, client, bad, Saying(labelled(2)), cost=1.0),
    ):
        said = learning(
            route,
            bad,
            good,
            content=None,
            learning=Learning(mode="apply", min_labels=80),
            exploration=Exploration(shadow=0.5, share=0.5),
        )
        await client.apply(routes=[said])
        requests = [(await client.infer(route, X)).request for _ in range(80)]
        await client.feedback_many(Feedback(request=each, label="1") for each in requests)

        async def are_known():
            found = await client.decisions(route)
            return sum(bool(each.outcomes and each.feedback) for each in found) == 80

        await until(are_known)
        made = await client.train(route)
        assert made.version > 0, made.report

        other = free_port()
        folder = running.folder / unique("other")
        folder.mkdir()
        with gateway_process(folder, other, running.control_port):
            answering(other)
            async with AsyncClient(f"127.0.0.1:{other}") as elsewhere:
                decisions = [
                    await until(lambda at=at: by_policy(at, route)) for at in (client, elsewhere)
                ]
    here, there = decisions
    assert here.candidates[0] == there.candidates[0] == f"{good}:1"
    assert here.propensities == there.propensities
    assert here.shadow_propensities == there.shadow_propensities
    assert min(there.propensities) < 0.01


async def by_policy(client, route):
    """A decision along *route*, once a policy makes it and nobody is tried."""
    with contextlib.suppress(NotFound, Unavailable):  # until it has the catalog
        request = (await client.infer(route, X)).request
        decision = (await client.explain(request=request)).decision
        return decision if decision.kind == "policy" else None


async def test_an_encoder_is_asked_as_anybody_is(running, client):
    """For requests, and for what cards say."""
    encoder, route = unique("encoder"), unique("route")
    near, far = unique("near"), unique("far")
    response = ModelInferResponse()
    output = response.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    output.contents.fp32_contents.extend([0.6, 0.8])
    asked = Saying(response.SerializeToString())
    reads = Signature(inputs=(TensorSpec(name="t", datatype="BYTES", shape=(-1,)),))
    preferences = Preferences(preset="quality", weights={"similarity": 1.0})
    content = Content(input="x", encoder=encoder, encoder_input="t")
    async with (
        served(running, client, encoder, asked, signature=reads),
        served(running, client, near, Saying(labelled(1)), description="legal contracts"),
        served(running, client, far, Saying(labelled(2)), description="cooking"),
    ):
        said = learning(route, near, far, content=content, preferences=preferences)
        await client.apply(routes=[said])
        await until(lambda: asked.count == 2)
        text = {"x": np.array([b"a contract"], np.object_)}
        answer = await client.infer(route, text)
        explained = await client.explain(request=answer.request)

    assert asked.count == 3
    assert explained.decision.query.text == "a contract"
    assert explained.decision.query.numbers == pytest.approx((0.6, 0.8))
    assert [c.parts["similarity"] for c in explained.candidates] == pytest.approx([1.0, 1.0])
