"""Many at once: items of values, calls for several items, and tasks that end together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import numpy as np

from fabric.core.errors import InvalidRequest, SpecialistFailed
from fabric.pipelines.values import Tensor

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, TypeVar

    from fabric.pipelines.values import Value, Values

    T = TypeVar("T")


def items(value: Value, name: str) -> Sequence[Value]:
    """The elements of a list, or the rows of a tensor.

    Raises:
        InvalidRequest: *value* has no rows.
    """
    if isinstance(value, tuple):
        return value
    assert isinstance(value, Tensor)  # noqa: S101 - what is missing is not gone over
    if not value.shape:
        raise InvalidRequest(f"'{name}' has no rows to go over: it is {value}")
    array = value.array
    return [Tensor.of(array[row : row + 1], value.datatype) for row in range(len(array))]


def batches(
    asking: Sequence[tuple[T, Mapping[str, Tensor]]], most: int
) -> Iterator[list[tuple[T, Mapping[str, Tensor]]]]:
    """Those whose inputs are alike but for their rows, together, of *most* rows at most.

    0 is any number; who has more rows alone is alone.
    """
    alike: dict[tuple[object, ...], list[tuple[T, Mapping[str, Tensor]]]] = {}
    for one in asking:
        kind = tuple((name, each.datatype, each.shape[1:]) for name, each in one[1].items())
        alike.setdefault(kind, []).append(one)
    for group in alike.values():
        batch: list[tuple[T, Mapping[str, Tensor]]] = []
        rows = 0
        for one in group:
            size = _rows(one[1])
            if batch and most and rows + size > most:
                yield batch
                batch, rows = [], 0
            batch.append(one)
            rows += size
        yield batch


def joined(asked: Sequence[Mapping[str, Tensor]]) -> tuple[Mapping[str, Tensor], list[int]]:
    """The inputs of all, one behind another, and how many rows each has."""
    rows = [_rows(inputs) for inputs in asked]
    if len(asked) == 1:
        return asked[0], rows
    names = asked[0]
    return {
        name: Tensor.of(np.concatenate([inputs[name].array for inputs in asked]), each.datatype)
        for name, each in names.items()
    }, rows


def split(outputs: Values, rows: Sequence[int]) -> list[Values]:
    """The outputs of each of those who have so many *rows*.

    Raises:
        SpecialistFailed: an output has not as many rows as all of them.
    """
    if len(rows) == 1:
        return [outputs]
    parts: list[Values] = [{} for _ in rows]
    for name, value in outputs.items():
        assert isinstance(value, Tensor)  # noqa: S101 - calls give no lists
        if not value.shape or value.shape[0] != sum(rows):
            raise SpecialistFailed(
                f"output '{name}' is {value} for {sum(rows)} rows of inputs, so it cannot be "
                "shared out: call it for each item, without batch"
            )
        at = 0
        for part, size in zip(parts, rows, strict=True):
            part[name] = Tensor.of(value.array[at : at + size], value.datatype)
            at += size
    return parts


def _rows(inputs: Mapping[str, Tensor]) -> int:
    """Raises InvalidRequest unless all *inputs* have as many rows."""
    rows = {each.shape[0] if each.shape else 0 for each in inputs.values()}
    if len(rows) != 1:
        said = ", ".join(f"'{name}' is {each}" for name, each in inputs.items())
        raise InvalidRequest(f"its inputs have different numbers of rows: {said}")
    return rows.pop()


class Together:
    """Tasks of which the first to fail ends the others: `async with Together() as tasks`.

    Unlike those of a `TaskGroup` its error is the one that was raised, in no group that is in a
    cycle with it, and so with everything that its frames refer to.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    def __len__(self) -> int:
        """How many go on."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        cancelled: asyncio.CancelledError | None = None
        if error is not None:
            self._cancel()
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as left:
                cancelled = left
                self._cancel()
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled
        if error is None and self._error is not None:
            failed, self._error = self._error, None
            try:
                raise failed
            finally:
                del failed

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._error is None:
            self._error = error
            self._cancel()
