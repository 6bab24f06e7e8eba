"""How runs of pipelines went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """How one step went, once."""

    step: str
    item: str = ""
    """Which of the items or rounds around it, as `3` or `3/0`; empty where there are none."""
    started: float = 0.0
    """Seconds after the start of the run."""
    seconds: float = 0.0
    error: str = ""
    """Its reason; empty where there was none."""
    who: str = ""
    """Of a call: `name:version` of who answered."""
    attempts: int = 0
    """Of a call."""
    fallback: bool = False
    """Whether somebody else should have answered."""


@dataclass(frozen=True, kw_only=True)
class PipelineRun:
    """How one run of a pipeline went."""

    request: str
    """The id of the request that it was run for."""
    pipeline: str
    began: float = 0.0
    """In seconds since 1970."""
    seconds: float = 0.0
    error: str = ""
    """Its reason; empty where there was none."""
    steps: tuple[StepRun, ...] = ()
    """In the order of their ends; the first ones, where there are many."""


@dataclass(frozen=True, kw_only=True)
class StepProfile:
    """How the runs of one step went."""

    step: str
    does: str = ""
    """Whom it calls, or its kind."""
    runs: int = 0
    failures: int = 0
    mean: float = 0.0
    """Seconds of one run of the step."""
    p50: float | None = None
    """Seconds that half of the recent runs took at most."""
    p99: float | None = None
    """Seconds that 99 of 100 of them took at most."""
    share: float = 0.0
    """Of the time of the pipeline, where the pipeline waits for it: it is on the critical path."""
    waiting: float | None = None
    """Of the time that a call takes at the replicas, the share that it waits there to be run."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time of a pipeline goes."""

    pipeline: str
    runs: int = 0
    failures: int = 0
    mean: float = 0.0
    """Seconds."""
    p50: float | None = None
    p99: float | None = None
    steps: tuple[StepProfile, ...] = ()
    """As they are written, those of bodies behind the step that they are in."""
    advice: tuple[str, ...] = ()
    """What to scale, what matters most first."""
