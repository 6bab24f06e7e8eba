"""The server that is checked, over gRPC and REST; every call has a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import grpc
import httpx
from google.protobuf.message import Message

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Broken, NotOffered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

SERVICE = "/inference.GRPCInferenceService/"
PATIENCE = 10.0
"""Seconds for one call, unless its check says otherwise."""
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)

M = TypeVar("M", bound=Message)
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Call(Generic[M]):
    """A unary call: its full name, and what it answers with."""

    path: str
    answer: type[M]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def _oip(name: str, answer: type[M]) -> Call[M]:
    return Call(SERVICE + name, answer)


LIVE = _oip("ServerLive", pb.ServerLiveResponse)
READY = _oip("ServerReady", pb.ServerReadyResponse)
SERVER_METADATA = _oip("ServerMetadata", pb.ServerMetadataResponse)
MODEL_READY = _oip("ModelReady", pb.ModelReadyResponse)
METADATA = _oip("ModelMetadata", pb.ModelMetadataResponse)
INFER = _oip("ModelInfer", pb.ModelInferResponse)
CONFIG = _oip("ModelConfig", ext.ModelConfigResponse)
STATISTICS = _oip("ModelStatistics", ext.ModelStatisticsResponse)
INDEX = _oip("RepositoryIndex", ext.RepositoryIndexResponse)
LOAD = _oip("RepositoryModelLoad", ext.RepositoryModelLoadResponse)
UNLOAD = _oip("RepositoryModelUnload", ext.RepositoryModelUnloadResponse)
SHM_STATUS = _oip("SystemSharedMemoryStatus", ext.SystemSharedMemoryStatusResponse)
SHM_REGISTER = _oip("SystemSharedMemoryRegister", ext.SystemSharedMemoryRegisterResponse)
SHM_UNREGISTER = _oip("SystemSharedMemoryUnregister", ext.SystemSharedMemoryUnregisterResponse)
CUDA_STATUS = _oip("CudaSharedMemoryStatus", ext.CudaSharedMemoryStatusResponse)
CUDA_REGISTER = _oip("CudaSharedMemoryRegister", ext.CudaSharedMemoryRegisterResponse)
CUDA_UNREGISTER = _oip("CudaSharedMemoryUnregister", ext.CudaSharedMemoryUnregisterResponse)
TRACE = _oip("TraceSetting", ext.TraceSettingResponse)
LOG = _oip("LogSettings", ext.LogSettingsResponse)


class Refused(Exception):
    """A call that ended with another status than OK."""

    def __init__(self, call: str, code: str, text: str) -> None:
        super().__init__(f"{call}: {code}: {text}")
        self.code = code
        """The name of the status, as gRPC writes it."""
        self.text = text


class Unanswered(Broken):
    """No answer came in time."""


class Server:
    """Use it with `async with`.

    *http* is `host:port` of the REST door, empty for none; *patience* are the seconds for one call.
    """

    def __init__(self, address: str, http: str = "", patience: float = PATIENCE) -> None:
        self.address = address
        self.patience = patience
        self.http = http
        self.dialect = "any"
        self.extensions: frozenset[str] = frozenset()
        self.codes: Counter[str] = Counter()
        """How often each status was given, over all calls."""
        self.has_versions = True
        """Whether it heeds the version that is asked for."""
        self.names_models_first = False
        """Whether the name of a model to load is in field 1 of the message, as KServe has it."""
        self._models: dict[str, bool] = {}
        self._streams: set[str] = set()
        """Streaming calls that there are."""

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        self._rest = httpx.AsyncClient(
            timeout=self.patience,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),  # servers may end them at any time
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._rest.aclose()
        await self._channel.close()

    # -------------------------------------------------------------- gRPC
    async def call(
        self,
        call: Call[M],
        request: Message,
        *,
        timeout: float = 0.0,
        metadata: Metadata = (),
        compression: grpc.Compression | None = None,
    ) -> M:
        """The answer, within *timeout* seconds; 0 for the patience that all calls have.

        Raises:
            Refused: the server gave another status than OK.
            Unanswered: it gave none, not even late.
        """
        timeout = timeout or self.patience
        method = self._channel.unary_unary(
            call.path, lambda message: message.SerializeToString(), call.answer.FromString
        )
        try:
            async with asyncio.timeout(timeout + 2):
                answer: M = await method(
                    request, timeout=timeout, metadata=metadata, compression=compression
                )
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
            raise Refused(call.name, error.code().name, error.details() or "") from None
        except TimeoutError:
            raise Unanswered(f"an answer to {call.name}", f"none in {timeout:g} s") from None
        self.codes["OK"] += 1
        return answer

    async def refused(
        self, call: Call[M], request: Message, *codes: str, timeout: float = 0.0
    ) -> Refused:
        """The status other than OK, and one of *codes* if any are given, that *call* ends with.

        Raises:
            Broken: it was answered, or with another status, or not at all.
        """
        expected = " or ".join(codes) or "an error"
        try:
            answer = await self.call(call, request, timeout=timeout)
        except Refused as refused:
            hangs = refused.code == "DEADLINE_EXCEEDED" and "DEADLINE_EXCEEDED" not in codes
            if hangs or (codes and refused.code not in codes):
                raise Broken(expected, f"{refused.code}: {refused.text}") from None
            return refused
        raise Broken(expected, f"an answer: {shortened(answer)}")

    async def infer(
        self, request: pb.ModelInferRequest, *, timeout: float = 0.0, **options: Any
    ) -> pb.ModelInferResponse:
        return await self.call(INFER, request, timeout=timeout, **options)

    @contextlib.asynccontextmanager
    async def stream(self, metadata: Metadata = ()) -> AsyncIterator[Stream]:
        """A stream of requests and answers, cancelled at the end if it is open still.

        Raises:
            Refused: the server has no streams.
        """
        path = f"{SERVICE}ModelStreamInfer"
        await self._check_streams(path)
        async with self._opened(path, metadata) as stream:
            yield stream

    async def _check_streams(self, path: str) -> None:
        """Raises Refused unless there is a streaming call *path*: gRPC hides the status of one
        that ends during a write."""
        if path not in self._streams:
            async with self._opened(path) as stream:
                await stream.close()
                await stream.raw()
            self._streams.add(path)

    @contextlib.asynccontextmanager
    async def _opened(self, path: str, metadata: Metadata = ()) -> AsyncIterator[Stream]:
        method = self._channel.stream_stream(path, lambda message: message.SerializeToString())
        call = method(timeout=3 * self.patience, metadata=metadata)
        try:
            yield Stream(self, path.rpartition("/")[2], call)
        finally:
            call.cancel()

    async def first(self, path: str, request: Any, answer: Any, *, streams: bool = False) -> Any:
        """The first *answer* of a call that streams them; with *streams*, it takes them too.

        Raises:
            Refused: the call ended with an error.
            Unanswered: nothing came in time.
        """
        name = path.rpartition("/")[2]
        options = (path, lambda message: message.SerializeToString(), answer.FromString)
        if streams:
            await self._check_streams(path)
            call = self._channel.stream_stream(*options)(iter((request,)), timeout=self.patience)
        else:
            call = self._channel.unary_stream(*options)(request, timeout=self.patience)
        try:
            async with asyncio.timeout(self.patience + 2):
                message = await call.read()
            if message is grpc.aio.EOF:
                raise Broken(f"an answer to {name}", "the end of the call")
            return message
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
            raise Refused(name, error.code().name, error.details() or "") from None
        except TimeoutError:
            raise Unanswered(f"an answer to {name}", f"none in {self.patience:g} s") from None
        finally:
            call.cancel()

    async def has(self, model: str) -> bool:
        """Whether the server knows *model*; asked once."""
        if model not in self._models:
            self._models[model] = await self._knows(model)
        return self._models[model]

    async def _knows(self, model: str) -> bool:
        try:
            answer = await self.call(METADATA, pb.ModelMetadataRequest(name=model))
        except Refused as refused:
            if refused.code in ("DEADLINE_EXCEEDED", "UNIMPLEMENTED"):
                raise
            return refused.code == "UNAVAILABLE" and model in refused.text
        return answer.name == model

    # -------------------------------------------------------------- REST
    async def rest(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """The HTTP response.

        Raises:
            NotOffered: no address for HTTP is known.
            Unanswered: nothing came in time.
        """
        if not self.http:
            raise NotOffered("the server answers no HTTP here; name its address by --http")
        if content is not None:
            headers = {"content-type": "application/json", **(headers or {})}
        try:
            return await self._rest.request(
                method, f"http://{self.http}{path}", json=json, content=content, headers=headers
            )
        except httpx.TimeoutException:
            raise Unanswered("an HTTP response", f"none in {self.patience:g} s") from None
        except httpx.HTTPError as error:
            raise Broken("an HTTP response", f"{type(error).__name__}: {error}") from None


class Stream:
    """An open call that streams both ways."""

    def __init__(self, server: Server, name: str, call: Any) -> None:
        self._server = server
        self._name = name
        self._call = call

    async def send(self, *requests: pb.ModelInferRequest) -> None:
        try:
            async with asyncio.timeout(self._server.patience):
                for request in requests:
                    await self._call.write(request)
        except TimeoutError:
            raise Unanswered("the stream to take a request", "it took none in time") from None
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._fail()

    async def close(self) -> None:
        """Half-closes: no request follows."""
        await self._call.done_writing()

    async def raw(self) -> bytes:
        """The next message as it came; empty at the end of the stream.

        Raises:
            Refused: the stream ended with another status than OK.
            Unanswered: no message came in time.
        """
        try:
            async with asyncio.timeout(self._server.patience):
                message = await self._call.read()
        except TimeoutError:
            raise Unanswered("a message on the stream", "none in time") from None
        except grpc.aio.AioRpcError:
            await self._fail()
        if message is grpc.aio.EOF:
            if (await self._call.code()).value[0]:
                await self._fail()
            return b""
        payload: bytes = message
        return payload

    async def next(self) -> ext.ModelStreamInferResponse:
        """The next message. Raises Broken at the end of the stream, and what `raw` raises."""
        payload = await self.raw()
        if not payload:
            raise Broken("a message on the stream", "its end")
        return ext.ModelStreamInferResponse.FromString(payload)

    async def rest(self) -> list[ext.ModelStreamInferResponse]:
        """All messages up to the end of the stream."""
        messages = []
        while payload := await self.raw():
            messages.append(ext.ModelStreamInferResponse.FromString(payload))
        return messages

    async def answers(self, count: int) -> list[pb.ModelInferResponse]:
        """The next *count* answers. Raises Broken where an error comes instead of one."""
        answers = []
        for _ in range(count):
            message = await self.next()
            if message.error_message:
                raise Broken("an answer", f"error_message {message.error_message!r}")
            answers.append(message.infer_response)
        return answers

    async def _fail(self) -> None:
        code = (await self._call.code()).name
        self._server.codes[code] += 1
        raise Refused(self._name, code, await self._call.details() or "")


def check_versions(server: Server) -> None:
    """Raises NotOffered where *server* does not heed the version that is asked for."""
    if not server.has_versions:
        raise NotOffered("the server does not heed versions")


def shortened(value: object, most: int = 300) -> str:
    """*value* in one line of at most *most* characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[:most]}..."


async def within(seconds: float, *work: Any) -> Sequence[Any]:
    """The results of all of *work*, done at the same time."""
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.gather(*work)
    except TimeoutError:
        raise Unanswered("all answers", f"not all in {seconds:g} s") from None


def named(messages: Iterable[Any], name: str) -> Any:
    """The one of *messages* whose name is *name*. Raises Broken if there is none."""
    found = {message.name: message for message in messages}
    if name not in found:
        raise Broken(f"{name!r} among the names", sorted(found))
    return found[name]
