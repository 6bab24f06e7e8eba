"""Who refers to whom in a graph: names, an order to go in, and ways that lead back."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from fabric.core.pipelines import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fabric.core.pipelines import Body, Step


def references(step: Step) -> Iterator[str]:
    """What *step* itself refers to."""
    for source in step.inputs.values():
        yield from source.values
    if step.when:
        yield step.when
    if step.branch is not None:
        yield step.branch.on
    yield from begins_with(step).values()


def begins_with(step: Step) -> Mapping[str, str]:
    """References to what its bodies see, by the name that it has there."""
    if step.each is not None:
        return step.each.over
    return {} if step.loop is None else step.loop.state


def needs(step: Step) -> frozenset[str]:
    """Names that *step* and its bodies refer to and that none of its bodies gives."""
    found = {Reference.of(text).giver for text in references(step)}
    for body in step.bodies.values():
        found |= needs_of(body) - begins_with(step).keys()
    return frozenset(found)


def needs_of(body: Body) -> set[str]:
    """Names that *body* refers to and does not give; items are among them."""
    found = {Reference.of(text).giver for text in body.outputs.values()}
    for step in body.steps:
        found |= needs(step)
    return found - {step.name for step in body.steps}


def ordered(waits: Mapping[str, Iterable[str]]) -> tuple[list[str], list[str]]:
    """Names, each behind those it *waits* for; and the rest, in a cycle or behind one."""
    followers: dict[str, list[str]] = {name: [] for name in waits}
    left: dict[str, int] = {}
    for name, before in waits.items():
        known = [each for each in before if each in waits]
        left[name] = len(known)
        for each in known:
            followers[each].append(name)
    ready = [name for name, count in left.items() if not count]
    for name in ready:  # which grows
        for follower in followers[name]:
            left[follower] -= 1
            if not left[follower]:
                ready.append(follower)
    return ready, [name for name, count in left.items() if count]


def cycles(waits: Mapping[str, Iterable[str]], rest: Sequence[str]) -> list[list[str]]:
    """Ways among the *rest* of `ordered` that lead back to where they begin."""
    within, seen, found = set(rest), set[str](), list[list[str]]()
    for start in rest:
        way: list[str] = []
        at = start
        while at not in seen:
            seen.add(at)
            way.append(at)
            at = next(each for each in waits[at] if each in within)  # or it would not be there
        if at in way:
            found.append([*way[way.index(at) :], at])
    return found


def reached(waits: Mapping[str, Iterable[str]], wanted: Iterable[str]) -> set[str]:
    """Names that are *wanted*, and all that these wait for."""
    todo, found = list(wanted), set[str]()
    while todo:
        name = todo.pop()
        if name in waits and name not in found:
            found.add(name)
            todo += waits[name]
    return found


def instead(name: str, known: Iterable[str]) -> str:
    """What else *name* may have been meant to be, as the end of a message."""
    names = sorted(known)
    if near := get_close_matches(name, names, 1):
        return f": did you mean '{near[0]}'?"
    shown = ", ".join(names[:8]) or "none"
    return f"; there is {shown}{', …' if len(names) > 8 else ''}"
