"""Runs pipelines: each step as soon as what it takes is there.

The first error ends a run, and everything that is under way. Who is asked, and how, is up to the
`Calls` that a run is given: a gateway's own candidates, a server by its address, or fakes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fabric.core.errors import (
    DeadlineExceeded,
    FabricError,
    InvalidRequest,
    Overloaded,
)
from fabric.core.pipelines import Step
from fabric.pipelines.spreading import Together, batches, items, joined, split
from fabric.pipelines.values import MISSING, Missing, Tensor, nbytes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from fabric.core.deadlines import Clock, Deadline
    from fabric.core.pipelines import Each, First, Loop, Pipeline
    from fabric.pipelines.compiling import Graph, Node, Place, Taken
    from fabric.pipelines.values import Value, Values

_LARGE = 1 << 20
"""Bytes from which on an operation works in a thread."""
_BACKOFF = 0.005
"""Seconds before who is overloaded is asked again, twice as many each further time, and of these a
random part."""
_TURNS = 64
"""Steps that nobody waits for, one after another, before others have their turn."""
_MOST_TOLD = 1024
"""Steps of a run that are told of one by one."""
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="fabric-pipeline")


@dataclass(slots=True)
class Called:
    """Who is asked for what."""

    step: Step
    name: str
    """Of the specialist, route or pipeline; with `:version` where that is said."""
    inputs: Mapping[str, Tensor]
    who: str = ""
    """`name:version` of who answered; written by whoever asks."""
    attempts: int = 0
    """How many it took; likewise."""


class Calls(Protocol):
    """Who answers the calls of one run."""

    def call(self, called: Called, deadline: Deadline) -> Coroutine[Any, Any, Values]:
        """The outputs of whom *called* names.

        Raises:
            FabricError: why there are none.
        """

    def rows(self, name: str) -> int:
        """Rows that one call of *name* may have at most; 0 for any number."""


@dataclass(slots=True)
class StepRun:
    """How one step went, once."""

    step: str
    item: str
    """Which of the items or rounds around it, as `3` or `3/0`; empty where there are none."""
    started: float
    """On the clock of the run."""
    seconds: float
    error: str
    """Its reason; empty where there was none."""
    who: str
    attempts: int


class Scope:
    """What the steps of one graph have given so far."""

    __slots__ = ("above", "deadline", "graph", "item", "items", "uses", "values", "waiting")

    def __init__(
        self,
        graph: Graph,
        values: dict[str, Values | Missing],
        above: Scope | None,
        deadline: Deadline,
        item: str,
    ) -> None:
        self.graph = graph
        self.values = values
        self.above = above
        self.deadline = deadline
        self.item = item
        self.items = frozenset(values) if above is not None else frozenset()
        """What others hold."""
        self.uses = dict(graph.uses)
        self.waiting = list(graph.waiting)

    def value(self, place: Place) -> Value:
        """Raises InvalidRequest where a step gave nothing of that name."""
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
        names = ", ".join(given)
        raise InvalidRequest(
            f"step '{place.giver}' gives {names}, and not '{place.output}'"
            if place.output
            else f"step '{place.giver}' gives {names or 'nothing'}: say which"
        )

    def truth(self, place: Place) -> bool:
        """Whether the value is true; what is missing is not.

        Raises:
            InvalidRequest: it is not one element.
        """
        value = self.value(place)
        if isinstance(value, Missing):
            return False
        return bool(element(value, str(place.giver)))

    def outputs(self) -> Values:
        return {name: self.value(place) for name, place in self.graph.outputs.items()}


def element(value: Value, giver: str) -> Any:
    """The only element of *value*. Raises InvalidRequest if it has none, or several."""
    if not isinstance(value, Tensor) or value.array.size != 1:
        raise InvalidRequest(f"'{giver}' decides, and so has one element; it is {value}")
    return value.array.item()


class Run:
    """One run of *pipeline*, whose graph is *graph*; *emit* is told of outputs as they are there.

    The values of *inputs* that are not given are missing.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        graph: Graph,
        calls: Calls,
        clock: Clock = time.monotonic,
        emit: Callable[[str, Value], None] | None = None,
        idempotent: bool = True,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pipeline = pipeline
        self._graph = graph
        self._calls = calls
        self._clock = clock
        self._emit = emit
        self._idempotent = idempotent
        self._draw = draw
        self._slots = asyncio.Semaphore(pipeline.parallel)
        self._turns = 0
        self._lost: dict[str, FabricError] = {}
        self.held = 0
        """Bytes of values that somebody still needs."""
        self.steps: list[StepRun] = []
        """How they went, in the order of their ends; the first ones, where there are many."""

    async def outputs(self, inputs: Mapping[str, Value], deadline: Deadline) -> Values:
        """What the pipeline gives for *inputs*; outputs that are optional may be missing.

        Raises:
            InvalidRequest: values do not fit together, or are too large.
            FabricError: of the step that failed.
        """
        deadline = deadline.within(self._pipeline.timeout, self._clock())
        values: dict[str, Values | Missing] = {
            each.name: {each.name: inputs[each.name]} if each.name in inputs else MISSING
            for each in self._pipeline.inputs
        }
        scope = Scope(self._graph, values, None, deadline, "")
        self.held = sum(map(nbytes, inputs.values()))
        try:
            await self._walk(scope)
            return {
                output.name: self._found(output.name, output.optional, scope)
                for output in self._pipeline.outputs
            }
        finally:
            self._leave(scope)

    def _found(self, name: str, optional: bool, scope: Scope) -> Value:
        place = self._graph.outputs[name]
        value = scope.value(place)
        if optional or not isinstance(value, Missing):
            return value
        reasons = [f"step '{step}' failed: {error.message}" for step, error in self._lost.items()]
        why = "; ".join(reasons) or f"'{place.giver}' was skipped"
        cls = type(next(iter(self._lost.values()), InvalidRequest("")))
        raise cls(f"output '{name}' is missing: {why}")

    # ------------------------------------------------------------------ graphs
    async def _walk(self, scope: Scope) -> None:
        """Runs all steps of the graph of *scope*."""
        first = scope.graph.first
        if not first:
            return
        if scope.graph.is_line:
            await self._follow(first[0], scope, None)
            return
        async with Together() as tasks:
            for node in first:
                tasks.start(self._follow(node, scope, tasks))

    async def _follow(self, node: Node | None, scope: Scope, tasks: Together | None) -> None:
        """Runs *node*, and then whoever has waited for it alone."""
        while node is not None:
            await self._step(node, scope)
            following = None
            for each in node.followers:
                scope.waiting[each.number] -= 1
                if scope.waiting[each.number]:
                    continue
                if following is None:
                    following = each
                else:
                    assert tasks is not None  # noqa: S101 - it is no line
                    tasks.start(self._follow(each, scope, tasks))
            node = following

    async def _body(
        self,
        graph: Graph,
        items: dict[str, Values | Missing],
        above: Scope,
        deadline: Deadline,
        item: str = "",
    ) -> Values:
        scope = Scope(graph, items, above, deadline, _path(above, item))
        try:
            await self._walk(scope)
            return scope.outputs()
        finally:
            self._leave(scope)

    # ------------------------------------------------------------------ steps
    async def _step(self, node: Node, scope: Scope) -> None:
        """Runs *node*; afterwards *scope* has its outputs."""
        step = node.step
        started = self._clock()
        called: list[Called] = []
        error: FabricError | None = None
        given: Values | Missing = MISSING
        try:
            if not step.when or scope.truth(node.refers[step.when]):
                if started >= scope.deadline.at:
                    raise DeadlineExceeded("the deadline had passed before it was begun")
                given = await self._done(node, scope, self._deadline(step, scope, started), called)
        except FabricError as failed:
            if not step.optional:
                self._told(step, scope, started, failed, called)
                _within(f"step '{step.name}'", failed)
                raise
            error = failed.with_traceback(None)
            self._lost[step.name] = error
        self._told(step, scope, started, error, called)
        self._give(node, scope, given)

    def _deadline(self, step: Step, scope: Scope, now: float) -> Deadline:
        deadline = scope.deadline
        if step.share < 1.0:
            deadline = deadline.within(step.share * deadline.remaining(now), now)
        if step.timeout is not None and not step.call:
            deadline = deadline.within(step.timeout, now)
        return deadline

    async def _done(
        self, node: Node, scope: Scope, deadline: Deadline, called: list[Called]
    ) -> Values | Missing:
        step = node.step
        if node.constant is not None:
            return node.constant
        if node.operate is not None:
            return await self._operated(node, scope)
        if step.call:
            inputs = _inputs(node, scope)
            if isinstance(inputs, Missing):
                return inputs
            return await self._asked(step, _tensors(inputs), deadline, called)
        if step.branch is not None:
            return await self._branched(node, scope, deadline)
        if step.each is not None:
            return await self._spread(step.each, node, scope, deadline)
        if step.loop is not None:
            return await self._looped(step.loop, node, scope, deadline)
        assert step.first is not None  # noqa: S101 - it is one of them
        return await self._tried(step.first, node, scope, deadline)

    async def _operated(self, node: Node, scope: Scope) -> Values | Missing:
        assert node.operate is not None  # noqa: S101 - as the caller knows
        inputs = _inputs(node, scope)
        if isinstance(inputs, Missing):
            return inputs
        if sum(map(nbytes, inputs.values())) > _LARGE:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(_THREADS, node.operate, inputs)
        self._turns += 1
        if self._turns % _TURNS == 0:
            await asyncio.sleep(0)
        return node.operate(inputs)

    async def _asked(
        self, step: Step, inputs: Mapping[str, Tensor], deadline: Deadline, told: list[Called]
    ) -> Values:
        """What the specialist says whom *step* calls, or one after it, at one of its tries."""
        names = [name for name in (step.call, *step.fallback) for _ in range(step.tries)]
        for number, name in enumerate(names, 1):
            called = Called(step, name, inputs)
            told.append(called)
            by = deadline
            if step.timeout is not None:
                by = deadline.within(step.timeout, self._clock())
            try:
                async with self._slots:
                    return await self._calls.call(called, by)
            except FabricError as error:
                may_begin_again = self._idempotent or not error.begun
                if number == len(names) or not error.substitutable or not may_begin_again:
                    raise
                if names[number] == name and isinstance(error, Overloaded):
                    await asyncio.sleep(_BACKOFF * 2 ** (number % step.tries) * self._draw())
        raise AssertionError("unreachable: the last one returns or raises")

    async def _branched(self, node: Node, scope: Scope, deadline: Deadline) -> Values | Missing:
        assert node.step.branch is not None  # noqa: S101 - as the caller knows
        on = node.step.branch.on
        value = scope.value(node.refers[on])
        if isinstance(value, Missing):
            return value
        graph = node.bodies.get(_case(element(value, on)), node.bodies.get("otherwise"))
        return MISSING if graph is None else await self._body(graph, {}, scope, deadline)

    async def _looped(
        self, loop: Loop, node: Node, scope: Scope, deadline: Deadline
    ) -> Values | Missing:
        state = {name: scope.value(node.refers[text]) for name, text in loop.state.items()}
        outputs: Values = {}
        for number in range(loop.most):
            if any(isinstance(value, Missing) for value in state.values()):
                return MISSING
            started: dict[str, Values | Missing] = {n: {n: value} for n, value in state.items()}
            graph = node.bodies["body"]
            outputs = await self._body(graph, started, scope, deadline, str(number))
            if element(outputs[loop.until], loop.until):
                break
            state = {name: outputs[name] for name in loop.state}
        return outputs

    async def _tried(self, first: First, node: Node, scope: Scope, deadline: Deadline) -> Values:
        """The outputs of the first body that is sure, or else of the last one that succeeded."""
        last: Values | None = None
        failure: FabricError | None = None
        for graph in node.bodies.values():
            try:
                given = await self._body(graph, {}, scope, deadline)
                sure = given[first.sure] if first.sure else MISSING
                if not first.sure or (sure is not MISSING and element(sure, first.sure)):
                    return given
            except FabricError as error:
                if error.begun and not self._idempotent:
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

    # ------------------------------------------------------------------ many
    async def _spread(
        self, each: Each, node: Node, scope: Scope, deadline: Deadline
    ) -> Values | Missing:
        columns: dict[str, Sequence[Value]] = {}
        for name, text in each.over.items():
            value = scope.value(node.refers[text])
            if isinstance(value, Missing):
                return value
            columns[name] = items(value, text)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
            raise InvalidRequest(f"it goes over values of different lengths: {said}")
        count = next(iter(lengths.values()))
        spread = self._spread_in_step if each.batch else self._spread_apart
        results = await spread(node, columns, count, scope, deadline)
        return {
            name: tuple(one[name] for one in results if not isinstance(one[name], Missing))
            for name in node.bodies["body"].outputs
        }

    async def _spread_apart(
        self,
        node: Node,
        columns: Mapping[str, Sequence[Value]],
        count: int,
        scope: Scope,
        deadline: Deadline,
    ) -> list[Values]:
        """What the body gives for each item; workers take one item after another.

        Where there is little room a worker leaves, as long as others go on.
        """
        assert node.step.each is not None  # noqa: S101 - as the caller knows
        results: list[Values] = [{} for _ in range(count)]
        numbers = iter(range(count))
        workers = min(node.step.each.parallel, count)
        held = 0

        async def work() -> None:
            nonlocal workers, held
            for number in numbers:
                items = _items(columns, number)
                try:
                    given = await self._body(
                        node.bodies["body"], items, scope, deadline, str(number)
                    )
                except FabricError as error:
                    _within(f"item {number}", error)
                    raise
                results[number] = given
                size = sum(map(nbytes, given.values()))
                held += size
                self._hold(size)
                if self.held > self._pipeline.max_bytes // 2 and workers > 1:
                    workers -= 1
                    return

        try:
            async with Together() as tasks:
                for _ in range(workers):
                    tasks.start(work())
        finally:
            self.held -= held
        return results

    async def _spread_in_step(
        self,
        node: Node,
        columns: Mapping[str, Sequence[Value]],
        count: int,
        scope: Scope,
        deadline: Deadline,
    ) -> list[Values]:
        """What the body gives for each item, of which all take the same step at the same time."""
        graph = node.bodies["body"]
        scopes = [
            Scope(graph, _items(columns, number), scope, deadline, _path(scope, str(number)))
            for number in range(count)
        ]
        try:
            await self._in_step(graph, scopes)
            return [each.outputs() for each in scopes]
        finally:
            for each in scopes:
                self._leave(each)

    async def _in_step(self, graph: Graph, scopes: list[Scope]) -> None:
        """Runs the steps of all *scopes* one after another, and each call for all at once."""
        for node in graph.nodes:
            if not node.step.call:
                for scope in scopes:
                    await self._step(node, scope)
                continue
            step = node.step
            asking: list[tuple[Scope, Mapping[str, Tensor]]] = []
            for scope in scopes:
                inputs = _inputs(node, scope)
                skips = bool(step.when) and not scope.truth(node.refers[step.when])
                if skips or isinstance(inputs, Missing):
                    self._give(node, scope, MISSING)
                else:
                    asking.append((scope, _tensors(inputs)))
            async with Together() as tasks:
                for batch in batches(asking, self._calls.rows(step.call)):
                    tasks.start(self._asked_together(node, batch))

    async def _asked_together(
        self, node: Node, batch: Sequence[tuple[Scope, Mapping[str, Tensor]]]
    ) -> None:
        """Calls once for a *batch* of scopes and their inputs."""
        step, scope = node.step, batch[0][0]
        started = self._clock()
        called: list[Called] = []
        parts: Sequence[Values | Missing] = [MISSING] * len(batch)
        error: FabricError | None = None
        try:
            inputs, rows = joined([inputs for _, inputs in batch])
            deadline = self._deadline(step, scope, started)
            parts = split(await self._asked(step, inputs, deadline, called), rows)
        except FabricError as failed:
            if not step.optional:
                self._told(step, scope, started, failed, called)
                _within(f"step '{step.name}'", failed)
                raise
            error = failed.with_traceback(None)
            self._lost[step.name] = error
        self._told(step, scope, started, error, called)
        for (each, _), part in zip(batch, parts, strict=True):
            self._give(node, each, part)

    # ------------------------------------------------------------------ what is held
    def _give(self, node: Node, scope: Scope, given: Values | Missing) -> None:
        """Puts what *node* gives where others find it, and forgets what nobody needs any more."""
        scope.values[node.step.name] = given
        if not isinstance(given, Missing):
            self._hold(sum(map(nbytes, given.values())))
        for giver in node.needs:
            scope.uses[giver] -= 1
            if not scope.uses[giver] and giver in scope.values:
                self._drop(giver, scope)
        if scope.above is None and self._emit is not None:
            for name, place in scope.graph.outputs.items():
                if place.giver == node.step.name:
                    self._emit(name, scope.value(place))

    def _hold(self, size: int) -> None:
        self.held += size
        if self.held > self._pipeline.max_bytes:
            raise InvalidRequest(
                f"its values take {self.held} bytes together, and max_bytes of pipeline "
                f"'{self._pipeline.name}' is {self._pipeline.max_bytes}"
            )

    def _leave(self, scope: Scope) -> None:
        """Forgets all that *scope* holds."""
        for giver in list(scope.values):
            self._drop(giver, scope)

    def _drop(self, giver: str, scope: Scope) -> None:
        given = scope.values.pop(giver)
        if not isinstance(given, Missing) and giver not in scope.items:
            self.held -= sum(map(nbytes, given.values()))

    def _told(
        self,
        step: Step,
        scope: Scope,
        started: float,
        error: FabricError | None,
        called: Sequence[Called],
    ) -> None:
        if len(self.steps) < _MOST_TOLD:
            who = called[-1].who if called else ""
            attempts = sum(each.attempts for each in called)
            seconds = self._clock() - started
            reason = error.reason if error is not None else ""
            self.steps.append(
                StepRun(step.name, scope.item, started, seconds, reason, who, attempts)
            )


def _path(scope: Scope, item: str) -> str:
    return f"{scope.item}/{item}" if scope.item and item else scope.item or item


def _items(columns: Mapping[str, Sequence[Value]], number: int) -> dict[str, Values | Missing]:
    return {name: {name: column[number]} for name, column in columns.items()}


def _within(where: str, error: FabricError) -> None:
    """Says in *error* where it was."""
    error.message = f"{where}: {error.message}"
    error.args = (error.message,)


def _case(value: Any) -> str:
    """An element as the cases of a branch name it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _inputs(node: Node, scope: Scope) -> Values | Missing:
    """What *node* is given; missing where one is. Lists go without what is missing."""
    inputs: Values = {}
    for name, taken in node.inputs:
        value = _taken(taken, scope)
        if isinstance(value, Missing):
            return value
        inputs[name] = value
    return inputs


def _taken(taken: Taken, scope: Scope) -> Value:
    if not taken.is_list:
        return scope.value(taken.places[0])
    values: list[Value] = []
    for place in taken.places:
        value = scope.value(place)
        if isinstance(value, tuple):
            values += value
        elif not isinstance(value, Missing):
            values.append(value)
    return tuple(values)


def _tensors(values: Mapping[str, Value]) -> Mapping[str, Tensor]:
    """Raises InvalidRequest if there is a list among them."""
    for name, value in values.items():
        if isinstance(value, tuple):
            raise InvalidRequest(f"input '{name}' is a list of {len(value)}: stack or concat it")
    return values  # type: ignore[return-value] # as was looked just now
