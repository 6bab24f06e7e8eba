"""Pipelines made ready to run, as far as what they call is known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest, NotFound, Unavailable
from fabric.core.pipelines import Pipeline
from fabric.core.tensors import Signature
from fabric.link.latencies import Latencies
from fabric.pipelines.checking import Callee, check
from fabric.pipelines.compiling import Graph, compiled
from fabric.wire.codec import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.pipelines.running import Run

    Find = Callable[[str], Callee | None]


@dataclass(slots=True)
class StepTally:
    """How the runs of one step went."""

    runs: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Of all runs together,"""
    failing: float = 0.0
    """and of those that failed."""
    last: float = 0.0
    """When one succeeded last, on the monotonic clock."""
    latencies: Latencies = field(default_factory=Latencies)


class Tally:
    """How the runs of one pipeline went, and those of its steps."""

    def __init__(self) -> None:
        self.whole = StepTally()
        self.steps: dict[str, StepTally] = {}

    def add(self, run: Run) -> None:
        """*run* has ended."""
        _add(self.whole, run.seconds, run.error)
        for each in run.steps:
            if "/" in each.step:
                continue  # it is another pipeline's
            tally = self.steps.get(each.step)
            if tally is None:
                tally = self.steps[each.step] = StepTally()
            _add(tally, each.seconds, each.error)


def _repeating(callees: Mapping[str, Callee | None]) -> set[str]:
    """Those that give equal answers to equal requests."""
    return {
        name
        for name, each in callees.items()
        if each is not None and each.signature is not None and not each.signature.random
    }


def _add(tally: StepTally, seconds: float, reason: str) -> None:
    tally.runs += 1
    tally.failures += bool(reason)
    tally.seconds += seconds
    if reason:
        tally.failing += seconds
    else:
        tally.last = time.monotonic()
    tally.latencies.add(seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A pipeline whose values fit together."""

    pipeline: Pipeline
    graph: Graph
    signature: Signature
    codec: Codec
    datatypes: Mapping[str, str]
    """Of its inputs."""
    tally: Tally


class Preparing:
    """Prepares *pipelines* when they are asked for, and again when what they call has changed."""

    def __init__(self, pipelines: Mapping[str, Pipeline], find: Find) -> None:
        self._pipelines = pipelines
        self._find = find
        self._prepared: dict[str, Prepared | InvalidRequest | Unavailable] = {}
        self._seen: dict[str, tuple[Pipeline, Mapping[str, Callee | None]]] = {}
        self._doubtful: set[str] = set()
        """Those whose callees may have changed since they were looked at."""

    def changed(self) -> None:
        """Something in the catalog has."""
        self._doubtful = set(self._pipelines)
        for name in self._prepared.keys() - self._pipelines.keys():
            del self._prepared[name], self._seen[name]

    def of(self, name: str) -> Prepared:
        """The pipeline *name*, ready to run.

        Raises:
            NotFound: there is none.
            InvalidRequest: its values do not fit together.
            Unavailable: it is unloaded, or what it calls is not known yet.
        """
        found = self._prepared.get(name)
        if found is None or name in self._doubtful:
            found = self._prepared[name] = self._looked_at(name)
            self._doubtful.discard(name)
        if isinstance(found, Prepared):
            return found
        raise type(found)(found.message)

    def _looked_at(self, name: str) -> Prepared | InvalidRequest | Unavailable:
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        if not pipeline.loaded:
            self._seen[name] = (pipeline, {})
            return Unavailable(f"pipeline '{name}' is unloaded: load it first")
        callees = {each: self._find(each) for each in pipeline.calls}
        before = self._prepared.get(name)
        if before is not None and self._seen[name] == (pipeline, callees):
            return before
        self._seen[name] = (pipeline, callees)
        checked = check(pipeline, callees.get)
        if checked.problems:
            first = checked.problems[0]
            return InvalidRequest(f"pipeline '{name}', {first}")
        for each, is_needed in pipeline.calls.items():
            callee = callees[each]
            if is_needed and (callee is None or callee.signature is None):
                return Unavailable(f"pipeline '{name}' is not ready: '{each}' is not known yet")
        if (signature := checked.signature) is None:
            return Unavailable(f"pipeline '{name}' is not ready: not all that it calls is known")
        return Prepared(
            pipeline,
            compiled(pipeline, checked.types, _repeating(callees)),
            signature,
            Codec(signature, name, "", lends=True),
            {spec.name: spec.datatype for spec in signature.inputs},
            before.tally if isinstance(before, Prepared) else Tally(),
        )
