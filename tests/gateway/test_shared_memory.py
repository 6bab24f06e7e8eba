"""Requests and responses by region."""

# ruff: noqa: E501 - texts that clients match are kept whole
from __future__ import annotations

import pytest

from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    Overloaded,
    SpecialistFailed,
    Unimplemented,
)
from fabric.gateway.grpc import SERVICE
from fabric.gateway.regions import Regions
from fabric.gateway.settings import GatewaySettings
from fabric.gateway.shared_memory import SharedMemory

HERE = {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "headers": []}


def by_region(name="r", size=8, offset=None):
    said = {
        "shared_memory_region": {"string_param": name},
        "shared_memory_byte_size": {"int64_param": size},
    }
    return said if offset is None else {**said, "shared_memory_offset": {"int64_param": offset}}


def tensor(name="x", **said):
    return {"name": name, "datatype": "FP32", "shape": [2], **said}


class Inner:
    """Gives outputs of zeros, except for their first byte; remembers what it was asked."""

    def __init__(self, *sizes, payload=None):
        self.response = ModelInferResponse(
            model_name="m",
            outputs=[{"name": f"y{n}", "datatype": "UINT8"} for n in range(len(sizes))],
            raw_output_contents=[bytes([n + 1]) + bytes(size - 1) for n, size in enumerate(sizes)],
        )
        self.payload = payload or self.response.SerializeToString()
        self.asked = None

    async def __call__(self, payload, scope):
        self.asked = payload
        return self.payload, b"who"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "object").write_bytes(bytes(range(32)))
    return tmp_path


@pytest.fixture
def memory(folder):
    made = SharedMemory(GatewaySettings(shared_memory=True), Regions(folder))
    made.regions.register("r", "object", 0, 32)
    return made


async def infer(memory, inner, *, scope=HERE, **said):
    payload = ModelInferRequest(model_name="m", **said).SerializeToString()
    response, *rest = await memory.around(inner)(payload, scope)
    assert rest == [b"who"]
    return ModelInferRequest.FromString(inner.asked), ModelInferResponse.FromString(response)


async def test_inputs_come_from_regions(memory):
    """In their places among raw ones, of which they take none."""
    asked, _ = await infer(
        memory,
        Inner(),
        inputs=[
            tensor("a", parameters=by_region(offset=4)),
            tensor("b"),
            tensor("c", parameters=by_region()),
        ],
        raw_input_contents=[b"bbbbbbbb"],
    )
    assert list(asked.raw_input_contents) == [bytes(range(4, 12)), b"bbbbbbbb", bytes(range(8))]
    assert not any(each.parameters for each in asked.inputs)


async def test_typed_inputs_may_stand_beside_regions(memory):
    """They become raw, because one message has only one kind."""
    asked, _ = await infer(
        memory,
        Inner(),
        inputs=[
            tensor("a", parameters=by_region()),
            tensor("b", contents={"fp32_contents": [1, 2]}),
        ],
    )
    assert asked.raw_input_contents[1] == b"\0\0\x80\x3f\0\0\0\x40"
    assert not any(each.HasField("contents") for each in asked.inputs)


async def test_outputs_go_to_regions(memory, folder):
    """The response says where they are and how large, in place of their elements."""
    wanted = [
        {"name": "y1", "parameters": by_region(size=8, offset=16)},
        {"name": "y0", "parameters": {"binary_data": {"bool_param": False}}},
    ]
    asked, response = await infer(memory, Inner(3, 4), outputs=wanted)
    assert not any(each.parameters for each in asked.outputs)
    assert asked.parameters["binary_data_output"].bool_param
    assert list(response.raw_output_contents) == [b"\1\0\0", b""]
    y0, y1 = response.outputs
    assert not y0.parameters
    assert y1.parameters["shared_memory_region"].string_param == "r"
    assert y1.parameters["shared_memory_byte_size"].int64_param == 4
    assert y1.parameters["shared_memory_offset"].int64_param == 16
    assert (folder / "object").read_bytes()[16:21] == b"\2\0\0\0\x14"


async def test_a_request_without_regions_goes_on_as_it_is(memory):
    """The very bytes, and so does its response."""
    payload, inner = ModelInferRequest(inputs=[tensor()]).SerializeToString(), Inner(3)
    response, _ = await memory.around(inner)(payload, HERE)
    assert inner.asked is payload
    assert response is inner.payload


async def test_large_tensors_are_copied_beside_the_loop(memory, folder, monkeypatch):
    """With the same result."""
    monkeypatch.setattr("fabric.gateway.shared_memory._LARGE", 0)
    asked, response = await infer(
        memory,
        Inner(4),
        inputs=[tensor(parameters=by_region())],
        outputs=[{"name": "y0", "parameters": by_region(size=4)}],
    )
    assert list(asked.raw_input_contents) == [bytes(range(8))]
    assert list(response.raw_output_contents) == [b""]
    assert (folder / "object").read_bytes()[:5] == b"\1\0\0\0\4"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"inputs": [tensor(parameters=by_region("q"))]}, "Unable to find shared memory region: 'q'"),
        ({"inputs": [tensor(parameters=by_region(size=33))]}, "Invalid offset + byte size for shared memory region: 'r'"),
        ({"inputs": [tensor(parameters=by_region(offset=32))]}, "Invalid offset for shared memory region: 'r'"),
        ({"inputs": [tensor(parameters={"shared_memory_region": {"string_param": "r"}})]}, "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor 'x'"),
        ({"inputs": [tensor(parameters={"shared_memory_region": {"int64_param": 1}})]}, "invalid value type for 'shared_memory_region' parameter for tensor 'x', expected string_param."),
        ({"inputs": [tensor(parameters=by_region() | {"shared_memory_offset": {"uint64_param": 1}})]}, "invalid value type for 'shared_memory_offset' parameter for tensor 'x', expected int64_param."),
        ({"inputs": [tensor(parameters=by_region(), contents={"fp32_contents": [1]})]}, "unexpected 'content' provided when using shared memory for input tensor 'x' for model 'm'"),
        ({"inputs": [tensor("a", parameters=by_region()), {"name": "b", "datatype": "?", "contents": {}}]}, "unexpected datatype or shape for input 'b' for model 'm'"),
        ({"inputs": [tensor("a", parameters=by_region()), {"name": "b", "datatype": "FP32", "shape": [-1], "contents": {}}]}, "unexpected datatype or shape for input 'b' for model 'm'"),
        ({"outputs": [{"name": "y0", "parameters": by_region(size=33)}]}, "Invalid offset + byte size for shared memory region: 'r'"),
        ({"outputs": [{"name": "y0", "parameters": by_region(size=2)}]}, "shared memory size specified with the request for output 'y0' (2 bytes) should be at least 3 bytes to hold the results"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_refused(memory, folder, said, text):
    """In Triton's words, and nothing is written."""
    with pytest.raises(InvalidRequest) as caught:
        await infer(memory, Inner(3), **said)
    assert caught.value.message == text
    assert (folder / "object").read_bytes() == bytes(range(32))


async def test_elements_in_regions_count_for_the_size_of_a_message(folder):
    """What could not be sent on is not read."""
    settings = GatewaySettings(shared_memory=True, max_message_bytes=64)
    memory = SharedMemory(settings, Regions(folder))
    memory.regions.register("r", "object", 0, 32)
    with pytest.raises(Overloaded, match="bytes with those in shared memory, 64 are allowed"):
        await infer(memory, Inner(), inputs=[tensor(parameters=by_region(size=32))])


async def test_a_response_that_is_none_is_the_specialists_failure(memory):
    """It is looked into only where outputs go to regions."""
    inner = Inner(payload=b"\xff")
    with pytest.raises(SpecialistFailed, match="no ModelInferResponse"):
        await infer(memory, inner, outputs=[{"name": "y0", "parameters": by_region()}])


# ------------------------------------------------------------------ calls
REGISTER = pb.SystemSharedMemoryRegisterRequest(name="n", key="object", byte_size=4)


async def call(memory, name, request, scope=HERE):
    return await memory.handlers()[f"{SERVICE}{name}"](request.SerializeToString(), scope)


@pytest.mark.parametrize(
    ("scope", "is_local"),
    [
        (HERE, True),
        ({**HERE, "client": ("127.9.9.9", 1)}, True),
        ({**HERE, "client": ("::1", 1)}, True),
        ({**HERE, "client": ("10.0.0.5", 1), "server": ("10.0.0.5", 2)}, True),
        ({**HERE, "client": ("10.0.0.6", 1), "server": ("10.0.0.5", 2)}, False),
        ({**HERE, "headers": [(b"x-forwarded-for", b"127.0.0.1")]}, False),
        ({**HERE, "client": ("somebody", 1)}, False),
        ({**HERE, "client": None}, False),
    ],
)
async def test_only_clients_on_this_machine_may_use_its_memory(memory, scope, is_local):
    """Those who call over a loopback, or the address that they have themselves."""
    calls = [
        lambda: call(memory, "SystemSharedMemoryRegister", REGISTER, scope),
        lambda: call(
            memory, "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(), scope
        ),
        lambda: infer(memory, Inner(), scope=scope, inputs=[tensor(parameters=by_region())]),
        lambda: call(
            memory, "SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(), scope
        ),
    ]
    for each in calls:
        if is_local:
            await each()
        else:
            with pytest.raises(Forbidden, match="clients on the machine of the gateway only"):
                await each()
    assert bool(memory.regions) is not is_local


async def test_status_tells_of_regions(memory):
    """Of one, or of all."""
    await call(memory, "SystemSharedMemoryRegister", REGISTER)
    for name, names in ("", {"r", "n"}), ("n", {"n"}):
        request = pb.SystemSharedMemoryStatusRequest(name=name)
        (payload,) = await call(memory, "SystemSharedMemoryStatus", request)
        regions = pb.SystemSharedMemoryStatusResponse.FromString(payload).regions
        assert set(regions) == names
    assert (regions["n"].key, regions["n"].offset, regions["n"].byte_size) == ("object", 0, 4)
    with pytest.raises(NotFound, match="Unable to find system shared memory region: 'q'"):
        await call(memory, "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(name="q"))


async def test_memory_is_off_unless_it_is_switched_on(folder):
    """What clients do first, forgetting what is left of them, is no error."""
    memory = SharedMemory(GatewaySettings(), Regions(folder))
    with pytest.raises(Unimplemented, match="set FABRIC_SHARED_MEMORY=true"):
        await call(memory, "SystemSharedMemoryRegister", REGISTER)
    assert await call(
        memory, "SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest()
    ) == (b"",)
    assert await call(memory, "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()) == (
        b"",
    )


async def test_memory_of_gpus_is_refused(memory):
    """With what to do instead; there is none to tell of or to forget."""
    request = pb.CudaSharedMemoryRegisterRequest(name="c")
    with pytest.raises(Unimplemented, match="register system shared memory, or send tensors"):
        await call(memory, "CudaSharedMemoryRegister", request)
    assert await call(
        memory, "CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest()
    ) == (b"",)
    assert await call(memory, "CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest()) == (
        b"",
    )
    with pytest.raises(NotFound, match="Unable to find cuda shared memory region: 'c'"):
        await call(memory, "CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(name="c"))
