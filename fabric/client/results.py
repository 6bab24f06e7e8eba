"""What calls return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from fabric.catalog.declaring import Change
from fabric.core.changes import Resource as Resource
from fabric.core.decisions import Decision, Feedback, Outcome
from fabric.core.requests import Parameter
from fabric.core.routes import ChainEntry
from fabric.core.tensors import TensorSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer(Mapping[str, "NDArray[Any]"]):
    """The outputs of an inference, by name, and who gave them."""

    outputs: dict[str, NDArray[Any]]
    model: str
    """The name asked for."""
    specialist: str = ""
    version: str = ""
    route: str = ""
    """Empty when the specialist was called by its own name."""
    replica: str = ""
    confidence: float | None = None
    """How sure a cascade is of it, from 0 to 1."""
    mixture: tuple[str, ...] = ()
    """`name:version` of those who made it together, the heaviest first."""
    pipeline: str = ""
    """Where a pipeline has answered, which,"""
    steps: Mapping[str, str] = field(default_factory=dict)
    """and `name:version` of who answered each of its calls."""
    attempts: int = 1
    fallback: bool = False
    """Whether a candidate other than the first answered."""
    failed: str = ""
    """Why those who were asked before did not answer."""
    cached: bool = False
    """Whether it was made for an equal request before,"""
    age: float = 0.0
    """so many seconds ago."""
    id: str = ""
    request: str = ""
    """By which the decision who answers is remembered, for feedback and for `explain`; empty where
    none was made for this request alone."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """What else the specialist says of its answer."""

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True)
class Applied:
    changes: tuple[Change, ...]
    revision: int
    """The catalog's, afterwards."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One specialist that may answer."""

    specialist: str = ""
    version: str = ""
    reason: str = ""
    """Why it has its place."""
    replicas: int = 0
    """Those that the gateway has a link to."""
    cost: float = 0.0
    score: float = 0.0
    """What it is ranked by, from 0 to 1, where its route ranks its candidates,"""
    parts: Mapping[str, float] = field(default_factory=dict)
    """and the score of each scorer, of which that is the weighted mean."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One card that is no candidate, and why."""

    specialist: str = ""
    version: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The plan that a request would get now, or got, with what came of it."""

    model: str = ""
    route: str = ""
    candidates: tuple[Candidate, ...] = ()
    """In the order they are tried."""
    refusals: tuple[Refusal, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of each scorer, where the route ranks its candidates."""
    revision: int = 0
    decision: Decision | None = None
    """Of a request that got one,"""
    outcomes: tuple[Outcome, ...] = ()
    """how those who were asked did, in order,"""
    feedback: tuple[Feedback, ...] = ()
    """and what was said of it, unless the control plane is away."""
    given: tuple[ChainEntry, ...] = ()
    """The answers that nobody is asked for, where all candidates fail."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a training."""

    version: int = 0
    """Of the policy; 0 where none was made."""
    report: str = ""
    """What the training said, as JSON, or why there is no policy."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a specialist or a route takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    properties: Mapping[str, str]
