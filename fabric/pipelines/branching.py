"""Types of steps that have bodies: what is known of what these give, however often they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.core.tensors import DTYPES
from fabric.pipelines.givers import Given
from fabric.pipelines.types import (
    ListType,
    Size,
    TensorType,
    Type,
    TypeProblem,
    Unknown,
    datatype_of,
    joined,
    loosened,
    same_size,
    settled,
    sizes_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.pipelines import Branch, Each, First, Loop, Step
    from fabric.pipelines.checking import Checking
    from fabric.pipelines.givers import Givers

Gives = dict[str, Given]
"""What a body gives, by name."""


def given_by(check: Checking, step: Step, scope: Givers) -> Gives:
    """What *step* gives, which has bodies."""
    if step.branch is not None:
        return _branch(check, step, step.branch, scope)
    if step.each is not None:
        return _each(check, step, step.each, scope)
    if step.loop is not None:
        return _loop(check, step, step.loop, scope)
    assert step.first is not None  # noqa: S101 - it is one of the four
    return _first(check, step, step.first, scope)


def own_outputs(step: Step) -> Iterable[str]:
    """Names of outputs of its bodies that *step* itself has no use for."""
    own: set[str] = set()
    if step.loop is not None:
        own = {*step.loop.state, step.loop.until}
    elif step.first is not None:
        own = {step.first.sure}
    names = dict.fromkeys(name for body in step.bodies.values() for name in body.outputs)
    return (name for name in names if name not in own)


# ------------------------------------------------------------------ branch, first
def _branch(check: Checking, step: Step, branch: Branch, scope: Givers) -> Gives:
    on = check.value(branch.on, step.name, "branch.on", scope)
    decides = check.tensor(on.type, step.name, "branch.on")
    check.one(decides, step.name, "branch.on")
    datatype = datatype_of(decides)
    for case in branch.cases:
        if objection := _objection(case, datatype):
            check.problem(step.name, f"branch.cases.{case}", objection)
    bodies = [
        check.body(step, f"branch.cases.{case}", body, {}, scope)
        for case, body in branch.cases.items()
    ]
    if branch.otherwise is not None:
        bodies.append(check.body(step, "branch.otherwise", branch.otherwise, {}, scope))
    if len({frozenset(body) for body in bodies}) > 1:
        said = " or ".join(dict.fromkeys(", ".join(body) for body in bodies))
        text = f"its bodies give {said}: all need the same names"
        check.problem(step.name, "branch", text)
    is_covered = branch.otherwise is not None or (
        datatype == "BOOL" and branch.cases.keys() >= {"true", "false"}
    )
    missing = on.missing or ("" if is_covered else f"step '{step.name}' has no otherwise")
    return _one_of(check, step, "branch", bodies, missing)


def _objection(case: str, datatype: str) -> str:
    """Why no element of *datatype* is *case*; empty where one may be."""
    if datatype == "BOOL" and case not in ("true", "false"):
        return "cases of BOOL are true and false"
    if datatype in ("FP16", "FP32", "FP64", "BF16"):
        return f"there are no cases of {datatype}: compare it, or cast it"
    if "INT" in datatype:
        try:
            number = int(case)
        except ValueError:
            number = -1
        limits = np.iinfo(DTYPES[datatype])
        if str(number) != case or not limits.min <= number <= limits.max:
            return f"cases of {datatype} are whole numbers, from {limits.min} to {limits.max}"
    return ""


def _first(check: Checking, step: Step, first: First, scope: Givers) -> Gives:
    bodies = []
    for place, body in enumerate(first.bodies):
        given = check.body(step, f"first.bodies.{place}", body, {}, scope)
        if first.sure:
            check.truth(given[first.sure], step.name, f"first.bodies.{place}.outputs.{first.sure}")
        bodies.append(given)
    return _one_of(check, step, "first", bodies, "")


def _one_of(check: Checking, step: Step, key: str, bodies: list[Gives], missing: str) -> Gives:
    """What is given by one of *bodies*."""
    names = [name for name in bodies[0] if all(name in body for body in bodies)]
    found: Gives = {}
    for name in names:
        given = check.joined([body[name] for body in bodies], step.name, f"{key}, output '{name}'")
        found[name] = Given(given.type, missing or given.missing)
    return found


# ------------------------------------------------------------------ each
def _each(check: Checking, step: Step, each: Each, scope: Givers) -> Gives:
    length: Size = Unknown()
    items: Gives = {}
    missing = ""
    rows: list[tuple[str, TensorType, Type]] = []
    for name, text in each.over.items():
        key = f"each.over.{name}"
        given = check.value(text, step.name, key, scope)
        missing = missing or given.missing
        has, item = _items(check, given.type, step.name, key)
        if not same_size(has, length):
            text = f"it has {settled(has)} items, and others {settled(length)}: go over as many"
            check.problem(step.name, key, text)
        items[name] = Given(item)
        if isinstance(over := settled(given.type), TensorType) and sizes_of(over) is None:
            rows.append((key, over, item))
    body = check.body(step, "each.body", each.body, items, scope, together=each.batch)
    for key, over, item in rows:
        _grown(check, over, item, length, step.name, key)
    return {
        name: Given(ListType(given.type, Unknown() if given.missing else length), missing)
        for name, given in body.items()
    }


def _items(check: Checking, over: Type, step: str, key: str) -> tuple[Size, Type]:
    """How many items *over* has, and what each is."""
    over = settled(over)
    if isinstance(over, ListType):
        return over.length, over.item
    if isinstance(over, Unknown):
        return Unknown(), Unknown()
    sizes = sizes_of(over)
    if sizes is None:
        return Unknown(), TensorType(over.datatype)
    if not sizes:
        check.problem(step, key, f"it is {over}, and has no rows to go over")
        return Unknown(), TensorType(over.datatype)
    return sizes[0], TensorType(over.datatype, (1, *sizes[1:]))


def _grown(
    check: Checking, over: TensorType, item: Type, length: Size, step: str, key: str
) -> None:
    """Makes *over* a tensor whose rows are as the body needed *item* to be."""
    row = settled(item)
    sizes = sizes_of(row) if isinstance(row, TensorType) else None
    if sizes is None:
        return
    if not sizes or not same_size(sizes[0], 1):
        check.problem(step, key, f"its rows are taken as {row}, and have a first dimension of 1")
    elif isinstance(shape := settled(over.shape), Unknown):
        shape.known = (length, *sizes[1:])


# ------------------------------------------------------------------ loop
def _loop(check: Checking, step: Step, loop: Loop, scope: Givers) -> Gives:
    items: Gives = {}
    starts: Gives = {}
    for name, text in loop.state.items():
        starts[name] = check.value(text, step.name, f"loop.state.{name}", scope)
        items[name] = Given(_loosened(settled(starts[name].type)))
    body = check.body(step, "loop.body", loop.body, items, scope)
    key = f"loop.body.outputs.{loop.until}"
    check.truth(body[loop.until], step.name, key)
    if why := body[loop.until].missing:
        check.problem(step.name, key, f"it may be missing, as {why}: use default")
    for name, begun in starts.items():
        try:
            _carried(begun.type, items[name].type, body[name].type)
        except TypeProblem as problem:
            text = f"it is not as it was before: {problem.message}"
            check.problem(step.name, f"loop.body.outputs.{name}", text)
    missing = next((each.missing for each in starts.values() if each.missing), "")
    return {name: Given(given.type, missing or given.missing) for name, given in body.items()}


def _loosened(begun: Type) -> Type:
    return begun if isinstance(begun, Unknown) else loosened(begun)


def _carried(begun: Type, taken: Type, given: Type) -> None:
    """That a state *begun* as one type, *taken* by the body as one, may go on as what is *given*.

    Sizes may change from time to time, unless the body needs one, or gives what it took.

    Raises:
        TypeProblem: it may not.
    """
    joined([taken, given])
    begun, taken, given = settled(begun), settled(taken), settled(given)
    if not (isinstance(begun, TensorType) and isinstance(taken, TensorType)):
        return
    assert isinstance(given, TensorType)  # noqa: S101 - as they could be joined
    sizes = [sizes_of(each) for each in (begun, taken, given)]
    if sizes[0] is None or sizes[1] is None or sizes[2] is None:
        return
    for first, needed, next_ in zip(*sizes, strict=True):
        if isinstance(needed, int):
            if not (same_size(first, needed) and same_size(next_, needed)):
                raise TypeProblem(
                    f"it begins as {begun} and goes on as {given}, and {taken} is needed"
                )
        elif next_ is needed:
            same_size(first, needed)
