"""Steps that have bodies: which of these are run, how often, and how many at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.core.errors import FabricError, InvalidRequest
from fabric.pipelines.scopes import Scope, element, tensors
from fabric.pipelines.spreading import Together, batches, items
from fabric.pipelines.values import MISSING, Missing, nbytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.core.pipelines import Each, First, Loop
    from fabric.pipelines.compiling import Node
    from fabric.pipelines.running import Run
    from fabric.pipelines.values import Tensor, Value, Values

_ONLY = "body"


async def branched(run: Run, node: Node, within: Scope) -> Values | Missing:
    """The outputs of the body for the value, or of the one for all others."""
    assert node.step.branch is not None  # noqa: S101 - as the caller knows
    on = node.step.branch.on
    value = within.value(node.refers[on])
    if isinstance(value, Missing):
        return value
    graph = node.bodies.get(_case(element(value, on)), node.bodies.get("otherwise"))
    return MISSING if graph is None else await run.body(graph, {}, within)


async def looped(run: Run, loop: Loop, node: Node, within: Scope) -> Values | Missing:
    """The outputs of the last round."""
    graph = node.bodies[_ONLY]
    state = {name: within.value(node.refers[text]) for name, text in loop.state.items()}
    outputs: Values = {}
    for number in range(loop.most):
        if any(isinstance(value, Missing) for value in state.values()):
            return MISSING
        begun: dict[str, Values | Missing] = {name: {name: value} for name, value in state.items()}
        outputs = await run.body(graph, begun, within, str(number))
        if element(outputs[loop.until], loop.until):
            break
        state = {name: outputs[name] for name in loop.state}
    return outputs


async def tried(run: Run, first: First, node: Node, within: Scope) -> Values:
    """The outputs of the first body that is sure, or else of the last one that succeeded.

    Raises:
        FabricError: none has; the last failure.
    """
    last: Values | None = None
    failure: FabricError | None = None
    for graph in node.bodies.values():
        try:
            given = await run.body(graph, {}, within)
            if not first.sure or _is_sure(given[first.sure], first.sure):
                return given
        except FabricError as error:
            if error.begun and not run.idempotent:
                raise
            failure = error.with_traceback(None)
        else:
            last = given
    if last is not None:
        return last
    assert failure is not None  # noqa: S101 - nobody succeeded
    try:
        raise failure
    finally:
        del failure  # or else it is in a cycle with this frame


async def spread(run: Run, each: Each, node: Node, within: Scope) -> Values | Missing:
    """Lists of what the body gives for each item."""
    columns: dict[str, Sequence[Value]] = {}
    for name, text in each.over.items():
        value = within.value(node.refers[text])
        if isinstance(value, Missing):
            return value
        columns[name] = items(value, text)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise InvalidRequest(f"it goes over values of different lengths: {said}")
    begun: list[dict[str, Values | Missing]] = [
        {name: {name: value} for name, value in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]
    if each.batch:
        results = await _in_step(run, node, begun, within)
    else:
        results = await _apart(run, node, begun, within, each.parallel)
    return {
        name: tuple(one[name] for one in results if not isinstance(one[name], Missing))
        for name in node.bodies[_ONLY].outputs
    }


async def _apart(
    run: Run,
    node: Node,
    begun: Sequence[dict[str, Values | Missing]],
    within: Scope,
    parallel: int,
) -> Sequence[Values]:
    """What the body gives for each item; workers take one item after another.

    Where there is little room a worker leaves, as long as others go on.
    """
    graph = node.bodies[_ONLY]
    results: list[Values] = [{} for _ in begun]
    left = enumerate(begun)
    workers = min(parallel, len(begun))
    held = 0

    async def work() -> None:
        nonlocal workers, held
        for number, values in left:
            try:
                given = await run.body(graph, values, within, str(number))
            except FabricError as error:
                run.locate(f"item {number}", error)
                raise
            results[number] = given
            size = sum(map(nbytes, given.values()))
            held += size
            run.hold(size)
            if run.is_short and workers > 1:
                workers -= 1
                return

    try:
        async with Together() as tasks:
            for _ in range(workers):
                tasks.start(work())
    finally:
        run.hold(-held)
    return results


async def _in_step(
    run: Run, node: Node, begun: Sequence[dict[str, Values | Missing]], within: Scope
) -> Sequence[Values]:
    """What the body gives for each item, of which all take the same step at the same time: calls
    are made for as many of them together as can be."""
    graph = node.bodies[_ONLY]
    scopes = [
        Scope(graph, values, within, within.deadline, within.trace, within.path(str(number)))
        for number, values in enumerate(begun)
    ]
    try:
        for inner in graph.nodes:
            if not inner.step.call or inner.twin:
                for scope in scopes:
                    await run.step(inner, scope)
                continue
            asking = _asking(run, inner, scopes)
            async with Together() as tasks:
                for batch in batches(asking, run.rows(inner.step.call)):
                    tasks.start(run.call_together(inner, batch))
        return [scope.outputs() for scope in scopes]
    finally:
        for scope in scopes:
            run.leave(scope)


def _asking(
    run: Run, node: Node, scopes: Sequence[Scope]
) -> Sequence[tuple[Scope, Mapping[str, Tensor]]]:
    """Those of *scopes* that *node* is not skipped in, and its inputs there."""
    asking: list[tuple[Scope, Mapping[str, Tensor]]] = []
    for scope in scopes:
        inputs = scope.inputs(node)
        when = node.step.when
        if isinstance(inputs, Missing) or (when and not scope.truth(node.refers[when])):
            run.give(node, scope, MISSING)
        else:
            asking.append((scope, tensors(inputs)))
    return asking


def _is_sure(value: Value, name: str) -> bool:
    return not isinstance(value, Missing) and bool(element(value, name))


def _case(value: Any) -> str:
    """An element as the cases of a branch name it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value).lower() if isinstance(value, bool) else str(value)
