"""What dispatch asks of those around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fabric.core.requests import InferResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container

    from fabric.core.cards import Card
    from fabric.core.deadlines import Deadline
    from fabric.core.errors import FabricError
    from fabric.core.plans import Candidate, Plan
    from fabric.core.requests import InferRequest
    from fabric.core.routes import ChainEntry
    from fabric.core.tensors import Tensors


class Invoker(Protocol):
    """Anything that can answer."""

    @property
    def ill(self) -> Container[str]:
        """The keys of specialists that there may be an objection to."""

    def promises(self, card: Card, seconds: float, tenant: str = "", priority: int = 0) -> bool:
        """Whether the specialist with *card* may answer a further request of *tenant* within
        *seconds*, which then comes in this turn of the event loop or the next."""

    def usual(self, card: Card, quantile: float) -> float | None:
        """Seconds within which that share of the recent answers of the specialist with *card* came;
        None if there are none."""

    def others(self, card: Card, avoid: frozenset[str]) -> bool:
        """Whether the specialist with *card* has a replica that is not one to *avoid*."""

    def objection(self, card: Card) -> str:
        """Why the specialist with *card* should not be asked while others may answer; empty if it
        may be. A request that does not insist is then refused at once, as unavailable."""

    async def infer(self, card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
        """The response of the specialist with *card*; *request* says whom it has `asked`.

        Raises:
            FabricError: as `fabric.core.errors` says; `replica` is set if one was reached.
        """

    def stream(
        self, card: Card, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[InferResponse, None]:
        """The responses of the specialist with *card* as they come, the last one marked.

        Raises what `infer` raises, after any number of responses.
        """


class Observe(Protocol):
    """Is told of each attempt at a request that has an id, at once and on the event loop."""

    def __call__(
        self,
        request: InferRequest,
        candidate: Candidate,
        response: InferResponse | None,
        error: FabricError | None,
        seconds: float,
        *,
        is_shadow: bool,
    ) -> None:
        """*candidate* has given *response*, the first one of a stream, or failed with *error*.

        Must be quick, and must not raise. What nobody waited for any more is not told of.
        """


class Outputs(Protocol):
    """The tensors in the responses of specialists, which nobody else here looks into."""

    def read(self, payload: bytes | memoryview) -> Tensors:
        """The outputs in a response, by name and in their order.

        Raises:
            FabricError: the response is not valid.
        """

    def write(self, payload: bytes | memoryview, tensors: Tensors) -> bytes:
        """The response with these *tensors* instead of its outputs of the same names, datatypes
        and shapes."""


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that is there without anybody being asked."""

    response: InferResponse
    specialist: str
    """Who gave it; `static` if it was written."""
    version: str = ""


class Gives(Protocol):
    """Has answers that nobody is asked for."""

    def given(self, entry: ChainEntry, plan: Plan, request: InferRequest) -> Given | None:
        """The answer that *entry* of the chain of *plan* leads to, if there is one."""


Ask = Callable[["Card", "InferRequest", "Deadline"], Awaitable["InferResponse"]]
"""How a candidate is asked; gives its response, or its first."""
Attempting = Callable[["Candidate", "InferRequest", "Deadline"], Awaitable["InferResponse"]]
"""How one candidate is tried, within its own timeout."""
