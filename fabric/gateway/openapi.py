"""The OpenAPI document of REST: the table of endpoints, with the messages of the proto."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor as Field

import fabric
from fabric.gateway.endpoints import DOCUMENT, ENDPOINTS
from fabric.wire import documents as d

if TYPE_CHECKING:
    from fabric.gateway.endpoints import Endpoint

Schema = dict[str, Any]

_TYPES = {
    Field.CPPTYPE_BOOL: "boolean",
    Field.CPPTYPE_DOUBLE: "number",
    Field.CPPTYPE_FLOAT: "number",
    Field.CPPTYPE_STRING: "string",
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Schema], *required: str) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return made | ({"required": [*required]} if required else {})


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


_TEXT: Schema = {"type": "string"}
_PARAMETERS = _map({"type": ["boolean", "number", "string"]})
_TENSOR = {
    "name": _TEXT,
    "datatype": _TEXT,
    "shape": _array({"type": "integer"}),
    "parameters": _PARAMETERS,
    "data": {"type": "array", "description": "Row-major, flat or nested; or binary_data_size"},
}
_WRITTEN: dict[str, Schema] = {
    "Error": _object({"error": _TEXT}, "error"),
    "Tensor": _object(_TENSOR, "name", "datatype", "shape"),
    "RequestedOutput": _object({"name": _TEXT, "parameters": _PARAMETERS}, "name"),
    "InferenceRequest": _object(
        {
            "id": _TEXT,
            "parameters": _PARAMETERS,
            "inputs": _array(_ref("Tensor")),
            "outputs": _array(_ref("RequestedOutput")),
        },
        "inputs",
    ),
    "InferenceResponse": _object(
        {
            "id": _TEXT,
            "model_name": _TEXT,
            "model_version": _TEXT,
            "parameters": _PARAMETERS,
            "outputs": _array(_ref("Tensor")),
        },
        "model_name",
        "model_version",
        "outputs",
    ),
    "LoadParameters": _object({"parameters": _PARAMETERS}),
    "TraceSettings": _map({"type": ["string", "array", "null"], "items": _TEXT}),
    "LogSettings": _map({"type": ["boolean", "integer", "string"]}),
}
_BODIES = {
    d.read_parameters: "LoadParameters",
    d.read_trace_settings: "TraceSettings",
    d.read_log_settings: "LogSettings",
}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_INFER_HEADERS = {
    "Inference-Header-Content-Length": (
        "Bytes of JSON before the binary elements, where there are such",
        {"type": "integer", "minimum": 0},
    ),
    "Fabric-Timeout": (
        "Seconds after which nobody waits for the answer",
        {"type": "number", "minimum": 0},
    ),
    "Fabric-Tenant": ("Who asks", {"type": "string", "pattern": "^[A-Za-z0-9._:@/-]{1,128}$"}),
    "Content-Encoding": ("Of the request", {"enum": ["gzip", "deflate", "identity"]}),
}


def document() -> dict[str, Any]:
    """The whole document, in OpenAPI 3.1."""
    schemas = dict(_WRITTEN)
    paths: dict[str, Any] = {}
    for endpoint in (*ENDPOINTS, DOCUMENT):
        paths.setdefault(endpoint.path, {})[endpoint.verb.lower()] = _operation(endpoint, schemas)
    error = {"description": "What is wrong, and the way out", "content": _json(_ref("Error"))}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fabric",
            "version": fabric.__version__,
            "summary": "The Open Inference Protocol v2 in Triton's dialect, over REST",
        },
        "paths": paths,
        "components": {"schemas": schemas, "responses": {"Error": error}},
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Schema]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{endpoint.verb.lower()}{endpoint.path}").strip("_"),
        "summary": endpoint.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _TEXT}
            for name in endpoint.variables
        ],
        "responses": _responses(endpoint, schemas),
    }
    if (body := _body(endpoint, schemas)) is not None:
        made["requestBody"] = body
    if endpoint.call == "ModelInfer":
        made["parameters"] += [
            {"name": name, "in": "header", "description": text, "schema": schema}
            for name, (text, schema) in _INFER_HEADERS.items()
        ]
    return made


def _body(endpoint: Endpoint, schemas: dict[str, Schema]) -> dict[str, Any] | None:
    if endpoint.call == "ModelInfer":
        return {"required": True, "content": _json(_ref("InferenceRequest")) | _BINARY}
    if endpoint.read is d.read_fields:
        fields = endpoint.request.DESCRIPTOR.fields
        schema = _object(
            {f.name: _field(f, schemas) for f in fields if f.name not in endpoint.variables}
        )
        return {"content": _json(schema)}
    name = _BODIES.get(endpoint.read)
    return {"content": _json(_ref(name))} if name else None


def _responses(endpoint: Endpoint, schemas: dict[str, Schema]) -> dict[str, Any]:
    ok: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.write is not d.nothing:
        ok["content"] = _json(_said(endpoint, schemas))
    responses = {"200": ok, "default": {"$ref": "#/components/responses/Error"}}
    if endpoint.call == "ModelInfer":
        ok["content"] |= _BINARY
    if endpoint.truth:
        said = {"anyOf": [_said(endpoint, schemas), _ref("Error")]}
        responses["400"] = {"description": "No", "content": _json(said)}
    return responses


def _said(endpoint: Endpoint, schemas: dict[str, Schema]) -> Schema:
    """What the document of the response is."""
    if endpoint is DOCUMENT:
        return {"type": "object"}
    if endpoint.call == "ModelInfer":
        return _ref("InferenceResponse")
    if endpoint.write is d.trace_settings:
        return _ref("TraceSettings")
    if endpoint.write is d.log_settings:
        return _ref("LogSettings")
    fields = endpoint.response.DESCRIPTOR.fields
    if endpoint.write in (d.configuration, d.index):
        return _field(fields[0], schemas)
    if endpoint.write is d.regions:
        return _array(_field(fields[0], schemas)["additionalProperties"])
    return _message(endpoint.response.DESCRIPTOR, schemas)


def _message(descriptor: Any, schemas: dict[str, Schema]) -> Schema:
    """A reference to the schema of a message, which is put in *schemas*."""
    name = descriptor.full_name.removeprefix(f"{descriptor.file.package}.")
    if name not in schemas:
        schemas[name] = {}  # so that a message within itself ends here
        schemas[name] = _object({f.name: _field(f, schemas) for f in descriptor.fields})
    return _ref(name)


def _field(field: Any, schemas: dict[str, Schema]) -> Schema:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map(_single(field.message_type.fields_by_name["value"], schemas))
    single = _single(field, schemas)
    return _array(single) if field.is_repeated else single


def _single(field: Any, schemas: dict[str, Schema]) -> Schema:
    if field.message_type is not None:
        return _message(field.message_type, schemas)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.type == Field.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return {"type": _TYPES.get(field.cpp_type, "integer")}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
