"""Specialists as a Triton `ModelConfig` wants them, and what of it has no place here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fabric.api.catalog.v1 import card_pb2
from fabric.api.inference.v2.model_config_pb2 import (
    DataType,
    ModelInstanceGroup,
    ModelSequenceBatching,
)
from fabric.core.cards import (
    Batching,
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
from fabric.wire.config_notes import PYTHON, Effect, Note, unread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from fabric.api.inference.v2.model_config_pb2 import ModelConfig
    from fabric.core.cards import Model


# ------------------------------------------------------------------ words of both
GRAPH_LEVELS = ("basic", "all", "extended", "disable")
"""`optimization.graph.level` is the place in here less one."""
THREADS = {
    "intra_op_thread_count": "intra_op_threads",
    "inter_op_thread_count": "inter_op_threads",
}
ACCELERATORS = {
    "tensorrt": ("gpu", "TensorrtExecutionProvider"),
    "cuda": ("gpu", "CUDAExecutionProvider"),
    "openvino": ("cpu", "OpenVINOExecutionProvider"),
}
"""The device and the provider of an execution accelerator, in the order of preference."""
CONTROLS = {
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_START: "start",
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_END: "end",
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_READY: "ready",
    ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID: "id",
}
ON_GPU = "for a GPU set `resources.gpus: 1` and `onnxruntime.providers: [CUDAExecutionProvider]`"
_A, _P, _N = Effect.ANSWERS, Effect.PERFORMANCE, Effect.NONE
_MOST_REPLICAS = 1000
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
        hosting = _with_instances(hosting, config.instance_group, notes)
    if hosting.python:
        arguments = {key: p.string_value for key, p in config.parameters.items()}
        hosting = replace(hosting, arguments={**hosting.arguments, **arguments})
        if config.HasField("optimization"):
            notes.append(Note("optimization", "a Python class runs its model as it likes", _P))
    else:
        hosting = replace(hosting, onnxruntime=_options(hosting.onnxruntime, config, notes))
        hosting = _with_files(hosting, config, model)
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
    changes: dict[str, int] = {}
    if config.max_batch_size or "max_batch_size" in said:
        changes["max_size"] = max(config.max_batch_size, 1)
    dynamic = config.dynamic_batching
    if size := dynamic.default_queue_policy.max_queue_size:
        changes["max_queue"] = size
    if levels := dynamic.priority_levels:
        changes["priorities"] = levels
        changes["default_priority"] = dynamic.default_priority_level
    return replace(base, **changes)


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


# ------------------------------------------------------------------ where it runs
def _with_instances(
    hosting: Hosting, said: Iterable[ModelInstanceGroup], notes: list[Note]
) -> Hosting:
    """One replica for each instance; those of one specialist are all alike."""
    groups = [group for group in said if not group.passive]
    count = sum((group.count or 1) * (len(group.gpus) or 1) for group in groups) or 1
    if count > _MOST_REPLICAS:
        raise ValueError(f"instance_group has {count} instances, {_MOST_REPLICAS} are allowed")
    replicas = replace(hosting.replicas, min=count, max=max(count, hosting.replicas.max))
    hosting = replace(hosting, replicas=replicas)
    kinds = {group.kind for group in groups}
    if kinds == {ModelInstanceGroup.KIND_CPU}:
        if not all(group.count for group in groups):
            text = f"{count}, where Triton runs 2 if no count is said: set `replicas.min`"
            notes.append(Note("instance_group", text, _P))
        return replace(hosting, resources=replace(hosting.resources, gpus=0.0))
    if kinds != {ModelInstanceGroup.KIND_GPU}:
        text = f"{count} on the CPU, since all replicas are alike; {ON_GPU}"
        notes.append(Note("instance_group", text, _P))
        return hosting
    if not all(group.gpus for group in groups):
        text = f"{count} in all, not on each GPU: set `replicas.min` to the number that you want"
        notes.append(Note("instance_group", text, _P))
    share = round(1 / max(group.count or 1 for group in groups), 2)
    resources = replace(hosting.resources, gpus=hosting.resources.gpus or share)
    options = _with_providers(hosting.onnxruntime, [ACCELERATORS["cuda"][1]])
    return replace(hosting, resources=resources, onnxruntime=options)


def _with_providers(options: OnnxRuntime, wanted: Iterable[str]) -> OnnxRuntime:
    """*options* with what they lack of *wanted*, in front of what they have."""
    new = (provider for provider in wanted if provider not in options.providers)
    return replace(options, providers=(*new, *options.providers))


def _options(base: OnnxRuntime, config: ModelConfig, notes: list[Note]) -> OnnxRuntime:
    accelerators = config.optimization.execution_accelerators
    wanted = []
    for device in ("gpu", "cpu"):
        for index, each in enumerate(getattr(accelerators, f"{device}_execution_accelerator")):
            path = "optimization.execution_accelerators"
            path = f"{path}.{device}_execution_accelerator[{index}]"
            if each.name not in ACCELERATORS:
                text = f"there is no '{each.name}'; use one of {', '.join(ACCELERATORS)}"
                notes.append(Note(f"{path}.name", text, _P))
                continue
            wanted.append(ACCELERATORS[each.name][1])
            notes += (_option(f"{path}.parameters", key) for key in sorted(each.parameters))
    changes: dict[str, Any] = {}
    for key, parameter in sorted(config.parameters.items()):
        if field := THREADS.get(key):
            changes[field] = _count(key, parameter.string_value)
        else:
            notes.append(_parameter(key, parameter.string_value))
    if config.optimization.HasField("graph"):
        level = config.optimization.graph.level
        changes["graph_optimization"] = GRAPH_LEVELS[level + 1 if -1 <= level <= 2 else 1]
    return _with_providers(replace(base, **changes), wanted)


def _option(path: str, key: str) -> Note:
    """Precision is what of an accelerator's options may be seen in answers."""
    text = "providers run with the options that ONNX Runtime gives them"
    return Note(f"{path}[{key}]", text, _A if "precision" in key or "int8" in key else _P)


def _parameter(key: str, value: str) -> Note:
    if key in _SESSION and value not in _SESSION[key]:
        return Note(f"parameters[{key}]", "left to ONNX Runtime", _P)
    text = "as here" if key in _SESSION else "ONNX Runtime takes no such parameter"
    return Note(f"parameters[{key}]", text, _N)


_SESSION = {
    "execution_mode": ("0",),
    "enable_mem_arena": ("1", "true"),
    "enable_mem_pattern": ("1", "true"),
    "memory.enable_memory_arena_shrinkage": (),
    "session.use_device_allocator_for_initializers": ("0",),
    "share_session_between_instances": ("0", "false"),
}
"""Parameters of Triton's ONNX Runtime backend, with the values that hold here."""


def _count(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"parameters[{key}] is {text!r}, it must be a whole number") from error


def _with_files(hosting: Hosting, config: ModelConfig, model: Model | None) -> Hosting:
    """Files stay beside the model: in its version's folder, or in that of all versions.

    Raises:
        ValueError: a file name leads elsewhere, where clients may have no business.
    """
    said = model or hosting.model
    assert said is not None  # noqa: S101 - `python` is served elsewhere
    folder, _, file = said.uri.rpartition("/")
    name = config.default_model_filename
    if model is None and name not in ("", file):
        said = replace(said, uri=_beside(folder, name), sha256="")
    folder = folder.rpartition("/")[0]
    classes = dict(hosting.classes)
    for output in config.output:
        label = output.label_filename
        if label and label != classes.get(output.name, "").rpartition("/")[2]:
            classes[output.name] = _beside(folder, label)
    return replace(hosting, model=said, classes=classes)


def _beside(folder: str, name: str) -> str:
    if name.startswith("/") or ".." in name.split("/") or ":" in name or "\0" in name:
        raise ValueError(f"file name {name!r} leads out of the folder of the model")
    return f"{folder}/{name}" if folder else name
