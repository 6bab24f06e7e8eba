"""What survives the control plane: declarations, registrations, policies, and what routes learn
from (see `fabric.control.records`), in SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Table, delete, event, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fabric.api.catalog.v1 import card_pb2
from fabric.api.pipelines.v1 import pipeline_pb2
from fabric.api.routing.v1 import policy_pb2, route_pb2
from fabric.control.tables import (
    FABRIC,
    FEEDBACK,
    METADATA,
    PIPELINES,
    POLICIES,
    REPLICAS,
    REQUESTS,
    ROUTES,
    SPECIALISTS,
)
from fabric.core.cards import Specialist
from fabric.core.errors import FabricError, Unavailable
from fabric.core.pipelines import Pipeline
from fabric.core.policies import Policy
from fabric.core.replicas import Replica
from fabric.core.routes import Route
from fabric.core.tensors import Signature
from fabric.wire.cards import from_message, to_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from google.protobuf.message import Message

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A specialist as the control plane keeps it."""

    specialist: Specialist
    """As it was declared."""
    declared: bool = True
    """False while it only serves until another version is ready."""
    signature: Signature | None = None
    """What its replicas read from the model."""

    @property
    def signed(self) -> Specialist:
        """The specialist with the signature that its replicas read."""
        if self.signature is None:
            return self.specialist
        card = replace(self.specialist.card, signature=self.signature)
        return replace(self.specialist, card=card)


@dataclass(frozen=True)
class Stored:
    """All that was acknowledged before the last end of the control plane."""

    epoch: int
    specialists: tuple[Entry, ...]
    routes: tuple[Route, ...]
    replicas: tuple[Replica, ...]
    policies: tuple[Policy, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Writes:
    """What one change does to the store, by key; None takes out."""

    specialists: Mapping[str, Entry | None] = field(default_factory=dict)
    routes: Mapping[str, Route | None] = field(default_factory=dict)
    replicas: Mapping[str, Replica | None] = field(default_factory=dict)
    policies: Mapping[str, Policy | None] = field(default_factory=dict)
    pipelines: Mapping[str, Pipeline | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))


class Superseded(FabricError):
    """Another control plane has opened the store since; this one must write no more."""


class Store:
    """One database. Every write is one transaction, on disk when it returns."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.superseded = asyncio.Event()
        """Set once another control plane has taken over: this one must end."""
        self._engine = engine
        self._epoch = 0
        self._turn = asyncio.Lock()

    async def load(self) -> Stored:
        """What is stored, under a new epoch: earlier holders of the store can write no more."""
        async with self.transaction() as connection:
            self._epoch = await _next_epoch(connection)
        return replace(await self.read(), epoch=self._epoch)

    async def read(self) -> Stored:
        """What is stored, for whoever does not write."""
        async with self.transaction() as connection:
            epoch = (await connection.execute(select(FABRIC.c.epoch))).scalar() or 0
            specialists = await connection.execute(select(SPECIALISTS))
            return Stored(
                epoch,
                tuple(_entry(row) for row in specialists),
                await _bodies(connection, ROUTES, route_pb2.Route, Route),
                await _bodies(connection, REPLICAS, card_pb2.Replica, Replica),
                await _bodies(connection, POLICIES, policy_pb2.Policy, Policy),
                await _bodies(connection, PIPELINES, pipeline_pb2.Pipeline, Pipeline),
            )

    async def write(self, writes: Writes) -> None:
        """All of *writes* is stored, or nothing.

        Raises:
            Superseded: another control plane has opened the store since.
            Unavailable: the database did not take it.
        """
        async with self.writing() as connection:
            for table, values, row in (
                (SPECIALISTS, writes.specialists, _entry_row),
                (ROUTES, writes.routes, _route_row),
                (REPLICAS, writes.replicas, _replica_row),
                (POLICIES, writes.policies, _policy_row),
                (PIPELINES, writes.pipelines, _pipeline_row),
            ):
                await _replace(connection, table, values, row)
            gone = [name for name, route in writes.routes.items() if route is None]
            await forget(connection, gone)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is on disk, as a whole, when the block ends; raises what `write`
        raises.

        Writers take turns in the order in which they came: SQLite would let one wait for long while
        others pass it.
        """
        async with self._turn, self.transaction() as connection:
            fence = update(FABRIC).where(FABRIC.c.epoch == self._epoch)
            if (await connection.execute(fence.values(epoch=self._epoch))).rowcount != 1:
                self.superseded.set()
                raise Superseded("another control plane has taken over the store")
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that anybody may open.

        Raises:
            Unavailable: the database does not answer.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise Unavailable(f"the store did not answer: {error}") from error


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """The store at *url*, with its tables made where they are missing; closed on the way out.

    Raises:
        ValueError: *url* names no database that fabric can use.
        Unavailable: the database does not answer.
    """
    engine = _engine(url)
    try:
        try:
            async with engine.begin() as connection:
                await connection.run_sync(METADATA.create_all)
        except (SQLAlchemyError, OSError) as error:
            raise Unavailable(f"cannot open the store {engine.url!r}: {error}") from error
        yield Store(engine)
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"store: {error}") from error
    if parsed.drivername == "sqlite+aiosqlite":
        engine = create_async_engine(parsed)
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        return engine
    if parsed.drivername == "postgresql+asyncpg":
        try:
            return create_async_engine(parsed, pool_pre_ping=True)
        except ImportError as error:
            raise ValueError("PostgreSQL needs the extra: fabric-specialists[postgres]") from error
    raise ValueError(
        f"store {parsed.drivername!r} is not known; "
        "use sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER@HOST/DATABASE"
    )


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # FULL syncs the log at every commit: what was acknowledged survives a power cut, too. Changes
    # are declarations and registrations, so a few milliseconds each are no matter.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def _next_epoch(connection: AsyncConnection) -> int:
    # Written before it is read, so that two that start together are put in turn by the row's lock.
    raised = await connection.execute(update(FABRIC).values(epoch=FABRIC.c.epoch + 1))
    if raised.rowcount == 0:
        await connection.execute(insert(FABRIC).values(id=1, epoch=1))
    return int((await connection.execute(select(FABRIC.c.epoch))).scalar_one())


async def forget(connection: AsyncConnection, routes: Sequence[str]) -> None:
    """What was recorded of *routes* is gone."""
    if routes:
        theirs = select(REQUESTS.c.request).where(REQUESTS.c.route.in_(routes))
        await connection.execute(delete(FEEDBACK).where(FEEDBACK.c.request.in_(theirs)))
        await connection.execute(delete(REQUESTS).where(REQUESTS.c.route.in_(routes)))


async def _replace(
    connection: AsyncConnection,
    table: Table,
    values: Mapping[str, Any],
    row: Callable[[Any], dict[str, Any]],
) -> None:
    if not values:
        return
    await connection.execute(delete(table).where(table.c.key.in_(list(values))))
    made = [{"key": key, **row(value)} for key, value in values.items() if value is not None]
    if made:
        await connection.execute(insert(table), made)


async def _bodies(
    connection: AsyncConnection, table: Table, message: type[Message], cls: type[T]
) -> tuple[T, ...]:
    rows = await connection.execute(select(table.c.body))
    return tuple(from_message(message.FromString(row.body), cls) for row in rows)


def _body(value: object, message: type[Message]) -> bytes:
    return to_message(value, message).SerializeToString(deterministic=True)


def _route_row(route: Route) -> dict[str, Any]:
    return {"body": _body(route, route_pb2.Route)}


def _replica_row(replica: Replica) -> dict[str, Any]:
    return {"body": _body(replica, card_pb2.Replica)}


def _policy_row(policy: Policy) -> dict[str, Any]:
    return {"body": _body(policy, policy_pb2.Policy)}


def _pipeline_row(pipeline: Pipeline) -> dict[str, Any]:
    return {"body": _body(pipeline, pipeline_pb2.Pipeline)}


def _entry_row(entry: Entry) -> dict[str, Any]:
    signature = entry.signature
    return {
        "body": _body(entry.specialist, card_pb2.Specialist),
        "declared": entry.declared,
        "signature": None if signature is None else _body(signature, card_pb2.Signature),
    }


def _entry(row: Any) -> Entry:
    return Entry(
        from_message(card_pb2.Specialist.FromString(row.body), Specialist),
        row.declared,
        None
        if row.signature is None
        else from_message(card_pb2.Signature.FromString(row.signature), Signature),
    )
