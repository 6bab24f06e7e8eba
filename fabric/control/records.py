"""What routes learn from, kept in the store: decisions, how they went, what was said of them.

Rows hold messages as they came. A request has one row, with the route of its decision; until that
comes, outcomes and feedback of the request wait under no route, and are gone after a day or when
there are too many. Of a route the newest requests are kept. Nothing here is read but what somebody
asks for: training reads the store in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import case, delete, func, select

from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.control.rows import (
    NOWHERE,
    Row,
    feedback_on,
    feedback_rows,
    record_of,
    refused,
    replaced,
    stored,
)
from fabric.control.store import forget
from fabric.control.tables import FEEDBACK, REQUESTS, ROUTES
from fabric.core.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from fabric.control.store import Store

_WAITING_KEPT = 10_000
_WAITING_SECONDS = 86_400.0
_SLACK = 1_000
"""So many are dropped at a time, at least."""
_PER_TRANSACTION = 1_000
"""Messages, and one call more; the catalog's writes wait for so much."""
_MOST_PENDING = 64 << 20
"""Bytes that wait for the store at a time."""


@dataclass(frozen=True)
class _Said:
    """One call, and who waits for how many of its feedback are about unknown requests."""

    decisions: Sequence[pb.Decision]
    outcomes: Sequence[pb.Outcome]
    feedback: Sequence[pb.Feedback]
    done: asyncio.Future[int]

    @cached_property
    def all(self) -> Sequence[pb.Decision | pb.Outcome | pb.Feedback]:
        return [*self.decisions, *self.outcomes, *self.feedback]

    @cached_property
    def bytes(self) -> int:
        return sum(each.ByteSize() for each in self.all)


class Records:
    """The records of *store*, the newest *kept* of every route.

    Calls that come while a transaction is on its way share the next one. What a call has given is
    on disk when it returns.
    """

    def __init__(self, store: Store, kept: int, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._kept = kept
        self._clock = clock
        self._counts: Counter[str] = Counter()
        """Requests by route; at least as many as there are."""
        self._pending: deque[_Said] = deque()
        self._pending_bytes = 0
        self._writer: asyncio.Task[None] | None = None

    async def load(self, declared: Iterable[str]) -> None:
        """Counts what is stored; what is of no route that is *declared* is gone."""
        declared = {*declared, NOWHERE}
        async with self._store.writing() as connection:
            counted = select(REQUESTS.c.route, func.count()).group_by(REQUESTS.c.route)
            counts = {row.route: int(row[1]) for row in await connection.execute(counted)}
            await forget(connection, [route for route in counts if route not in declared])
        self._counts = Counter({r: count for r, count in counts.items() if r in declared})

    async def record(
        self, decisions: Sequence[pb.Decision], outcomes: Sequence[pb.Outcome]
    ) -> None:
        """All of it is stored, or nothing; what came before in the same words is stored once.

        But what was decided for a route that is not, or no longer, declared is nothing to store.

        Raises:
            Overloaded: the store is too far behind.
            Unavailable: the database did not take it.
        """
        await self._join(decisions, outcomes, ())

    async def submit(self, feedback: Sequence[pb.Feedback]) -> int:
        """Stores all of *feedback*, or nothing; returns how many are about unknown requests.

        Raises:
            Conflict: too much was said of one request already.
            Overloaded: the store is too far behind.
            Unavailable: the database did not take it.
        """
        return await self._join((), (), feedback)

    async def latest(self, route: str, request: str, limit: int) -> list[pb.Record]:
        """The latest *limit* records, latest first; of one *route* or *request* where it is said.

        Raises:
            Unavailable: the database does not answer.
        """
        async with self._store.transaction() as connection:
            chosen = select(REQUESTS).where(REQUESTS.c.route != NOWHERE)
            if route:
                chosen = chosen.where(REQUESTS.c.route == route)
            if request:
                chosen = chosen.where(REQUESTS.c.request == request)
            newest = chosen.order_by(REQUESTS.c.time.desc(), REQUESTS.c.request).limit(limit)
            rows = (await connection.execute(newest)).all()
            said = await feedback_on(connection, [row.request for row in rows])
        return [record_of(row, said.get(row.request, ())) for row in rows]

    async def labels(self, route: str, after: float) -> tuple[int, int]:
        """Requests of *route* of which something was said, and of how many after that time."""
        said = select(FEEDBACK.c.request, func.max(FEEDBACK.c.time).label("time"))
        joined = said.join(REQUESTS, REQUESTS.c.request == FEEDBACK.c.request)
        each = joined.where(REQUESTS.c.route == route).group_by(FEEDBACK.c.request).subquery()
        new = func.coalesce(func.sum(case((each.c.time > after, 1), else_=0)), 0)
        async with self._store.transaction() as connection:
            total, fresh = (await connection.execute(select(func.count(), new))).one()
        return int(total), int(fresh)

    async def close(self) -> None:
        """Returns when all that was given is stored, or refused."""
        if self._writer is not None:
            await asyncio.wait((self._writer,))

    async def _join(
        self,
        decisions: Sequence[pb.Decision],
        outcomes: Sequence[pb.Outcome],
        feedback: Sequence[pb.Feedback],
    ) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        said = _Said(decisions, outcomes, feedback, future)
        if self._pending and self._pending_bytes + said.bytes > _MOST_PENDING:
            raise Overloaded("the store is behind with what routes learn from: send it again later")
        self._pending.append(said)
        self._pending_bytes += said.bytes
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all(), name="records")
        return await future

    async def _write_all(self) -> None:
        """Writes what is pending, as much as may be at a time, until nothing is."""
        while self._pending:
            together, number = [], 0
            while self._pending and number < _PER_TRANSACTION:
                together.append(said := self._pending.popleft())
                self._pending_bytes -= said.bytes
                number += len(said.all)
            try:
                results: Sequence[int | Exception] = await self._write(together)
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                results = [error] * len(together)
            for said, result in zip(together, results, strict=True):
                if said.done.cancelled():
                    continue
                if isinstance(result, Exception):
                    said.done.set_exception(result)
                else:
                    said.done.set_result(result)

    async def _write(self, together: Sequence[_Said]) -> list[int | Exception]:
        now = self._clock()
        async with self._store.writing() as connection:
            about = list({each.request: None for said in together for each in said.all})
            there = {row.request: row for row in await stored(connection, about)}
            results = await refused(connection, [said.feedback for said in together], there)
            taken = [said for said, result in zip(together, results, strict=True) if not result]
            taken = await _declared(connection, taken)
            known = {request: row.route for request, row in there.items()}
            rows = _rows(there, taken, now)
            changed = [row for row in rows.values() if row.changed]
            added = Counter(row.route for row in changed)
            added.subtract(known[row.request] for row in changed if row.request in known)
            await replaced(connection, REQUESTS, REQUESTS.c.request, map(Row.values, changed))
            told = feedback_rows((each for said in taken for each in said.feedback), now)
            await replaced(connection, FEEDBACK, FEEDBACK.c.id, told)
            counts = self._counts + added
            for route in added:
                if counts[route] > (self._kept if route else _WAITING_KEPT) + _SLACK:
                    counts[route] = await self._trim(connection, route, now)
        self._counts = counts
        return [
            result or sum(not rows[each.request].route for each in said.feedback)
            for said, result in zip(together, results, strict=True)
        ]

    async def _trim(self, connection: AsyncConnection, route: str, now: float) -> int:
        """Drops all but the newest requests of *route*; returns how many there are."""
        kept = self._kept if route else _WAITING_KEPT
        theirs = REQUESTS.c.route == route
        by_time = select(REQUESTS.c.time).where(theirs).order_by(REQUESTS.c.time.desc())
        cut = (await connection.execute(by_time.offset(kept).limit(1))).scalar()
        oldest = max(cut or 0.0, 0.0 if route else now - _WAITING_SECONDS)
        gone = theirs & (REQUESTS.c.time <= oldest)
        requests = select(REQUESTS.c.request).where(gone)
        await connection.execute(delete(FEEDBACK).where(FEEDBACK.c.request.in_(requests)))
        await connection.execute(delete(REQUESTS).where(gone))
        counted = select(func.count()).select_from(REQUESTS).where(theirs)
        return int((await connection.execute(counted)).scalar_one())


def _rows(there: Mapping[str, Row], taken: Sequence[_Said], now: float) -> dict[str, Row]:
    """The requests that *taken* is about, with it taken into those that are *there*."""
    rows: dict[str, Row] = {}
    for said in taken:
        for each in said.all:
            if each.request not in rows:
                rows[each.request] = there.get(each.request) or Row(each.request, now, changed=True)
        for decision in said.decisions:
            row = rows[decision.request]
            row.route, row.time, row.changed = decision.route, decision.time or now, True
            row.decision = decision.SerializeToString()
        for outcome in said.outcomes:
            row = rows[outcome.request]
            row.outcomes[outcome.SerializeToString()] = None
            row.changed = True
    return rows


async def _declared(connection: AsyncConnection, together: Sequence[_Said]) -> list[_Said]:
    """What is said of the requests of routes that the store has, and of those of unknown ones."""
    named = {each.route for said in together for each in said.decisions}
    found = await connection.execute(select(ROUTES.c.key).where(ROUTES.c.key.in_(named)))
    there = set(found.scalars())
    gone = {d.request for said in together for d in said.decisions if d.route not in there}
    if not gone:
        return [*together]
    return [
        replace(
            said,
            decisions=[each for each in said.decisions if each.request not in gone],
            outcomes=[each for each in said.outcomes if each.request not in gone],
        )
        for said in together
    ]
