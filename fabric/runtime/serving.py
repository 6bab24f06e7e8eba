"""From a call on a link to its answer: decoded, run, encoded."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

from fabric import telemetry
from fabric.core.errors import Cancelled, FabricError, Internal, SpecialistFailed
from fabric.link.frames import DEFAULT_LIMITS, Limits
from fabric.link.server import StreamCall
from fabric.runtime.checks import check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.trace import Span

    from fabric.core.cards import Check
    from fabric.core.deadlines import Clock
    from fabric.core.tensors import Tensors
    from fabric.link.server import Call
    from fabric.runtime.jobs import Runner
    from fabric.wire.codec import Codec
    from fabric.wire.kinds import Inputs

log = logging.getLogger(__name__)


class Serving:
    """The handler of a replica's links."""

    def __init__(
        self,
        codec: Codec,
        runner: Runner,
        timeout: float,
        attributes: dict[str, str],
        checks: Sequence[Check] = (),
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock = time.monotonic,
    ) -> None:
        self.codec = codec
        self.runner = runner
        self.timeout = timeout
        """Seconds for one request, its wait included."""
        self.attributes = attributes
        """Of every span."""
        self.checks = checks
        self.limits = limits
        self.clock = clock

    def handle(self, call: Call) -> None:
        request = StreamRequest(self, call) if isinstance(call, StreamCall) else Request(self, call)
        try:
            self.runner.admit(request)  # a request that finds no room is not worth decoding
            request.inputs = self.codec.decode(call.payload)
            self.runner.submit(request)
        except FabricError as error:
            request.fail(error)
        except Exception as error:  # noqa: BLE001 - logged, and told to the caller by number
            request.fail(internal(error))

    def statistics(self) -> bytes:
        names = self.attributes
        statistics = self.runner.statistics.message(
            names[telemetry.SPECIALIST], names[telemetry.VERSION], self.clock
        )
        return statistics.SerializeToString()


class Request:
    """One call; once it has its inputs, a `Job` for the runner."""

    __slots__ = ("_call", "_serving", "_span", "arrived", "expires", "inputs", "size")

    inputs: Inputs

    def __init__(self, serving: Serving, call: Call) -> None:
        self.arrived = now = serving.clock()
        self.expires = min(call.expires, now + serving.timeout)
        self.size = len(call.payload)
        self._serving = serving
        self._call = call
        self._span: Span | None = None
        if telemetry.is_recorded(call.trace):
            self._span = telemetry.start(
                telemetry.REPLICA_SPAN, call.trace, serving.attributes, telemetry.SERVER
            )
            call.on_cancel = self._left

    @property
    def is_gone(self) -> bool:
        return self._call.is_cancelled

    def done(self, outputs: Tensors, rows: int) -> bool:
        if self._call.is_cancelled:
            return False
        if self._span is not None:
            self._span.set_attribute(telemetry.BATCH_ROWS, rows)
        try:
            parts = self._encoded(outputs)
        except FabricError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - logged, and told to the caller by number
            self.fail(internal(error))
        else:
            self._call.respond(*parts)
            if self._span is not None:
                telemetry.end(self._span)
            return True
        return False

    def _encoded(self, outputs: Tensors) -> Sequence[bytes | memoryview]:
        if self._serving.checks:
            check_outputs(self._serving.checks, outputs)
        parts = self._serving.codec.parts(self.inputs, outputs)
        size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        if size > self._serving.limits.max_frame_bytes:
            raise SpecialistFailed(
                f"the response has {size} bytes, "
                f"{self._serving.limits.max_frame_bytes} fit: ask for fewer outputs or rows"
            )
        return parts

    def fail(self, error: FabricError) -> None:
        if self._call.is_cancelled:
            return
        self._call.fail(error)
        if self._span is not None:
            telemetry.end(self._span, error)

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self._span is None:
            self._call.on_cancel = callback
            return

        def left() -> None:
            self._left()
            callback()

        self._call.on_cancel = left

    def _left(self) -> None:
        if self._span is not None:
            telemetry.end(self._span, Cancelled("the caller left"))


class StreamRequest(Request):
    """A call that takes any number of answers; once it has its inputs, a `StreamJob`."""

    __slots__ = ()

    _call: StreamCall

    def send(self, outputs: Tensors) -> None:
        self._call.send(*self._encoded(outputs))

    async def has_room(self) -> None:
        await self._call.has_room()

    def end(self) -> None:
        self._call.respond(b"")
        if self._span is not None:
            telemetry.end(self._span)


def internal(error: Exception) -> Internal:
    """What a caller is told of an error that nobody expected; the log has the rest."""
    number = uuid.uuid4().hex[:12]
    log.error("unexpected error %s", number, exc_info=error)
    return Internal(f"unexpected error {number}, see the log of the replica")
