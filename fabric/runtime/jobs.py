"""Requests on their way through a replica, and what runs them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fabric.core.errors import DeadlineExceeded, FabricError, SpecialistFailed, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.core.cards import Batching
    from fabric.core.tensors import Tensors
    from fabric.runtime.load import LoadMeter
    from fabric.runtime.statistics import Statistics
    from fabric.wire.kinds import Inputs

log = logging.getLogger(__name__)


class Job(Protocol):
    """One request. It is answered once, by `done` or `fail`; when it is gone, nobody hears it."""

    inputs: Inputs
    expires: float
    """On the runner's clock; `math.inf` for never."""
    arrived: float
    """When it came, on the same clock."""
    size: int
    """Bytes that it holds while it waits."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def done(self, outputs: Tensors, rows: int) -> bool:
        """Answers with *outputs*, which come from a run of *rows* rows; False if it fails so."""

    def fail(self, error: FabricError) -> None: ...

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Calls *callback* when nobody waits any more."""


@runtime_checkable
class StreamJob(Job, Protocol):
    """A request that takes any number of answers; ended by `done` with a last one, or by `end`."""

    def send(self, outputs: Tensors) -> None:
        """Gives *outputs*, behind which others follow.

        Raises:
            SpecialistFailed: they are not what the signature says.
        """

    async def has_room(self) -> None:
        """Returns when the caller has room for one more answer."""

    def end(self) -> None:
        """There are no more answers."""


class Runner(Protocol):
    """Takes jobs and sees to it that each is answered."""

    meter: LoadMeter
    statistics: Statistics

    @property
    def queued(self) -> int:
        """Jobs that wait to be run."""

    def admit(self, job: Job) -> None:
        """Lets *job* in, which may lack its inputs still.

        Raises:
            Overloaded: there is no room for it, or no time until it expires.
            Unavailable: after `close`.
        """

    def submit(self, job: Job) -> None:
        """Takes *job*, which was let in just now; raises what `admit` raises."""

    def reconfigure(self, batching: Batching) -> None:
        """Holds for jobs that have not begun."""

    async def close(self) -> None:
        """Returns when nothing runs any more; jobs that had not begun have failed."""


def lateness(job: Job, now: float) -> FabricError | None:
    """What *job* is told if it has waited for too long to be run; None if it may still be."""
    if job.expires <= now:
        return DeadlineExceeded("Request timeout expired before the request was run")
    if job.arrived + job.inputs.patience <= now:
        return Unavailable("Request timeout expired")
    return None


def failure(error: Exception) -> FabricError:
    """What the caller is told of *error*, which a specialist raised."""
    if isinstance(error, FabricError):
        return error
    return SpecialistFailed(f"the specialist failed: {type(error).__name__}: {error}")


def settle(job: Job, answer: Tensors | FabricError, rows: int = 0) -> bool:
    """Gives *job* its *answer*; whether that is one, and no failure.

    One that cannot be given is logged: others wait for theirs.
    """
    try:
        if not isinstance(answer, FabricError):
            return job.done(answer, rows)
        job.fail(answer)
    except Exception:
        log.exception("a request could not be answered")
    return False
