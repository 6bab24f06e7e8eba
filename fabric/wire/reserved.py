"""The request parameters that the protocol and Triton's dialect of it reserve.

`priority`, `timeout` (microseconds in the queue), `sequence_id`, `sequence_start`, `sequence_end`,
`binary_data_output`, `headers` and everything that begins with `triton_`. Any other parameter is
the caller's own and may be a bool, an int64, a string or a double. Texts of errors are Triton's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.errors import InvalidRequest
from fabric.wire.kinds import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.api.inference.v2.open_inference_pb2 import InferParameter

SEQUENCE_ID = "sequence_id"
SEQUENCE_START = "sequence_start"
SEQUENCE_END = "sequence_end"
PRIORITY = "priority"
TIMEOUT = "timeout"
BINARY_DATA_OUTPUT = "binary_data_output"
BINARY_DATA = "binary_data"
"""Of one output that is asked for."""
EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"

_TRITON = "triton_"
_IGNORED = frozenset((SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END, "headers"))
"""Read elsewhere, or by nobody."""
_MAX_DIGITS = 20
"""Of a uint64."""
_OWN = frozenset(("bool_param", "int64_param", "string_param", "double_param"))


class Terms(NamedTuple):
    """How a request wants to be served."""

    priority: int = 0
    patience: float = math.inf
    """Seconds that it may wait to be run."""
    sequence: Step | None = None
    binary: bool = True
    """Whether the elements of outputs come raw."""


NO_TERMS = Terms()


def terms_of(parameters: Mapping[str, InferParameter]) -> Terms:
    """What *parameters* ask for.

    Raises:
        InvalidRequest: a reserved parameter is of another type or value than it may be.
    """
    if not parameters:
        return NO_TERMS
    priority, patience, binary = 0, math.inf, True
    for name, parameter in parameters.items():
        if name == PRIORITY:
            priority = _whole(name, parameter, texts=True)
        elif name == TIMEOUT:
            patience = _whole(name, parameter) / 1e6 or math.inf
        elif name == BINARY_DATA_OUTPUT:
            binary = truth(name, parameter)
        elif name == EMPTY_FINAL_RESPONSE:
            truth(name, parameter)
        elif name.startswith(_TRITON):
            raise InvalidRequest(
                f"parameter keys starting with 'triton_' are reserved for Triton usage. Only the "
                f"following keys starting with 'triton_' are allowed: {EMPTY_FINAL_RESPONSE}. "
                f"Rename '{name}'"
            )
        elif name not in _IGNORED and parameter.WhichOneof("parameter_choice") not in _OWN:
            raise _mistyped(name, "int64_param, bool_param, string_param or double_param")
    return Terms(priority, patience, step_of(parameters), binary)


def priority_of(parameters: Mapping[str, InferParameter]) -> int:
    """Which *priority* a request with *parameters* names; 0 for none.

    Raises:
        InvalidRequest: it is no whole number from 0 on.
    """
    return _whole(PRIORITY, parameters[PRIORITY], texts=True) if PRIORITY in parameters else 0


def step_of(parameters: Mapping[str, InferParameter]) -> Step | None:
    """Where in a sequence a request with *parameters* stands; None without a `sequence_id`.

    The ids 0 and "" name no sequence.

    Raises:
        InvalidRequest: a parameter of the sequence is of another type.
    """
    starts = SEQUENCE_START in parameters and truth(SEQUENCE_START, parameters[SEQUENCE_START])
    ends = SEQUENCE_END in parameters and truth(SEQUENCE_END, parameters[SEQUENCE_END])
    if SEQUENCE_ID not in parameters:
        return None
    parameter = parameters[SEQUENCE_ID]
    choice = parameter.WhichOneof("parameter_choice")
    if choice not in ("int64_param", "uint64_param", "string_param"):
        raise _mistyped(SEQUENCE_ID, "int64_param or string_param")
    sequence: int | str = getattr(parameter, choice)
    return Step(sequence, starts, ends) if sequence else None


def truth(name: str, parameter: InferParameter) -> bool:
    """Raises InvalidRequest unless *parameter* is a bool."""
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise _mistyped(name, "bool_param")
    return parameter.bool_param


def is_typed(request: ModelInferRequest) -> bool:
    """Whether the elements of inputs are typed, and nothing is said of those of outputs."""
    return BINARY_DATA_OUTPUT not in request.parameters and any(
        tensor.HasField("contents") for tensor in request.inputs
    )


def _wish(*, binary: bool) -> bytes:
    request = ModelInferRequest()
    request.parameters[BINARY_DATA_OUTPUT].bool_param = binary
    return bytes(request.SerializeToString())


WANTS_TYPED = _wish(binary=False)
"""A field of a request, to be appended to its others: the elements of outputs come typed."""


def _whole(name: str, parameter: InferParameter, *, texts: bool = False) -> int:
    choice = parameter.WhichOneof("parameter_choice")
    if choice == "uint64_param":
        return parameter.uint64_param
    text = parameter.string_param
    if texts and text.isdecimal() and len(text) <= _MAX_DIGITS:
        return int(text)
    if choice != "int64_param":
        raise _mistyped(name, "int64_param or uint64_param")
    if parameter.int64_param < 0:
        raise InvalidRequest(f"invalid value for '{name}', expected value >= 0.")
    return parameter.int64_param


def _mistyped(name: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"invalid value type for '{name}' parameter, expected {expected}.")
