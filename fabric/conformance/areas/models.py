"""What the server says of its models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.api.inference.v2 import model_config_pb2 as config_pb
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Broken, NotOffered, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.samples import (
    ADD_SUB,
    CLASSES,
    FP32,
    LITERAL,
    MAX_BATCH,
    OPTIONAL,
    REPEAT,
    SAMPLES,
    SEQUENCE,
    SEVERAL,
    VERSIONS,
    Sample,
)
from fabric.conformance.server import CONFIG, METADATA, MODEL_READY, Refused, check_versions, named
from fabric.core.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.conformance.server import Server
    from fabric.core.tensors import TensorSpec

ready = Rules("models.ready", "OIP v2 gRPC: Model Ready", FP32)
metadata = Rules("models.metadata", "OIP v2 gRPC: Model Metadata", FP32)
config = Rules(
    "models.config",
    "Triton: model configuration extension",
    FP32,
    extension="model_configuration",
)
triton = Rules("models.triton", "Triton: model_repository_manager, ModelReady", dialect="triton")


async def _metadata(server: Server, name: str, version: str = "") -> pb.ModelMetadataResponse:
    return await server.call(METADATA, pb.ModelMetadataRequest(name=name, version=version))


# ------------------------------------------------------------------ readiness
@ready()
async def of_a_model(server: Server) -> None:
    """ModelReady is true of a model that is ready."""
    answer = await server.call(MODEL_READY, pb.ModelReadyRequest(name=FP32))
    expect(answer.ready, "ready: true", "ready: false")


@ready(VERSIONS)
async def of_a_version(server: Server) -> None:
    """ModelReady is true of each version that the metadata name."""
    for version in (await _metadata(server, VERSIONS)).versions:
        answer = await server.call(
            MODEL_READY, pb.ModelReadyRequest(name=VERSIONS, version=version)
        )
        expect(answer.ready, f"version {version}: ready: true", "ready: false")


@ready()
async def not_of_an_unknown_model(server: Server) -> None:
    """ModelReady is false of a model that does not exist, or ends with an error."""
    try:
        answer = await server.call(MODEL_READY, pb.ModelReadyRequest(name=UNKNOWN))
    except Refused:
        return
    expect(not answer.ready, "ready: false or an error", "ready: true")


@ready()
async def not_of_an_unknown_version(server: Server) -> None:
    """ModelReady is false of a version that does not exist, or ends with an error."""
    check_versions(server)
    try:
        asked = pb.ModelReadyRequest(name=FP32, version="987654")
        answer = await server.call(MODEL_READY, asked)
    except Refused:
        return
    expect(not answer.ready, "ready: false or an error", "ready: true")


@ready()
async def names_are_case_sensitive(server: Server) -> None:
    """All strings in all contexts are case-sensitive: the name in capitals is another model."""
    try:
        answer = await server.call(MODEL_READY, pb.ModelReadyRequest(name=FP32.upper()))
    except Refused:
        return
    expect(not answer.ready, "ready: false or an error", "ready: true")


# ------------------------------------------------------------------ metadata
@metadata()
async def has_the_name(server: Server) -> None:
    """ModelMetadata give the name of the model that was asked for."""
    expect_equal((await _metadata(server, FP32)).name, FP32, "name")


@metadata()
async def has_a_platform(server: Server) -> None:
    """ModelMetadata name the framework or backend that runs the model."""
    expect((await _metadata(server, FP32)).platform, "a platform", "none")


@metadata(VERSIONS)
async def has_all_versions(server: Server) -> None:
    """ModelMetadata name the versions that can be asked for."""
    versions = sorted((await _metadata(server, VERSIONS)).versions)
    if not versions:
        raise NotOffered("the server names no versions")
    expect_equal(versions, ["10", "2"], "versions")


@metadata(VERSIONS)
async def of_each_version(server: Server) -> None:
    """ModelMetadata of a version that is named are given."""
    for version in ("2", "10"):
        answer = await _metadata(server, VERSIONS, version)
        expect_equal([each.name for each in answer.inputs], ["x"], f"inputs of {version}")


@metadata()
async def none_of_an_unknown_model(server: Server) -> None:
    """ModelMetadata of a model that does not exist end with an error."""
    await server.refused(METADATA, pb.ModelMetadataRequest(name=UNKNOWN))


@metadata()
async def none_of_an_unknown_version(server: Server) -> None:
    """ModelMetadata of a version that does not exist end with an error."""
    check_versions(server)
    await server.refused(METADATA, pb.ModelMetadataRequest(name=FP32, version="987654"))


@metadata()
async def not_without_a_name(server: Server) -> None:
    """ModelMetadata without the name of a model end with an error."""
    await server.refused(METADATA, pb.ModelMetadataRequest())


@metadata()
async def datatypes_are_those_of_the_protocol(server: Server) -> None:
    """Datatypes are named as the protocol names them."""
    for sample in SAMPLES:
        if await server.has(sample.name):
            answer = await _metadata(server, sample.name)
            for tensor in (*answer.inputs, *answer.outputs):
                expect(tensor.datatype in DTYPES, f"one of {', '.join(DTYPES)}", tensor.datatype)


async def _signature(server: Server, sample: Sample) -> None:
    answer = await _metadata(server, sample.name)
    for kind, specs, tensors in (
        ("inputs", sample.inputs, answer.inputs),
        ("outputs", sample.outputs, answer.outputs),
    ):
        got = sorted((each.name, each.datatype, tuple(each.shape)) for each in tensors)
        expected = sorted((spec.name, spec.datatype, spec.shape) for spec in specs)
        if not any(spec.shape for spec in specs) and all(each[2] == (1,) for each in got):
            continue  # Triton says [1] of a scalar
        expect_equal(got, expected, kind)


for _sample in SAMPLES:
    metadata.add(
        f"signature_of_{_sample.name.removeprefix('oip_')}",
        f"ModelMetadata of {_sample.name} give names, datatypes and shapes of its tensors, the "
        "batch dimension included, -1 for a dimension of variable size.",
        partial(_signature, sample=_sample),
        _sample.name,
    )


# ------------------------------------------------------------------ configuration
async def _config(server: Server, name: str) -> config_pb.ModelConfig:
    return (await server.call(CONFIG, ext.ModelConfigRequest(name=name))).config


@config()
async def config_has_the_name(server: Server) -> None:
    """ModelConfig gives the name of the model that was asked for."""
    expect_equal((await _config(server, FP32)).name, FP32, "name")


@config()
async def config_has_the_batch_size(server: Server) -> None:
    """max_batch_size is the most rows that a request may have."""
    expect_equal((await _config(server, FP32)).max_batch_size, MAX_BATCH, "max_batch_size")


@config(LITERAL)
async def config_without_batches(server: Server) -> None:
    """max_batch_size is 0 where shapes have no batch dimension, and dims are whole shapes."""
    answer = await _config(server, LITERAL)
    expect_equal(answer.max_batch_size, 0, "max_batch_size")
    expect_equal(list(answer.input[0].dims), [-1, 4], "dims")


@config(ADD_SUB)
async def config_dims_exclude_the_batch(server: Server) -> None:
    """dims leave out the batch dimension that metadata have first."""
    answer = await _config(server, ADD_SUB)
    dims = [list(each.dims) for each in answer.input] + [list(each.dims) for each in answer.output]
    expect_equal(dims, [[4]] * 4, "dims")


def _expect_tensors(
    got: Iterable[config_pb.ModelInput | config_pb.ModelOutput], specs: Iterable[TensorSpec]
) -> None:
    types = {each.name: config_pb.DataType.Name(each.data_type) for each in got}
    names = {"BYTES": "STRING"}
    expected = {spec.name: f"TYPE_{names.get(spec.datatype, spec.datatype)}" for spec in specs}
    expect_equal(types, expected)


@config(SEVERAL)
async def config_has_all_tensors(server: Server) -> None:
    """All inputs and outputs are there with their datatypes, BYTES as TYPE_STRING."""
    answer = await _config(server, SEVERAL)
    sample = next(each for each in SAMPLES if each.name == SEVERAL)
    _expect_tensors(answer.input, sample.inputs)
    _expect_tensors(answer.output, sample.outputs)


@config(OPTIONAL)
async def config_has_optional_inputs(server: Server) -> None:
    """An input that requests may leave out is optional, no other is."""
    answer = await _config(server, OPTIONAL)
    found = {each.name: each.optional for each in answer.input}
    expect_equal(found, {"x": False, "bias": True}, "optional")


@config(CLASSES)
async def config_has_labels(server: Server) -> None:
    """An output whose classes have names says the file that names them."""
    label = named((await _config(server, CLASSES)).output, "y").label_filename
    expect(label, "a label_filename", "none")


@config(REPEAT)
async def config_is_decoupled(server: Server) -> None:
    """A model that gives any number of responses is decoupled."""
    policy = (await _config(server, REPEAT)).model_transaction_policy
    expect(policy.decoupled, "decoupled: true", "decoupled: false")


@config(SEQUENCE)
async def config_has_sequence_batching(server: Server) -> None:
    """A model that takes sequences of requests says so by sequence_batching."""
    scheduling = (await _config(server, SEQUENCE)).WhichOneof("scheduling_choice")
    expect_equal(scheduling, "sequence_batching", "scheduling_choice")


@config()
async def config_has_a_platform_or_backend(server: Server) -> None:
    """A model says what runs it."""
    answer = await _config(server, FP32)
    expect(answer.platform or answer.backend, "a platform or a backend", "neither")


@config()
async def config_not_of_an_unknown_model(server: Server) -> None:
    """ModelConfig of a model that does not exist ends with an error."""
    refused = await server.refused(CONFIG, ext.ModelConfigRequest(name=UNKNOWN))
    if refused.code == "UNIMPLEMENTED":
        raise refused


@config(VERSIONS)
async def config_not_of_an_unknown_version(server: Server) -> None:
    """ModelConfig of a version that does not exist ends with an error."""
    asked = ext.ModelConfigRequest(name=VERSIONS, version="987654")
    refused = await server.refused(CONFIG, asked)
    if refused.code == "UNIMPLEMENTED":
        raise refused


# ------------------------------------------------------------------ Triton's dialect
@triton(FP32)
async def unknown_models_are_not_found(server: Server) -> None:
    """ModelMetadata of an unknown model or version are NOT_FOUND, in the words that clients
    match."""
    for version in ("", "987654"):
        name = FP32 if version else UNKNOWN
        asked = pb.ModelMetadataRequest(name=name, version=version)
        refused = await server.refused(METADATA, asked, "NOT_FOUND")
        expect("Request for unknown model" in refused.text, "'unknown model'", refused.text)


@triton(FP32)
async def the_platform_is_known(server: Server) -> None:
    """The platform of an ONNX model is one that Triton's clients know."""
    platform = (await _metadata(server, FP32)).platform
    known = ("onnxruntime_onnx", "python", "onnxruntime")
    if platform not in known:
        raise Broken(f"one of {', '.join(known)}", platform)


PARTS = (ready, metadata, config, triton)
