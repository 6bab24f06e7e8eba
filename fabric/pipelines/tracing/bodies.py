"""Steps with bodies in Python: branches, maps, loops, and what is tried in turn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from fabric.core.pipelines import Body, Branch, Each, First, Loop, Reference
from fabric.pipelines.tracing.graphs import Scope, refuse, start_of
from fabric.pipelines.tracing.symbols import (
    ONLY,
    Named,
    Options,
    Origin,
    Outputs,
    Result,
    Value,
    added,
    made_within,
    refer,
    shown,
)

if TYPE_CHECKING:
    from typing import Unpack


Made: TypeAlias = Result | Callable[[], Result]
"""What a branch gives: a value from before it, or whatever a function does then."""
Returned = TypeVar("Returned", bound=Result)


# ------------------------------------------------------------------ branches
def branch(
    condition: Value, *, then: Made, otherwise: Made | None = None, **options: Unpack[Options]
) -> Outputs:
    """What *then* gives if *condition*, one BOOL element, is true, else what *otherwise* gives.

    Each is a function without parameters, whose steps run only then, or a value from before.
    Without *otherwise* the outputs are missing where the condition is false.
    """
    return _branched("branch", condition, {"true": then}, otherwise, options)


def switch(
    value: Value,
    cases: Mapping[str | int | bool, Made],
    *,
    otherwise: Made | None = None,
    **options: Unpack[Options],
) -> Outputs:
    """What the case of *value* gives, which has one element: BOOL, a whole number, or BYTES.

    Each case is a function without parameters, whose steps run only then, or a value from before.
    Without *otherwise* the outputs are missing where there is no case for the value.
    """
    return _branched("switch", value, cases, otherwise, options)


def _branched(
    kind: str,
    on: Value,
    cases: Mapping[Any, Made],
    otherwise: Made | None,
    options: Options,
) -> Outputs:
    scope = Scope.now(f"{kind}(…)")
    reference = refer(on, f"what {kind} looks at")
    bodies = {_case(key): graph_of(make, f"case {key!r} of {kind}") for key, make in cases.items()}
    last = None if otherwise is None else graph_of(otherwise, f"otherwise of {kind}")
    if not bodies:
        refuse(f"{kind} has no case: name at least one value")
    parts = {"branch": Branch(on=reference, cases=bodies, otherwise=last)}
    names = (name for made in (*bodies.values(), last) if made for name in made.outputs)
    return added(scope, kind, options, parts, dict.fromkeys(names))


def _case(key: str | int | bool) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


# ------------------------------------------------------------------ again and again
@overload
def each(
    over: Value,
    body: Callable[[Value], Result],
    *,
    parallel: int = ...,
    batch: bool = ...,
    **options: Unpack[Options],
) -> Outputs: ...
@overload
def each(
    over: tuple[Value, Value],
    body: Callable[[Value, Value], Result],
    *,
    parallel: int = ...,
    batch: bool = ...,
    **options: Unpack[Options],
) -> Outputs: ...
@overload
def each(
    over: Sequence[Value] | Mapping[str, Value],
    body: Callable[..., Result],
    *,
    parallel: int = ...,
    batch: bool = ...,
    **options: Unpack[Options],
) -> Outputs: ...
def each(
    over: Any,
    body: Callable[..., Result],
    *,
    parallel: int = 16,
    batch: bool = False,
    **options: Unpack[Options],
) -> Outputs:
    """What *body* gives for each row of a tensor, or each element of a list: a list.

    Args:
        over: A value, or several that are gone over in step. In a dict by the names that items
            have in the graph; they are those of the body's parameters without.
        body: A function of one item of each.
        parallel: Items under way at the same time, at most.
        batch: Calls of the body are asked once for all items whose inputs are alike.
    """
    scope = Scope.now("each(…)")
    items = _items(over, body, "each")
    made = graph_of(body, "the body of each", tuple(items))
    try:
        gone_over = Each(over=items, body=made, parallel=parallel, batch=batch)
    except ValueError as error:
        refuse(f"each: {error}")
    return added(scope, "each", options, {"each": gone_over}, made.outputs)


def _items(over: Any, body: Callable[..., Any], what: str) -> dict[str, str]:
    """References to what *over* has, by the names of the items that *body* is called with."""
    parameters = inspect.signature(body).parameters.values()
    names = [each.name for each in parameters if each.default is each.empty]
    values = [over] if isinstance(over, Value) else list(over)
    if len(names) != len(values):
        refuse(
            f"the body of {what} takes {len(names)} values, and is given {len(values)}",
            start_of(body),
        )
    given = over if isinstance(over, Mapping) else dict(zip(names, values, strict=True))
    return {name: refer(value, f"'{name}' of {what}") for name, value in given.items()}


@overload
def loop(
    state: Value,
    body: Callable[[Value], Result],
    *,
    until: str | Callable[[Value], Value],
    most: int,
    **options: Unpack[Options],
) -> Outputs: ...
@overload
def loop(
    state: Sequence[Value] | Mapping[str, Value],
    body: Callable[..., Result],
    *,
    until: str | Callable[..., Value],
    most: int,
    **options: Unpack[Options],
) -> Outputs: ...
def loop(
    state: Any,
    body: Callable[..., Result],
    *,
    until: str | Callable[..., Value],
    most: int,
    **options: Unpack[Options],
) -> Outputs:
    """What *body* gives at last, called again and again with what it gave before.

    Args:
        state: What it starts with: a value, or several, also by name.
        body: A function of the state that gives the next one: a value, or several in a dict, by
            the names of the state, which are those of its parameters. It may give more.
        until: A function of the state that the body gave: one BOOL element, true for the last
            time. Or the name of an output of the body that is so.
        most: Times, at most.
    """
    scope = Scope.now("loop(…)")
    items = _items(state, body, "loop")
    names = tuple(items)
    stop = until if isinstance(until, str) else "until"

    def judged(result: Any) -> dict[str, Value]:
        if isinstance(until, str):
            return {}
        given = result if isinstance(result, dict) else {names[0]: result}
        return {stop: until(*(given[name] for name in names if name in given))}

    made = graph_of(body, "the body of loop", names, only=names[0], more=judged)
    try:
        again = Loop(state=items, body=made, until=stop, most=most)
    except ValueError as error:
        refuse(f"loop: {error}", start_of(body))
    main = names[0] if len(names) == 1 else ""
    return added(scope, "loop", options, {"loop": again}, made.outputs, main)


# ------------------------------------------------------------------ one after another
def first(*bodies: Callable[[], Result], **options: Unpack[Options]) -> Outputs:
    """What the first of *bodies* gives that does not fail. Their steps run only in their turn."""
    return _first("first", bodies, "", options)


def cascade(
    *bodies: Callable[[], Returned],
    sure: str | Callable[[Returned], Value],
    **options: Unpack[Options],
) -> Outputs:
    """What the first of *bodies* gives that is sure; what the last gives that does not fail, if
    none is.

    *sure* is a function of what a body gave: one BOOL element, true where that is good enough. Or
    the name of an output of the bodies that is so.
    """
    return _first("cascade", bodies, sure, options)


def _first(
    kind: str,
    bodies: Sequence[Callable[[], Any]],
    sure: str | Callable[[Any], Value],
    options: Options,
) -> Outputs:
    scope = Scope.now(f"{kind}(…)")
    judged = (lambda result: {"sure": sure(result)}) if callable(sure) else None
    made = tuple(
        graph_of(make, f"body {place} of {kind}", more=judged)
        for place, make in enumerate(bodies, 1)
    )
    try:
        tried = First(bodies=made, sure=sure if isinstance(sure, str) else "sure")
    except ValueError as error:
        refuse(f"{kind}: {error}")
    names = tuple(made[0].outputs)
    main = ONLY if judged and len(names) == 2 and ONLY in names else ""
    return added(scope, kind, options, {"first": tried}, names, main)


# ------------------------------------------------------------------ bodies
def graph_of(
    make: object,
    what: str,
    items: Sequence[str] = (),
    *,
    only: str = ONLY,
    more: Callable[[Any], Mapping[str, Value]] | None = None,
) -> Body:
    """The graph of *make*, a function of *items*, or what it gives where that needs no step.

    *more* gives further outputs, of what it gave.
    """
    if not callable(make):
        _check_made_before(make, what)
        return Body(outputs=named(make, what, only=only))
    scope = Scope.now(what).inner(items)
    with scope.traced():
        result = make(*(Named(Reference(item), scope) for item in items))
        outputs = named(result, what, start_of(make), only)
        for name, value in (more(result) if more else {}).items():
            outputs[name] = refer(value, f"'{name}' of {what}")
    return Body(steps=tuple(scope.steps), outputs=outputs)


def named(result: object, what: str, where: str = "", only: str = ONLY) -> dict[str, str]:
    """References to what *what*, at *where*, gives as *result*, by name; *only* is the name of a
    value that comes without one."""
    if isinstance(result, Value):
        return {only: refer(result, what, where)}
    wanted = "return a value, or several by name, in a dict"
    if result is None:
        refuse(f"{what} gives nothing: {wanted}", where)
    if not isinstance(result, Mapping) or not result:
        refuse(f"{what} gives {shown(result)}: {wanted}", where)
    return {str(name): refer(value, f"'{name}' of {what}", where) for name, value in result.items()}


def _check_made_before(result: object, what: str) -> None:
    """Refuses steps that stand where they look as if they ran only with the body."""
    here = Origin.here()
    for value in result.values() if isinstance(result, Mapping) else [result]:
        if made_within(value, here):
            refuse(
                f"{what} holds {value!r} itself, whose step would run in any case: "
                "write `lambda:` before it"
            )
