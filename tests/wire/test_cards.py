"""Dataclasses and messages say the same."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.api.catalog.v1 import card_pb2
from fabric.api.pipelines.v1 import pipeline_pb2
from fabric.api.routing.v1 import learning_service_pb2, policy_pb2, route_pb2
from fabric.core import cards, decisions, pipelines, policies, replicas, routes, tensors
from fabric.core.changes import Changes
from fabric.wire.cards import from_message, to_message
from fabric.wire.changes import from_watch, to_watch

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
    (pipelines.Source, pipeline_pb2.Source),
    (pipelines.Body, pipeline_pb2.Body),
    (pipelines.Branch, pipeline_pb2.Branch),
    (pipelines.Each, pipeline_pb2.Each),
    (pipelines.Loop, pipeline_pb2.Loop),
    (pipelines.First, pipeline_pb2.First),
    (pipelines.Step, pipeline_pb2.Step),
    (pipelines.PipelineInput, pipeline_pb2.PipelineInput),
    (pipelines.PipelineOutput, pipeline_pb2.PipelineOutput),
    (pipelines.Pipeline, pipeline_pb2.Pipeline),
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
                inputs=(
                    tensors.TensorSpec(
                        name="x", datatype="FP32", shape=(-1, 64), symbols=("rows", "")
                    ),
                )
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


def through_the_wire(value, message):
    """*value* as it arrives, bytes and all."""
    encoded = to_message(value, message).SerializeToString()
    return from_message(message.FromString(encoded), type(value))


def test_a_pipeline_of_every_kind_of_step_survives_the_wire():
    """Bodies within bodies, constants, and how a step is run arrive as they were declared."""
    body = pipelines.Body(
        steps=(
            pipelines.Step(name="inner", call="a", inputs={"x": pipelines.Source(values=("i",))}),
        ),
        outputs={"y": "inner.y", "done": "inner.done"},
    )
    constant = tensors.TensorValue(name="c", datatype="FP32", shape=(2,), numbers=(0.0, 1.5))
    nothing = pipelines.Source(values=(), is_list=True)
    steps = (
        pipelines.Step(
            name="call",
            call="a:1",
            inputs={"x": pipelines.Source(values=("image", "c"), is_list=True), "none": nothing},
            requirements=routes.Requirements(domain="d", labels={"k": "v"}),
            fallback=("b", "c"),
            tries=3,
            timeout=0.5,
            share=0.25,
            cache=2.0,
            when="image",
            optional=True,
        ),
        pipelines.Step(name="c", constant=constant),
        pipelines.Step(name="op", operation="cast", arguments={"datatype": "FP16"}),
        pipelines.Step(
            name="branch",
            branch=pipelines.Branch(on="call.kind", cases={"180": body, "": body}, otherwise=body),
        ),
        pipelines.Step(
            name="each", each=pipelines.Each(over={"i": "call"}, body=body, parallel=2, batch=True)
        ),
        pipelines.Step(
            name="loop", loop=pipelines.Loop(state={"y": "c"}, body=body, until="done", most=9)
        ),
        pipelines.Step(
            name="endless", loop=pipelines.Loop(state={}, body=body, until="done", most=1)
        ),
        pipelines.Step(name="first", first=pipelines.First(bodies=(body, body), sure="done")),
    )
    pipeline = pipelines.Pipeline(
        name="p",
        description="All of it.",
        inputs=(
            pipelines.PipelineInput(
                name="image", datatype="UINT8", shape=("h", "-1", "3"), optional=True
            ),
        ),
        steps=steps,
        outputs=(pipelines.PipelineOutput(name="y", source="first.y", optional=True),),
        timeout=1.5,
        parallel=3,
        max_bytes=1 << 40,
        streams=True,
        loaded=False,
    )

    assert through_the_wire(pipeline, pipeline_pb2.Pipeline) == pipeline


@given(
    st.recursive(
        st.booleans()
        | st.integers(-(1 << 63), (1 << 63) - 1)
        | st.floats(allow_nan=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3).map(tuple),
        max_leaves=8,
    )
)
def test_an_argument_keeps_its_type(argument):
    """True, 1 and 1.0 are equal, and not the same to an operation."""
    step = pipelines.Step(name="s", operation="o", arguments={"a": argument})

    assert repr(through_the_wire(step, pipeline_pb2.Step).arguments) == repr({"a": argument})


def test_an_argument_that_says_nothing_is_refused():
    """A newer client may say something that is not known here."""
    message = pipeline_pb2.Step(name="s", operation="o")
    message.arguments["a"].SetInParent()
    with pytest.raises(ValueError, match="an argument is empty"):
        from_message(message, pipelines.Step)


def test_a_pipeline_has_so_many_steps():
    """Those of bodies count: what is checked while others wait has an end."""
    most = pipelines.MOST_STEPS
    steps = tuple(pipelines.Step(name=f"s{at}", call="a") for at in range(most))
    body = pipelines.Body(steps=steps, outputs={"y": "s0.y"})
    outer = pipelines.Step(name="each", each=pipelines.Each(over={"x": "x"}, body=body))
    out = (pipelines.PipelineOutput(name="y", source="s0.y"),)

    assert len(pipelines.Pipeline(name="p", steps=steps, outputs=out).steps) == most
    with pytest.raises(ValueError, match="pipeline 'p' has 10001 steps, of 10000 at most: make se"):
        pipelines.Pipeline(name="p", steps=(outer,), outputs=out)


def test_bodies_are_as_deep_as_can_be_read():
    """What is declared arrives; what is deeper is refused before it leaves."""
    step = pipelines.Step(name="s", call="a", inputs={"x": pipelines.Source(values=("x",))})
    for depth in range(pipelines.DEEPEST):
        body = pipelines.Body(steps=(step,), outputs={"y": step.name})
        branch = pipelines.Branch(on="x", cases={"true": body})
        step = pipelines.Step(name=f"s{depth}", branch=branch)
    out = (pipelines.PipelineOutput(name="y", source="s0"),)
    deepest = pipelines.Pipeline(name="p", steps=(step,), outputs=out)
    first = pipelines.First(bodies=(pipelines.Body(steps=(step,), outputs={"y": step.name}),))

    assert from_watch(to_watch(Changes(revision=1, pipelines=(deepest,)))).pipelines == (deepest,)
    with pytest.raises(ValueError, match="pipeline 'p' are more than 16 bodies deep: make"):
        pipelines.Pipeline(name="p", steps=(pipelines.Step(name="f", first=first),), outputs=out)
