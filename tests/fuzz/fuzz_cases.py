"""What is sent: requests that are right, and what chance makes of them.

Everything is drawn from a `random.Random`: from a seed for many cases fast, or from hypothesis,
which then makes a failing case small.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from fabric.api.catalog.v1 import catalog_service_pb2 as catalog
from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance import samples
from fabric.core.tensors import DTYPES

SERVED = (
    samples.FP32,
    samples.BYTES,
    samples.ADD_SUB,
    samples.SEVERAL,
    samples.SCALAR,
    samples.LITERAL,
    samples.OPTIONAL,
    samples.CLASSES,
    samples.SEQUENCE,
    samples.REPEAT,
)
"""The models that the fuzzed fabric has."""
UNARY = "/inference.GRPCInferenceService/"
LENGTH = b"inference-header-content-length"
_ODD = (-1, -2, 0, 1, 2, 3, 8, 9, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
_TEXTS = ("", "x", "y", "a\0b", "ü€", "fabric_", "triton_", "../..", "%s%n", "1" * 300, "\u202e")
_QUERIES = {
    "ServerLive": pb.ServerLiveRequest,
    "ServerReady": pb.ServerReadyRequest,
    "ServerMetadata": pb.ServerMetadataRequest,
    "ModelReady": pb.ModelReadyRequest,
    "ModelMetadata": pb.ModelMetadataRequest,
    "ModelConfig": ext.ModelConfigRequest,
    "ModelStatistics": ext.ModelStatisticsRequest,
    "RepositoryIndex": ext.RepositoryIndexRequest,
    "SystemSharedMemoryStatus": ext.SystemSharedMemoryStatusRequest,
    "SystemSharedMemoryRegister": ext.SystemSharedMemoryRegisterRequest,
    "SystemSharedMemoryUnregister": ext.SystemSharedMemoryUnregisterRequest,
    "CudaSharedMemoryStatus": ext.CudaSharedMemoryStatusRequest,
    "CudaSharedMemoryRegister": ext.CudaSharedMemoryRegisterRequest,
    "TraceSetting": ext.TraceSettingRequest,
    "LogSettings": ext.LogSettingsRequest,
}
_CONTROL = ("Get", "List", "Delete", "Withdraw", "Register", "Renew", "NoSuchCall")


@dataclass(slots=True)
class Case:
    """One request on a stream of an HTTP/2 connection."""

    kind: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    ends: bool = True
    """Else the client resets the stream when all is sent."""
    valid: bool = False
    """It must succeed."""

    @property
    def is_grpc(self) -> bool:
        return self.kind.startswith("grpc")


# ------------------------------------------------------------------ ModelInfer
def _template(r) -> pb.ModelInferRequest:
    """A request that is right."""
    sample = samples.BY_NAME[r.choice(SERVED)]
    request = pb.ModelInferRequest(model_name=sample.name)
    rows = r.randint(1, 3)
    for spec in sample.inputs:
        shape = [size if size >= 0 else r.randint(1, 3) for size in spec.shape]
        if sample.batches:
            shape[0] = 1 if sample.sequences else rows
        count = int(np.prod(shape))
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        if spec.datatype == "BYTES":
            items = [r.choice((b"", b"a", b"text")) for _ in range(count)]
            raw = b"".join(struct.pack("<I", len(item)) + item for item in items)
        else:
            raw = bytes(DTYPES[spec.datatype].itemsize * count)
        request.raw_input_contents.append(raw)
    if sample.sequences:
        request.parameters["sequence_id"].int64_param = r.randint(1, 6)
        request.parameters["sequence_start"].bool_param = True
        request.parameters["sequence_end"].bool_param = True
    return request


def _shape(r):
    return [r.choice(_ODD) for _ in range(r.randint(0, 5))]


def _parameter(r, into) -> None:
    names = ("priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "headers")
    others = ("binary_data_output", "triton_enable_empty_final_response", "fabric_task")
    regions = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")
    name = r.choice((*names, *others, *regions, "classification", "fabric_substitute", *_TEXTS))
    value = into[name]
    match r.randint(0, 5):
        case 0:
            value.bool_param = r.random() < 0.5
        case 1:
            value.int64_param = r.choice(_ODD)
        case 2:
            value.string_param = r.choice(_TEXTS)
        case 3:
            value.double_param = r.choice((0.0, -1.5, 1e308, float("nan"), float("inf")))
        case 4:
            value.uint64_param = r.choice((0, 1, 2**64 - 1))


def _contents(r, into) -> None:
    match r.randint(0, 7):
        case 0:
            into.bool_contents.extend([True, False])
        case 1:
            into.int_contents.extend([-1, 2**31 - 1])
        case 2:
            into.int64_contents.extend([r.choice(_ODD)])
        case 3:
            into.uint_contents.extend([2**32 - 1])
        case 4:
            into.uint64_contents.extend([2**64 - 1])
        case 5:
            into.fp32_contents.extend([1.0, float("nan")])
        case 6:
            into.fp64_contents.extend([1e308])
        case 7:
            into.bytes_contents.extend([b"a", b"\xff"])


def _spoil(r, request: pb.ModelInferRequest) -> None:
    """Makes one thing of *request* another."""
    tensor = r.choice(request.inputs) if request.inputs else request.inputs.add(name="x")
    match r.randint(0, 16):
        case 0:
            request.model_name = r.choice((*_TEXTS, "oip_none", *SERVED))
        case 1:
            request.model_version = r.choice(("1", "2", "-1", "v1.2", *_TEXTS))
        case 2:
            request.id = r.choice(_TEXTS)
        case 3:
            tensor.name = r.choice(_TEXTS)
        case 4:
            tensor.datatype = r.choice((*DTYPES, *_TEXTS))
        case 5:
            del tensor.shape[:]
            tensor.shape.extend(_shape(r))
        case 6:
            del request.inputs[r.randrange(len(request.inputs))]
        case 7:
            request.inputs.add().CopyFrom(tensor)
        case 8 if request.raw_input_contents:
            at = r.randrange(len(request.raw_input_contents))
            raw = request.raw_input_contents[at]
            cut = r.randint(0, len(raw))
            request.raw_input_contents[at] = r.choice(
                (raw[:cut], raw + bytes(cut), r.randbytes(cut))
            )
        case 9:
            request.raw_input_contents.append(r.randbytes(r.randint(0, 40)))
        case 10:
            del request.raw_input_contents[:]
        case 11:
            _contents(r, tensor.contents)
        case 12:
            request.outputs.add(name=r.choice(("y", "sum", *_TEXTS)))
        case 13:
            _parameter(r, request.parameters)
        case 14:
            _parameter(r, tensor.parameters)
        case 15:
            _parameter(r, request.outputs.add(name="y").parameters)
        case 16:
            del request.raw_input_contents[:]
            _contents(r, tensor.contents)
            _contents(r, tensor.contents)


def message(r) -> tuple[bytes, bool]:
    """A `ModelInferRequest`, and whether it is right and has one answer."""
    request = _template(r)
    changes = r.choice((0, 1, 1, 1, 2, 2, 3, 5))
    for _ in range(changes):
        _spoil(r, request)
    payload = request.SerializeToString()
    valid = not changes and request.model_name != samples.REPEAT
    if changes and r.random() < 0.2:
        payload = spoilt(r, payload)
    return payload, valid


def spoilt(r, data: bytes) -> bytes:
    """*data* with some bytes changed, cut, repeated or put in."""
    made = bytearray(data)
    for _ in range(r.randint(1, 4)):
        at = r.randint(0, len(made))
        match r.randint(0, 3):
            case 0 if at < len(made):
                made[at] ^= 1 << r.randint(0, 7)
            case 1:
                del made[at:]
            case 2:
                made[at:at] = r.randbytes(r.randint(1, 9))
            case 3:
                made += made[:at]
    return bytes(made[:70_000])


# ------------------------------------------------------------------ gRPC
def framed(payload: bytes, flag: int = 0, more: int = 0) -> bytes:
    return struct.pack(">BI", flag & 0xFF, (len(payload) + more) & 0xFFFFFFFF) + payload


def _grpc_headers(r, path: str, odd: bool):
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"3S"),
    ]
    if not odd:
        return tuple(headers)
    match r.randint(0, 9):
        case 0:
            headers[4] = (
                b"content-type",
                r.choice((b"application/grpc+proto", b"application/grpc+json", b"text/plain", b"")),
            )
        case 1:
            headers[6] = (
                b"grpc-timeout",
                r.choice(
                    (b"", b"0n", b"1n", b"-1S", b"99999999H", b"1e3S", b"999999999S", b"S", b"\xff")
                ),
            )
        case 2:
            headers.append(
                (
                    b"grpc-encoding",
                    r.choice((b"gzip", b"deflate", b"snappy", b"identity", b"", b"gzip, gzip")),
                )
            )
        case 3:
            headers.append(
                (
                    b"traceparent",
                    r.choice(
                        (
                            b"00-" + b"0" * 32,
                            b"garbage",
                            b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
                            b"\xff" * 20,
                        )
                    ),
                )
            )
        case 4:
            headers.append((b"x-own-bin", r.choice((b"!!!!", b"AAEC", b"="))))
        case 5:
            headers.append((b"x-large", b"h" * r.choice((100, 5000, 50_000))))
        case 6:
            headers.extend((b"x-%d" % n, b"v") for n in range(r.choice((20, 90, 150))))
        case 7:
            headers.append((b"content-length", r.choice((b"0", b"5", b"99999", b"-1", b"x"))))
        case 8:
            headers.append((b"fabric-dialect", r.choice((b"mlserver", b"triton", b"none"))))
        case 9:
            headers[0] = (b":method", r.choice((b"GET", b"PUT", b"OPTIONS", b"TRACE", b"BREW")))
    return tuple(headers)


def _grpc_body(r, payload: bytes) -> tuple[bytes, bool]:
    """*payload* framed, and whether that is as it should be."""
    match r.randint(0, 40):
        case 0:
            return framed(payload, r.choice((1, 2, 255))), False
        case 1:
            return framed(payload, 0, r.choice((-1, 1, 5, 2**31, 2**32 - 1))), False
        case 2:
            return framed(payload) + framed(payload), False
        case 3:
            return framed(payload)[: r.randint(0, len(payload) + 5)], False
        case 4:
            return r.randbytes(r.randint(0, 300)), False
        case 5:
            how = r.choice((gzip.compress, zlib.compress))
            return framed(how(payload), 1), False
        case 6:
            return b"", False
    return framed(payload), True


def infer(r) -> Case:
    payload, valid = message(r)
    body, whole = _grpc_body(r, payload)
    odd = r.random() < 0.1
    headers = _grpc_headers(r, f"{UNARY}ModelInfer", odd)
    ends = r.random() > 0.03
    return Case("grpc infer", headers, body, ends, valid and whole and not odd and ends)


def streamed(r) -> Case:
    """Several messages on a ModelStreamInfer call."""
    parts = []
    for _ in range(r.randint(0, 4)):
        payload, _ = message(r)
        parts.append(_grpc_body(r, payload)[0])
    headers = _grpc_headers(r, f"{UNARY}ModelStreamInfer", r.random() < 0.1)
    if r.random() < 0.2:
        headers = (*headers, (b"triton_grpc_error", r.choice((b"true", b"false", b"x"))))
    return Case("grpc stream", headers, b"".join(parts), r.random() > 0.05)


def query(r) -> Case:
    name = r.choice(tuple(_QUERIES))
    request = _QUERIES[name]()
    for field in request.DESCRIPTOR.fields:
        if r.random() < 0.7:
            if field.name in ("name", "model_name"):
                setattr(request, field.name, r.choice((*SERVED, *_TEXTS)))
            elif field.message_type is None and field.type == field.TYPE_STRING:
                setattr(request, field.name, r.choice((*_TEXTS, "/oip-fuzz", "/dev/zero")))
            elif field.message_type is None and field.type == field.TYPE_UINT64:
                setattr(request, field.name, r.choice((0, 1, 4096, 2**63, 2**64 - 1)))
    payload = request.SerializeToString()
    if r.random() < 0.4:
        payload = r.choice((spoilt(r, payload), r.randbytes(r.randint(0, 60))))
    body, _ = _grpc_body(r, payload)
    return Case("grpc query", _grpc_headers(r, UNARY + name, r.random() < 0.1), body)


def other(r) -> Case:
    """Calls of models that are not there, of other services, and of nobody's."""
    load = ext.RepositoryModelLoadRequest(model_name=r.choice(("oip_none", *_TEXTS)))
    if r.random() < 0.5:
        load.parameters["config"].string_param = r.choice(("{}", "{", '{"backend": 1}', "[]"))
    path, payload = r.choice(
        (
            (f"{UNARY}RepositoryModelLoad", load.SerializeToString()),
            (f"{UNARY}RepositoryModelUnload", load.SerializeToString()),
            (UNARY + r.choice(("", "modelinfer", "ModelInfer/", "..")), b""),
            ("/grpc.health.v1.Health/Check", b"\n\x04" + r.randbytes(4)),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", r.randbytes(12)),
            ("/fabric.api.routing.v1.RoutingService/Explain", r.randbytes(20)),
        )
    )
    return Case("grpc other", _grpc_headers(r, path, r.random() < 0.1), _grpc_body(r, payload)[0])


def control(r) -> Case:
    """Calls of the control plane; nothing is changed by one that is right by chance."""
    name = r.choice(_CONTROL)
    payload = r.randbytes(r.randint(0, 60))
    if r.random() < 0.1:
        name = "Apply"
        payload = catalog.ApplyRequest(dry_run=True).SerializeToString() + payload
    path = f"/fabric.api.catalog.v1.CatalogService/{name}"
    return Case("grpc control", _grpc_headers(r, path, r.random() < 0.1), _grpc_body(r, payload)[0])


# ------------------------------------------------------------------ REST
def _value(r, depth: int = 0):
    if depth < 3 and r.random() < 0.3:
        inner = [_value(r, depth + 1) for _ in range(r.randint(0, 3))]
        return inner if r.random() < 0.5 else {r.choice(_TEXTS): each for each in inner}
    return r.choice((None, True, 0, -1, 1.5, 2**63, 10**30, 1e308, *_TEXTS))


def _spoil_document(r, document: dict) -> None:
    tensors = document.get("inputs")
    tensor = r.choice(tensors) if isinstance(tensors, list) and tensors else {}
    if not isinstance(tensor, dict):
        tensor = {}
    match r.randint(0, 9):
        case 0:
            document[r.choice(("inputs", "outputs", "id", "parameters", *_TEXTS))] = _value(r)
        case 1 | 2 | 3:
            keys = ("name", "datatype", "shape", "data", "parameters")
            tensor[r.choice((*keys, *_TEXTS))] = _value(r)
        case 4:
            tensor["shape"] = _shape(r)
        case 5:
            tensor["data"] = [_value(r) for _ in range(r.randint(0, 5))]
        case 6:
            tensor.pop(r.choice(("name", "datatype", "shape", "data")), None)
        case 7:
            tensor["parameters"] = {"binary_data_size": r.choice((0, 8, -1, 2**63, "8", None, 1.5))}
        case 8:
            parameters = {"binary_data": r.choice((True, 1, "x")), "classification": r.choice(_ODD)}
            document["outputs"] = [{"name": r.choice(("y", "z", 1)), "parameters": parameters}]
        case 9:
            names = ("priority", "timeout", "sequence_id", "binary_data_output", *_TEXTS)
            document["parameters"] = {r.choice(names): _value(r)}


def rest(r) -> Case:
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
    changes = r.choice((0, 1, 1, 2, 3))
    for _ in range(changes):
        _spoil_document(r, document)
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/v2/models/{samples.FP32}/infer".encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/json"),
    ]
    valid = not changes
    odd = r.randint(0, 20)
    valid = valid and odd > 7
    if odd == 0:
        body = spoilt(r, body)
    elif odd == 1:
        headers.append(
            (LENGTH, r.choice((b"0", b"10", b"-1", b"x", b"9999999", b"%d" % len(body))))
        )
        body += r.randbytes(r.randint(0, 20))
    elif odd == 2:
        coding = r.choice((b"gzip", b"deflate", b"br", b"gzip, deflate", b""))
        headers.append((b"content-encoding", coding))
        body = r.choice((body, gzip.compress(body), zlib.compress(body)))
    elif odd == 3:
        headers[0] = (b":method", r.choice((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS")))
    elif odd == 4:
        headers[2] = (b":path", _path(r))
    elif odd == 5:
        body = b"[" * r.choice((10, 1000, 30_000))
    elif odd == 6:
        headers[4] = (b"content-type", r.choice((b"application/octet-stream", b"text/plain", b"")))
    elif odd == 7:
        headers.append((b"accept-encoding", r.choice((b"gzip", b"deflate;q=0", b"*", b"\xff"))))
    ends = r.random() > 0.03
    return Case("rest", tuple(headers), body, ends, valid and ends)


def _path(r) -> bytes:
    parts = ("v2", "models", samples.FP32, "versions", "1", "infer", "ready", "config", "stats")
    others = ("health", "live", "repository", "index", "..", "%00", "%ff", "%2f", "", "x" * 200)
    known = ("trace", "setting", "logging", "systemsharedmemory", "status", "openapi.json")
    path = "/" + "/".join(r.choice((*parts, *others, *known)) for _ in range(r.randint(0, 6)))
    return (path + r.choice(("", "?a=b", "?", "/"))).encode()


_KINDS = (infer, infer, infer, infer, rest, rest, streamed, query, other, control)


def case(r) -> Case:
    """One of all kinds."""
    return r.choice(_KINDS)(r)


# ------------------------------------------------------------------ whole connections
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", more: int = 0) -> bytes:
    """An HTTP/2 frame whose length is off by *more*."""
    length = (len(payload) + more) & 0xFFFFFF
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _frame(r) -> bytes:
    stream = r.choice((0, 1, 1, 2, 3, 5, 2**31 - 1, 2**32 - 1))
    match r.randint(0, 9):
        case 0:
            settings = struct.pack(">HI", r.randint(0, 9), r.choice((0, 1, 2**31, 2**32 - 1)))
            return frame(4, r.choice((0, 0, 1)), r.choice((0, 0, 1)), settings * r.randint(0, 40))
        case 1:
            return frame(8, 0, stream, struct.pack(">I", r.choice((0, 1, 2**31 - 1, 2**32 - 1))))
        case 2:
            return frame(3, 0, stream, struct.pack(">I", r.randint(0, 20)))
        case 3:
            return frame(6, r.choice((0, 1)), r.choice((0, 1)), r.randbytes(r.choice((8, 8, 7))))
        case 4:
            return frame(1, r.choice((0, 1, 4, 5, 0x2D)), stream, r.randbytes(r.randint(0, 80)))
        case 5:
            return frame(0, r.choice((0, 1, 8)), stream, r.randbytes(r.randint(0, 80)))
        case 6:
            return frame(9, r.choice((0, 4)), stream, r.randbytes(r.randint(0, 40)))
        case 7:
            return frame(7, 0, 0, r.randbytes(r.randint(0, 20)))
        case 8:
            return frame(
                r.randint(0, 255), r.randint(0, 255), stream, r.randbytes(r.randint(0, 40))
            )
    return frame(0, 1, 1, r.randbytes(10), r.choice((-5, 1, 100, 2**20)))


def connection(r, block: bytes) -> bytes:
    """All that a client sends on one connection; *block* are the headers of a ModelInfer call."""
    match r.randint(0, 5):
        case 0:
            return r.randbytes(r.randint(0, 400))
        case 1:
            return spoilt(r, PREFACE + frame(4, 0, 0))
        case 2:
            return _http1(r)
    parts = [PREFACE, frame(4, 0, 0)]
    if r.random() < 0.6:
        body, _ = _grpc_body(r, message(r)[0])
        parts += [frame(1, 4, 1, block), frame(0, r.choice((0, 1)), 1, body[:16_000])]
    parts += [_frame(r) for _ in range(r.randint(1, 6))]
    return b"".join(parts)


def _http1(r) -> bytes:
    verb = r.choice(("POST", "GET", "PRI", "CONNECT", "", "P\0ST", "OPTIONS"))
    path = r.choice((f"/v2/models/{samples.FP32}/infer", "/v2", "*", "", "http://x/v2", "/" * 9000))
    version = r.choice(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/9.9", ""))
    body = json.dumps({"inputs": [_value(r)]}).encode()
    length = r.choice((str(len(body)), "0", "-1", "99999999999999999999", "5", "x"))
    headers = r.sample(
        [
            "host: x",
            f"content-length: {length}",
            "content-length: 3",
            "transfer-encoding: chunked",
            "transfer-encoding: identity, chunked",
            "expect: 100-continue",
            "connection: close",
            "upgrade: h2c",
            "x: " + "y" * r.choice((10, 70_000)),
            "no colon",
            " folded",
            "\x00: \xff",
        ],
        r.randint(0, 5),
    )
    head = "\r\n".join((f"{verb} {path} {version}", *headers)).encode("latin-1")
    chunks = r.choice((body, b"5\r\n12345\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n", b""))
    made = head + r.choice((b"\r\n\r\n", b"\n\n", b"\r\n", b"")) + chunks
    return spoilt(r, made) if r.random() < 0.3 else made
