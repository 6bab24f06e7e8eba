"""What was learned for routes: read once, asked for each request, and never relied on.

A policy comes from training and may be anything. One that cannot be read, fails, is slow or knows
nobody costs no answer: evidence decides, the reason says so, and the log does once per policy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fabric.core.policies import Policy, in_use
from fabric.routing.deciding import Judged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fabric.core.deadlines import Clock
    from fabric.core.decisions import Query
    from fabric.core.routes import Learning
    from fabric.gateway.view import View

log = logging.getLogger(__name__)

_SLOW = 0.02
"""Seconds of the processor for one request that are too long,"""
_TOO_OFTEN = 3
"""and how often in a row; then the policy is set aside."""


class Chosen(Protocol):
    """What a policy says of the candidates of a request, see `fabric.routing.learned.Choice`."""

    @property
    def probabilities(self) -> NDArray[np.float64]: ...

    @property
    def order(self) -> tuple[int, ...]: ...


class Chooses(Protocol):
    """A policy, see `fabric.routing.learned.Learned`."""

    def choose(self, query: Query, candidates: Sequence[str]) -> Chosen: ...


@dataclass(slots=True, eq=False)
class _Used:
    """The policy of a route."""

    policy: Policy | None
    version: int
    learned: Chooses | None = None
    trouble: str = ""
    """Why it is not asked."""
    slow: int = 0
    """How often in a row it was."""
    is_logged: bool = False

    def doubt(self, trouble: str) -> str:
        said = f"policy {self.version} {trouble}"
        if not self.is_logged:
            self.is_logged = True
            where = "" if self.policy is None else f" of route {self.policy.route}"
            log.warning("evidence decides: policy %d%s %s", self.version, where, trouble)
        return said


class Policies:
    """The policies in use; `keep` keeps them as the catalog has them."""

    def __init__(
        self, view: View, read: Callable[[bytes], Chooses], clock: Clock = time.thread_time
    ) -> None:
        self._view = view
        self._read = read
        self._clock = clock
        self._used: dict[str, _Used] = {}
        """By route."""

    async def keep(self) -> None:
        """Reads what routes are to use, whenever that changes, for ever.

        Reading takes place in a thread; what was used before is until it is done.
        """
        while True:
            news = self._view.news
            wanted = self._wanted()
            for route in self._used.keys() - wanted.keys():
                del self._used[route]
            for route, (version, policy) in wanted.items():
                used = self._used.get(route)
                if used is None or (used.version, used.policy) != (version, policy):
                    self._used[route] = await self._opened(version, policy)
            await news.wait()

    def judged(
        self, route: str, learning: Learning, query: Query, keys: Sequence[str]
    ) -> tuple[Judged | None, str]:
        """What the policy of *route* expects of the candidates *keys*, or why it is not known."""
        used = self._used.get(route)
        if used is None:
            return None, ""
        if used.learned is None:
            return None, used.trouble
        started = self._clock()
        try:
            chosen = used.learned.choose(query, keys)
            judged = _judged(used.version, chosen, len(keys), guarded=learning.guard)
        except Exception as error:  # noqa: BLE001 - whatever it is, evidence decides
            return None, used.doubt(f"failed: {type(error).__name__}: {error}")
        self._time(used, self._clock() - started)
        if judged is None:
            return None, f"policy {used.version} knows none of the candidates"
        return judged, ""

    def explored(self, route: str) -> bytes:
        """What is known of the candidates by the policy of *route*, to explore from."""
        used = self._used.get(route)
        return b"" if used is None or used.policy is None else used.policy.explored

    def _time(self, used: _Used, seconds: float) -> None:
        used.slow = used.slow + 1 if seconds > _SLOW else 0
        if used.slow >= _TOO_OFTEN:
            used.learned = None
            used.trouble = used.doubt(
                f"is set aside: it takes {seconds:.3f} s, and may take {_SLOW:g} s"
            )

    def _wanted(self) -> dict[str, tuple[int, Policy | None]]:
        """By route, the version that is to be used and the policy, if it is there."""
        wanted: dict[str, tuple[int, Policy | None]] = {}
        for name, route in self._view.deciding.items():
            policy = in_use(self._view.catalog.policies.get(name, ()), route)
            if policy is not None:
                wanted[name] = (policy.version, policy)
            elif route.learns and route.learning is not None and route.learning.policy:
                wanted[name] = (route.learning.policy, None)
        return wanted

    async def _opened(self, version: int, policy: Policy | None) -> _Used:
        used = _Used(policy, version)
        if policy is None:
            used.trouble = used.doubt("is not there, though the route names it")
            return used
        try:
            used.learned = await asyncio.to_thread(self._read, policy.data)
        except Exception as error:  # noqa: BLE001 - whatever it is, evidence decides
            used.trouble = used.doubt(f"cannot be read: {type(error).__name__}: {error}")
        return used


def _judged(version: int, chosen: Chosen, count: int, *, guarded: bool) -> Judged | None:
    """What was *chosen* among *count* candidates, if anything is known of them.

    Raises:
        ValueError: it is nothing that anybody could act on.
    """
    said = np.asarray(chosen.probabilities, np.float64)
    order = list(chosen.order)
    if said.shape != (count,) or sorted(order) != list(range(count)):
        raise ValueError(f"it speaks of other than {count} candidates")
    success = np.where(np.isfinite(said), said.clip(0.0, 1.0), np.nan)
    if np.isnan(success).all():
        return None
    if not guarded:
        order.sort(key=lambda place: -np.nan_to_num(success[place], nan=-1.0))
    if np.isnan(success[order[0]]):
        raise ValueError("it would ask somebody whom it does not know")
    return Judged(version, success, order)
