"""Load by h2load: so many requests in flight, each followed by the next, or so many a second."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.processes import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

_SERVICE = "/inference.GRPCInferenceService/"
PATH = f"{_SERVICE}ModelInfer"
READY = f"{_SERVICE}ServerReady"
_HEADERS = ("content-type: application/grpc", "te: trailers")
_FIRST = 4
"""Requests of each place in flight that give a first rate."""
_WARM_UP = 0.25
"""Of the time of a run, spent before it."""


@dataclass(frozen=True)
class Load:
    """So many requests in flight, over so many connections."""

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        return self.connections * self.streams

    def __str__(self) -> str:
        return f"c{self.in_flight}"


C1, C64 = Load(1, 1), Load(4, 16)
_MOST = Load(8, 256)
"""Requests in flight at a constant rate; beyond them requests wait and are late unnoticed."""


@dataclass(frozen=True)
class Run:
    """What came of one run."""

    rate: float
    """Requests per second."""
    seconds: np.ndarray = field(repr=False)
    """Of each request."""
    used: float
    """Seconds of processors that the generator took, per second."""

    @property
    def mean(self) -> float:
        return float(self.seconds.mean())

    def quantile(self, q: float) -> float:
        return float(np.quantile(self.seconds, q))


@dataclass(frozen=True)
class Target:
    """Whom to ask what; `least` is how large an answer is at least, which a refusal is not."""

    address: str
    body: Path
    least: int
    cores: frozenset[int] = frozenset()
    """Where the generator runs; empty for wherever there is room."""
    path: str = PATH


def run(target: Target, load: Load, seconds: float) -> Run:
    """A run of about so many seconds, after two short ones to warm up.

    Raises:
        Failed: not every request was answered with a result.
    """
    least = _FIRST * load.in_flight
    rate, _ = send(target, load, least)
    rate, _ = send(target, load, max(least, int(rate * seconds * _WARM_UP)))
    with tempfile.NamedTemporaryFile() as log:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        rate, elapsed = send(target, load, max(least, int(rate * seconds)), log.name)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = np.loadtxt(log.name, dtype=np.int64, usecols=2, ndmin=1) / 1e6
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(rate, took, used / elapsed)


def send(target: Target, load: Load, requests: int, log: str = "") -> tuple[float, float]:
    """Sends exactly so many requests; requests per second, and how many seconds it took."""
    return parsed(_sent(target, load, requests, log), requests, target.least)


def paced(target: Target, rate: float, seconds: float, timeout: str) -> tuple[np.ndarray, float]:
    """Sends so many requests a second, each with *timeout* as gRPC's.

    The seconds until each was answered in whatever way, and how long it took altogether.
    """
    requests = int(rate * seconds)
    with tempfile.NamedTemporaryFile() as log:
        more = ("--rps", f"{rate / _MOST.connections}", "-H", f"grpc-timeout: {timeout}")
        shown = _sent(target, _MOST, requests, log.name, *more)
        took = np.loadtxt(log.name, dtype=np.int64, usecols=2, ndmin=1) / 1e6
    return took, parsed(shown, requests, 0)[1]


def _sent(target: Target, load: Load, requests: int, log: str, *more: str) -> str:
    argv = ["h2load", "-n", str(requests), "-t", "1", "-d", str(target.body), *more]
    argv += ["-c", str(load.connections), "-m", str(load.streams)]
    argv += [word for header in _HEADERS for word in ("-H", header)]
    argv += [f"--log-file={log}"] if log else []
    if target.cores:
        argv = ["taskset", "-c", ",".join(map(str, target.cores)), *argv]
    return _shown([*argv, f"http://{target.address}{target.path}"])


def _shown(argv: Sequence[str]) -> str:
    if shutil.which("h2load") is None:
        raise Failed("h2load is not there: sudo apt-get install nghttp2-client")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"h2load failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def parsed(shown: str, requests: int, least: int) -> tuple[float, float]:
    """Requests per second and seconds, from what h2load has *shown*.

    It does not know gRPC: an error is to it an answer like any, but one without a body.

    Raises:
        Failed: not every request was answered with a result.
    """
    finished = re.search(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s", shown)
    succeeded = re.search(r"(\d+) succeeded", shown)
    data = re.search(r"\((\d+)\) data", shown)
    if not (finished and succeeded and data):
        raise Failed(f"h2load said what nobody expected: {shown.strip()[-500:]}")
    if int(succeeded[1]) < requests or int(data[1]) < requests * least:
        raise Failed(
            f"of {requests} requests {succeeded[1]} were answered, "
            f"in {data[1]} bytes where results take {requests * least}"
        )
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
    return float(finished[3]), float(finished[1]) * units[finished[2]]
