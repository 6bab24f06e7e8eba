"""What was learned for a route, as it is kept and handed out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.core.cards import no_name
from fabric.core.mistakes import Checked, at_least

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fabric.core.routes import Route


@dataclass(frozen=True, kw_only=True)
class Policy(Checked):
    """One version of what was learned for a route: who succeeds at which requests."""

    route: str
    version: int
    """From 1."""
    data: bytes = b""
    """As `fabric.routing.learned` writes it; empty in lists."""
    explored: bytes = b""
    """How much is known of the candidates, as `fabric.routing.exploration` writes it; empty in
    lists, and of routes that explore nothing."""
    labels: int = 0
    """Labels that it was trained on."""
    trained: str = ""
    """When, as `2026-01-31T12:00:00Z`."""
    report: str = ""
    """What its training said, as JSON: gains with bounds, calibration, shares."""
    lost: str = ""
    """Why it is used no more; empty while it may be."""
    note: str = ""
    """Why the last training has made no newer one, where it failed; only told to whoever asks."""

    def mistakes(self) -> Iterator[str]:
        yield from no_name("route", self.route)
        yield from at_least(self, 1, "version")

    @property
    def key(self) -> str:
        """`route:version`, unique in a fabric."""
        return f"{self.route}:{self.version}"


def in_use(policies: Iterable[Policy], route: Route) -> Policy | None:
    """Which of the *policies* of *route*, the latest first, is used: the one that is named, else
    the latest that has not lost."""
    learning = route.learning
    if learning is None or not route.learns:
        return None
    if learning.policy:
        return next((each for each in policies if each.version == learning.policy), None)
    return next((each for each in policies if not each.lost), None)
