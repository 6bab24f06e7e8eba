"""fabric's own parameters on Open Inference requests and answers.

Requests ask with `fabric_task`, `fabric_domain`, `fabric_language`, `fabric_modality`,
`fabric_owner`, `fabric_region`, `fabric_expression` and `fabric_label.<key>` (texts),
`fabric_data_classes` and `fabric_versions` (texts with commas), `fabric_max_cost` and
`fabric_max_latency` (numbers) and `fabric_min_quality` (`accuracy>=0.9`), and forbid another
answerer than the first candidate with `fabric_substitute` = false, and to be answered twice with
`fabric_idempotent` = false. Answers say `fabric_specialist`, `fabric_version`, `fabric_route`,
`fabric_replica` (texts), `fabric_attempts` (int64), `fabric_fallback` (bool) and what became of
those who were asked before, `fabric_failed` (text); those of a cascade how sure they are,
`fabric_confidence` (double), those of a mixture who had a part in them, `fabric_mixture`
("a:1,b:2", the heaviest first, who is also the `fabric_specialist`), and those that were decided
one by one the id under which that is remembered, `fabric_request` (text). Those that were made for
an equal request before say `fabric_cached` (bool) and how many seconds ago, `fabric_age` (double).
Answers of pipelines say `fabric_pipeline` instead of a specialist, and who answered its steps,
`fabric_steps` ("detect=text-detector:1,read=text-reader:2").
"""

from __future__ import annotations

import difflib
import math
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from fabric.api.inference.v2.open_inference_pb2 import InferParameter, ModelInferResponse
from fabric.core.errors import InvalidRequest
from fabric.core.routes import MinQuality, Requirements
from fabric.wire.heads import varint
from fabric.wire.reserved import priority_of, step_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fabric.core.errors import FabricError
    from fabric.core.plans import Attempt
    from fabric.core.requests import Answer, InferRequest, Parameter, Reused

PREFIX = "fabric_"
SUBSTITUTE = "fabric_substitute"
IDEMPOTENT = "fabric_idempotent"
SPECIALIST = "fabric_specialist"
VERSION = "fabric_version"
ROUTE = "fabric_route"
REPLICA = "fabric_replica"
ATTEMPTS = "fabric_attempts"
FALLBACK = "fabric_fallback"
FAILED = "fabric_failed"
REQUEST = "fabric_request"
CONFIDENCE = "fabric_confidence"
MIXTURE = "fabric_mixture"
PIPELINE = "fabric_pipeline"
STEPS = "fabric_steps"
CACHED = "fabric_cached"
AGE = "fabric_age"

_DOUBLE = struct.Struct("<d")
_ID = b"\x1a"  # id = 3, length-delimited
_LABEL = "fabric_label."
_MOST = 4096
"""Characters in all of fabric's parameters of a request."""
_MOST_SAID = 1024
"""Characters of why others did not answer."""


def value_of(parameter: InferParameter) -> Parameter:
    """The value of an OIP parameter."""
    choice = parameter.WhichOneof("parameter_choice")
    return "" if choice is None else getattr(parameter, choice)


def set_value(parameter: InferParameter, value: Parameter) -> None:
    """Writes *value* in the field of its type; whole numbers as int64, or uint64 if too large."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        if value < 1 << 63:
            parameter.int64_param = value
        else:
            parameter.uint64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


def read_into(request: InferRequest, parameters: Mapping[str, InferParameter]) -> None:
    """Writes into *request* what its *parameters* ask of the gateway.

    Raises:
        InvalidRequest: one of them is unknown, or of the wrong type.
    """
    request.requirements, request.substitute, request.idempotent = asked(parameters)
    if (step := step_of(parameters)) is not None:
        request.sequence, request.starts, request.ends = str(step.id), step.starts, step.ends
    request.priority = priority_of(parameters)


class Asked(NamedTuple):
    """What a request's parameters ask for."""

    requirements: Requirements | None
    substitute: bool
    """Whether another candidate than the first may answer."""
    idempotent: bool
    """Whether nothing is lost if it is answered twice."""


def asked(parameters: Mapping[str, InferParameter]) -> Asked:
    """What a request's *parameters* ask for.

    Raises:
        InvalidRequest: a parameter that begins with `fabric_` is unknown, of the wrong type, or
            cannot be read, or all of them are longer than anybody needs.
    """
    fields: dict[str, Any] = {}
    labels: dict[str, str] = {}
    said = {SUBSTITUTE: True, IDEMPOTENT: True}
    length = 0
    for name, parameter in parameters.items():
        if not name.startswith(PREFIX):
            continue
        value = value_of(parameter)
        length += len(name) + (len(value) if isinstance(value, str) else 0)
        if name in said:
            said[name] = _typed(name, value, bool)
        elif name.startswith(_LABEL):
            labels[name.removeprefix(_LABEL)] = _typed(name, value, str)
        elif (read := _READ.get(name)) is not None:
            fields[name.removeprefix(PREFIX)] = read(name, value)
        else:
            known = [*_READ, *said, f"{_LABEL}<key>"]
            near = difflib.get_close_matches(name, known, 1, cutoff=0)[0]
            raise InvalidRequest(f"unknown parameter '{name}'; did you mean '{near}'?")
    if length > _MOST:
        raise InvalidRequest(
            f"fabric's parameters have {length} characters, at most {_MOST} are read; state "
            "requirements in a route"
        )
    wanted = Requirements(**fields, labels=labels) if fields or labels else None
    return Asked(wanted, said[SUBSTITUTE], said[IDEMPOTENT])


def _typed(name: str, value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        wanted = {bool: "a bool", str: "a string"}[kind]
        raise InvalidRequest(f"parameter '{name}' is {value!r}, it must be {wanted} parameter")
    return value


def _text(name: str, value: Any) -> str:
    return str(_typed(name, value, str))


def _texts(name: str, value: Any) -> tuple[str, ...]:
    parts = (part.strip() for part in _text(name, value).split(","))
    return tuple(part for part in parts if part)


def _number(name: str, value: Any) -> float:
    """Also of a text, as commands and headers have it."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequest(f"parameter '{name}' is {value!r}, it must be a finite number")
    return number


def _seconds(name: str, value: Any) -> float:
    """To two digits, rounded down: the time that a caller has left is another one each time, and
    plans are kept by what is asked for."""
    number = _number(name, value)
    if number < 1e-6:
        raise InvalidRequest(f"parameter '{name}' is {value!r}, it is a microsecond at least")
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return round(math.floor(number / unit + 1e-9) * unit, 12)


def _min_quality(name: str, value: Any) -> MinQuality:
    metric, sign, least = _text(name, value).partition(">=")
    if not sign or not metric.strip():
        raise InvalidRequest(
            f"parameter '{name}' is {value!r}, it must read METRIC>=VALUE, such as accuracy>=0.9"
        )
    return MinQuality(metric=metric.strip(), value=_number(name, least.strip()))


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    **{
        f"{PREFIX}{name}": _text
        for name in ("task", "domain", "language", "modality", "owner", "region", "expression")
    },
    "fabric_data_classes": _texts,
    "fabric_versions": _texts,
    "fabric_max_cost": _number,
    "fabric_max_latency": _seconds,
    "fabric_min_quality": _min_quality,
}
"""How each is read; the fields of requirements have the same names without the prefix."""


def to_parameters(requirements: Requirements) -> dict[str, Parameter]:
    """The parameters with which a request asks for *requirements*.

    Raises:
        InvalidRequest: they cannot be asked for by a request.
    """
    if requirements.inputs or requirements.outputs:
        raise InvalidRequest(
            "inputs and outputs are asked for by routes: a request's own tensors say what it takes"
        )
    stated: dict[str, Parameter] = {}
    for name in _READ:
        value = getattr(requirements, name.removeprefix(PREFIX))
        if isinstance(value, tuple):
            value = ",".join(value)
        elif isinstance(value, MinQuality):
            value = f"{value.metric}>={value.value!r}"
        if value not in ("", None):
            stated[name] = value
    return stated | {f"{_LABEL}{key}": value for key, value in requirements.labels.items()}


def provenance(model: str, answer: Answer) -> bytes:
    """Who answered, as the encoded fields `model_name` and `parameters` of a response.

    Appended to an encoded `ModelInferResponse` they become part of it, since a protobuf message
    is its fields in any order and the last of a field counts
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """
    message = ModelInferResponse(model_name=model)
    parameters = message.parameters
    parameters[SPECIALIST].string_param = answer.specialist
    parameters[VERSION].string_param = answer.version
    if answer.route:
        parameters[ROUTE].string_param = answer.route
    if answer.response.replica:
        parameters[REPLICA].string_param = answer.response.replica
    parameters[ATTEMPTS].int64_param = len(answer.attempts) + 1
    parameters[FALLBACK].bool_param = answer.fallback
    if failed := [_why(attempt) for attempt in answer.attempts if attempt.error]:
        parameters[FAILED].string_param = "; ".join(failed)[:_MOST_SAID]
    if answer.confidence is not None:
        parameters[CONFIDENCE].double_param = answer.confidence
    if answer.mixture:
        parameters[MIXTURE].string_param = ",".join(answer.mixture)
    return bytes(message.SerializeToString())


def conducted(
    model: str, who: Sequence[str], attempts: int, fallback: bool, lost: Mapping[str, FabricError]
) -> bytes:
    """Who answered the steps of the pipeline *model*, each as `step=name:version`, and why others
    were *lost*; encoded to be appended as `provenance` is."""
    message = ModelInferResponse(model_name=model)
    parameters = message.parameters
    parameters[PIPELINE].string_param = model
    parameters[STEPS].string_param = ",".join(who)[:_MOST_SAID]
    parameters[ATTEMPTS].int64_param = attempts
    parameters[FALLBACK].bool_param = fallback
    if lost:
        why = "; ".join(f"{step} {error.reason}: {error.message}" for step, error in lost.items())
        parameters[FAILED].string_param = why[:_MOST_SAID]
    return bytes(message.SerializeToString())


def _why(attempt: Attempt) -> str:
    return f"{attempt.specialist}:{attempt.version} {attempt.error}: {attempt.message}"


def remembered(request: str) -> bytes:
    """The id of a request whose decision is remembered, encoded to be appended likewise."""
    message = ModelInferResponse()
    message.parameters[REQUEST].string_param = request
    return bytes(message.SerializeToString())


def given_again(how: Reused) -> bytes:
    """That an answer was made for another request, and the id of this one, encoded likewise."""
    name = how.id.encode()
    return b"".join((_ID, varint(len(name)), name, _CACHED, _DOUBLE.pack(how.age)))


def _cached() -> bytes:
    message, age = ModelInferResponse(), ModelInferResponse()
    message.parameters[CACHED].bool_param = True
    age.parameters[AGE].double_param = 0.0
    return bytes(message.SerializeToString() + age.SerializeToString())[: -_DOUBLE.size]


_CACHED = _cached()
"""What ends with a double, of which that is missing."""
