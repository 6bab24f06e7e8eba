"""What the steps of one graph have given so far, and how others find it."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from fabric.core.errors import InvalidRequest
from fabric.pipelines.values import Missing, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.core.deadlines import Deadline
    from fabric.pipelines.compiling import Graph, Node, Place
    from fabric.pipelines.values import Value, Values


class Scope:
    """One run of one *graph*, begun with *values*, within the one *above*.

    Its steps have until *deadline*, and leave spans below the context *trace*. *item* says which of
    the items, or rounds, around it this is.
    """

    __slots__ = (
        "above",
        "deadline",
        "graph",
        "item",
        "items",
        "trace",
        "uses",
        "values",
        "waiting",
    )

    def __init__(
        self,
        graph: Graph,
        values: dict[str, Values | Missing],
        above: Scope | None,
        deadline: Deadline,
        trace: bytes,
        item: str = "",
    ) -> None:
        self.graph = graph
        self.values = values
        """What each giver has given, by its name."""
        self.above = above
        self.deadline = deadline
        self.trace = trace
        self.item = item
        self.items = frozenset(values) if above is not None else frozenset()
        """Givers whose values are held by others."""
        self.uses = dict(graph.uses)
        """How many still need what a giver gives."""
        self.waiting = list(graph.waiting)
        """For how many others each step still waits."""

    def within(self, deadline: Deadline, trace: bytes) -> Scope:
        """It, as the bodies of a step see it that have until *deadline*."""
        if deadline is self.deadline and trace == self.trace:
            return self
        seen = copy(self)
        seen.deadline, seen.trace = deadline, trace
        return seen

    def value(self, place: Place) -> Value:
        """Raises InvalidRequest where there is none of that name, or several and none is named."""
        scope = self
        for _ in range(place.up):
            assert scope.above is not None  # noqa: S101 - as it was compiled
            scope = scope.above
        given = scope.values[place.giver]
        if isinstance(given, Missing):
            return given
        if place.output:
            if place.output in given:
                return given[place.output]
        elif len(given) == 1:
            return next(iter(given.values()))
        names = ", ".join(given) or "nothing"
        wanted = f", and not '{place.output}'" if place.output else ": say which"
        raise InvalidRequest(f"step '{place.giver}' gives {names}{wanted}")

    def truth(self, place: Place) -> bool:
        """Whether the value is true; what is missing is not.

        Raises:
            InvalidRequest: it is not one element.
        """
        value = self.value(place)
        return not isinstance(value, Missing) and bool(element(value, place.giver))

    def inputs(self, node: Node) -> Values | Missing:
        """What *node* is given; missing where one is. Lists go without what is missing."""
        inputs: Values = {}
        for name, taken in node.inputs:
            value = self._list(taken.places) if taken.is_list else self.value(taken.places[0])
            if isinstance(value, Missing):
                return value
            inputs[name] = value
        return inputs

    def outputs(self) -> Values:
        return {name: self.value(place) for name, place in self.graph.outputs.items()}

    def path(self, item: str) -> str:
        """Which of all items *item* is, within this one."""
        return f"{self.item}/{item}" if self.item and item else self.item or item

    def _list(self, places: tuple[Place, ...]) -> Value:
        values: list[Value] = []
        for place in places:
            value = self.value(place)
            if isinstance(value, tuple):
                values += value
            elif not isinstance(value, Missing):
                values.append(value)
        return tuple(values)


def element(value: Value, giver: str) -> Any:
    """The only element of *value*. Raises InvalidRequest if it has none, or several."""
    if not isinstance(value, Tensor) or value.array.size != 1:
        raise InvalidRequest(f"'{giver}' decides, and so has one element; it is {value}")
    return value.array.item()


def tensors(values: Mapping[str, Value]) -> Mapping[str, Tensor]:
    """*values* for a call. Raises InvalidRequest if there is a list among them."""
    for name, value in values.items():
        if isinstance(value, tuple):
            raise InvalidRequest(f"input '{name}' is a list of {len(value)}: stack or concat it")
    return values  # type: ignore[return-value] # as was looked just now
