"""Sends cases to a whole fabric and judges what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from fuzz_cases import SERVED, UNARY, Case, case, connection
from fuzz_wires import Connection, Lost, Response, pour

from fabric.app import Fabric, FabricSettings
from fabric.config import load
from fabric.conformance import samples
from fabric.conformance.writing import write

if TYPE_CHECKING:
    import random

IN_FLIGHT = 512
POURED = 50
"""Connections of their own at a time."""
PATIENCE = 20.0
"""Seconds for an answer, where requests ask for three at most."""
_WRONG_GRPC = {b"2": "UNKNOWN", b"13": "INTERNAL", b"15": "DATA_LOSS"}
_RIGHT_5XX = {501, 503, 504}
_OF_GRPC = re.compile("no encoding configured|illegal base64|Decompression failed")
"""What gRPC's own server calls INTERNAL before fabric hears of it; of the first gRPC says so."""


@dataclass
class Tally:
    """What happened."""

    cases: int = 0
    answers: Counter = field(default_factory=Counter)
    """By kind and status."""
    faults: list[tuple[str, str, Case | bytes]] = field(default_factory=list)
    """What must not be: by what it was and what came. The first hundred are kept."""
    fault_count: int = 0

    def fault(self, what: str, got: str, of: Case | bytes) -> None:
        self.fault_count += 1
        if len(self.faults) < 100:
            self.faults.append((what, got, of))


def judge(of: Case, response: Response) -> tuple[str, str]:
    """What the response is, and what is wrong with it; empty if nothing is."""
    if not of.ends:
        return "reset by us", ""
    headers = response.headers
    status = int(headers.get(b":status", b"0"))
    grpc = headers.get(b"grpc-status")
    said = f"{status} grpc {grpc.decode()}" if grpc is not None else f"{status}"
    if response.reset is not None:
        said += f" reset {response.reset}"
    text = headers.get(b"grpc-message", response.body).decode(errors="replace")[:200]
    wrong = ""
    if grpc in _WRONG_GRPC and not (of.kind == "grpc control" and _OF_GRPC.search(text)):
        wrong = f"{_WRONG_GRPC[grpc]}: {text}"
    elif status >= 500 and status not in _RIGHT_5XX:
        wrong = f"{status}: {text}"
    elif grpc == b"4" and samples.SEQUENCE.encode() in of.body:
        pass  # sequences that were begun and not ended may hold all slots of the replica
    elif of.valid and (grpc not in (None, b"0") or status != 200):
        wrong = f"no answer to a request that is right: {said}: {text}"
    elif of.is_grpc and status == 200 and grpc is None and response.reset is None:
        wrong = "an end without a status"
    return said, wrong


class Fuzz:
    """Sends cases to the gateway at *address*."""

    def __init__(self, address: str, tally: Tally | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host, int(port))
        self._connection: Connection | None = None
        self._flying: dict[asyncio.Future[Response], tuple[Case, float]] = {}
        self._room = asyncio.Event()
        self.tally = tally or Tally()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or not self._connection.is_open:
            self._connection = await Connection.open(*self._place)
        return self._connection

    async def send(self, of: Case) -> None:
        """Sends *of* beside at most `IN_FLIGHT` others; it is judged when it is answered."""
        while len(self._flying) >= IN_FLIGHT:
            await self._landed()
        try:
            made = await self._connected()
            future = await made.ask(of.headers, of.body, of.ends)
        except Lost:
            return
        self.tally.cases += 1
        self._flying[future] = (of, asyncio.get_running_loop().time())
        future.add_done_callback(self._judged)

    async def drain(self) -> None:
        """Returns when all is answered, or late."""
        while self._flying:
            await self._landed()

    async def _landed(self) -> None:
        """Waits for an answer; what has waited too long is a fault, and given up."""
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._room.wait()
                return
        now = asyncio.get_running_loop().time()
        for future, (of, since) in tuple(self._flying.items()):
            if now - since > PATIENCE:
                del self._flying[future]
                self.tally.fault(of.kind, f"no answer in {PATIENCE:g} s", of)

    def _judged(self, future: asyncio.Future[Response]) -> None:
        of, _ = self._flying.pop(future, (None, 0.0))
        self._room.set()
        lost = future.exception()
        if of is None:
            return
        if isinstance(lost, Lost):
            self.tally.answers[f"{of.kind}: connection lost"] += 1
            self.tally.fault(of.kind, str(lost), of)
            return
        said, wrong = judge(of, future.result())
        self.tally.answers[f"{of.kind}: {said}"] += 1
        if wrong:
            self.tally.fault(of.kind, wrong, of)

    async def pour(self, data: bytes) -> None:
        """Sends *data* on a connection of its own, which the server must answer or close."""
        self.tally.cases += 1
        try:
            answer = await pour(*self._place, data, PATIENCE)
        except TimeoutError:
            self.tally.fault("connection", f"open for {PATIENCE:g} s", data)
            return
        found = re.match(rb"HTTP/1\.\d (\d+)", answer)
        status = int(found[1]) if found else 0
        said = str(status) if found else "closed" if not answer else "frames"
        self.tally.answers[f"connection: {said}"] += 1
        if status >= 500 and status not in (*_RIGHT_5XX, 505):
            self.tally.fault("connection", str(status), data)

    async def infer_block(self) -> bytes:
        """The encoded headers of a ModelInfer call."""
        made = await self._connected()
        return made.block(
            (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", f"{UNARY}ModelInfer".encode()),
                (b":authority", b"localhost"),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                (b"grpc-timeout", b"3S"),
            )
        )

    async def run(self, count: int, r: random.Random) -> None:
        """*count* cases drawn from *r*, of which one in fifty is a connection of its own."""
        block = await self.infer_block()
        async with asyncio.TaskGroup() as tasks:
            poured: set[asyncio.Task[None]] = set()
            for number in range(count):
                if number % 50:
                    await self.send(case(r))
                    continue
                while len(poured) >= POURED:
                    await asyncio.wait(poured, return_when=asyncio.FIRST_COMPLETED)
                task = tasks.create_task(self.pour(connection(r, block)))
                poured.add(task)
                task.add_done_callback(poured.discard)
        await self.drain()


# ------------------------------------------------------------------ the fabric
def portfolio(folder: Path):
    """The models that the cases ask, as a portfolio."""
    write(folder)
    file = folder / "portfolio.yaml"
    declared = yaml.safe_load(file.read_text())
    kept = [entry for entry in declared["specialists"] if entry["name"] in SERVED]
    file.write_text(yaml.safe_dump({"specialists": kept}))
    return load(file)


@contextlib.asynccontextmanager
async def fabric(folder: Path):
    """A whole fabric on the local host."""
    os.environ["FABRIC_SHARED_MEMORY"] = "true"
    try:
        settings = FabricSettings(state=folder / "state", host="local", listen="127.0.0.1:0")
        async with Fabric(settings, portfolio(folder / "models")) as running:
            failed = await running.ready()
            assert not failed, failed
            yield running
    finally:
        del os.environ["FABRIC_SHARED_MEMORY"]


async def processes(running: Fabric) -> dict[str, int]:
    """The process ids of everything that serves, by name."""
    found = {name: running.processes[name] for name in ("control", "gateway")}
    replicas = await running.client.list("replica")
    return found | {replica.specialist: replica.pid for replica in replicas}


def resident(pids: dict[str, int]) -> dict[str, int]:
    """Resident memory in KiB, by name."""
    found = {}
    for name, pid in pids.items():
        text = Path(f"/proc/{pid}/status").read_text()
        found[name] = int(re.search(r"VmRSS:\s+(\d+)", text)[1])
    return found
