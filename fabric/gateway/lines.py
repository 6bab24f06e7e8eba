"""Lines of requests that go one at a time, in the order in which their callers sent them."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_numbers = count()


@dataclass(slots=True, order=True)
class _Place:
    order: int
    number: int = field(default_factory=lambda: next(_numbers))
    turn: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future(), compare=False
    )
    is_settled: bool = field(default=False, compare=False)


class Line:
    """One request has its turn, the others wait."""

    __slots__ = ("_is_taken", "_waiting")

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: list[_Place] = []
        """A heap."""

    def __len__(self) -> int:
        return len(self._waiting) + self._is_taken

    async def turn(
        self, order: int = 0, settled: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Returns when it is the turn of the caller, who has it until `release`.

        The lowest *order* is first, and of equal ones the first that came. Once *settled* has
        returned nobody comes any more who would have been before this one.
        """
        place = _Place(order)
        heapq.heappush(self._waiting, place)
        try:
            if settled is not None:
                await settled()
            place.is_settled = True
            self._pass_on()
            await place.turn
        except BaseException:
            self._leave(place)
            raise

    def release(self) -> None:
        self._is_taken = False
        self._pass_on()

    def _pass_on(self) -> None:
        while not self._is_taken and self._waiting and self._waiting[0].is_settled:
            turn = heapq.heappop(self._waiting).turn
            if not turn.cancelled():  # else whoever waited for it is about to leave
                self._is_taken = True
                turn.set_result(None)

    def _leave(self, place: _Place) -> None:
        if place.turn.done() and not place.turn.cancelled():
            self.release()  # the turn came together with the end
            return
        if place in self._waiting:
            self._waiting.remove(place)
            heapq.heapify(self._waiting)
            self._pass_on()
