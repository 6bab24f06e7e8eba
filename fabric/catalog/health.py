"""How specialists fare, and when one that is no longer declared may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.core.replicas import State, Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from fabric.catalog.catalog import Catalog
    from fabric.catalog.declared import Declared

RETIRING = "no longer declared; serves until another version is ready"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the host of a specialist knows of it."""

    wanted: int
    """Replicas that there should be now."""
    updating: bool = False
    """Some of the replicas that answer have an older configuration."""
    failure: str = ""
    """Why a replica could not start or came to its end, in its own words."""
    waiting: str = ""
    """What has to happen elsewhere before the host can do anything."""


def status(
    ready: int, report: Report, declared: bool, loaded: bool = True, leaving: str = ""
) -> Status:
    """How a specialist fares with *ready* replicas under a lease; *leaving* is why others drain."""
    why = leaving or report.failure or report.waiting
    if not loaded:
        return Status(state=State.UNLOADED, reason="unloaded")
    if ready == 0:
        state, reason = State.FAILED if report.failure else State.PENDING, why
    elif not declared:
        state, reason = State.DEGRADED, RETIRING
    elif ready < report.wanted:
        of = f"{ready} of {report.wanted} replicas are ready"
        state, reason = State.DEGRADED, f"{of}: {why}" if why else of
    elif report.updating:
        state, reason = State.DEGRADED, why or "an update is under way"
    else:
        state, reason = State.READY, ""
    failing = bool(report.failure) and state is not State.READY
    return Status(state=state, reason=reason, ready=ready, wanted=report.wanted, failing=failing)


def outlived(catalog: Catalog, declared: Declared, leaving: Collection[str] = ()) -> set[str]:
    """The specialists that are no longer declared and that nobody needs any more.

    One is needed while other versions of its name are to be loaded and none of them is ready, so
    that a broken new version never takes the good old one away. Of those only just *leaving*, one
    that does not answer is no good old one.
    """
    heirs: dict[str, list[str]] = {}
    for key, specialist in declared.specialists.items():
        if not specialist.hosting.loaded:
            continue
        heirs.setdefault(specialist.card.name, []).append(key)

    def is_needed(key: str, name: str) -> bool:
        ready = (catalog.statuses.get(heir, Status()).state is State.READY for heir in heirs[name])
        return not any(ready) and (key not in leaving or bool(catalog.replicas_of(key)))

    return {
        key
        for key, specialist in catalog.specialists.items()
        if key not in declared.specialists
        and not (specialist.card.name in heirs and is_needed(key, specialist.card.name))
    }
