"""Where a specialist runs and with which options, as a Triton `ModelConfig` wants it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fabric.api.inference.v2.model_config_pb2 import ModelInstanceGroup
from fabric.wire.config_notes import Effect, Note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.api.inference.v2.model_config_pb2 import ModelConfig
    from fabric.core.cards import Hosting, Model, OnnxRuntime

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
ON_GPU = "for a GPU set `resources.gpus: 1` and `onnxruntime.providers: [CUDAExecutionProvider]`"
_MOST_REPLICAS = 1000
_SESSION = {
    "execution_mode": ("0",),
    "enable_mem_arena": ("1", "true"),
    "enable_mem_pattern": ("1", "true"),
    "memory.enable_memory_arena_shrinkage": (),
    "session.use_device_allocator_for_initializers": ("0",),
    "share_session_between_instances": ("0", "false"),
}
"""Parameters of Triton's ONNX Runtime backend, with the values that hold here."""
_A, _P, _N = Effect.ANSWERS, Effect.PERFORMANCE, Effect.NONE


def with_instances(
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


def with_options(base: OnnxRuntime, config: ModelConfig, notes: list[Note]) -> OnnxRuntime:
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


def _count(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"parameters[{key}] is {text!r}, it must be a whole number") from error


def with_files(hosting: Hosting, config: ModelConfig, model: Model | None) -> Hosting:
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
