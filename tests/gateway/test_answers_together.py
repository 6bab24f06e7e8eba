"""Cascades and mixtures of real models behind a real gateway, asked by Triton's client."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx_models import FLOAT, save
from running import OnnxHost

import fabric
from fabric.cli.views import provenance
from fabric.core.cards import Batching, Model
from fabric.core.errors import InvalidRequest, Unavailable
from fabric.core.routes import Cascade, ChainEntry, Mixture, Route
from fabric.testing import specialist
from fabric.wire.parameters import value_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running import Running

GAINS = {"timid": 0.5, "bold": 4.0, "contrary": -6.0}
"""What each makes of the logits that it is given."""
COSTS = {"timid": 1.0, "bold": 10.0, "contrary": 5.0}


def classifying(path: Path, gain: float) -> Path:
    """`p` = softmax(gain x), and `gain` itself."""
    return save(
        path,
        [
            ("Mul", ["x", "by"], ["logits"]),
            ("Softmax", ["logits"], ["p"]),
            ("Mul", ["ones", "by"], ["gain"]),
        ],
        [("x", FLOAT, ["N", 2])],
        [("p", FLOAT, ["N", 2]), ("gain", FLOAT, [1])],
        [("by", np.array([gain], np.float32)), ("ones", np.ones(1, np.float32))],
    )


def softmax(numbers, gain):
    powers = np.exp(gain * np.array(numbers))
    return powers / powers.sum()


@pytest.fixture(scope="module")
def models(running: Running, tmp_path_factory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("together")
    hosted = [
        specialist(
            name,
            model=Model(uri=str(classifying(folder / f"{name}.onnx", gain))),
            cost=COSTS[name],
            batching=Batching(max_size=1),
        )
        for name, gain in GAINS.items()
    ]
    chain = tuple(ChainEntry(name=name) for name in ("bold", "timid"))
    every = (*chain, ChainEntry(name="contrary"))
    gone = Cascade(confidence="python", python="nowhere:f")
    routes = [
        Route(name="climbing", chain=chain, cascade=Cascade(threshold=0.5, output="p")),
        Route(name="mixing", chain=chain, mixture=Mixture(output="p")),
        Route(name="voting", chain=every, mixture=Mixture(top=0, combine="vote")),
        Route(name="without", chain=chain, cascade=gone),
    ]
    with fabric.Client(running.address) as client:
        client.apply(hosted, routes)
    with OnnxHost(running.control_address) as host:
        host.serve(hosted, running.address)
        yield running


@pytest.fixture
def server(models: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(models.address) as made:
        yield made


def inputs(*rows):
    array = np.array(rows, np.float32)
    made = triton.InferInput("x", list(array.shape), "FP32")
    made.set_data_from_numpy(array)
    return [made]


def said(result):
    parameters = result.get_response().parameters
    return {
        name.removeprefix("fabric_"): value_of(each)
        for name, each in parameters.items()
        if name.startswith("fabric_")
    }


def test_the_cheap_one_answers_what_it_is_sure_of(server):
    """And says how sure it is."""
    result = server.infer("climbing", inputs([4.0, 0.0]))
    expected = softmax([4.0, 0.0], 0.5)
    assert result.as_numpy("p")[0] == pytest.approx(expected)
    assert result.get_response().model_name == "climbing"
    assert result.as_numpy("gain") == [0.5]
    parts = said(result)
    assert parts.pop("replica")
    assert parts == {
        "specialist": "timid",
        "version": "1",
        "route": "climbing",
        "attempts": 1,
        "fallback": False,
        "confidence": pytest.approx(expected[0] - expected[1]),
    }


def test_the_dear_one_answers_the_rest(server):
    """One row that is not sure is enough for all that came with it."""
    result = server.infer("climbing", inputs([4.0, 0.0], [0.0, 1.0]))
    assert result.as_numpy("p")[1] == pytest.approx(softmax([0.0, 1.0], 4.0))
    parts = said(result)
    expected = softmax([0.0, 1.0], 4.0)
    assert parts["confidence"] == pytest.approx(expected[1] - expected[0])
    assert (parts["specialist"], parts["attempts"], parts["fallback"]) == ("bold", 2, False)


def test_two_answer_together(server):
    """The mean of one output, and the others of the heaviest."""
    result = server.infer("mixing", inputs([1.0, 0.0]))
    mean = (softmax([1.0, 0.0], 4.0) + softmax([1.0, 0.0], 0.5)) / 2
    assert result.as_numpy("p")[0] == pytest.approx(mean)
    assert result.as_numpy("gain") == [4.0]
    parts = said(result)
    assert parts["mixture"] == "bold:1,timid:1"
    assert (parts["specialist"], parts["attempts"], parts["fallback"]) == ("bold", 2, False)


def test_three_vote(server):
    """Two of them are of one mind."""
    result = server.infer("voting", inputs([1.0, 0.0]))
    assert result.as_numpy("p")[0] == pytest.approx(softmax([1.0, 0.0], 4.0))
    assert said(result)["mixture"] == "bold:1,timid:1,contrary:1"


def test_an_output_that_is_not_asked_for_cannot_be_judged(server):
    """Then the last one answers."""
    asked = [triton.InferRequestedOutput("gain")]
    parts = said(server.infer("climbing", inputs([4.0, 0.0]), outputs=asked))
    assert (parts["specialist"], parts["confidence"]) == ("bold", 0.0)


@pytest.mark.parametrize(("model", "specialist"), [("climbing", "timid"), ("mixing", "bold")])
def test_requests_on_a_stream_are_answered_the_same_way(server, model, specialist):
    """In their order."""
    answers: queue.Queue = queue.Queue()
    server.start_stream(lambda result, error: answers.put((result, error)))
    for request in range(3):
        server.async_stream_infer(model, inputs([4.0, 0.0]), request_id=str(request))
    results = [answers.get(timeout=20) for _ in range(3)]
    server.stop_stream()
    assert [error for _, error in results] == [None] * 3
    assert [result.get_response().id for result, _ in results] == ["0", "1", "2"]
    assert {said(result)["specialist"] for result, _ in results} == {specialist}


async def test_the_sdk_says_so_too(client, models):
    """And the command line, in a sentence."""
    x = {"x": np.array([[1.0, 0.0]], np.float32)}
    answer = await client.infer("mixing", x)
    assert (answer.mixture, answer.confidence) == (("bold:1", "timid:1"), None)
    assert provenance(answer) == ("answered by bold:1 and timid:1 by route mixing after 2 attempts")
    answer = await client.infer("climbing", x)
    expected = softmax([1.0, 0.0], 4.0)
    assert answer.confidence == pytest.approx(expected[0] - expected[1])
    assert answer.parameters == {}
    assert provenance(answer) == (
        "answered by bold:1, 96% sure, by route climbing after 2 attempts: "
        "timid:1 UNSURE: its confidence 0.245 is under 0.5"
    )


async def test_requests_of_a_sequence_are_answered_by_the_first(client, models):
    """As along any route."""
    x = {"x": np.array([[1.0, 0.0]], np.float32)}
    options = {"sequence_id": 7, "sequence_start": True}
    result = await client.infer("mixing", x, parameters=options)
    assert (result.specialist, result.mixture) == ("bold", ())


async def test_what_the_models_refuse_is_told(client, models):
    """The caller's mistake is the caller's."""
    for model in ("climbing", "mixing"):
        with pytest.raises(InvalidRequest):
            await client.infer(model, {"x": np.zeros((1, 3), np.float32)})


async def test_a_route_whose_function_is_missing_is_not_ready(client, models):
    """And says what is missing."""
    with pytest.raises(Unavailable, match="nowhere:f cannot be imported"):
        await client.infer("without", {"x": np.zeros((1, 2), np.float32)})
    assert not await client.ready("without")
