"""A fabric's processes for tests: a real control plane, a real gateway, and replicas that suit.

The control plane has a host that is away, so that the test is the host: replicas run in the test's
own process, on real links and under real leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fabric import AsyncClient, Client
from fabric.control.settings import ControlSettings
from fabric.core.errors import FabricError, NotFound, Unavailable
from fabric.core.replicas import Load
from fabric.core.replicas import Replica as Registration
from fabric.core.tensors import Signature, TensorSpec
from fabric.gateway.settings import GatewaySettings
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.processes import to_environ
from fabric.runtime.lease import Lease
from fabric.runtime.replica import Replica
from fabric.testing import specialist

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from fabric.core.cards import Specialist
    from fabric.link.server import Call, Handler

NO_RAY = "http://127.0.0.1:1"
PATIENCE = 20.0
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1,)),),
)
_numbers = itertools.count(1)


def unique(name: str) -> str:
    """A name that no other test of the session has."""
    return f"{name}-{next(_numbers)}"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def until(condition, seconds=PATIENCE):
    """What *condition* gives once that is true; it may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)


# ------------------------------------------------------------------ processes
@contextlib.contextmanager
def process(module: str, settings: object, log: Path, **environ: str) -> Iterator[subprocess.Popen]:
    """`python -m module`, told to stop at the end if it still runs, and then without a rest."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", module],
            env={**os.environ, **to_environ(settings), **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
        try:
            running.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise


def control_process(folder: Path, port: int, **environ: str):
    """A control plane with its store in *folder*."""
    settings = ControlSettings(
        listen=f"127.0.0.1:{port}",
        store=f"sqlite+aiosqlite:///{folder / 'fabric.db'}",
        ray=NO_RAY,
    )
    return process("fabric.control", settings, folder / "control.log", **environ)


def gateway_process(folder: Path, port: int, control: int, **environ: str):
    """A gateway; `answering` says when it is one."""
    settings = GatewaySettings(listen=f"127.0.0.1:{port}", control=f"127.0.0.1:{control}")
    return process("fabric.gateway", settings, folder / "gateway.log", **environ)


def answering(*ports: int) -> None:
    """Returns when somebody listens at each of *ports*; blocks."""
    end = time.monotonic() + PATIENCE
    for port in ports:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert time.monotonic() < end, f"nobody listens at port {port}"
            time.sleep(0.01)


@dataclass
class Running:
    """A control plane and a gateway."""

    folder: Path
    port: int = field(default_factory=free_port)
    control_port: int = field(default_factory=free_port)
    environ: Mapping[str, str] = field(default_factory=dict)
    gateway: subprocess.Popen | None = None
    control: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def control_address(self) -> str:
        return f"127.0.0.1:{self.control_port}"

    @contextlib.contextmanager
    def started(self) -> Iterator[Running]:
        with (
            control_process(self.folder, self.control_port, **self.environ) as self.control,
            gateway_process(
                self.folder, self.port, self.control_port, **self.environ
            ) as self.gateway,
        ):
            answering(self.control_port, self.port)
            with Client(self.address) as client:
                while not client.ready():  # the catalog is on its way
                    time.sleep(0.01)
            yield self

    async def until_linked(self, client: AsyncClient, name: str, count: int = 1) -> None:
        """Returns when the gateway has links to *count* replicas of the specialist *name*."""

        async def is_linked() -> bool:
            with contextlib.suppress(NotFound, Unavailable):
                plan = await client.explain(name)
                return plan.candidates[0].replicas == count
            return False

        await until(is_linked)


# ------------------------------------------------------------------ replicas of the test's own
class _Uncounted:
    def statistics(self) -> bytes:
        return b""


class Held(_Uncounted):
    """Keeps calls until the test answers them."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Call] = asyncio.Queue()

    def handle(self, call: Call) -> None:
        self.calls.put_nowait(call)

    async def next(self) -> Call:
        async with asyncio.timeout(PATIENCE):
            return await self.calls.get()


class Saying(_Uncounted):
    """Answers every call with its payload, which the test says, and counts."""

    def __init__(self, payload: bytes = b"") -> None:
        self.payload = payload
        self.count = 0

    def handle(self, call: Call) -> None:
        self.count += 1
        call.respond(self.payload)


class Failing(_Uncounted):
    """Fails every call."""

    def __init__(self, error: FabricError) -> None:
        self.error = error

    def handle(self, call: Call) -> None:
        call.fail(self.error)


@contextlib.asynccontextmanager
async def replica(
    control: str, of: Specialist, handler: Handler, digest: str = ""
) -> AsyncIterator[LinkServer]:
    """A replica that answers as *handler* does, in the catalog at *control*."""
    card = of.card
    hello = Hello(
        replica=uuid.uuid4().hex, specialist=card.name, version=card.version, digest=digest
    )
    server = LinkServer(hello, handler)
    address = await server.start()
    registration = Registration(
        id=hello.replica, specialist=card.name, version=card.version, address=address
    )
    lease = Lease(control, registration, card.signature or SIGNATURE, Load)
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(lease.keep())
        try:
            yield server
        finally:
            keeping.cancel()
            await lease.withdraw()
            await lease.close()
            await server.close()


@contextlib.asynccontextmanager
async def served(
    running: Running, client: AsyncClient, name: str, *handlers: Handler, **said: object
) -> AsyncIterator[Sequence[LinkServer]]:
    """A specialist *name* with a replica for each of *handlers*, which the gateway has links to."""
    of = specialist(name, **said)
    await client.apply([of])
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(replica(running.control_address, of, handler))
            for handler in handlers
        ]
        await running.until_linked(client, name, len(handlers))
        yield servers


class OnnxHost:
    """Real replicas of real models, all in one thread of the test's process."""

    def __init__(self, control: str) -> None:
        self._control = control
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="onnx-host")
        self._opened: list[Replica] = []

    def __enter__(self) -> OnnxHost:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for opened in self._opened:
            self.run(opened.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work):
        """What the coroutine *work* gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def serve(self, of: Sequence[Specialist], gateway: str) -> None:
        """Opens a replica of each of *of*, which are declared, and waits for the gateway."""
        self.run(self._serve(of, gateway))

    async def _serve(self, of: Sequence[Specialist], gateway: str) -> None:
        async with AsyncClient(gateway) as client:
            for each in of:
                opened = Replica(each, self._control)
                await opened.open()
                self._opened.append(opened)
            for each in of:

                async def is_ready(name=each.card.name, version=each.card.version) -> bool:
                    with contextlib.suppress(NotFound, Unavailable):
                        return await client.ready(name, version=version)
                    return False

                await until(is_ready)
