"""What of a Triton `ModelConfig` has no place here, why, and the way out.

Every field of the message is either read by `fabric.wire.configured` or has its words in here,
which `tests/wire` checks: nothing of a configuration is dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator


class Effect(StrEnum):
    """What it means that a part of a configuration has no place here."""

    ANSWERS = "changes answers"
    PERFORMANCE = "changes performance"
    NONE = "not needed"


@dataclass(frozen=True, slots=True)
class Note:
    """One part of a configuration that is not as it was."""

    path: str
    """In the configuration, such as `input[0].reshape`."""
    text: str
    """Why, and the way out."""
    effect: Effect


PYTHON = "serve it from Python (`python: module:Class`)"
_A, _P, _N = Effect.ANSWERS, Effect.PERFORMANCE, Effect.NONE
_NEVER_WAIT = (_N, "batches never wait to fill, they are as large as the load makes them")
_RAGGED = (_A, f"requests are stacked as they are: do it in the model, or {PYTHON}")
_ONLY_TENSORRT = (_N, "only TensorRT has such tensors")
_MEMORY = (_N, "how memory is pinned and gathered is left to ONNX Runtime")
_DEVICES = (_P, "replicas take what the host gives them: set `resources` instead")
_METRICS = (_N, "metrics have the names and labels of fabric")

SAID: dict[str, tuple[Effect, str]] = {
    "runtime": (_N, "ONNX Runtime runs ONNX models"),
    "input.format": (_N, "the order of dimensions is the model's own, and nothing turns it"),
    "input.is_shape_tensor": _ONLY_TENSORRT,
    "input.is_non_linear_format_io": _ONLY_TENSORRT,
    "output.is_shape_tensor": _ONLY_TENSORRT,
    "output.is_non_linear_format_io": _ONLY_TENSORRT,
    "input.allow_ragged_batch": _RAGGED,
    "batch_input": _RAGGED,
    "batch_output": _RAGGED,
    "optimization.priority": _DEVICES,
    "optimization.cuda": (_P, "no CUDA graphs are captured; see `onnxruntime.providers`"),
    "optimization.input_pinned_memory": _MEMORY,
    "optimization.output_pinned_memory": _MEMORY,
    "optimization.gather_kernel_buffer_threshold": _MEMORY,
    "optimization.eager_batching": _NEVER_WAIT,
    "dynamic_batching.preferred_batch_size": _NEVER_WAIT,
    "dynamic_batching.max_queue_delay_microseconds": _NEVER_WAIT,
    "dynamic_batching.preserve_ordering": (_N, "answers on a stream are in order anyway"),
    "dynamic_batching.default_queue_policy.timeout_action": (
        _A,
        "a request that waited too long is refused, never put last: give it a longer `timeout`",
    ),
    "dynamic_batching.default_queue_policy.allow_timeout_override": (
        _N,
        "the `timeout` of a request always holds",
    ),
    "dynamic_batching.priority_queue_policy": (
        _A,
        "one `batching.max_queue` holds for all levels",
    ),
    "sequence_batching.iterative_sequence": (_A, f"steps are not repeated: {PYTHON}"),
    "sequence_batching.state.use_same_buffer_for_input_output": _MEMORY,
    "sequence_batching.state.use_growable_memory": _MEMORY,
    "sequence_batching.state.initial_state.data_file": (
        _A,
        f"states start with zeros: start from them in the model, or {PYTHON}",
    ),
    "sequence_batching.direct.max_queue_delay_microseconds": _NEVER_WAIT,
    "sequence_batching.direct.minimum_slot_utilization": _NEVER_WAIT,
    "sequence_batching.oldest.preferred_batch_size": _NEVER_WAIT,
    "sequence_batching.oldest.max_queue_delay_microseconds": _NEVER_WAIT,
    "sequence_batching.oldest.preserve_ordering": (_N, "a sequence is answered in order anyway"),
    "instance_group.rate_limiter": (_P, "runs are not rationed: set `resources` instead"),
    "instance_group.secondary_devices": _DEVICES,
    "instance_group.profile": _ONLY_TENSORRT,
    "instance_group.host_policy": _DEVICES,
    "cc_model_filenames": (_A, "one file is for all devices: declare a version for each"),
    "metric_tags": _METRICS,
    "model_metrics": _METRICS,
    "model_warmup": (_N, "every replica runs on zeros before it takes requests"),
    "model_operations": (_A, f"no libraries of operations are loaded: {PYTHON}"),
    "model_repository_agents": (_A, "models are taken as they are; to check one, set its `sha256`"),
}
READ = frozenset(
    {
        *("name", "platform", "backend", "max_batch_size", "default_model_filename"),
        *("version_policy", "model_transaction_policy.decoupled", "ensemble_scheduling"),
        *("input.name", "input.data_type", "input.dims", "input.optional", "input.reshape"),
        *("output.name", "output.data_type", "output.dims", "output.reshape"),
        "output.label_filename",
        *("optimization.graph.level", "optimization.execution_accelerators", "parameters"),
        *("dynamic_batching.priority_levels", "dynamic_batching.default_priority_level"),
        *("dynamic_batching.default_queue_policy.max_queue_size", "response_cache.enable"),
        "dynamic_batching.default_queue_policy.default_timeout_microseconds",
        "sequence_batching.max_sequence_idle_microseconds",
        *("sequence_batching.control_input", "sequence_batching.oldest.max_candidate_sequences"),
        *("sequence_batching.state.input_name", "sequence_batching.state.output_name"),
        # The model itself says what these say.
        *("sequence_batching.state.data_type", "sequence_batching.state.dims"),
        *(f"sequence_batching.state.initial_state.{n}" for n in ("data_type", "dims", "name")),
        "sequence_batching.state.initial_state.zero_data",
        *("instance_group.name", "instance_group.count", "instance_group.kind"),
        *("instance_group.gpus", "instance_group.passive"),
    }
)


def unread(config: Message, path: str = "", pattern: str = "") -> Iterator[Note]:
    """What *config* sets and nobody reads."""
    for field, value in config.ListFields():
        known, place = f"{pattern}{field.name}", f"{path}{field.name}"
        if known in SAID:
            effect, text = SAID[known]
            yield Note(place, text, effect)
        elif known not in READ:
            for inner, message in _messages(value, place):
                yield from unread(message, f"{inner}.", f"{known}.")


def _messages(value: Any, path: str) -> Iterator[tuple[str, Message]]:
    if isinstance(value, Message):
        yield path, value
    else:
        yield from ((f"{path}[{index}]", each) for index, each in enumerate(value))
