"""A request on its way through a fabric, and its answer. Made per request: plain and small."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric.core.plans import Attempt, Candidate, Plan
from fabric.core.routes import Requirements

Parameter = bool | int | float | str
Parameters = Mapping[str, Parameter]
"""Parameters of the Open Inference Protocol, on requests and on answers."""


@dataclass(slots=True, eq=False)
class Content:
    """What a request asks for, whoever asks whom."""

    digest: bytes
    """Requests with equal ones have equal answers; empty where there is no other like it."""
    id: str = ""
    """The caller's own, which the answer has to have."""
    priority: int = 0
    patience: float = math.inf
    """Seconds that it may wait to be run."""


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
    """and the candidate to ask first: those before it are busy for too long."""
    passed: Sequence[tuple[Candidate, str]] = ()
    """Those before it that may not be asked, and why, where they are not busy."""
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
    tenant: str = ""
    """Who asks; empty where nobody says."""
    keep: float = 0.0
    """Seconds for which its answer may be given again, also where the card says nothing of it."""
    priority: int = 0
    """1 goes first; 0 if the caller names none."""
    content: Content | None = None
    """Read where its answer may be kept, see `fabric.wire.digests`."""


@dataclass(slots=True, eq=False)
class Reused:
    """How a response that was made for another request is given to this one."""

    age: float
    """Seconds since it was made."""
    id: str
    """That the answer has to have, instead of the other request's."""


@dataclass(slots=True, eq=False)
class InferResponse:
    payload: bytes | memoryview
    """The `ModelInferResponse` message of the specialist."""
    replica: str
    """The id of the replica that answered; empty if a replica is not what answered."""
    is_last: bool = True
    """Whether it is the last one of its request; that of a stream may be empty."""
    reused: Reused | None = None
    """Set where another request was what it was made for."""


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
