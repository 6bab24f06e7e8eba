"""Steps in an order in which each comes after those that it refers to."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fabric.core.pipelines import Body, Step


def giver_of(reference: str) -> str:
    """Who gives the value that *reference* names."""
    return Reference.of(reference).giver


def near(step: Step) -> Iterator[str]:
    """What *step* refers to itself."""
    for source in step.inputs.values():
        yield from source.values
    if step.when:
        yield step.when
    if step.branch is not None:
        yield step.branch.on
    yield from items_of(step).values()


def references(step: Step) -> Iterator[str]:
    """What *step* and its bodies refer to of the graph that it is in, and of those around that."""
    yield from near(step)
    items = items_of(step)
    for body in step.bodies.values():
        yield from _outer(body, items)


def items_of(step: Step) -> dict[str, str]:
    """What the body of *step* goes over or starts with, by the name of the item."""
    if step.each is not None:
        return dict(step.each.over)
    return {} if step.loop is None else dict(step.loop.state)


def _outer(body: Body, items: Iterable[str]) -> Iterator[str]:
    within = {*items, *(step.name for step in body.steps)}
    inner = (reference for step in body.steps for reference in references(step))
    for reference in (*inner, *body.outputs.values()):
        if giver_of(reference) not in within:
            yield reference


def ordered(steps: Sequence[Step]) -> list[Step]:
    """*steps*, each behind those that it refers to, and else as they were.

    Raises:
        InvalidRequest: they refer to one another in a circle.
    """
    places = {step.name: place for place, step in enumerate(steps)}
    waits = [
        {places[giver] for giver in map(giver_of, references(step)) if giver in places}
        for step in steps
    ]
    followers: dict[int, list[int]] = {}
    for place, before in enumerate(waits):
        for each in before:
            followers.setdefault(each, []).append(place)
    ready = [place for place, before in enumerate(waits) if not before]
    heapify(ready)
    made = []
    while ready:
        place = heappop(ready)
        made.append(steps[place])
        for follower in followers.get(place, ()):
            waits[follower].discard(place)
            if not waits[follower]:
                heappush(ready, follower)
    if len(made) < len(steps):
        stuck = ", ".join(step.name for step, before in zip(steps, waits, strict=True) if before)
        raise InvalidRequest(f"steps refer to one another in a circle: {stuck}")
    return made
