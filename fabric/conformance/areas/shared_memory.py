"""Tensors in memory that client and server share."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.conformance.checks import NotOffered, Rules, expect, expect_equal
from fabric.conformance.requests import expect_output, output, request, tensor
from fabric.conformance.samples import ADD_SUB, FP32
from fabric.conformance.server import (
    CUDA_REGISTER,
    CUDA_STATUS,
    CUDA_UNREGISTER,
    INFER,
    SHM_REGISTER,
    SHM_STATUS,
    SHM_UNREGISTER,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric.api.inference.v2 import open_inference_pb2 as pb
    from fabric.conformance.server import Server

rules = Rules(
    "shared-memory",
    "Triton: system shared memory extension",
    FP32,
    extension="system_shared_memory",
)
cuda = Rules(
    "shared-memory.cuda", "Triton: CUDA shared memory extension", extension="cuda_shared_memory"
)
_X = np.array([[1.0, 2.0]], np.float32)
_HOME = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is
_SIZE = 2 * mmap.PAGESIZE


@dataclass
class Region:
    """A region that is registered as `name`."""

    name: str
    key: str
    memory: mmap.mmap

    def write(self, data: bytes, offset: int = 0) -> None:
        self.memory[offset : offset + len(data)] = data

    def read(self, size: int, offset: int = 0) -> bytes:
        return self.memory[offset : offset + size]


def _check_local(server: Server) -> None:
    host = server.address.rpartition(":")[0].strip("[]")
    try:
        address = socket.gethostbyname(host)
    except OSError:
        address = ""
    if not address.startswith("127.") or not _HOME.is_dir():
        raise NotOffered("client and server are not on one machine")


@contextlib.asynccontextmanager
async def _region(
    server: Server, name: str, size: int = _SIZE, offset: int = 0
) -> AsyncIterator[Region]:
    """*size* bytes, from *offset* of an object of `_SIZE` bytes."""
    _check_local(server)
    key = f"/oip-{os.getpid()}-{name}"
    path = _HOME / key[1:]
    with path.open("wb+") as file:
        file.truncate(_SIZE)
        memory = mmap.mmap(file.fileno(), _SIZE)
    try:
        await _register(server, name, key, size, offset)
        yield Region(name, key, memory)
    finally:
        with contextlib.suppress(Refused):
            await _forget(server, name)
        memory.close()
        path.unlink()


async def _register(server: Server, name: str, key: str, size: int, offset: int = 0) -> None:
    asked = ext.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=size)
    try:
        await server.call(SHM_REGISTER, asked)
    except Refused as refused:
        if refused.code in ("UNIMPLEMENTED", "PERMISSION_DENIED"):
            raise NotOffered(f"{refused.code}: {refused.text}") from refused
        raise


async def _forget(server: Server, name: str) -> None:
    await server.call(SHM_UNREGISTER, ext.SystemSharedMemoryUnregisterRequest(name=name))


async def _names(server: Server) -> set[str]:
    answer = await server.call(SHM_STATUS, ext.SystemSharedMemoryStatusRequest())
    return set(answer.regions)


def _in(region: str, size: int, offset: int = 0) -> dict[str, str | int]:
    said: dict[str, str | int] = {
        "shared_memory_region": region,
        "shared_memory_byte_size": size,
    }
    return {**said, "shared_memory_offset": offset} if offset else said


def _asked(region: str, size: int = 8, offset: int = 0) -> pb.ModelInferRequest:
    return request(FP32, [tensor("x", "FP32", [1, 2], parameters=_in(region, size, offset))])


# ------------------------------------------------------------------ regions
@rules()
async def a_region_is_known(server: Server) -> None:
    """A region that is registered is in the status, with its key, offset and size."""
    async with _region(server, "known", 128, mmap.PAGESIZE) as region:
        asked = ext.SystemSharedMemoryStatusRequest(name="known")
        found = (await server.call(SHM_STATUS, asked)).regions["known"]
        got = (found.name, found.key, found.offset, found.byte_size)
        expect_equal(got, ("known", region.key, mmap.PAGESIZE, 128), "region")


@rules()
async def a_region_is_forgotten(server: Server) -> None:
    """A region that is unregistered is in the status no more."""
    async with _region(server, "forgotten"):
        await _forget(server, "forgotten")
        expect("forgotten" not in await _names(server), "no such region", "forgotten")


@rules()
async def all_are_forgotten(server: Server) -> None:
    """Unregister without a name forgets all regions."""
    async with _region(server, "one"), _region(server, "two"):
        await _forget(server, "")
        expect_equal(await _names(server), set(), "regions")


@rules()
async def one_name_once(server: Server) -> None:
    """A name that is registered cannot be registered again."""
    async with _region(server, "once") as region:
        asked = ext.SystemSharedMemoryRegisterRequest(name="once", key=region.key, byte_size=8)
        await server.refused(SHM_REGISTER, asked)


@rules()
async def no_such_object(server: Server) -> None:
    """A key without a shared memory object is refused."""
    _check_local(server)
    asked = ext.SystemSharedMemoryRegisterRequest(name="no", key="/oip-no-such", byte_size=8)
    refused = await server.refused(SHM_REGISTER, asked)
    if refused.code in ("UNIMPLEMENTED", "PERMISSION_DENIED"):
        raise NotOffered(f"{refused.code}: {refused.text}")


@rules()
async def past_the_end_of_the_object(server: Server) -> None:
    """A region that ends behind its object is refused, when it is registered or used."""
    async with _region(server, "fits") as region:
        try:
            await _register(server, "past", region.key, 1 << 20)
            await server.refused(INFER, _asked("past", 8, (1 << 20) - 8))
        except Refused:
            return
        finally:
            with contextlib.suppress(Refused):
                await _forget(server, "past")


@rules()
async def unknown_names_in_the_status(server: Server) -> None:
    """The status of a region that is not registered is an error."""
    _check_local(server)
    asked = ext.SystemSharedMemoryStatusRequest(name="no-such-region")
    refused = await server.refused(SHM_STATUS, asked)
    if refused.code in ("UNIMPLEMENTED", "PERMISSION_DENIED"):
        raise NotOffered(f"{refused.code}: {refused.text}")


# ------------------------------------------------------------------ tensors
@rules()
async def an_input_is_read(server: Server) -> None:
    """An input with shared_memory_region and shared_memory_byte_size is read from there."""
    async with _region(server, "in") as region:
        region.write(_X.tobytes())
        expect_output(await server.infer(_asked("in")), "y", _X)


@rules()
async def an_input_is_read_at_an_offset(server: Server) -> None:
    """shared_memory_offset counts from the start of the region."""
    async with _region(server, "offset", 128, mmap.PAGESIZE) as region:
        region.write(_X.tobytes(), mmap.PAGESIZE + 16)
        expect_output(await server.infer(_asked("offset", 8, 16)), "y", _X)


@rules(ADD_SUB)
async def an_input_takes_no_raw_entry(server: Server) -> None:
    """An input in shared memory has no entry in raw_input_contents: the next input has."""
    a, b = np.array([[1, 2, 3, 4]], np.int32), np.array([[5, 6, 7, 8]], np.int32)
    async with _region(server, "mixed") as region:
        region.write(a.tobytes())
        given = [
            tensor("a", "INT32", [1, 4], parameters=_in("mixed", 16)),
            tensor("b", "INT32", [1, 4]),
        ]
        answer = await server.infer(request(ADD_SUB, given, raw=[b.tobytes()]))
        expect_output(answer, "difference", a - b)


@rules()
async def an_input_is_read_anew(server: Server) -> None:
    """What the client writes between two requests is what the second one reads."""
    async with _region(server, "anew") as region:
        for factor in (1, 2, 3):
            region.write((_X * factor).tobytes())
            expect_output(await server.infer(_asked("anew")), "y", _X * factor)


@rules()
async def an_input_past_the_end(server: Server) -> None:
    """An input that ends behind its region is refused."""
    async with _region(server, "short", 16):
        await server.refused(INFER, _asked("short", 8, 12))


@rules()
async def an_input_of_the_wrong_size(server: Server) -> None:
    """An input whose size in memory is not that of its shape is refused."""
    async with _region(server, "size"):
        await server.refused(INFER, _asked("size", 12))


@rules()
async def an_input_in_no_region(server: Server) -> None:
    """An input in a region that is not registered is refused."""
    _check_local(server)
    await server.refused(INFER, _asked("no-such-region"))


@rules()
async def an_output_is_written(server: Server) -> None:
    """An output with shared_memory_region is written there, and its raw entry is empty."""
    async with _region(server, "out") as region:
        asked = request(FP32, {"x": _X}, outputs=[output("y", **_in("out", 8, 32))])
        answer = await server.infer(asked)
        expect_equal(region.read(8, 32), _X.tobytes(), "bytes in the region")
        expect_equal(list(answer.outputs[0].shape), [1, 2], "shape")
        expect(not any(answer.raw_output_contents), "no raw contents", answer)


@rules()
async def an_output_that_is_too_large(server: Server) -> None:
    """An output that does not fit where it is to go is refused, and nothing is overwritten."""
    async with _region(server, "small") as region:
        region.write(b"#" * _SIZE)
        asked = request(FP32, {"x": _X}, outputs=[output("y", **_in("small", 4))])
        await server.refused(INFER, asked)
        expect_equal(region.read(8, 4), b"#" * 8, "bytes behind it")


@rules(ADD_SUB)
async def one_output_of_two(server: Server) -> None:
    """Of two outputs one may go to shared memory and the other come raw."""
    ab = {"a": np.ones((1, 4), np.int32), "b": np.ones((1, 4), np.int32)}
    async with _region(server, "one-of-two") as region:
        wanted = [output("sum", **_in("one-of-two", 16)), output("difference")]
        answer = await server.infer(request(ADD_SUB, ab, outputs=wanted))
        expect_equal(region.read(16), np.full(4, 2, np.int32).tobytes(), "bytes in the region")
        expect_equal(len(answer.raw_output_contents), len(answer.outputs), "raw entries")


# ------------------------------------------------------------------ CUDA
@cuda()
async def regions_can_be_listed_or_are_refused(server: Server) -> None:
    """The status of CUDA shared memory is given, or a refusal that is no INTERNAL error."""
    try:
        await server.call(CUDA_STATUS, ext.CudaSharedMemoryStatusRequest())
    except Refused as refused:
        expect(refused.code not in ("INTERNAL", "UNKNOWN"), "a clear refusal", refused)


@cuda()
async def a_wrong_handle_is_refused(server: Server) -> None:
    """A handle that is none, or of a device that is not there, is refused."""
    asked = ext.CudaSharedMemoryRegisterRequest(
        name="oip-no", raw_handle=bytes(64), device_id=999, byte_size=64
    )
    refused = await server.refused(CUDA_REGISTER, asked)
    expect(refused.text, "a text that says what is wrong", "none")


@cuda()
async def unregistering_is_harmless(server: Server) -> None:
    """Unregistering all regions where there are none is answered or refused."""
    with contextlib.suppress(Refused):
        await server.call(CUDA_UNREGISTER, ext.CudaSharedMemoryUnregisterRequest())


PARTS = (rules, cuda)
