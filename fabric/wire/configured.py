"""Specialists as a Triton `ModelConfig` wants them, and what of it has no place here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fabric.api.catalog.v1 import card_pb2
from fabric.api.inference.v2.model_config_pb2 import (
    DataType,
    ModelSequenceBatching,
)
from fabric.core.cards import (
    Batching,
    Caching,
    Card,
    Control,
    Hosting,
    OnnxRuntime,
    Sequences,
    Specialist,
    StateTensor,
)
from fabric.core.tensors import Signature, TensorSpec
from fabric.wire.cards import to_message
from fabric.wire.config_hosting import with_files, with_instances, with_options
from fabric.wire.config_notes import PYTHON, Effect, Note, unread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from fabric.api.inference.v2.model_config_pb2 import ModelConfig
    from fabric.core.cards import Model


# ------------------------------------------------------------------ words of both
CONTROLS = {
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_START: "start",
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_END: "end",
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_READY: "ready",
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID: "id",
}
_A, _P, _N = Effect.ANSWERS, Effect.PERFORMANCE, Effect.NONE
_IDLE = 1.0  # seconds: Triton's default


# ------------------------------------------------------------------ read
def new_specialist(name: str, model: Model | None) -> Specialist:
    """A specialist that runs *model* as Triton does where a configuration says nothing.

    Raises:
        ValueError: the name or the model is missing or not valid.
    """
    if model is None:
        raise ValueError("there is no such model, and no model file was given with it")
    options = OnnxRuntime(intra_op_threads=0)  # as many as there are cores
    return Specialist(card=Card(name=name), hosting=Hosting(model=model, onnxruntime=options))


def configured(
    base: Specialist,
    config: ModelConfig,
    *,
    said: Collection[str] = (),
    model: Model | None = None,
) -> tuple[Specialist, list[Note]]:
    """*base* with what *config* says, and what of it has no place here.

    A field that is unset leaves *base* as it is, unless it is one of *said*; then it means what it
    means unset. A *model* takes the place of the one of *base*.

    Raises:
        ValueError: it is of another model, of another backend, or contradicts itself.
    """
    _check_kind(base, config)
    notes = list(unread(config))
    card, hosting = base.card, base.hosting
    hosting = replace(hosting, batching=_batching(hosting.batching, config, said))
    signature = _signature(card.signature, config, hosting.batching, notes)
    if config.model_transaction_policy.decoupled:
        if hosting.python:
            signature = replace(signature or Signature(), decoupled=True)
        else:
            text = "a model answers a request once, on a stream or not"
            notes.append(Note("model_transaction_policy.decoupled", text, _N))
    if config.HasField("sequence_batching"):
        hosting = replace(hosting, sequences=_sequences(config.sequence_batching))
    if config.instance_group:
        hosting = with_instances(hosting, config.instance_group, notes)
    if hosting.python:
        arguments = {key: p.string_value for key, p in config.parameters.items()}
        hosting = replace(hosting, arguments={**hosting.arguments, **arguments})
        if config.HasField("optimization"):
            notes.append(Note("optimization", "a Python class runs its model as it likes", _P))
    else:
        hosting = replace(hosting, onnxruntime=with_options(hosting.onnxruntime, config, notes))
        hosting = with_files(hosting, config, model)
    card = replace(card, cache=_caching(card.cache, config, said, notes))
    if config.max_batch_size == 1:
        notes.append(Note("max_batch_size", "metadata says 1 row where Triton says -1", _N))
    made = Specialist(card=replace(card, signature=signature), hosting=hosting)
    to_message(made, card_pb2.Specialist)  # raises where a number is too large to travel
    return made, notes


def _check_kind(base: Specialist, config: ModelConfig) -> None:
    if config.name and config.name != base.card.name:
        raise ValueError(f"its name is '{config.name}', the model's is '{base.card.name}'")
    if config.HasField("ensemble_scheduling") or config.platform == "ensemble":
        raise ValueError(f"ensemble_scheduling: models cannot be put one behind another: {PYTHON}")
    kinds = {"platform": "onnxruntime_onnx", "backend": "onnxruntime"}
    if base.hosting.python:
        kinds = {"platform": "python", "backend": "python"}
    for field, kind in kinds.items():
        if (value := getattr(config, field)) not in ("", kind):
            raise ValueError(f"{field} is '{value}', and here it is '{kind}'")


def _batching(base: Batching, config: ModelConfig, said: Collection[str]) -> Batching:
    if config.max_batch_size < 0:
        raise ValueError(f"max_batch_size is {config.max_batch_size}, it cannot be negative")
    changes: dict[str, float] = {}
    if config.max_batch_size or "max_batch_size" in said:
        changes["max_size"] = max(config.max_batch_size, 1)
    dynamic = config.dynamic_batching
    if size := dynamic.default_queue_policy.max_queue_size:
        changes["max_queue"] = size
    if microseconds := dynamic.default_queue_policy.default_timeout_microseconds:
        changes["queue_timeout"] = microseconds / 1e6
    if levels := dynamic.priority_levels:
        changes["priorities"] = levels
        changes["default_priority"] = dynamic.default_priority_level
    return replace(base, **changes)  # type: ignore[arg-type] # only `queue_timeout` is no int


def _caching(
    base: Caching | None, config: ModelConfig, said: Collection[str], notes: list[Note]
) -> Caching | None:
    if not config.response_cache.enable:
        return None if "response_cache" in said else base
    if base is None:
        text = f"for {Caching.ttl:g} seconds, where Triton sets no end: set `cache.ttl`"
        notes.append(Note("response_cache.enable", text, _P))
    return base or Caching()


# ------------------------------------------------------------------ tensors
def _signature(
    declared: Signature | None, config: ModelConfig, batching: Batching, notes: list[Note]
) -> Signature | None:
    """With the batch dimension, which a configuration leaves out; None if nothing is declared."""
    if not (config.input or config.output):
        return declared
    lead = (-1,) if batching.max_size > 1 else (1,) if config.max_batch_size == 1 else ()
    base = declared or Signature()
    states = {state.output_name for state in config.sequence_batching.state}
    for index, output in enumerate(config.output):
        if output.name in states:
            text = f"a state is not answered: give the model a second output like '{output.name}'"
            notes.append(Note(f"output[{index}]", text, _A))
    outputs = _specs("output", config.output, lead, notes)
    return replace(
        base,
        inputs=tuple(_specs("input", config.input, lead, notes)) or base.inputs,
        outputs=tuple(s for s in outputs if s.name not in states) or base.outputs,
    )


def _specs(
    kind: str,
    said: Iterable[Any],
    lead: tuple[int, ...],
    notes: list[Note],
) -> Iterator[TensorSpec]:
    for index, each in enumerate(said):
        dims = tuple(each.dims)
        if each.HasField("reshape") and tuple(each.reshape.shape) != dims:
            dims = tuple(each.reshape.shape)
            text = f"shapes are the model's own: it is {[*lead, *dims]}, not {[*lead, *each.dims]}"
            notes.append(Note(f"{kind}[{index}].reshape", text, _A))
        yield TensorSpec(
            name=each.name,
            datatype=_datatype(each),
            shape=(*lead, *dims),
            optional=getattr(each, "optional", False),
        )


def _datatype(said: Any) -> str:
    if not said.data_type:
        raise ValueError(f"tensor '{said.name}' has no data_type")
    name = DataType.Name(said.data_type).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


# ------------------------------------------------------------------ sequences
def _sequences(said: ModelSequenceBatching) -> Sequences:
    controls = []
    for at, tensor in enumerate(said.control_input):
        if len(tensor.control) != 1:
            raise ValueError(f"control_input '{tensor.name}' has {len(tensor.control)} controls")
        controls.append(_control(f"sequence_batching.control_input[{at}]", tensor))
    return Sequences(
        strategy="oldest" if said.HasField("oldest") else "direct",
        max_sequences=said.oldest.max_candidate_sequences,
        idle_timeout=said.max_sequence_idle_microseconds / 1e6 or _IDLE,
        states=tuple(StateTensor(input=s.input_name, output=s.output_name) for s in said.state),
        controls=tuple(controls),
    )


def _control(path: str, tensor: ModelSequenceBatching.ControlInput) -> Control:
    (control,) = tensor.control
    kind = CONTROLS[control.kind]
    if kind == "id":
        return Control(input=tensor.name, kind=kind)
    values = [
        *control.int32_false_true,
        *control.fp32_false_true,
        *control.bool_false_true,
    ]
    if len(values) != 2:
        raise ValueError(f"{path} needs two values, for false and for true")
    return Control(input=tensor.name, kind=kind, no=float(values[0]), yes=float(values[1]))
