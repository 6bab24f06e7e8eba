"""A pipeline made ready to run: who waits for whom, and who is the last to need a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fabric.core.pipelines import Reference, Step
from fabric.core.tensors import DTYPES
from fabric.pipelines.operations import OPERATIONS
from fabric.pipelines.types import TensorType, Unknown, datatype_of, settled, sizes_of
from fabric.pipelines.values import Tensor, Values
from fabric.pipelines.wiring import ordered, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from fabric.core.pipelines import Body, Pipeline
    from fabric.pipelines.types import Type
    from fabric.pipelines.values import Value

    Operate = Callable[[Mapping[str, Value]], Values]


_GATHERING = frozenset(("concat", "stack", "pad"))
"""Operations that make a tensor of any number of values, also of none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is found: in so many graphs *up*, as an output of *giver*."""

    up: int
    giver: str
    output: str
    """Empty for the only one."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What an input of a step is given."""

    places: tuple[Place, ...]
    is_list: bool


@dataclass(slots=True, eq=False)
class Node:
    """A step of a graph."""

    step: Step
    number: int
    """Within its graph."""
    inputs: tuple[tuple[str, Taken], ...]
    refers: Mapping[str, Place]
    """What else the step itself refers to, by the reference."""
    bodies: Mapping[str, Graph]
    operate: Operate | None = None
    empty: Values | None = None
    """What it makes of an empty list, where that is known."""
    constant: Values | None = None
    twin: str = ""
    """The step that makes the same call, and whose outputs are those of this one, too."""
    needs: tuple[str, ...] = ()
    """Givers of this graph that it, or a body of it, refers to."""
    followers: list[Node] = field(default_factory=list)
    """Those that need it."""


@dataclass(slots=True, eq=False)
class Graph:
    """The steps of a pipeline, or of a body, that are needed for its outputs."""

    nodes: tuple[Node, ...]
    """In an order in which they could run."""
    first: tuple[Node, ...]
    """Those that wait for nobody."""
    waiting: tuple[int, ...]
    """For how many others each waits."""
    is_line: bool
    """Whether there is never more than one to run."""
    outputs: Mapping[str, Place]
    uses: Mapping[str, int]
    """How many need what a giver gives, the outputs included."""
    outer: frozenset[tuple[int, str]]
    """Givers beyond this graph that it refers to, as how far up they are, and their names."""


def compiled(pipeline: Pipeline, types: Mapping[str, Type], repeats: Container[str] = ()) -> Graph:
    """The graph of a *pipeline* that has been checked, and whose values have *types*.

    Whoever is in *repeats* gives equal answers to equal inputs: of calls alike one is made.
    """
    outputs = {output.name: output.source for output in pipeline.outputs}
    inputs = [each.name for each in pipeline.inputs]
    return _graph(pipeline.steps, outputs, inputs, (), _Known(types, repeats))


class _Known(NamedTuple):
    """What is known of a pipeline."""

    types: Mapping[str, Type]
    repeats: Container[str]


def _graph(
    steps: Sequence[Step],
    outputs: Mapping[str, str],
    items: Iterable[str],
    around: tuple[frozenset[str], ...],
    known: _Known,
) -> Graph:
    """The graph of *steps* and *items*, within those that give what is *around*, inmost first."""
    scopes = (frozenset((*items, *(step.name for step in steps))), *around)

    def place(text: str) -> Place:
        reference = Reference.of(text)
        up = next(up for up, names in enumerate(scopes) if reference.giver in names)
        return Place(up, reference.giver, reference.output)

    given = {name: place(text) for name, text in outputs.items()}
    all_nodes = {step.name: _node(step, place, scopes, known) for step in steps}
    waits = {name: node.needs for name, node in all_nodes.items()}
    wanted = reached(waits, [each.giver for each in given.values() if not each.up])
    names, _ = ordered({name: needs for name, needs in waits.items() if name in wanted})
    nodes = [all_nodes[name] for name in names]
    _pair(nodes, known.repeats)
    uses: dict[str, int] = {}
    for giver in (
        *(each for node in nodes for each in node.needs),
        *(each.giver for each in given.values() if not each.up),
    ):
        uses[giver] = uses.get(giver, 0) + 1
    waiting = []
    for number, node in enumerate(nodes):
        node.number = number
        before = [all_nodes[name] for name in node.needs if name in all_nodes]
        for each in before:
            each.followers.append(node)
        waiting.append(len(before))
    outer = {
        *((each.up - 1, each.giver) for each in given.values() if each.up),
        *((up - 1, giver) for node in nodes for up, giver in _far(node)),
    }
    return Graph(
        tuple(nodes),
        tuple(node for node, count in zip(nodes, waiting, strict=True) if not count),
        tuple(waiting),
        _is_line(nodes, waiting),
        given,
        uses,
        frozenset(outer),
    )


def _node(
    step: Step,
    place: Callable[[str], Place],
    scopes: tuple[frozenset[str], ...],
    known: _Known,
) -> Node:
    inputs = tuple(
        (name, Taken(tuple(map(place, source.values)), source.is_list))
        for name, source in step.inputs.items()
    )
    items: tuple[str, ...] = ()
    refers: list[str] = [step.when] if step.when else []
    if step.branch is not None:
        refers.append(step.branch.on)
    elif step.each is not None:
        items = tuple(step.each.over)
        refers += step.each.over.values()
    elif step.loop is not None:
        items = tuple(step.loop.state)
        refers += step.loop.state.values()
    node = Node(
        step,
        0,
        inputs,
        {text: place(text) for text in refers},
        {name: _body(body, items, scopes, known) for name, body in step.bodies.items()},
    )
    if step.operation:
        node.operate = OPERATIONS[step.operation].bind(step.arguments)
        if step.operation in _GATHERING:
            node.empty = _empty(step.name, OPERATIONS[step.operation].outputs, known.types)
    elif step.constant is not None:
        value = step.constant
        node.constant = {value.name: Tensor.of(value.array, value.datatype)}
    near = [each.giver for _, taken in inputs for each in taken.places if not each.up]
    near += [each.giver for each in node.refers.values() if not each.up]
    near += [giver for body in node.bodies.values() for up, giver in body.outer if not up]
    node.needs = tuple(dict.fromkeys(near))
    return node


def _body(
    body: Body,
    items: Iterable[str],
    scopes: tuple[frozenset[str], ...],
    known: _Known,
) -> Graph:
    return _graph(body.steps, body.outputs, items, scopes, known)


def _empty(step: str, outputs: Iterable[str], types: Mapping[str, Type]) -> Values | None:
    """Tensors of no elements for the *outputs* of *step*; None where their types are not known."""
    made: Values = {}
    for output in outputs:
        type_ = settled(types.get(f"{step}.{output}", Unknown()))
        if not isinstance(type_, TensorType):
            return None
        datatype, sizes = datatype_of(type_), sizes_of(type_)
        if not datatype or sizes is None:
            return None
        shape = tuple(size if isinstance(size, int) else 0 for size in sizes)
        made[output] = Tensor.of(np.zeros(shape, DTYPES[datatype]), datatype)
    return made


def _pair(nodes: Sequence[Node], repeats: Container[str]) -> None:
    """Tells calls among *nodes* that others make before them, whose twins they are."""
    seen: dict[object, str] = {}
    same: dict[str, str] = {}
    for node in nodes:
        step = node.step
        if not step.call or any(name not in repeats for name in (step.call, *step.fallback)):
            continue
        inputs = frozenset(
            (name, taken.is_list, tuple(_named(each, same) for each in taken.places))
            for name, taken in node.inputs
        )
        terms = (step.tries, step.timeout, step.share, step.cache, step.when, step.optional)
        alike = (step.call, step.fallback, step.requirements, terms, inputs)
        first = seen.setdefault(alike, step.name)
        if first != step.name:
            same[step.name] = node.twin = first
            node.inputs, node.needs = (), (first,)


def _named(place: Place, same: Mapping[str, str]) -> Place:
    return place if place.up else replace(place, giver=same.get(place.giver, place.giver))


def _far(node: Node) -> Iterable[tuple[int, str]]:
    """Givers beyond its graph that *node* refers to."""
    places = [*(each for _, taken in node.inputs for each in taken.places), *node.refers.values()]
    for each in places:
        if each.up:
            yield each.up, each.giver
    for body in node.bodies.values():
        for up, giver in body.outer:
            if up:
                yield up, giver


def _is_line(nodes: Sequence[Node], waiting: Sequence[int]) -> bool:
    left = list(waiting)
    ready = [node for node in nodes if not left[node.number]]
    while ready:
        if len(ready) > 1:
            return False
        following = ready.pop().followers
        for node in following:
            left[node.number] -= 1
            if not left[node.number]:
                ready.append(node)
    return True
