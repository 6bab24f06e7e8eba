"""The shared memory extension: tensors that clients on this machine pass by region.

Replicas know nothing of it: inputs are copied from their regions into the request that goes on,
outputs from the response into theirs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError

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
from fabric.core.tensors import DTYPES
from fabric.gateway.grpc import SERVICE, decoded, header
from fabric.gateway.regions import Region, Regions
from fabric.wire.heads import head_of
from fabric.wire.reserved import BINARY_DATA, BINARY_DATA_OUTPUT
from fabric.wire.tensors import Place, from_contents, to_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from fabric.api.inference.v2.open_inference_pb2 import InferParameter
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.settings import GatewaySettings

    _Input = ModelInferRequest.InferInputTensor

_REGION = "shared_memory_region"
_OFFSET = "shared_memory_offset"
_SIZE = "shared_memory_byte_size"
_LARGE = 1 << 20
"""Bytes that are copied in a thread; fewer take less time than a thread does."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor is."""

    region: Region
    offset: int
    byte_size: int


class SharedMemory:
    """The regions of this gateway, and the calls about them."""

    def __init__(self, settings: GatewaySettings, regions: Regions | None = None) -> None:
        self._settings = settings
        self.regions = Regions() if regions is None else regions

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{SERVICE}SystemSharedMemoryStatus": self.status,
            f"{SERVICE}SystemSharedMemoryRegister": self.register,
            f"{SERVICE}SystemSharedMemoryUnregister": self.unregister,
            f"{SERVICE}CudaSharedMemoryStatus": self.cuda_status,
            f"{SERVICE}CudaSharedMemoryRegister": self.cuda_register,
            f"{SERVICE}CudaSharedMemoryUnregister": self.cuda_unregister,
        }

    async def register(self, payload: bytes, scope: Scope) -> Parts:
        if not self._settings.shared_memory:
            raise Unimplemented(
                "shared memory is off at this gateway: set FABRIC_SHARED_MEMORY=true for clients "
                "on its machine, or send tensors in the request"
            )
        _check_local(scope)
        request = decoded(pb.SystemSharedMemoryRegisterRequest, payload)
        self.regions.register(request.name, request.key, request.offset, request.byte_size)
        return (b"",)

    async def unregister(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.SystemSharedMemoryUnregisterRequest, payload)
        if self.regions:
            _check_local(scope)
            self.regions.unregister(request.name)
        return (b"",)

    async def status(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.SystemSharedMemoryStatusRequest, payload)
        if self.regions:
            _check_local(scope)
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self.regions.find(request.name):
            said = response.regions[region.name]
            said.name, said.key = region.name, region.key
            said.offset, said.byte_size = region.offset, region.byte_size
        return (response.SerializeToString(),)

    async def cuda_register(self, payload: bytes, scope: Scope) -> Parts:
        raise Unimplemented(
            "CUDA shared memory is not served, this gateway has no GPU: register system shared "
            "memory, or send tensors in the request"
        )

    async def cuda_unregister(self, payload: bytes, scope: Scope) -> Parts:
        decoded(pb.CudaSharedMemoryUnregisterRequest, payload)
        return (b"",)

    async def cuda_status(self, payload: bytes, scope: Scope) -> Parts:
        if name := decoded(pb.CudaSharedMemoryStatusRequest, payload).name:
            raise NotFound(f"Unable to find cuda shared memory region: '{name}'")
        return (b"",)

    # ------------------------------------------------------------------ inference
    def around(self, infer: Handler) -> Handler:
        """*infer* for requests that may name regions."""

        async def infer_by_region(payload: bytes, scope: Scope) -> Parts:
            if not self.regions:
                return await infer(payload, scope)
            payload, outputs = await self.taken(head_of(payload), payload, scope)
            response, *who = await infer(payload, scope)
            return (await self.given(response, outputs) if outputs else response, *who)

        return infer_by_region

    async def taken(
        self, message: ModelInferRequest, payload: bytes, scope: Scope
    ) -> tuple[bytes, Mapping[str, Slot]]:
        """The request with its elements in place of regions, and where its outputs belong.

        *message* is the head of *payload*, which is given back as it is when it names no region.

        Raises:
            Forbidden: the caller is not on this machine.
            InvalidRequest: a region is unknown, or too small.
            Overloaded: the elements are more than a message may hold.
        """
        if not self.regions or not _names_regions(message):
            return payload, {}
        _check_local(scope)
        request = ModelInferRequest.FromString(payload)
        inputs = [self._slot(tensor.name, tensor.parameters) for tensor in request.inputs]
        size = sum(slot.byte_size for slot in inputs if slot is not None)
        if size + len(payload) > self._settings.max_message_bytes:
            raise Overloaded(
                f"the request has {size + len(payload)} bytes with those in shared memory, "
                f"{self._settings.max_message_bytes} are allowed",
                retry_after=0.0,
            )
        outputs = self._outputs(request)
        return await _away(size, lambda: _filled(request, inputs)), outputs

    async def given(self, payload: bytes | memoryview, outputs: Mapping[str, Slot]) -> bytes:
        """The response without the elements of *outputs*, which are in their regions.

        Raises:
            InvalidRequest: an output has no room in its region.
        """
        try:
            response = ModelInferResponse.FromString(bytes(payload))
        except DecodeError as error:
            raise SpecialistFailed("the specialist's response is no ModelInferResponse") from error
        return await _away(len(payload), lambda: _emptied(response, outputs))

    def _outputs(self, request: ModelInferRequest) -> Mapping[str, Slot]:
        """Where the outputs belong. All elements come raw where some do, which these are."""
        found: dict[str, Slot] = {}
        for output in request.outputs:
            slot = self._slot(output.name, output.parameters)
            if slot is not None:
                slot.region.check(slot.offset, slot.byte_size)
                found[output.name] = slot
        if found:
            request.parameters[BINARY_DATA_OUTPUT].bool_param = True
            for output in request.outputs:
                _forget(output.parameters, BINARY_DATA)
        return found

    def _slot(self, tensor: str, parameters: MutableMapping[str, InferParameter]) -> Slot | None:
        """What *parameters* say of a region, which they then say no more."""
        if _REGION not in parameters:
            return None
        region = parameters[_REGION]
        if region.WhichOneof("parameter_choice") != "string_param":
            raise _mistyped(_REGION, tensor, "string_param")
        if _SIZE not in parameters:
            raise InvalidRequest(
                f"'{_SIZE}' must be specified along with '{_REGION}' parameter for tensor "
                f"'{tensor}'"
            )
        slot = Slot(
            self.regions.get(region.string_param),
            _whole(parameters, _OFFSET, tensor),
            _whole(parameters, _SIZE, tensor),
        )
        _forget(parameters, _REGION, _OFFSET, _SIZE)
        return slot


def _forget(parameters: MutableMapping[str, InferParameter], *names: str) -> None:
    for name in names:
        if name in parameters:
            del parameters[name]


def _names_regions(message: ModelInferRequest) -> bool:
    return any(_REGION in tensor.parameters for tensor in message.inputs) or any(
        _REGION in output.parameters for output in message.outputs
    )


def _filled(request: ModelInferRequest, inputs: list[Slot | None]) -> bytes:
    """*request* with the elements of all inputs raw: those in regions have none of their own."""
    raw = iter(request.raw_input_contents)
    elements: list[bytes] = []
    for tensor, slot in zip(request.inputs, inputs, strict=True):
        if slot is not None:
            if tensor.HasField("contents"):
                raise InvalidRequest(
                    "unexpected 'content' provided when using shared memory for input tensor "
                    f"'{tensor.name}' for model '{request.model_name}'"
                )
            elements.append(slot.region.read(slot.offset, slot.byte_size))
        elif tensor.HasField("contents") and not request.raw_input_contents:
            elements.append(_raw(tensor, request.model_name))
        else:
            elements += [part for part in (next(raw, None),) if part is not None]
    request.raw_input_contents[:] = [*elements, *raw]
    return bytes(request.SerializeToString())


def _raw(tensor: _Input, model: str) -> bytes:
    """The typed elements of *tensor*, which cannot stand beside raw ones."""
    place = Place(tensor.name, model)
    if tensor.datatype not in DTYPES or any(size < 0 for size in tensor.shape):
        raise InvalidRequest(f"unexpected datatype or shape for {place}")
    array = from_contents(tensor.contents, tensor.datatype, tensor.shape, place)
    tensor.ClearField("contents")
    return to_raw(array, tensor.datatype)


def _emptied(response: ModelInferResponse, outputs: Mapping[str, Slot]) -> bytes:
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        slot = outputs.get(output.name)
        if slot is not None and len(raw) > slot.byte_size:
            raise InvalidRequest(
                f"shared memory size specified with the request for output '{output.name}' "
                f"({slot.byte_size} bytes) should be at least {len(raw)} bytes to hold the results"
            )
    for index, output in enumerate(response.outputs):
        if (slot := outputs.get(output.name)) is None:
            continue
        raw = response.raw_output_contents[index]
        slot.region.write(slot.offset, raw)
        response.raw_output_contents[index] = b""
        output.parameters[_REGION].string_param = slot.region.name
        output.parameters[_SIZE].int64_param = len(raw)
        output.parameters[_OFFSET].int64_param = slot.offset
    return bytes(response.SerializeToString())


async def _away(size: int, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if size > _LARGE else work()


def _whole(parameters: MutableMapping[str, InferParameter], name: str, tensor: str) -> int:
    if name not in parameters:
        return 0
    parameter = parameters[name]
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise _mistyped(name, tensor, "int64_param")
    return parameter.int64_param


def _mistyped(name: str, tensor: str, expected: str) -> InvalidRequest:
    return InvalidRequest(
        f"invalid value type for '{name}' parameter for tensor '{tensor}', expected {expected}."
    )


def _check_local(scope: Scope) -> None:
    """Raises Forbidden unless the caller is on this machine.

    Its address is a loopback, or the very one that it called. Who says that it forwards the call
    of another is that other, whatever the address says.
    """
    client, server = scope.get("client"), scope.get("server")
    if client is not None and not header(scope, b"x-forwarded-for"):
        try:
            if ip_address(client[0]).is_loopback or (server and client[0] == server[0]):
                return
        except ValueError:
            pass
    raise Forbidden("shared memory is for clients on the machine of the gateway only")
