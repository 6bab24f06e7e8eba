"""JSON documents to and from messages: what every call of the REST protocol but inference says.

Documents are those of Triton's HTTP front door: fields by the names of the proto, whole numbers
as numbers whatever their size, enums by name, bytes as base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from fabric.core.errors import InvalidRequest

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from fabric.api.inference.v2 import extensions_pb2 as ext

_FILE = "file:"
"""Parameters of loading that begin so hold files."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LARGE = 1 << 16
"""Bytes of text; parsing as many takes about half a millisecond."""


def loads(text: bytes | memoryview) -> Any:
    """The document that *text* is; NaN and infinities are numbers.

    Raises:
        InvalidRequest: it is no JSON in UTF-8, or a text in it is no Unicode.
    """
    # The parser keeps the interpreter to itself until it is done, whatever thread it runs in. A
    # function in Python for each number lets others go on in between, for twice the time.
    hooks: dict[str, Any] = {"parse_float": _float, "parse_int": _int} if len(text) > _LARGE else {}
    try:
        document = json.loads(str(text, "utf-8"), **hooks)
        if _SURROGATE.search(text):
            dumps(document)  # which fails for half of a pair
        return document
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at {error.pos}"
    except RecursionError:
        reason = "it is nested too deep"
    except ValueError as error:  # no UTF-8, or a number of thousands of digits
        reason = str(error)
    raise InvalidRequest(f"failed to parse the request JSON buffer: {reason}")


def _float(text: str) -> float:
    return float(text)


def _int(text: str) -> int:
    return int(text)


def dumps(document: Any) -> bytes:
    """The text of *document*."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def object_of(document: Any, what: str) -> dict[str, Any]:
    """*document*, if it is a JSON object; empty for null. Raises InvalidRequest if it is none."""
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidRequest(f"{what} must be a JSON object")
    return document


# ------------------------------------------------------------------ messages to documents
def plain(message: Message) -> dict[str, Any]:
    """Every field of *message* by its name; of a oneof, and of messages, those that are set."""
    return {
        field.name: _value(message, field)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(key): _single(value[key], item) for key in value}
    if field.is_repeated:
        return [_single(each, field) for each in value]
    return _single(value, field)


def _single(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def configuration(response: ext.ModelConfigResponse) -> dict[str, Any]:
    return plain(response.config)


def index(response: ext.RepositoryIndexResponse) -> list[dict[str, Any]]:
    """What is known of each model; a version and a reason only where there is one."""
    return [{key: said for key, said in plain(each).items() if said} for each in response.models]


def regions(
    response: ext.SystemSharedMemoryStatusResponse | ext.CudaSharedMemoryStatusResponse,
) -> list[dict[str, Any]]:
    return [plain(region) for region in response.regions.values()]


def nothing(response: Message) -> None:
    """That it went well is all there is to say."""


def trace_settings(response: ext.TraceSettingResponse) -> dict[str, Any]:
    """A list for the levels, which may be several, and a text for each other setting."""
    settings = {name: list(setting.value) for name, setting in response.settings.items()}
    return {
        name: values[0] if len(values) == 1 and name != "trace_level" else values
        for name, values in settings.items()
    }


def log_settings(response: ext.LogSettingsResponse) -> dict[str, Any]:
    return {
        name: next(iter(plain(setting).values()), None)
        for name, setting in response.settings.items()
    }


# ------------------------------------------------------------------ documents to messages
def read_fields(request: Message, document: dict[str, Any]) -> None:
    """Sets the fields of *request* that *document* names, as far as it has them.

    Raises:
        InvalidRequest: a value is not one of its field's type.
    """
    for field in request.DESCRIPTOR.fields:
        if (value := document.get(field.name)) is None:
            continue
        if field.type == FieldDescriptor.TYPE_BYTES:
            value = _bytes(field.name, value.get("b64") if isinstance(value, dict) else value)
        if isinstance(value, bool) is not (field.type == FieldDescriptor.TYPE_BOOL):
            raise InvalidRequest(f"'{field.name}' is not valid: {json.dumps(value):.40}")
        _set(request, field.name, value, field.name)


def read_parameters(
    request: ext.RepositoryModelLoadRequest | ext.RepositoryModelUnloadRequest,
    document: dict[str, Any],
) -> None:
    """What *document* says of how to load or to unload a model; files are in base64."""
    for name, value in object_of(document.get("parameters"), "'parameters'").items():
        parameter = request.parameters[name]
        if name.startswith(_FILE):
            parameter.bytes_param = _bytes(name, value)
        else:
            _choose(parameter, value, name, whole="int64_param")


def read_trace_settings(request: ext.TraceSettingRequest, document: dict[str, Any]) -> None:
    """Null clears a setting."""
    for name, value in document.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        if any(isinstance(each, dict | list) for each in values):
            raise InvalidRequest(f"setting '{name}' must be a text, a list of texts, or null")
        request.settings[name].value.extend(map(str, values))


def read_log_settings(request: ext.LogSettingsRequest, document: dict[str, Any]) -> None:
    """Null names a setting without a value, as a client may by gRPC."""
    for name, value in document.items():
        setting = request.settings[name]
        if value is not None:
            _choose(setting, value, name, whole="uint32_param")


def _choose(parameter: Message, value: Any, name: str, whole: str) -> None:
    fields = {bool: "bool_param", int: whole, str: "string_param"}
    if type(value) not in fields:
        raise InvalidRequest(f"'{name}' must be a bool, a whole number or a text")
    _set(parameter, fields[type(value)], value, name)


def _set(message: Message, field: str, value: Any, name: str) -> None:
    try:
        setattr(message, field, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(f"'{name}' is not valid: {error}") from error


def _bytes(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidRequest(f"'{name}' is no base64: {error}") from error
