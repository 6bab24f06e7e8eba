"""Rows of the tables that routes learn from, read and written."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.catalog.catalog import suggestion
from fabric.control.tables import FEEDBACK, REQUESTS
from fabric.core.errors import Conflict, FabricError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

NOWHERE = ""
"""The route of requests whose decision is not known."""
_PER_REQUEST = 64
"""Outcomes of a request, and pieces of feedback on it."""
_FULL = (
    f"of request {{request!r}} {_PER_REQUEST} different things were said already: "
    "say it under an id that was used before"
)
_PER_QUERY = 10_000  # databases take 32 thousand parameters


@dataclass
class Row:
    """A request, as it is stored or about to be."""

    request: str
    time: float
    route: str = NOWHERE
    decision: bytes = b""
    outcomes: dict[bytes, None] = field(default_factory=dict)
    """In order of arrival, each once."""
    changed: bool = False

    def values(self) -> dict[str, Any]:
        latest = list(self.outcomes)[-_PER_REQUEST:]
        outcomes = pb.Record(outcomes=map(pb.Outcome.FromString, latest))
        return {
            "request": self.request,
            "route": self.route,
            "time": self.time,
            "decision": self.decision,
            "outcomes": outcomes.SerializeToString(),
        }


def feedback_key(feedback: pb.Feedback) -> str:
    """What is said again under the same key takes the place of what was said before."""
    if feedback.id:
        return f"id {feedback.id}"
    return f"on {feedback.request} {feedback.specialist}"


async def labelled(connection: AsyncConnection, route: str, limit: int) -> list[pb.Record]:
    """The latest records of *route* of which something was said, by time."""
    said = select(FEEDBACK.c.request)
    chosen = select(REQUESTS).where(REQUESTS.c.route == route, REQUESTS.c.request.in_(said))
    latest = chosen.order_by(REQUESTS.c.time.desc()).limit(limit)
    rows = (await connection.execute(latest)).all()[::-1]
    feedback = await feedback_on(connection, [row.request for row in rows])
    return [record_of(row, feedback.get(row.request, ())) for row in rows]


def record_of(row: Any, feedback: Iterable[pb.Feedback]) -> pb.Record:
    record = pb.Record.FromString(row.outcomes)
    record.decision.ParseFromString(row.decision)
    record.feedback.extend(feedback)
    return record


async def stored(connection: AsyncConnection, requests: Sequence[str]) -> list[Row]:
    found = []
    for part in _parts(requests):
        for row in await connection.execute(select(REQUESTS).where(REQUESTS.c.request.in_(part))):
            outcomes = pb.Record.FromString(row.outcomes).outcomes
            known = dict.fromkeys(each.SerializeToString() for each in outcomes)
            found.append(Row(row.request, row.time, row.route, row.decision, known))
    return found


async def feedback_on(
    connection: AsyncConnection, requests: Sequence[str]
) -> dict[str, list[pb.Feedback]]:
    """By request, in order of arrival."""
    found: dict[str, list[pb.Feedback]] = defaultdict(list)
    for part in _parts(requests):
        said = select(FEEDBACK).where(FEEDBACK.c.request.in_(part)).order_by(FEEDBACK.c.time)
        for row in await connection.execute(said):
            found[row.request].append(pb.Feedback.FromString(row.body))
    return found


async def refused(
    connection: AsyncConnection,
    together: Sequence[Sequence[pb.Feedback]],
    rows: Mapping[str, Row],
) -> list[FabricError | None]:
    """Why each is not taken, since it is about somebody who was not among the candidates of one of
    the *rows*, or too much would be said of a request; None where it is."""
    keys: dict[str, set[str]] = defaultdict(set)
    requests = list({each.request for said in together for each in said})
    for part in _parts(requests):
        there = select(FEEDBACK.c.request, FEEDBACK.c.id).where(FEEDBACK.c.request.in_(part))
        for request, key in await connection.execute(there):
            keys[request].add(key)
    results: list[FabricError | None] = []
    named = {f.request for said in together for f in said if f.specialist or f.preferred}
    asked = {request: _asked(rows[request]) for request in named & rows.keys()}
    for said in together:
        if (stranger := _stranger(said, asked)) is not None:
            results.append(stranger)
            continue
        new: dict[str, set[str]] = defaultdict(set)
        for each in said:
            new[each.request].add(feedback_key(each))
        after = {request: keys[request] | more for request, more in new.items()}
        full = next((request for request, all_ in after.items() if len(all_) > _PER_REQUEST), None)
        if full is None:
            keys.update(after)
        results.append(None if full is None else Conflict(_FULL.format(request=full)))
    return results


def _asked(row: Row) -> set[str]:
    """`name:version` of all that could be asked; nobody where that is not known."""
    candidates = set(pb.Decision.FromString(row.decision).candidates)
    if candidates:
        candidates.update(pb.Outcome.FromString(each).specialist for each in row.outcomes)
    return candidates


def _stranger(said: Sequence[pb.Feedback], asked: Mapping[str, set[str]]) -> InvalidRequest | None:
    for place, each in enumerate(said):
        known = asked.get(each.request)
        for name in ("specialist", "preferred"):
            if known and (who := getattr(each, name)) and who not in known:
                return InvalidRequest(
                    f"feedback {place}: {name} is '{who}', which was no candidate of request "
                    f"'{each.request}'{suggestion(who, sorted(known))}"
                )
    return None


def feedback_rows(said: Iterable[pb.Feedback], now: float) -> Iterable[dict[str, Any]]:
    for key, each in {feedback_key(each): each for each in said}.items():
        body = each.SerializeToString()
        yield {"id": key, "request": each.request, "time": now, "body": body}


async def replaced(
    connection: AsyncConnection, table: Any, column: Any, rows: Iterable[dict[str, Any]]
) -> None:
    made = list(rows)
    for part in _parts([row[column.name] for row in made]):
        await connection.execute(delete(table).where(column.in_(part)))
    if made:
        await connection.execute(insert(table), made)


def _parts(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _PER_QUERY):
        yield items[start : start + _PER_QUERY]
