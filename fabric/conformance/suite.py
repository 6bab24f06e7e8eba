"""Runs the checks against a server, one after the other."""

from __future__ import annotations

import asyncio
import fnmatch
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import httpx

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.areas import CHECKS
from fabric.conformance.checks import Broken, NotOffered, Outcome, Status
from fabric.conformance.dialects import Dialect, find
from fabric.conformance.server import LIVE, PATIENCE, Refused, Server
from fabric.core.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fabric.conformance.checks import Check

_LONGEST = 120.0
"""Seconds for one check, whatever its calls say."""
_SILENT = frozenset({"classification", "sequence", "binary_tensor_data"})
"""Extensions without calls of their own: a server has them if it says so."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a server did."""

    server: str
    dialect: Dialect
    outcomes: tuple[Outcome, ...] = field(default=())

    def count(self, status: Status, area: str = "") -> int:
        return sum(o.status is status and area in ("", o.area) for o in self.outcomes)

    @property
    def areas(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(outcome.area for outcome in self.outcomes))

    @property
    def passed(self) -> bool:
        """No check failed, and each could be run to its end."""
        return not self.count(Status.FAIL) and not self.count(Status.ERROR)


def chosen(pattern: str = "", dialect: str = "") -> tuple[Check, ...]:
    """The checks whose names match *pattern*, a part of a name or with `*`, and that count for
    *dialect*.

    Raises:
        InvalidRequest: there is none.
    """
    glob = pattern if "*" in pattern else f"*{pattern}*"
    found = tuple(
        check
        for check in CHECKS
        if fnmatch.fnmatchcase(check.name, glob) and check.dialect in ("", dialect or check.dialect)
    )
    if not found:
        areas = sorted({check.area for check in CHECKS})
        raise InvalidRequest(f"no check is named {pattern!r}; the areas are {', '.join(areas)}")
    return found


async def run(
    address: str,
    *,
    http: str = "",
    dialect: str = "",
    only: str = "",
    patience: float = PATIENCE,
    progress: Callable[[int, int, str], None] = lambda done, all_, name: None,
) -> Report:
    """Checks the server at *address*.

    Args:
        http: `host:port` of its REST door; by default *address*, if that answers HTTP.
        dialect: The dialect whose rules count; by default the one that is found.
        only: Which checks, see `chosen`.
        patience: Seconds for one call.
        progress: Told how many checks are done, of how many, and which is next.

    Raises:
        Unavailable: nobody answers at *address*.
        InvalidRequest: *only* matches no check.
    """
    chosen(only)
    async with Server(address, http or await _http(address), patience) as server:
        try:
            await server.call(LIVE, pb.ServerLiveRequest())
        except (Refused, Broken) as error:
            if not isinstance(error, Refused) or error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise Unavailable(f"no server of the protocol at {address}: {error}") from error
        found = await find(server)
        server.dialect = found.name = dialect or found.name
        server.extensions = frozenset(found.extensions)
        server.has_versions = found.versions != "ignored"
        server.names_models_first = found.load == "1"
        outcomes = []
        checks = chosen(only, server.dialect)
        for done, check in enumerate(checks):
            progress(done, len(checks), check.name)
            outcomes.append(await _outcome(server, check))
        progress(len(checks), len(checks), "")
        found.codes = tuple(sorted(server.codes))
        return Report(server=address, dialect=found, outcomes=tuple(outcomes))


async def _http(address: str) -> str:
    """*address* if it answers HTTP, else nothing."""
    try:
        async with httpx.AsyncClient(timeout=3.0, trust_env=False) as client:
            answer = await client.get(f"http://{address}/v2/health/live")
    except httpx.HTTPError:
        return ""
    is_grpc = answer.headers.get("content-type", "").startswith("application/grpc")
    return "" if is_grpc else address


async def _outcome(server: Server, check: Check) -> Outcome:
    began = time.perf_counter()
    made = Outcome(name=check.name, clause=check.clause, source=check.source, status=Status.PASS)
    try:
        async with asyncio.timeout(_LONGEST):
            await _check_offered(server, check)
            await check.test(server)
    except NotOffered as reason:
        made = replace(made, status=Status.NOT_OFFERED, got=str(reason))
    except Broken as broken:
        made = replace(made, status=Status.FAIL, expected=broken.expected, got=broken.got)
    except Refused as refused:
        got = f"{refused.code}: {refused.text}"
        if refused.code == "UNIMPLEMENTED" and check.extension not in ("", *server.extensions):
            made = replace(made, status=Status.NOT_OFFERED, got=got)
        else:
            made = replace(made, status=Status.FAIL, expected="an answer", got=got)
    except TimeoutError:
        got = f"no end in {_LONGEST:g} s"
        made = replace(made, status=Status.FAIL, expected="an end of the check", got=got)
    except Exception as error:  # noqa: BLE001 - a mistake of the suite spoils one check only
        made = replace(made, status=Status.ERROR, got=f"{type(error).__name__}: {error}")
    return replace(made, seconds=round(time.perf_counter() - began, 4))


async def _check_offered(server: Server, check: Check) -> None:
    if check.extension in _SILENT and check.extension not in server.extensions:
        raise NotOffered(f"the server does not name the extension {check.extension!r}")
    for model in check.models:
        if not await server.has(model):
            raise NotOffered(f"the server has no model {model!r}")


def grouped(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """*outcomes* by area, in order."""
    areas: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        areas.setdefault(outcome.area, []).append(outcome)
    return areas
