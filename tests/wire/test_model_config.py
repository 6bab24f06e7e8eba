"""Specialists in Triton's words and back."""

from __future__ import annotations

import json

import onnxruntime
import pytest
from google.protobuf import text_format
from google.protobuf.json_format import MessageToJson

from fabric.api.inference.v2.model_config_pb2 import ModelConfig
from fabric.core.cards import (
    Batching,
    Caching,
    Control,
    Model,
    OnnxRuntime,
    Replicas,
    Resources,
    Sequences,
    StateTensor,
)
from fabric.core.errors import InvalidRequest
from fabric.core.tensors import DTYPES, Signature, TensorSpec
from fabric.testing import specialist
from fabric.wire.config_hosting import ACCELERATORS
from fabric.wire.config_notes import READ, SAID, Effect
from fabric.wire.configured import configured, new_specialist
from fabric.wire.model_config import PIPELINE, ROUTE, overridden, to_config, to_virtual_config

MODEL = Model(uri="/models/m/3/model.onnx")


def tensor(name, shape, datatype="FP32", **said):
    return TensorSpec(name=name, datatype=datatype, shape=shape, **said)


def signature(*shape, **said):
    return Signature(inputs=(tensor("x", shape),), outputs=(tensor("y", shape),), **said)


def read(text, name="m", model=MODEL):
    """What a config.pbtxt makes of a new model, and the notes by path."""
    config = text_format.Parse(text, ModelConfig())
    made, notes = configured(new_specialist(name, model), config)
    return made, {note.path: note for note in notes}


# ------------------------------------------------------------------ written
def test_dims_leave_out_the_batch_dimension():
    """Where requests are batched; elsewhere shapes are literal."""
    batched = to_config(specialist("m", batching=Batching(max_size=8)), signature(-1, 3))
    assert (batched.max_batch_size, list(batched.input[0].dims)) == (8, [3])
    literal = to_config(specialist("m"), signature(-1, 3))
    assert (literal.max_batch_size, list(literal.output[0].dims)) == (0, [-1, 3])


def test_every_datatype_has_a_name_in_triton():
    """BYTES are strings there."""
    inputs = tuple(tensor(name, (1,), name) for name in DTYPES)
    config = to_config(specialist("m"), Signature(inputs=inputs))
    names = {i.name: i.DESCRIPTOR.fields_by_name["data_type"].enum_type for i in config.input}
    said = {i.name: names[i.name].values_by_number[i.data_type].name for i in config.input}
    assert said == {n: "TYPE_STRING" if n == "BYTES" else f"TYPE_{n}" for n in DTYPES}


def test_a_python_specialist_shows_its_arguments():
    """As the parameters that Triton's Python backend would pass."""
    made = specialist("m", python="a.b:C", arguments={"depth": "3"})
    config = to_config(made, signature(1, decoupled=True))
    assert (config.backend, config.platform) == ("python", "python")
    assert config.parameters["depth"].string_value == "3"
    assert config.model_transaction_policy.decoupled


def test_a_route_has_the_tensors_of_who_answers_for_it():
    """And nothing of how that one runs."""
    of = specialist("m", batching=Batching(max_size=8))
    config = to_virtual_config("r", ROUTE, signature(-1, 3), of)
    assert (config.name, config.platform, config.backend) == ("r", "route", "")
    assert (config.max_batch_size, list(config.input[0].dims)) == (8, [3])
    assert not config.instance_group


def test_a_pipeline_has_the_tensors_that_it_takes_and_gives():
    """All their dimensions: nothing is known of a batch."""
    config = to_virtual_config("p", PIPELINE, signature(-1, 3))
    assert (config.name, config.platform) == ("p", "pipeline")
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [-1, 3])


FULL = specialist(
    "m",
    model=MODEL,
    signature=Signature(
        inputs=(tensor("x", (-1, 4)), tensor("z", (-1, 1), "BYTES", optional=True)),
        outputs=(tensor("y", (-1, 4), "BF16"),),
    ),
    batching=Batching(max_size=8, max_queue=50, priorities=3, default_priority=2),
    replicas=Replicas(min=2, max=4),
    resources=Resources(gpus=0.5),
    onnxruntime=OnnxRuntime(
        providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        intra_op_threads=4,
        graph_optimization="extended",
    ),
    classes={"y": "/models/m/labels.txt"},
    cache=Caching(ttl=5),
)
SEQUENTIAL = specialist(
    "m",
    model=MODEL,
    signature=signature(-1, 1),
    batching=Batching(max_size=4),
    sequences=Sequences(
        strategy="oldest",
        max_sequences=16,
        idle_timeout=2.5,
        states=(StateTensor(input="s_in", output="s_out"),),
        controls=(
            Control(input="START", kind="start"),
            Control(input="READY", kind="ready", no=-1.0, yes=2.0),
            Control(input="END", kind="end"),
            Control(input="CORRID", kind="id"),
        ),
    ),
)
PYTHON = specialist(
    "m", python="a.b:C", arguments={"a": "1"}, signature=signature(3, decoupled=True)
)


@pytest.mark.parametrize("of", [FULL, SEQUENTIAL, PYTHON, specialist("m", model=MODEL)])
def test_what_is_written_changes_nothing_when_it_comes_back(of):
    """A client may send the configuration that it was given."""
    config = to_config(of, of.card.signature or signature(-1))
    again = overridden(of, "m", MessageToJson(config))
    assert again.hosting == of.hosting
    assert again.card.signature == (of.card.signature or signature(-1))
    assert again.card.cache == of.card.cache


# ------------------------------------------------------------------ read
def test_no_field_is_dropped_in_silence():
    """Each is read, or has its words."""

    def paths(descriptor, prefix=""):
        for field in descriptor.fields:
            path = f"{prefix}{field.name}"
            if path in READ or path in SAID:
                yield path, True
            elif field.message_type is None or field.message_type.GetOptions().map_entry:
                yield path, False
            else:
                inner = list(paths(field.message_type, f"{path}."))
                assert inner or path in ("sequence_batching.direct", "version_policy.all"), path
                yield from inner

    found = dict(paths(ModelConfig.DESCRIPTOR))
    assert [path for path, is_known in found.items() if not is_known] == []
    assert (READ | SAID.keys()) - found.keys() == set()
    assert READ & SAID.keys() == set()


def test_a_batch_dimension_is_put_in_front():
    """-1 for many rows, 1 for a model that takes one at a time, none where shapes are literal."""
    text = "max_batch_size: {} input {{ name: 'x' data_type: TYPE_FP32 dims: [2] }}"
    shapes = [read(text.format(n))[0].card.signature.inputs[0].shape for n in (8, 1, 0)]
    assert shapes == [(-1, 2), (1, 2), (2,)]
    made, notes = read(text.format(1))
    assert made.hosting.batching.max_size == 1
    assert notes["max_batch_size"].effect is Effect.NONE


def test_unset_means_what_it_means_in_triton():
    """A sequence ends after a second, and a run takes all cores."""
    made, _ = read("sequence_batching { direct {} }")
    assert made.hosting.sequences == Sequences(strategy="direct", idle_timeout=1.0)
    assert made.hosting.onnxruntime.intra_op_threads == 0


@pytest.mark.parametrize(
    ("values", "no", "yes"),
    [
        ("int32_false_true: [0, 1]", 0, 1),
        ("fp32_false_true: [-1, 2]", -1, 2),
        ("bool_false_true: [true, false]", 1, 0),
    ],
)
def test_controls_have_two_values(values, no, yes):
    """Of whichever datatype."""
    kind = "kind: CONTROL_SEQUENCE_START"
    made, notes = read(
        f"sequence_batching {{ control_input {{ name: 'S' control {{ {kind} {values} }} }} }}"
    )
    assert made.hosting.sequences.controls == (Control(input="S", kind="start", no=no, yes=yes),)
    assert notes == {}


def test_how_long_requests_wait_is_taken_over():
    """In seconds."""
    policy = "default_queue_policy { max_queue_size: 7 default_timeout_microseconds: 1500 }"
    made, notes = read(f"dynamic_batching {{ {policy} }}")
    assert (made.hosting.batching.max_queue, made.hosting.batching.queue_timeout) == (7, 0.0015)
    assert notes == {}


def test_instances_become_replicas():
    """So many on each of the GPUs that are named, which they share."""
    made, notes = read("instance_group { kind: KIND_GPU count: 2 gpus: [0, 1, 2] }")
    assert made.hosting.replicas == Replicas(min=6, max=6)
    assert made.hosting.resources.gpus == 0.5
    assert made.hosting.onnxruntime.providers[0] == "CUDAExecutionProvider"
    assert notes == {}
    made, _ = read("instance_group [{ kind: KIND_CPU count: 3 }, { count: 9 passive: true }]")
    assert made.hosting.replicas == Replicas(min=3, max=3)


def test_accelerators_become_providers():
    """In the order in which Triton tries them, with their options named."""
    made, notes = read(
        "instance_group { kind: KIND_GPU gpus: 0 }"
        "optimization { graph { level: -1 } execution_accelerators { gpu_execution_accelerator {"
        " name: 'tensorrt' parameters { key: 'precision_mode' value: 'FP16' } } } }"
    )
    assert made.hosting.onnxruntime == OnnxRuntime(
        providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        intra_op_threads=0,
        graph_optimization="basic",
    )
    path = "optimization.execution_accelerators.gpu_execution_accelerator[0].parameters"
    assert notes[f"{path}[precision_mode]"].effect is Effect.ANSWERS


@pytest.mark.parametrize(
    ("text", "path", "effect"),
    [
        ("optimization { cuda { graphs: true } }", "optimization.cuda", "changes performance"),
        ("batch_input { kind: BATCH_ITEM_SHAPE }", "batch_input", "changes answers"),
        (
            "instance_group { kind: KIND_CPU count: 1 rate_limiter { priority: 1 } }",
            "instance_group[0].rate_limiter",
            "changes performance",
        ),
        ("model_warmup { name: 'w' }", "model_warmup", "not needed"),
        (
            "dynamic_batching { preferred_batch_size: 4 }",
            "dynamic_batching.preferred_batch_size",
            "not needed",
        ),
        (
            "parameters { key: 'execution_mode' value { string_value: '1' } }",
            "parameters[execution_mode]",
            "changes performance",
        ),
        (
            "parameters { key: 'mine' value { string_value: '1' } }",
            "parameters[mine]",
            "not needed",
        ),
        (
            "input { name: 'x' data_type: TYPE_FP32 dims: 1 reshape { shape: [] } }",
            "input[0].reshape",
            "changes answers",
        ),
        (
            (
                "output { name: 's' data_type: TYPE_FP32 dims: 1 }"
                "sequence_batching { state { output_name: 's' } }"
            ),
            "output[0]",
            "changes answers",
        ),
        (
            "model_transaction_policy { decoupled: true }",
            "model_transaction_policy.decoupled",
            "not needed",
        ),
        ("response_cache { enable: true }", "response_cache.enable", "changes performance"),
        ("instance_group { count: 2 }", "instance_group", "changes performance"),
        ("instance_group { kind: KIND_CPU }", "instance_group", "changes performance"),
    ],
)
def test_what_has_no_place_is_named_with_its_effect(text, path, effect):
    """By its path in the configuration."""
    _, notes = read(text)
    assert [(note.path, note.effect.value) for note in notes.values()] == [(path, effect)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backend: 'tensorrt'", "backend is 'tensorrt', and here it is 'onnxruntime'"),
        ("platform: 'ensemble'", "ensemble_scheduling"),
        ("name: 'other'", "its name is 'other', the model's is 'm'"),
        ("max_batch_size: -1", "max_batch_size is -1"),
        ("input { name: 'x' }", "tensor 'x' has no data_type"),
        ("parameters { key: 'intra_op_thread_count' }", "must be a whole number"),
        ("dynamic_batching { priority_levels: 1 default_priority_level: 2 }", "default_priority"),
    ],
)
def test_what_cannot_be_is_refused(text, message):
    """A configuration of something else, or one that contradicts itself."""
    with pytest.raises(ValueError, match=message):
        read(text)


# ------------------------------------------------------------------ taken from clients
def test_an_override_changes_what_it_says():
    """In Triton's JSON, where whole numbers may be texts."""
    config = {
        "max_batch_size": "16",
        "instance_group": [{"kind": "KIND_CPU", "count": 3}],
        "parameters": {"intra_op_thread_count": {"string_value": "2"}},
        "dynamic_batching": {"default_queue_policy": {"maxQueueSize": 7}},
    }
    changed = overridden(FULL, "m", json.dumps(config))
    assert changed.hosting.batching == Batching(
        max_size=16, max_queue=7, priorities=3, default_priority=2
    )
    assert changed.hosting.replicas == Replicas(min=3, max=4)
    assert changed.hosting.onnxruntime.intra_op_threads == 2
    assert changed.card == FULL.card


def test_an_override_says_whether_answers_are_kept():
    """For how long is not Triton's to say."""
    on, off = '{"response_cache": {"enable": true}}', '{"response_cache": {"enable": false}}'
    assert overridden(FULL, "m", on).card.cache == Caching(ttl=5)
    assert overridden(FULL, "m", off).card.cache is None
    assert overridden(SEQUENTIAL, "m", on).card.cache == Caching()


def test_an_override_may_turn_batching_off():
    """Saying 0 is not saying nothing."""
    assert overridden(FULL, "m", '{"max_batch_size": 0}').hosting.batching.max_size == 1
    assert overridden(FULL, "m", "{}") == FULL


@pytest.mark.parametrize(("policy", "loaded"), [("[1, 2]", True), ("[2]", False), ("[]", True)])
def test_an_override_may_name_the_versions_to_serve(policy, loaded):
    """The others are unloaded; where it names none, all are loaded."""
    config = f'{{"version_policy": {{"specific": {{"versions": {policy}}}}}}}'
    assert overridden(FULL, "m", config).hosting.loaded is loaded


def test_a_new_model_needs_its_file():
    """Uploaded with the configuration."""
    made = overridden(None, "new", '{"backend": "onnxruntime"}', MODEL)
    assert (made.key, made.hosting.model) == ("new:1", MODEL)
    with pytest.raises(InvalidRequest, match="no model file was given"):
        overridden(None, "new", "{}")


def test_an_uploaded_file_takes_the_place_of_the_model():
    """And a file name that of the file beside it."""
    other = Model(uri="/uploads/1/model.onnx")
    assert overridden(FULL, "m", "{}", other).hosting.model == other
    config = '{"default_model_filename": "b.onnx"}'
    assert overridden(FULL, "m", config).hosting.model == Model(uri="/models/m/3/b.onnx")
    assert overridden(FULL, "m", config, other).hosting.model == other


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x/model.onnx", "a/../../b", "http://h/x"])
@pytest.mark.parametrize("field", ["default_model_filename", "label_filename"])
def test_an_override_cannot_lead_to_files_elsewhere(field, name):
    """Those of the model are beside it, and no others are for clients."""
    output = {"name": "y", "data_type": "TYPE_BF16", "dims": [4], "label_filename": name}
    config = {field: name} if field == "default_model_filename" else {"output": [output]}
    with pytest.raises(InvalidRequest, match="leads out of the folder of the model"):
        overridden(FULL, "m", json.dumps(config))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "is not JSON"),
        ("[]", "is no JSON object"),
        ('{"max_batchsize": 1}', "unknown field 'max_batchsize'; did you mean 'max_batch_size'?"),
        (
            '{"input": [{"name": "x", "dimensions": [1]}]}',
            r"unknown field 'input\[0\].dimensions'; did you mean 'dims'?",
        ),
        ('{"parameters": {"a": {"value": "1"}}}', r"unknown field 'parameters\[a\].value'"),
        ('{"max_batch_size": "many"}', "max_batch_size"),
        ('{"input": [{"name": "x", "data_type": "FP32"}]}', "data_type"),
        ('{"batch_input": [{"kind": 0}]}', "cannot be met: batch_input: requests are stacked"),
        ('{"backend": "pytorch"}', "configuration of 'm': backend is 'pytorch'"),
        ("[" * 100_000, "is not JSON"),
        ('{"input": ["\\ud800"]}', "is not JSON"),
        ('{"input": {"name": "x"}}', "input"),
        ('{"max_batch_size": 1e400}', "configuration"),
    ],
)
def test_a_bad_override_is_the_callers_mistake(config, message):
    """And says which part of it, with the nearest that there is."""
    with pytest.raises(InvalidRequest, match=message):
        overridden(FULL, "m", config)


def test_accelerators_are_providers_that_onnx_runtime_knows():
    """Whether this machine has them or not."""
    known = onnxruntime.get_all_providers()
    assert {provider for _, provider in ACCELERATORS.values()} <= set(known)
