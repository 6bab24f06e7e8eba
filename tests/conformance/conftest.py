"""Real models behind the gateway, as clients of the Open Inference Protocol see them."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto
from onnx_models import FLOAT, INT64, STRING, accumulating, copying, doubling, save
from running import OnnxHost
from tritonclient.grpc import service_pb2_grpc

import fabric
from fabric.core.cards import Batching, Control, Model, Sequences, StateTensor, Timeouts
from fabric.core.errors import NotFound, Unavailable
from fabric.core.routes import ChainEntry, Route
from fabric.testing import specialist

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def stateful(folder: Path) -> list[Specialist]:
    """Specialists that give the sum of all `x` of a sequence."""
    sequences = Sequences(
        max_sequences=64,
        states=(StateTensor(input="sum", output="new_sum"),),
        controls=(Control(input="start", kind="start"),),
    )
    said = {
        "model": Model(uri=str(accumulating(folder / "accumulating.onnx"))),
        "batching": Batching(max_size=8),
        "timeouts": Timeouts(drain=0.1),
    }
    direct = replace(sequences, strategy="direct")
    python = "accumulating:Accumulating"
    return [
        specialist("accumulate", sequences=sequences, **said),
        specialist("accumulate-direct", sequences=direct, **said),
        specialist(
            "accumulate-python",
            python=python,
            sequences=Sequences(max_sequences=64),
            timeouts=said["timeouts"],
        ),
    ]


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
        *stateful(folder),
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
        Route(name="accumulating", chain=(ChainEntry(name="accumulate"),)),
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


@pytest.fixture(scope="session", params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def hosted(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a fabric on either host, with `double`, `triple`, the route `scale` over
    both, and `spare`, `echo` and `counting` for a while."""
    on = request.getfixturevalue(f"on_{request.param}")
    shutil.copy(Path(__file__).parent / "counting.py", on.folder)
    more = [
        on.scaler("spare", 2),
        specialist("echo", model=Model(uri=str(copying(on.folder / "echo.onnx", STRING)))),
        specialist("counting", python="counting:Counting"),
    ]
    with fabric.Client(on.server) as client:
        client.apply(more)
        until_ready(client, *(each.card.name for each in more))
        yield on.server
        for each in more:
            client.delete("specialist", each.key)


def until_ready(client: fabric.Client, *names: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    for name in names:
        while True:
            try:
                if client.ready(name):
                    break
            except (NotFound, Unavailable):
                pass
            assert time.monotonic() < end, f"{name} is not ready"
            time.sleep(0.05)
