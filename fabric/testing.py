"""For tests of fabric and of what is built on it: fakes with the behaviour of the real thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.core.cards import Card, Hosting, Model, Specialist, Timeouts
from fabric.core.requests import InferRequest, InferResponse
from fabric.routing.planner import Known, Planner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.deadlines import Deadline
    from fabric.core.plans import Route


class ManualClock:
    """A clock that stands still until it is told to move; call it for the time in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeInvoker:
    """Answers as it is told, by name of the specialist, and remembers who was asked.

    `answers[name]` is a response, an error to raise, or a list of these for one call each; a
    specialist without any answers with its own name.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Deadline, frozenset[str]]] = []

    async def infer(self, card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
        self.asked.append((card.name, deadline, request.avoid))
        answer = self.answers.get(card.name.replace("-", "_"), card.name.encode())
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return InferResponse(answer, f"{card.name}/0")


def specialist(name: str, version: str = "1", timeout: float = 30.0, **card: Any) -> Specialist:
    """A specialist that is declared and never run."""
    return Specialist(
        card=Card(name=name, version=version, **card),
        hosting=Hosting(model=Model(uri=f"{name}.onnx"), timeouts=Timeouts(request=timeout)),
    )


def planner(specialists: Iterable[Specialist] = (), routes: Iterable[Route] = ()) -> Planner:
    """A planner of *specialists*, of which later ones of a name are the latest, and *routes*."""
    by_name = {s.card.name: s for s in specialists}
    by_key = {s.key: s for s in specialists}
    known = Known(
        {route.name: route for route in routes},
        lambda name, version: by_key.get(f"{name}:{version}") if version else by_name.get(name),
    )
    return Planner(lambda: known)
