"""Models in the words of Triton's `ModelConfig`, and what its JSON form changes.

`fabric.wire.configured` reads the message; here it is written, and taken from clients.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict, ParseError

from fabric.api.inference.v2.model_config_pb2 import (
    DataType,
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
    ModelSequenceBatching,
    ModelVersionPolicy,
)
from fabric.core.errors import InvalidRequest
from fabric.wire.config_hosting import ACCELERATORS, GRAPH_LEVELS, THREADS
from fabric.wire.config_notes import Effect
from fabric.wire.configured import CONTROLS, configured, new_specialist

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fabric.core.cards import Batching, Model, OnnxRuntime, Sequences, Specialist
    from fabric.core.tensors import Signature, TensorSpec


ROUTE = "route"
"""The platform of routes,"""
PIPELINE = "pipeline"
"""and of pipelines."""


# ------------------------------------------------------------------ written
def platform(specialist: Specialist) -> str:
    return "python" if specialist.hosting.python else "onnxruntime_onnx"


def to_config(specialist: Specialist, signature: Signature) -> ModelConfig:
    """What Triton would say of *specialist*, whose signature is *signature*."""
    hosting = specialist.hosting
    config = ModelConfig(
        name=specialist.card.name,
        platform=platform(specialist),
        backend="python" if hosting.python else "onnxruntime",
        version_policy=ModelVersionPolicy(all=ModelVersionPolicy.All()),
        instance_group=[_instances(specialist)],
    )
    _write_tensors(config, signature, specialist)
    if specialist.card.cache is not None:
        config.response_cache.enable = True
    if hosting.sequences is not None:
        config.sequence_batching.CopyFrom(_sequence_batching(hosting.sequences))
    elif hosting.batching.max_size > 1 or hosting.batching.priorities:
        config.dynamic_batching.CopyFrom(_dynamic_batching(hosting.batching))
    if hosting.model is not None:
        config.default_model_filename = hosting.model.uri.rpartition("/")[2]
        _write_session(config, hosting.onnxruntime)
    for key, text in hosting.arguments.items():
        config.parameters[key].string_value = text
    return config


def to_virtual_config(
    name: str, platform: str, signature: Signature, specialist: Specialist | None = None
) -> ModelConfig:
    """The configuration of the route or pipeline *name*; *specialist* is the one of a route's that
    has the signature."""
    config = ModelConfig(name=name, platform=platform)
    _write_tensors(config, signature, specialist)
    return config


def _write_tensors(
    config: ModelConfig, signature: Signature, specialist: Specialist | None = None
) -> None:
    """Writes what goes in and out; `dims` leave out the batch dimension, where there is one."""
    size = specialist.hosting.batching.max_size if specialist else 1
    classes = specialist.hosting.classes if specialist else {}
    batched = size > 1
    config.max_batch_size = size if batched else 0
    for spec in signature.inputs:
        said = ModelInput(name=spec.name, data_type=_datatype(spec), optional=spec.optional)
        said.dims.extend(spec.shape[batched:])
        config.input.append(said)
    for spec in signature.outputs:
        labels = classes.get(spec.name, "").rpartition("/")[2]
        made = ModelOutput(name=spec.name, data_type=_datatype(spec), label_filename=labels)
        made.dims.extend(spec.shape[batched:])
        config.output.append(made)
    if signature.decoupled:
        config.model_transaction_policy.decoupled = True


def _datatype(spec: TensorSpec) -> Any:
    return DataType.Value("TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}")


def _instances(specialist: Specialist) -> ModelInstanceGroup:
    on_gpu = specialist.hosting.resources.gpus > 0
    return ModelInstanceGroup(
        name=f"{specialist.card.name}_0",
        kind=ModelInstanceGroup.KIND_GPU if on_gpu else ModelInstanceGroup.KIND_CPU,
        count=specialist.hosting.replicas.min,
    )


def _dynamic_batching(batching: Batching) -> ModelDynamicBatching:
    made = ModelDynamicBatching(
        priority_levels=batching.priorities,
        default_priority_level=batching.default_priority or batching.priorities,
    )
    made.default_queue_policy.max_queue_size = batching.max_queue
    made.default_queue_policy.default_timeout_microseconds = round(batching.queue_timeout * 1e6)
    made.default_queue_policy.allow_timeout_override = True
    return made


def _sequence_batching(sequences: Sequences) -> ModelSequenceBatching:
    made = ModelSequenceBatching(max_sequence_idle_microseconds=round(sequences.idle_timeout * 1e6))
    if sequences.strategy == "oldest":
        made.oldest.max_candidate_sequences = sequences.max_sequences
    else:
        made.direct.SetInParent()
    for state in sequences.states:
        made.state.add(input_name=state.input, output_name=state.output)
    kinds = {name: kind for kind, name in CONTROLS.items()}
    for control in sequences.controls:
        told = made.control_input.add(name=control.input).control.add(kind=kinds[control.kind])
        if control.kind != "id":
            told.fp32_false_true.extend((control.no, control.yes))
    return made


def _write_session(config: ModelConfig, options: OnnxRuntime) -> None:
    for key, field in THREADS.items():
        config.parameters[key].string_value = str(getattr(options, field))
    if level := GRAPH_LEVELS.index(options.graph_optimization) - 1:
        config.optimization.graph.level = level
    accelerators = config.optimization.execution_accelerators
    for name, (device, provider) in ACCELERATORS.items():
        if provider in options.providers:
            getattr(accelerators, f"{device}_execution_accelerator").add(name=name)


# ------------------------------------------------------------------ taken from clients
def overridden(
    specialist: Specialist | None, name: str, config: str, model: Model | None = None
) -> Specialist:
    """*specialist* with what the JSON form *config* of a `ModelConfig` says changed.

    Without a specialist it is a new one of that *name*, with Triton's defaults. A *model* takes the
    place of the one that it has; a new one needs it. What the configuration leaves out, and what
    can change no answer, stays as it is. Afterwards it is loaded, unless its version is none of
    those that the configuration names.

    Raises:
        InvalidRequest: it is no configuration, is of another model, or asks for what would change
            answers and cannot be had here.
    """
    message, said = _from_json(name, config)
    try:
        base = specialist if specialist is not None else new_specialist(name, model)
        changed, notes = configured(base, message, said=said, model=model)
    except ValueError as error:
        raise InvalidRequest(f"configuration of '{name}': {error}") from error
    if unmet := [f"{n.path}: {n.text}" for n in notes if n.effect is Effect.ANSWERS]:
        raise InvalidRequest(f"configuration of '{name}' cannot be met: {'; '.join(unmet)}")
    versions = message.version_policy.specific.versions
    is_served = not versions or changed.card.version in map(str, versions)
    return replace(changed, hosting=replace(changed.hosting, loaded=is_served))


def _from_json(name: str, text: str) -> tuple[ModelConfig, frozenset[str]]:
    """The message that *text* holds, and the names of the fields that it sets at all."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # halves of characters are no text
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"configuration of '{name}' is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"configuration of '{name}' is no JSON object")
    mistakes = list(_unknown(value, ModelConfig.DESCRIPTOR))
    if mistakes:
        raise InvalidRequest(f"configuration of '{name}': {'; '.join(mistakes)}")
    try:
        message = ParseDict(value, ModelConfig())
    except (ParseError, ValueError) as error:
        what = str(error).replace(f"{ModelConfig.DESCRIPTOR.file.package}.", "")
        raise InvalidRequest(f"configuration of '{name}': {what}") from error
    fields = _fields(ModelConfig.DESCRIPTOR)
    return message, frozenset(fields[key].name for key in value)


def _unknown(value: Any, descriptor: Any, path: str = "") -> Iterator[str]:
    """What the JSON *value* says that the message knows no field for, with the nearest one."""
    if not isinstance(value, dict):
        return
    fields = _fields(descriptor)
    for key, item in value.items():
        if (field := fields.get(key)) is None:
            yield f"unknown field '{path}{key}'{nearest(key, descriptor.fields_by_name)}"
        elif field.message_type is not None:
            yield from _unknown_in(item, field, f"{path}{key}")


def _unknown_in(item: Any, field: Any, path: str) -> Iterator[str]:
    if field.message_type.GetOptions().map_entry:
        kept = field.message_type.fields_by_name["value"].message_type
        for key, each in item.items() if kept and isinstance(item, dict) else ():
            yield from _unknown(each, kept, f"{path}[{key}].")
    elif isinstance(item, list):
        for index, each in enumerate(item):
            yield from _unknown(each, field.message_type, f"{path}[{index}].")
    else:
        yield from _unknown(item, field.message_type, f"{path}.")


def _fields(descriptor: Any) -> dict[str, Any]:
    """By the names that JSON may use."""
    return {name: f for f in descriptor.fields for name in (f.name, f.json_name)}


def nearest(name: str, known: Collection[str]) -> str:
    """What may have been meant by *name*, as the end of a sentence."""
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; use one of {', '.join(known)}"
