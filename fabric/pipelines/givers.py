"""Who gives values in a graph, and what is known of these before it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fabric.pipelines.types import Type, TypeProblem
from fabric.pipelines.wiring import instead

if TYPE_CHECKING:
    from fabric.core.pipelines import Reference


@dataclass(frozen=True, slots=True)
class Given:
    """What is known of a value."""

    type: Type
    missing: str = ""
    """Why it may be missing; empty where it is always there."""


@dataclass(slots=True)
class Outputs:
    """What a step gives, by name."""

    values: dict[str, Given] = field(default_factory=dict)
    others: Callable[[], Type] | None = None
    """Makes the type of whatever else it may give; None where that is nothing."""
    missing: str = ""
    """Why what it gives may be missing."""

    def find(self, reference: Reference) -> Given:
        """The output that is referred to.

        Raises:
            TypeProblem: there is no such output, or there are several and none is named.
        """
        name, step = reference.output, reference.giver
        if name in self.values:
            return self.values[name]
        if self.others is not None:
            found = self.values[name] = Given(self.others(), self.missing)
            return found
        if name:
            raise TypeProblem(f"step '{step}' gives no '{name}'{instead(name, self.values)}")
        if len(self.values) == 1:
            return next(iter(self.values.values()))
        names = ", ".join(self.values) or "nothing"
        raise TypeProblem(
            f"step '{step}' gives {names}: say which, as '{step}.{next(iter(self.values), 'x')}'"
        )


@dataclass(slots=True)
class Givers:
    """Those of a graph, and of those around it."""

    known: dict[str, Given | Outputs]
    above: Givers | None = None

    def find(self, name: str) -> Given | Outputs | None:
        found = self.known.get(name)
        return self.above.find(name) if found is None and self.above is not None else found

    @property
    def names(self) -> set[str]:
        return self.known.keys() | (set() if self.above is None else self.above.names)
