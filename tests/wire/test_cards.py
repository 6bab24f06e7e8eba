"""Dataclasses and messages say the same."""

from __future__ import annotations

from dataclasses import fields

import pytest

from fabric.api.catalog.v1 import card_pb2
from fabric.api.routing.v1 import learning_service_pb2, policy_pb2, route_pb2
from fabric.core import cards, decisions, policies, replicas, routes, tensors
from fabric.wire.cards import from_message, to_message

PAIRS = [
    (tensors.TensorSpec, card_pb2.TensorSpec),
    (tensors.TensorValue, route_pb2.TensorValue),
    (tensors.Signature, card_pb2.Signature),
    (cards.Evidence, card_pb2.Evidence),
    (cards.Caching, card_pb2.Caching),
    (cards.Check, card_pb2.Check),
    (cards.Card, card_pb2.Card),
    (cards.Model, card_pb2.Model),
    (cards.Resources, card_pb2.Resources),
    (cards.Replicas, card_pb2.Replicas),
    (cards.Batching, card_pb2.Batching),
    (cards.Concurrency, card_pb2.Concurrency),
    (cards.Breaking, card_pb2.Breaking),
    (cards.OnnxRuntime, card_pb2.OnnxRuntime),
    (cards.Timeouts, card_pb2.Timeouts),
    (cards.Canary, card_pb2.Canary),
    (cards.Hosting, card_pb2.Hosting),
    (cards.Specialist, card_pb2.Specialist),
    (replicas.Status, card_pb2.Status),
    (replicas.Load, card_pb2.Load),
    (replicas.Replica, card_pb2.Replica),
    (routes.Requirements, route_pb2.Requirements),
    (routes.TensorNeed, route_pb2.TensorNeed),
    (routes.MinQuality, route_pb2.MinQuality),
    (routes.ChainEntry, route_pb2.ChainEntry),
    (routes.Hedging, route_pb2.Hedging),
    (routes.Preferences, route_pb2.Preferences),
    (routes.Content, route_pb2.Content),
    (routes.Learning, route_pb2.Learning),
    (routes.Exploration, route_pb2.Exploration),
    (routes.Calibration, route_pb2.Calibration),
    (routes.Cascade, route_pb2.Cascade),
    (routes.Mixture, route_pb2.Mixture),
    (routes.Retry, route_pb2.Retry),
    (routes.Route, route_pb2.Route),
    (policies.Policy, policy_pb2.Policy),
    (decisions.Query, learning_service_pb2.Query),
    (decisions.Decision, learning_service_pb2.Decision),
    (decisions.Outcome, learning_service_pb2.Outcome),
    (decisions.Feedback, learning_service_pb2.Feedback),
]


@pytest.mark.parametrize(("cls", "message"), PAIRS)
def test_a_message_has_the_fields_of_its_dataclass(cls, message):
    """Every field exists on both sides under the same name."""
    assert {f.name for f in fields(cls)} == {f.name for f in message.DESCRIPTOR.fields}


def test_a_specialist_survives_the_wire():
    """What is declared arrives as it was declared."""
    specialist = cards.Specialist(
        card=cards.Card(
            name="digits-rotated",
            domains=("rotated", "noisy"),
            labels={"team": "vision"},
            cost=0.5,
            evidence=(cards.Evidence(metric="accuracy", value=0.97, domain="rotated"),),
            cache=cards.Caching(ttl=2.5),
            signature=tensors.Signature(
                inputs=(tensors.TensorSpec(name="x", datatype="FP32", shape=(-1, 64)),)
            ),
        ),
        hosting=cards.Hosting(
            model=cards.Model(uri="file:///m.onnx", sha256="a" * 64),
            onnxruntime=cards.OnnxRuntime(providers=("CUDAExecutionProvider",)),
        ),
    )

    assert from_message(to_message(specialist, card_pb2.Specialist), cards.Specialist) == specialist


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (decisions.Outcome(request="x", specialist="a:1", seconds=0.0), "Outcome"),
        (decisions.Decision(request="x", route="r", time=0.0), "Decision"),
    ],
)
def test_a_required_number_may_be_zero(value, message):
    """Zeros do not travel, and arrive."""
    made = to_message(value, getattr(learning_service_pb2, message))
    assert from_message(made, type(value)) == value


def test_zeros_that_were_said_are_not_taken_for_unset():
    """A zero where the default is something else arrives as zero."""
    resources = cards.Resources(cpus=0.0)
    entry = routes.ChainEntry(name="a", weight=0.0)
    zeros = ("consecutive", "failing", "slower", "margin", "ejected", "panic")
    breaking = cards.Breaking(**dict.fromkeys(zeros, 0))

    assert from_message(to_message(resources, card_pb2.Resources), cards.Resources) == resources
    assert from_message(to_message(entry, route_pb2.ChainEntry), routes.ChainEntry) == entry
    assert from_message(to_message(breaking, card_pb2.Breaking), cards.Breaking) == breaking


def test_unset_fields_take_the_defaults_of_the_dataclass():
    """A message that says little means what a portfolio file that says little means."""
    message = card_pb2.Specialist(
        card=card_pb2.Card(name="a"), hosting=card_pb2.Hosting(model=card_pb2.Model(uri="m.onnx"))
    )

    assert from_message(message, cards.Specialist) == cards.Specialist(
        card=cards.Card(name="a"), hosting=cards.Hosting(model=cards.Model(uri="m.onnx"))
    )


def test_a_scalar_survives_the_wire():
    """Its shape is a list of nothing, of which nothing travels."""
    scalar = tensors.TensorSpec(name="x", datatype="FP32", shape=())

    assert from_message(to_message(scalar, card_pb2.TensorSpec), tensors.TensorSpec) == scalar


def test_a_status_survives_the_wire():
    """Enumerations come back as enumerations."""
    status = replicas.Status(state=replicas.State.DEGRADED, reason="1 of 2", ready=1, wanted=2)

    assert from_message(to_message(status, card_pb2.Status), replicas.Status) == status


def test_a_message_without_what_its_dataclass_needs_is_refused():
    """The error names the message and the field."""
    with pytest.raises(ValueError, match=r"Replica: .*address"):
        from_message(card_pb2.Replica(id="r", specialist="s", version="1"), replicas.Replica)


def test_a_number_of_zero_is_no_missing_one():
    """It does not travel, and is there."""
    for value, message in (
        (cards.Evidence(metric="accuracy", value=0.0), card_pb2.Evidence),
        (routes.MinQuality(metric="accuracy", value=0.0), route_pb2.MinQuality),
    ):
        assert from_message(to_message(value, message), type(value)) == value
