"""Loading and unloading by a client of Triton, on a whole fabric on the local host."""

from __future__ import annotations

import asyncio
import os
import signal

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from models import save_scaler
from tritonclient.utils import InferenceServerException

from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.app import Fabric, FabricSettings
from fabric.config import load

PORTFOLIO = """
specialists:
  - {name: double, model: double.onnx}
  - {name: double, version: 2, model: double.onnx}
  - {name: triple, model: triple.onnx, loaded: false}
  - {name: broken, model: broken.onnx, loaded: false}
routes:
  - {name: scale, chain: [double, triple]}
"""
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
X = np.array([[1, 2]], np.float32)


@pytest.fixture
async def fabric(tmp_path):
    save_scaler(tmp_path / "double.onnx", 2)
    save_scaler(tmp_path / "triple.onnx", 3)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    file = tmp_path / "portfolio.yaml"
    file.write_text(PORTFOLIO)
    settings = FabricSettings(state=tmp_path / "state", host="local", listen="127.0.0.1:0")
    async with Fabric(settings, load(file)) as started:
        await started.ready()
        yield started


@pytest.fixture
async def client(fabric):
    async with triton.InferenceServerClient(fabric.server) as made:
        yield made


async def index(client):
    models = (await client.get_model_repository_index()).models
    return {(m.name, m.version): (m.state, m.reason) for m in models}


async def asked(client, model, version=""):
    x = triton.InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(X)
    return (await client.infer(model, [x], model_version=version)).as_numpy("y").tolist()


async def test_a_model_is_unloaded_and_loaded_again(fabric, client):
    """With all its versions; what it answers in between is that it is not ready."""
    ready, unloaded = ("READY", ""), ("UNAVAILABLE", "unloaded")
    assert await index(client) == {
        ("broken", "1"): unloaded,
        ("double", "1"): ready,
        ("double", "2"): ready,
        ("triple", "1"): unloaded,
        ("scale", ""): ready,
    }

    await client.unload_model("double")

    assert not await client.is_model_ready("double")
    assert (await index(client))["double", "2"] == unloaded
    assert (await index(client))["scale", ""] == ("UNAVAILABLE", "no candidate is ready")
    with pytest.raises(InferenceServerException, match="it is unloaded") as refused:
        await asked(client, "double")
    assert refused.value.status() == "StatusCode.UNAVAILABLE"

    await client.load_model("triple")
    assert await asked(client, "scale") == [[3, 6]]
    await client.load_model("double")
    assert await asked(client, "double") == await asked(client, "double", "1") == [[2, 4]]
    assert fabric.server


async def test_a_route_is_unloaded_by_itself_or_with_its_chain(client):
    """And loaded with all that it leads to."""
    await client.unload_model("scale")
    assert not await client.is_model_ready("scale")
    assert await client.is_model_ready("double")

    await client.load_model("scale")
    assert await client.is_model_ready("triple")

    await client.unload_model("scale", unload_dependents=True)
    assert not await client.is_model_ready("double")


async def test_a_model_that_cannot_start_fails_to_load(client):
    """The error is the replica's own; unknown models are not found."""
    with pytest.raises(
        InferenceServerException, match=r"failed to load 'broken'.*cannot open"
    ) as e:
        await client.load_model("broken")
    assert e.value.status() == "StatusCode.INTERNAL"
    with pytest.raises(InferenceServerException, match="failed to load 'nothing'") as e:
        await client.load_model("nothing")
    assert e.value.status() == "StatusCode.NOT_FOUND"


async def test_kserves_form_of_loading_names_the_model_in_the_first_field(fabric):
    """The answer has the fields that its clients read."""
    async with grpc.aio.insecure_channel(fabric.server) as channel:
        load = channel.unary_unary(LOAD, response_deserializer=bytes)
        payload = await load(
            pb.RepositoryModelLoadRequest(repository_name="triple").SerializeToString()
        )
        response = pb.RepositoryModelLoadResponse.FromString(payload)
        assert (response.model_name, response.isLoaded) == ("triple", True)

        both = pb.RepositoryModelLoadRequest(repository_name="r", model_name="triple")
        with pytest.raises(grpc.aio.AioRpcError, match="'repository_name' specification is not"):
            await load(both.SerializeToString())


async def test_a_model_is_loaded_with_another_configuration(client):
    """What the configuration does not say stays as it was; what cannot be met is refused."""
    await client.load_model("double", config='{"max_batch_size": 4}')

    config = (await client.get_model_config("double")).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (4, [2])
    assert await asked(client, "double") == [[2, 4]]
    with pytest.raises(InferenceServerException, match=r"max_batch_sise.*max_batch_size") as e:
        await client.load_model("double", config='{"max_batch_sise": 4}')
    assert e.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert await asked(client, "double") == [[2, 4]]


async def test_a_configuration_may_name_the_versions_to_load(client):
    """The others are unloaded, and at least one must be there."""
    policy = '{"version_policy": {"specific": {"versions": [%d]}}}'
    await client.load_model("double", config=policy % 2)
    assert await client.is_model_ready("double", "2")
    assert not await client.is_model_ready("double", "1")
    with pytest.raises(InferenceServerException, match="none of its versions is served: 2, 1"):
        await client.load_model("double", config=policy % 7)


async def test_a_model_is_loaded_from_files_that_come_along(client, tmp_path):
    """Its versions are those of the files; a new model is one that was never declared."""
    save_scaler(tmp_path / "five.onnx", 5)
    five = (tmp_path / "five.onnx").read_bytes()
    config = '{"backend": "onnxruntime"}'

    await client.load_model("double", config=config, files={"file:7/model.onnx": five})
    await client.load_model("five", config=config, files={"file:1/model.onnx": five})

    assert await asked(client, "double") == await asked(client, "five") == [[5, 10]]
    assert not await client.is_model_ready("double", "2")
    with pytest.raises(InferenceServerException, match="files come with a 'config'"):
        await client.load_model("double", files={"file:1/model.onnx": five})
    with pytest.raises(InferenceServerException, match=r"unknown parameter 'file:model.onnx'"):
        await client.load_model("double", config=config, files={"file:model.onnx": five})


async def test_what_is_loaded_stays_so_when_the_control_plane_dies(fabric, client):
    """It is declared, and so in the store."""
    await client.load_model("triple")
    await client.unload_model("double")

    os.kill(fabric.processes["control"], signal.SIGKILL)

    async with asyncio.timeout(20):
        while True:
            try:
                await client.load_model("triple")
                break
            except InferenceServerException:
                await asyncio.sleep(0.05)
    assert not await client.is_model_ready("double")
    assert await asked(client, "triple") == [[3, 6]]
