"""Who is asked by a run of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fabric.core.pipelines import Step
from fabric.core.runs import StepRun
from fabric.pipelines.values import Tensor

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from fabric.core.deadlines import Deadline
    from fabric.pipelines.values import Values


@dataclass(slots=True, eq=False)
class Called:
    """Who is asked for what."""

    step: Step
    name: str
    """Of the specialist, route or pipeline; with `:version` where that is said."""
    inputs: Mapping[str, Tensor]
    trace: bytes
    """The trace context of the step, see `fabric.telemetry.pack`; empty where nobody traces."""
    who: str = ""
    """`name:version` of who answered; written by whoever asks,"""
    attempts: int = 0
    """as is how many it took,"""
    fallback: bool = False
    """whether somebody else should have,"""
    steps: Sequence[StepRun] = ()
    """and where that is a pipeline, how its own steps went."""


class Calls(Protocol):
    """Who answers the calls of one run."""

    def call(self, called: Called, deadline: Deadline) -> Coroutine[Any, Any, Values]:
        """The outputs of whom *called* names, who is written into it.

        Raises:
            FabricError: why there are none.
        """

    def rows(self, name: str) -> int:
        """Rows that one call of *name* may have at most; 0 for any number."""
