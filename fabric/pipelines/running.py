"""Runs pipelines: each step as soon as what it takes is there.

The first error ends a run, and everything that is under way. Who is asked, and how, is up to the
`Calls` that a run is given: a gateway's own candidates, a server by its address, or fakes.
"""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from fabric import telemetry
from fabric.core.errors import Cancelled, DeadlineExceeded, FabricError, InvalidRequest, Overloaded
from fabric.core.runs import StepRun
from fabric.pipelines import flows
from fabric.pipelines.calls import Called
from fabric.pipelines.scopes import Scope, tensors
from fabric.pipelines.spreading import Together, joined, split
from fabric.pipelines.values import MISSING, Missing, nbytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fabric.core.deadlines import Clock, Deadline
    from fabric.core.pipelines import Pipeline, Step
    from fabric.pipelines.calls import Calls
    from fabric.pipelines.compiling import Graph, Node
    from fabric.pipelines.values import Tensor, Value, Values

_LARGE = 1 << 20
"""Bytes from which on an operation works in a thread."""
_BACKOFF = 0.005
"""Seconds before who is overloaded is asked again, twice as many each further time, and of these a
random part."""
_TURNS = 64
"""Steps that nobody waits for, one after another, before others have their turn."""
_MOST_TOLD = 256
"""Steps of a run that are told of one by one."""
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="fabric-pipeline")


class Holding:
    """Bytes of values that runs hold together."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Run:
    """One run of *pipeline*, whose graph is *graph*; *emit* is told of outputs as they are there.

    What it holds is counted in *holding*, too. Unless it is *idempotent* nobody is asked again
    where a model may have begun.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        graph: Graph,
        calls: Calls,
        clock: Clock = time.monotonic,
        emit: Callable[[str, Value], None] | None = None,
        holding: Holding | None = None,
        draw: Callable[[], float] = random.random,
        *,
        idempotent: bool = True,
    ) -> None:
        self.idempotent = idempotent
        self.rows = calls.rows
        self.held = 0
        """Bytes of values that somebody still needs."""
        self.steps: list[StepRun] = []
        """How they went, in the order of their ends; the first ones, where there are many."""
        self.seconds = 0.0
        """That it took."""
        self.error = Cancelled.reason
        """Its reason; empty where there was none."""
        self.lost: dict[str, FabricError] = {}
        """Why optional steps failed, by name."""
        self._pipeline = pipeline
        self._graph = graph
        self._calls = calls
        self._clock = clock
        self._emit = emit
        self._holding = holding or Holding()
        self._draw = draw
        self._slots = asyncio.Semaphore(pipeline.parallel)
        self._turns = 0
        self._begun = 0.0

    async def outputs(
        self, inputs: Mapping[str, Value], deadline: Deadline, trace: bytes = b""
    ) -> Values:
        """What the pipeline gives for *inputs*; those not given are missing, and outputs that are
        optional may be.

        Raises:
            InvalidRequest: values do not fit together, or are too large.
            FabricError: of the step that failed.
        """
        self._begun = self._clock()
        deadline = deadline.within(self._pipeline.timeout, self._begun)
        values: dict[str, Values | Missing] = {
            each.name: {each.name: inputs[each.name]} if each.name in inputs else MISSING
            for each in self._pipeline.inputs
        }
        scope = Scope(self._graph, values, None, deadline, trace)
        try:
            self.hold(sum(map(nbytes, inputs.values())))
            await self._walk(scope)
            outputs = {
                output.name: self._found(output.name, scope, output.optional)
                for output in self._pipeline.outputs
            }
        except FabricError as error:
            self.error = error.reason
            raise
        else:
            self.error = ""
            return outputs
        finally:
            self.seconds = self._clock() - self._begun
            self.leave(scope)

    def _found(self, name: str, scope: Scope, may_lack: bool) -> Value:
        place = self._graph.outputs[name]
        value = scope.value(place)
        if may_lack or not isinstance(value, Missing):
            return value
        reasons = [f"step '{step}' failed: {error.message}" for step, error in self.lost.items()]
        why = "; ".join(reasons) or f"'{place.giver}' was skipped"
        cls = type(next(iter(self.lost.values()), InvalidRequest("")))
        raise cls(f"output '{name}' is missing: {why}")

    # ------------------------------------------------------------------ graphs
    async def body(
        self, graph: Graph, values: dict[str, Values | Missing], within: Scope, item: str = ""
    ) -> Values:
        """What the body *graph* gives that is begun with *values*."""
        scope = Scope(graph, values, within, within.deadline, within.trace, within.path(item))
        try:
            await self._walk(scope)
            return scope.outputs()
        finally:
            self.leave(scope)

    async def _walk(self, scope: Scope) -> None:
        """Runs all steps of the graph of *scope*."""
        first = scope.graph.first
        if scope.graph.is_line:
            await self._follow(first[0] if first else None, scope, None)
            return
        async with Together() as tasks:
            for node in first:
                tasks.start(self._follow(node, scope, tasks))

    async def _follow(self, node: Node | None, scope: Scope, tasks: Together | None) -> None:
        """Runs *node*, and then whoever has waited for it alone."""
        while node is not None:
            await self.step(node, scope)
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

    # ------------------------------------------------------------------ steps
    async def step(self, node: Node, scope: Scope) -> None:
        """Runs *node*; afterwards *scope* has what it gives."""
        if node.constant is not None:
            self.give(node, scope, node.constant)
            return
        if node.twin:
            self.give(node, scope, scope.values[node.twin])
            return
        if node.operate is None and telemetry.is_recorded(scope.trace):
            said = {telemetry.STEP: node.step.name, telemetry.ITEM: scope.item}
            with telemetry.span(telemetry.STEP_SPAN, scope.trace, said) as span:
                called = await self._watched(node, scope, telemetry.pack(span))
                span.set_attribute(telemetry.ATTEMPTS, sum(each.attempts for each in called))
                if called and (who := called[-1].who):
                    span.set_attribute(telemetry.SPECIALIST, who)
                if (lost := self.lost.get(node.step.name)) is not None:
                    span.set_attribute(telemetry.ERROR_TYPE, lost.reason)
        else:
            await self._watched(node, scope, scope.trace)

    async def _watched(self, node: Node, scope: Scope, trace: bytes) -> Sequence[Called]:
        """The calls that it has made."""
        step, called = node.step, list[Called]()
        given: Values | Missing = MISSING
        with self._watch(step, scope, called):
            self._check_time(scope)
            if not step.when or scope.truth(node.refers[step.when]):
                given = await self._done(node, scope, trace, called)
        self.give(node, scope, given)
        return called

    async def call_together(
        self, node: Node, batch: Sequence[tuple[Scope, Mapping[str, Tensor]]]
    ) -> None:
        """Makes one call for the scopes of *batch*, which have the inputs beside them."""
        step, scope, called = node.step, batch[0][0], list[Called]()
        parts: Sequence[Values | Missing] = [MISSING] * len(batch)
        with self._watch(step, scope, called):
            self._check_time(scope)
            inputs, rows = joined([inputs for _, inputs in batch])
            deadline = self._deadline(step, scope)
            given = await self._asked(step, inputs, deadline, scope.trace, called)
            parts = split(given, rows)
        for (each, _), part in zip(batch, parts, strict=True):
            self.give(node, each, part)

    @contextmanager
    def _watch(self, step: Step, scope: Scope, called: Sequence[Called]) -> Iterator[None]:
        """Remembers how *step* goes; if it is optional its failure is no more than that."""
        started, reason = self._clock(), ""
        try:
            yield
        except asyncio.CancelledError:
            reason = Cancelled.reason
            raise
        except FabricError as error:
            reason = error.reason
            if not step.optional:
                self.locate(f"step '{step.name}'", error)
                raise
            self.lost[step.name] = error.with_traceback(None)
        finally:
            self._told(step, scope, started, reason, called)

    async def _done(
        self, node: Node, scope: Scope, trace: bytes, called: list[Called]
    ) -> Values | Missing:
        step = node.step
        if node.operate is not None:
            return await self._operated(node, scope.inputs(node))
        deadline = self._deadline(step, scope)
        if step.call:
            inputs = scope.inputs(node)
            if isinstance(inputs, Missing):
                return inputs
            return await self._asked(step, tensors(inputs), deadline, trace, called)
        within = scope.within(deadline, trace)
        if step.each is not None:
            return await flows.spread(self, step.each, node, within)
        if step.loop is not None:
            return await flows.looped(self, step.loop, node, within)
        if step.first is not None:
            return await flows.tried(self, step.first, node, within)
        return await flows.branched(self, node, within)

    def _check_time(self, scope: Scope) -> None:
        """Raises DeadlineExceeded where nothing should begin any more."""
        if self._clock() >= scope.deadline.at:
            raise DeadlineExceeded("the deadline had passed before it was begun")

    def _deadline(self, step: Step, scope: Scope) -> Deadline:
        if step.share == 1.0 and step.timeout is None:
            return scope.deadline
        now = self._clock()
        deadline = scope.deadline.within(step.share * scope.deadline.remaining(now), now)
        return deadline if step.timeout is None else deadline.within(step.timeout, now)

    async def _operated(self, node: Node, inputs: Values | Missing) -> Values | Missing:
        operate = node.operate
        assert operate is not None  # noqa: S101 - as the caller knows
        if isinstance(inputs, Missing):
            return inputs
        if node.empty is not None and () in inputs.values():
            return node.empty
        if sum(map(nbytes, inputs.values())) > _LARGE:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(_THREADS, operate, inputs)
        self._turns += 1
        if self._turns % _TURNS == 0:
            await asyncio.sleep(0)
        return operate(inputs)

    async def _asked(
        self,
        step: Step,
        inputs: Mapping[str, Tensor],
        deadline: Deadline,
        trace: bytes,
        called: list[Called],
    ) -> Values:
        """What the one says whom *step* calls, or another after it, at one of its tries.

        Each but the last one has half of the time that is left.
        """
        names = [name for name in (step.call, *step.fallback) for _ in range(step.tries)]
        for number, name in enumerate(names, 1):
            is_last = number == len(names)
            called.append(one := Called(step, name, inputs, trace))
            by = deadline
            if not is_last:
                now = self._clock()
                by = deadline.within(deadline.remaining(now) / 2, now)
            try:
                async with self._slots:
                    return await self._calls.call(one, by)
            except FabricError as error:
                may_begin_again = self.idempotent or not error.begun
                if is_last or not error.substitutable or not may_begin_again:
                    raise
                if names[number] == name and isinstance(error, Overloaded):
                    await asyncio.sleep(_BACKOFF * 2 ** (number % step.tries) * self._draw())
        raise AssertionError("unreachable: the last one returns or raises")

    # ------------------------------------------------------------------ what is held, and told
    def give(self, node: Node, scope: Scope, given: Values | Missing) -> None:
        """Puts what *node* gives where others find it, and forgets what nobody needs any more."""
        scope.values[node.step.name] = given
        if not isinstance(given, Missing):
            self.hold(sum(map(nbytes, given.values())))
        for giver in node.needs:
            scope.uses[giver] -= 1
            if not scope.uses[giver] and giver in scope.values:
                self._drop(giver, scope)
        if self._emit is not None and scope.above is None:
            for name, place in scope.graph.outputs.items():
                if place.giver == node.step.name:
                    self._emit(name, scope.value(place))

    def hold(self, size: int) -> None:
        """Counts *size* bytes more, or fewer.

        Raises:
            InvalidRequest: these are more than the pipeline may hold.
        """
        self.held += size
        self._holding.bytes += size
        if self.held > self._pipeline.max_bytes and size > 0:
            raise InvalidRequest(
                f"its values take {self.held} bytes together, and max_bytes of pipeline "
                f"'{self._pipeline.name}' is {self._pipeline.max_bytes}"
            )

    @property
    def is_short(self) -> bool:
        """Whether half of what may be held is."""
        return self.held > self._pipeline.max_bytes // 2

    def leave(self, scope: Scope) -> None:
        """Forgets all that *scope* holds."""
        for giver in list(scope.values):
            self._drop(giver, scope)

    def _drop(self, giver: str, scope: Scope) -> None:
        given = scope.values.pop(giver)
        if not isinstance(given, Missing) and giver not in scope.items:
            self.hold(-sum(map(nbytes, given.values())))

    def locate(self, where: str, error: FabricError) -> None:
        """Says in *error* where it was."""
        error.message = f"{where}: {error.message}"
        error.args = (error.message,)

    def _told(
        self, step: Step, scope: Scope, started: float, reason: str, called: Sequence[Called]
    ) -> None:
        if len(self.steps) >= _MOST_TOLD:
            return
        now = self._clock()
        last = called[-1] if called else None
        inner = last.steps if last is not None else ()
        for each in inner[: _MOST_TOLD - len(self.steps) - 1]:
            begun = each.started + started - self._begun
            self.steps.append(replace(each, step=f"{step.name}/{each.step}", started=begun))
        self.steps.append(
            StepRun(
                step=step.name,
                item=scope.item,
                started=started - self._begun,
                seconds=now - started,
                error=reason,
                who=last.who if last is not None else "",
                attempts=sum(each.attempts for each in called),
                fallback=last is not None and (last.fallback or last.name != step.call),
            )
        )
