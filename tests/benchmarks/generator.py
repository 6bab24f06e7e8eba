"""Load of our own: at a constant rate, or so many in flight, by requests that need not be equal.

At a constant rate a request's time counts from when it was to be sent. A server that stalls, or a
generator that is late, so shows in the times of all the requests that should have been sent
meanwhile, and is not omitted ("coordinated omission").
"""

from __future__ import annotations

import contextlib
import gc
import select
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tests.benchmarks.h2load import PATH
from tests.benchmarks.http2 import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECTIONS = 8
GRACE = 2.0
"""Seconds after the last request for the answers that are still to come."""
_LONGEST_WAIT = 0.05
UNANSWERED = -1


@dataclass(frozen=True)
class Answers:
    """What came of each request, in the order in which they were to be sent."""

    intended: np.ndarray = field(repr=False)
    """Seconds from the start at which each was to be sent."""
    begun: np.ndarray = field(repr=False)
    """The same at which each was sent."""
    ended: np.ndarray = field(repr=False)
    """The same at which each was answered; infinite for those that were not."""
    statuses: np.ndarray = field(repr=False)
    """gRPC's, or UNANSWERED."""

    @property
    def ok(self) -> np.ndarray:
        return self.statuses == 0

    @property
    def seconds(self) -> np.ndarray:
        """From when each was to be sent until it was answered."""
        return self.ended - self.intended

    @property
    def rate(self) -> float:
        """Answered with a result, per second."""
        return float(self.ok.sum() / self.ended[self.ok].max(initial=1e-9))

    @property
    def lag(self) -> float:
        """The 99th percentile of how late the generator itself was."""
        return float(np.quantile(self.begun - self.intended, 0.99))

    def quantile(self, q: float) -> float:
        """Of the times until a result; one that never came is infinitely late."""
        taken = np.where(self.ok, self.seconds, np.inf)
        return float(np.quantile(taken, q, method="higher"))

    def in_time(self, limit: float) -> float:
        """Results within *limit* seconds, per second in which requests were sent."""
        return self._per_second(self.ok & (self.seconds <= limit))

    def late(self, limit: float) -> float:
        """Results after *limit* seconds, and requests without any answer, per second."""
        none = self.statuses == UNANSWERED
        return self._per_second(none | (self.ok & (self.seconds > limit)))

    def refused(self) -> dict[int, float]:
        """Answered with an error, per second in which requests were sent, by status."""
        statuses = np.unique(self.statuses[self.statuses > 0])
        return {int(status): self._per_second(self.statuses == status) for status in statuses}

    def refusal(self, q: float) -> float:
        """A quantile of the times until a refusal; 0 if there was none."""
        taken = self.seconds[self.statuses > 0]
        return float(np.quantile(taken, q)) if len(taken) else 0.0

    def _per_second(self, which: np.ndarray) -> float:
        return float(which.sum() / max(float(self.intended[-1]), 1e-9))


class Schedule(Protocol):
    """When requests are to be sent, in seconds from the start."""

    seconds: float
    """When the last is sent."""

    def intended(self, number: int, now: float) -> float:
        """When the request *number* was to be sent, which is due now."""

    def due(self, now: float, begun: int, ended: int) -> int:
        """How many more are to be sent now."""

    def next(self, begun: int) -> float:
        """When the next is due, if that is known."""


@dataclass(frozen=True)
class Constant:
    """Every request at its time, whatever came of those before it."""

    rate: float
    seconds: float

    def intended(self, number: int, now: float) -> float:
        return number / self.rate

    def due(self, now: float, begun: int, ended: int) -> int:
        return int(min(now, self.seconds) * self.rate) + 1 - begun

    def next(self, begun: int) -> float:
        return begun / self.rate


@dataclass(frozen=True)
class Full:
    """Always so many in flight."""

    in_flight: int
    seconds: float

    def intended(self, number: int, now: float) -> float:
        return now

    def due(self, now: float, begun: int, ended: int) -> int:
        return self.in_flight - (begun - ended) if now < self.seconds else 0

    def next(self, begun: int) -> float:
        return _LONGEST_WAIT + self.seconds


def generate(
    address: str, bodies: Sequence[bytes], schedule: Schedule, timeout: str = ""
) -> Answers:
    """Sends *bodies* in turn as *schedule* says; *timeout* is what `grpc-timeout` says.

    Raises:
        Failed: the server closed a connection.
    """
    count = min(CONNECTIONS, getattr(schedule, "in_flight", CONNECTIONS))
    made = [Connection(address, PATH, bodies, timeout) for _ in range(count)]
    try:
        with _undisturbed():
            return _generate(made, schedule)
    finally:
        for connection in made:
            connection.close()


def _generate(connections: Sequence[Connection], schedule: Schedule) -> Answers:
    """One loop without an event loop: select alone waits for less than a millisecond."""
    intended: list[float] = []
    sent: list[float] = []
    ended: dict[int, tuple[float, int]] = {}
    start = time.perf_counter()
    while True:
        now = time.perf_counter() - start
        begun = len(intended)
        for number in range(begun, begun + schedule.due(now, begun, len(ended))):
            connections[number % len(connections)].begin(number)
            intended.append(schedule.intended(number, now))
            sent.append(now)
        for connection in connections:
            connection.flush()
        is_over = now > schedule.seconds and len(ended) == len(intended)
        if is_over or now > schedule.seconds + GRACE:
            return _answers(intended, sent, ended)
        wait = schedule.next(len(intended)) - (time.perf_counter() - start)
        if now > schedule.seconds:
            wait = _LONGEST_WAIT
        blocked = [connection for connection in connections if connection.wants_to_write]
        readable, _, _ = select.select(connections, blocked, (), min(max(wait, 0.0), _LONGEST_WAIT))
        for connection in readable:
            answered = connection.receive()
            at = time.perf_counter() - start
            for number, status in answered:
                ended[number] = (at, status)


def _answers(intended: list[float], begun: list[float], ended: dict) -> Answers:
    never = (np.inf, UNANSWERED)
    pairs = [ended.get(number, never) for number in range(len(intended))]
    at, statuses = zip(*pairs, strict=True)
    return Answers(np.array(intended), np.array(begun), np.array(at), np.array(statuses))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection, and waits that end when they should."""
    with contextlib.suppress(OSError):  # 50 microseconds late by default
        Path("/proc/self/timerslack_ns").write_text("1000")
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
