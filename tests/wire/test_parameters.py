"""What a request's parameters ask of the gateway."""

from __future__ import annotations

import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import InvalidRequest
from fabric.core.requests import Answer, InferRequest, InferResponse, Reused
from fabric.core.routes import MinQuality, Requirements, TensorNeed
from fabric.wire.parameters import (
    given_again,
    provenance,
    read_into,
    set_value,
    to_parameters,
    value_of,
)


def read(**said):
    message = ModelInferRequest()
    for name, value in said.items():
        set_value(message.parameters[name], value)
    request = InferRequest("m", "", b"")
    read_into(request, message.parameters)
    return request


def test_requirements_and_sequences_are_read():
    """Whatever else there is, is for the specialist."""
    request = read(
        fabric_task="t", fabric_substitute=False, sequence_id=7, sequence_end=True, other=1
    )
    assert request.requirements == Requirements(task="t")
    assert not request.substitute
    assert request.idempotent
    assert not read(fabric_idempotent=False).idempotent
    assert (request.sequence, request.starts, request.ends) == ("7", False, True)


def test_the_priority_is_read():
    """It counts before a replica is asked."""
    assert (read(priority=2).priority, read(other=1).priority) == (2, 0)
    with pytest.raises(InvalidRequest, match="invalid value for 'priority'"):
        read(priority=-1)


@pytest.mark.parametrize("sequence", [0, ""])
def test_no_sequence_is_none(sequence):
    """0 and nothing name none."""
    request = read(sequence_id=sequence, sequence_start=True)
    assert (request.sequence, request.starts, request.ends) == ("", False, False)


def test_a_sequence_of_the_wrong_type_is_refused():
    """At the gateway already."""
    with pytest.raises(InvalidRequest, match="invalid value type for 'sequence_id'"):
        read(sequence_id=True)


ALL = Requirements(
    task="t",
    domain="d",
    language="de",
    modality="text",
    owner="o",
    region="eu",
    data_classes=("public", "personal"),
    versions=("1", "2"),
    max_cost=0.0,
    max_latency=0.25,
    min_quality=MinQuality(metric="accuracy", value=0.9),
    labels={"tier": "gold"},
    expression="card.cost < 2",
)


def test_everything_that_a_request_may_ask_for_is_read():
    """And is written as it is read."""
    said = to_parameters(ALL)
    assert said["fabric_data_classes"] == "public,personal"
    assert said["fabric_min_quality"] == "accuracy>=0.9"
    assert read(**said).requirements == ALL


def test_numbers_may_be_texts_and_lists_have_spaces():
    """Commands and headers know no numbers."""
    texts = read(
        fabric_max_cost="2",
        fabric_max_latency="0.5",
        fabric_versions=" 1, 2,",
        fabric_min_quality="f1 >= .5",
    )
    assert texts.requirements == Requirements(
        max_cost=2.0,
        max_latency=0.5,
        versions=("1", "2"),
        min_quality=MinQuality(metric="f1", value=0.5),
    )
    assert read(fabric_max_cost=2).requirements == Requirements(max_cost=2.0)


@pytest.mark.parametrize(
    ("asked", "taken"), [(0.0837, 0.083), (0.1, 0.1), (1, 1.0), (12.99, 12.0), (250.0, 250.0)]
)
def test_the_latency_is_asked_for_in_two_digits(asked, taken):
    """There are not so many plans then as there are times left."""
    assert read(fabric_max_latency=asked).requirements.max_latency == pytest.approx(taken, rel=1e-9)


def test_few_latencies_are_told_apart():
    """However many different ones are asked for."""
    asked = {read(fabric_max_latency=0.1 + n / 10_000).requirements for n in range(9000)}
    assert len(asked) <= 91


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"fabric_max_cost": "cheap"}, "'fabric_max_cost' is 'cheap', it must be a finite number"),
        ({"fabric_max_cost": float("nan")}, "it must be a finite number"),
        ({"fabric_max_cost": True}, "it must be a finite number"),
        ({"fabric_max_latency": 0.0}, "it is a microsecond at least"),
        ({"fabric_min_quality": "accuracy"}, "it must read METRIC>=VALUE, such as accuracy>=0.9"),
        ({"fabric_min_quality": ">=0.9"}, "it must read METRIC>=VALUE"),
        ({"fabric_min_quality": "a>=good"}, "is 'good', it must be a finite number"),
        ({"fabric_region": 1}, "it must be a string parameter"),
        ({"fabric_reginn": "eu"}, "did you mean 'fabric_region'"),
        ({"fabric_task": "t" * 5000}, "have 5011 characters, at most 4096 are read"),
    ],
)
def test_what_cannot_be_read_is_refused(said, message):
    """With the way it can be."""
    with pytest.raises(InvalidRequest) as caught:
        read(**said)
    assert message in caught.value.message


def test_a_request_does_not_ask_for_tensors():
    """It has some."""
    with pytest.raises(InvalidRequest, match="asked for by routes"):
        to_parameters(Requirements(inputs=(TensorNeed(name="x"),)))


def test_answers_say_who_gave_them():
    """Those of cascades how sure they are, those of mixtures who had a part in them."""

    def said(**more):
        answer = Answer(InferResponse(b"", "a/0"), "a", "1", "r", fallback=False, **more)
        parameters = ModelInferResponse.FromString(provenance("r", answer)).parameters
        return {name: value_of(each) for name, each in parameters.items()}

    plain = {
        "fabric_specialist": "a",
        "fabric_version": "1",
        "fabric_route": "r",
        "fabric_replica": "a/0",
        "fabric_attempts": 1,
        "fabric_fallback": False,
    }
    assert said() == plain
    assert said(confidence=0.0) == plain | {"fabric_confidence": 0.0}
    assert said(mixture=("a:1", "b:2")) == plain | {"fabric_mixture": "a:1,b:2"}


@pytest.mark.parametrize("name", ["", "seven", "x" * 300])
@pytest.mark.parametrize("age", [0.0, 12.5])
def test_an_answer_that_is_given_again_says_so(name, age):
    """It is that old, and has the id of the request that it is given to."""
    before = ModelInferResponse(id="of another", model_version="3").SerializeToString()
    response = ModelInferResponse.FromString(before + given_again(Reused(age, name)))
    assert (response.id, response.model_version) == (name, "3")
    said = {name: value_of(each) for name, each in response.parameters.items()}
    assert said == {"fabric_cached": True, "fabric_age": age}
