"""What a request's parameters ask of the gateway."""

from __future__ import annotations

import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import InvalidRequest
from fabric.core.requests import Answer, InferRequest, InferResponse
from fabric.core.routes import Requirements
from fabric.wire.parameters import provenance, read_into, set_value, value_of


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
    assert (request.sequence, request.starts, request.ends) == ("7", False, True)


@pytest.mark.parametrize("sequence", [0, ""])
def test_no_sequence_is_none(sequence):
    """0 and nothing name none."""
    request = read(sequence_id=sequence, sequence_start=True)
    assert (request.sequence, request.starts, request.ends) == ("", False, False)


def test_a_sequence_of_the_wrong_type_is_refused():
    """At the gateway already."""
    with pytest.raises(InvalidRequest, match="invalid value type for 'sequence_id'"):
        read(sequence_id=True)


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
