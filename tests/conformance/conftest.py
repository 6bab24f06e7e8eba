"""Real models behind the gateway, as clients of the Open Inference Protocol see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto
from onnx_models import FLOAT, INT64, copying, doubling, save
from running import OnnxHost
from tritonclient.grpc import service_pb2_grpc

import fabric
from fabric.core.cards import Batching, Model
from fabric.core.plans import ChainEntry, Route
from fabric.testing import specialist

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running import Running

    from fabric.core.cards import Specialist

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def arithmetic(path: Path) -> Path:
    """sum = a + b, difference = a - b, and n as it came."""
    return save(
        path,
        [
            ("Add", ["a", "b"], ["sum"]),
            ("Sub", ["a", "b"], ["difference"]),
            ("Identity", ["n"], ["m"]),
        ],
        [("a", FLOAT, ["N"]), ("b", FLOAT, ["N"]), ("n", INT64, ["K"])],
        [("sum", FLOAT, ["N"]), ("difference", FLOAT, ["N"]), ("m", INT64, ["K"])],
    )


def portfolio(folder: Path) -> list[Specialist]:
    def declared(name: str, path: Path, version: str = "1", **said: object) -> Specialist:
        return specialist(name, version, model=Model(uri=str(path)), **said)

    double = doubling(folder / "double.onnx")
    return [
        declared("double", double, "1"),
        declared("double", double, "2"),
        declared("fixed", doubling(folder / "fixed.onnx", shape=(2, 4)), domains=("fixed",)),
        declared("batched", double, batching=Batching(max_size=8)),
        declared("scalar", copying(folder / "scalar.onnx", FLOAT, shape=())),
        declared("arithmetic", arithmetic(folder / "arithmetic.onnx")),
        *(
            declared(f"copy-{name.lower()}", copying(folder / f"{name}.onnx", number))
            for name, number in ONNX_TYPES.items()
        ),
    ]


@pytest.fixture(scope="session")
def models(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The gateway, with specialists and the route `doubling` ready behind it."""
    routes = [
        Route(name="doubling", chain=(ChainEntry(name="double"), ChainEntry(name="batched"))),
        Route(name="nobody", chain=(ChainEntry(name="absent"),)),
    ]
    hosted = portfolio(tmp_path_factory.mktemp("models"))
    with fabric.Client(running.address) as client:
        client.apply([*hosted, specialist("absent")], routes)
    with OnnxHost(running.control_address) as host:
        host.serve(hosted, running.address)
        yield running


@pytest.fixture(scope="session")
def server(models: Running) -> Iterator[triton.InferenceServerClient]:
    """An unmodified client of Triton."""
    with triton.InferenceServerClient(models.address) as client:
        yield client


@pytest.fixture(scope="session")
def stub(models: Running) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    """The stub that everybody generates from the protocol's file."""
    with grpc.insecure_channel(models.address, UNLIMITED) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)
