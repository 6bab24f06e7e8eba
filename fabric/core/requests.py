"""A request on its way through a fabric, and its answer. Made per request: plain and small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric.core.plans import Attempt, Plan
from fabric.core.routes import Requirements

Parameter = bool | int | float | str
Parameters = Mapping[str, Parameter]
"""Parameters of the Open Inference Protocol, on requests and on answers."""


@dataclass(slots=True, eq=False)
class InferRequest:
    model: str
    version: str
    payload: bytes
    """The `ModelInferRequest` message as it came; only the ends of the path parse its tensors."""
    requirements: Requirements | None = None
    """What the caller asks for beyond the route's own requirements."""
    substitute: bool = True
    """Whether a candidate other than the first may answer."""
    idempotent: bool = True
    """Whether nothing is lost if a model answers it twice."""
    trace: bytes = b""
    """W3C trace context, see `fabric.telemetry.pack`; empty when nobody traces."""
    plan: Plan | None = None
    """By which it was admitted, if it was,"""
    place: int = 0
    """and the candidate to ask first."""
    passed: Mapping[int, str] | None = None
    """Who before it is not asked, by index: what speaks against it, or empty where it is busy."""
    insists: bool = False
    """Nobody else is left to answer: whoever may is asked, however often it has failed."""
    avoid: frozenset[str] = frozenset()
    """Ids of replicas that failed this request already."""
    sequence: str = ""
    """The `sequence_id`, if the request belongs to a sequence."""
    starts: bool = False
    """It is the first of its sequence."""
    ends: bool = False
    """It is the last of its sequence."""
    replica: str = ""
    """The id of the replica that has to answer; empty if any of the specialist may."""
    asked: str = ""
    """The id of the replica that was asked last."""
    request: str = ""
    """Its id, where its outcomes are kept."""
    shadow: str = ""
    """`name:version` of the candidate that is given it too, after somebody else has answered."""


@dataclass(slots=True, eq=False)
class InferResponse:
    payload: bytes | memoryview
    """The `ModelInferResponse` message of the specialist."""
    replica: str
    """The id of the replica that answered; empty if a replica is not what answered."""
    is_last: bool = True
    """Whether it is the last one of its request; that of a stream may be empty."""


@dataclass(slots=True, eq=False)
class Answer:
    """A response and who gave it."""

    response: InferResponse
    specialist: str
    version: str
    route: str
    fallback: bool
    """Whether somebody else should have answered, and failed or had no time. Asking the next one
    of a cascade, since one was not sure, is no failure."""
    attempts: Sequence[Attempt] = ()
    """All attempts but the one that answered, which in a mixture is that of the heaviest."""
    confidence: float | None = None
    """How sure it is, calibrated where that is known, by the measure of the route's cascade, or
    where the surest of a mixture answered."""
    mixture: tuple[str, ...] = ()
    """`name:version` of those whose answers it was made from, the heaviest first."""
