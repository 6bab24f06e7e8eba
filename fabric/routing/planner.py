"""From a request's model, version and requirements to a plan."""

from __future__ import annotations

import random
import time
from bisect import bisect
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from fabric.core.errors import FabricError, NotFound, Unavailable
from fabric.core.plans import Candidate, Plan, Refusal
from fabric.core.routes import Requirements, Retry, Route
from fabric.routing.candidates import MOST_CANDIDATES, UNLOADED, Asked, Known, through
from fabric.routing.confidence import unusable
from fabric.routing.expressions import Allowance, check_of_asked
from fabric.routing.filters import checks, refused

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_KEPT = 4096
_MOST_PLACES = 1 << 17
"""Candidates and refusals of all plans that are kept."""
_MOST_NAMED = 8
"""Refusals that an error names."""
_LIVE_SCORERS = frozenset(("latency", "load"))


@dataclass(slots=True, eq=False)
class _Draw:
    """One plan, or one for each first place with the weights to draw it by, or an error."""

    plan: Plan | None
    """The one; None where there is something to draw or an error."""
    plans: tuple[Plan, ...]
    weights: tuple[float, ...] = ()
    """Cumulative."""
    error: FabricError | None = None
    is_live: bool = False
    """Whether it would be another one if candidates fared otherwise."""

    @property
    def places(self) -> int:
        plan = self.plans[0]
        return len(self.plans) * (len(plan.candidates) + len(plan.refusals))


class Planner:
    """Makes plans, and keeps each until the catalog changes."""

    def __init__(
        self, known: Callable[[], Known], draw: Callable[[], float] = random.random
    ) -> None:
        self._known = known
        self._draw = draw
        self._drawn: dict[tuple[str, str, Requirements | None], _Draw] = {}
        self._allowance = Allowance()
        self._places = 0
        self.live_seconds = 0.0
        """What it took to make those kept plans that follow how candidates fare."""

    def forget(self) -> None:
        """The catalog has changed: plans are made anew."""
        self._drawn.clear()
        self._places, self.live_seconds = 0, 0.0

    def forget_live(self) -> None:
        """Candidates fare otherwise: plans that follow it are made anew."""
        self._drawn = {key: drawn for key, drawn in self._drawn.items() if not drawn.is_live}
        self._places = sum(drawn.places for drawn in self._drawn.values())
        self.live_seconds = 0.0

    def plan(self, model: str, version: str, requirements: Requirements | None) -> Plan:
        """The plan for a request; under `weighted` one of several, drawn by weight.

        Raises:
            NotFound: no such model, or nobody in it meets the requirements.
            Unavailable: it is unloaded.
            InvalidRequest: the expression in the requirements is none, or takes too long.
        """
        key = (model, version, requirements)
        drawn = self._drawn.get(key)
        if drawn is None:
            begun = time.perf_counter()
            drawn = self._kept(key, self._made(model, version, requirements))
            if drawn.is_live:
                self.live_seconds += time.perf_counter() - begun
        if (plan := drawn.plan) is not None:
            return plan
        if drawn.error is not None:
            raise type(drawn.error)(drawn.error.message)
        point = self._draw() * drawn.weights[-1]
        return drawn.plans[min(bisect(drawn.weights, point), len(drawn.plans) - 1)]

    def explained(self, model: str, version: str, requirements: Requirements | None) -> Plan:
        """The plan that a request would get now, with all candidates, or none; it is not kept.

        Raises:
            NotFound: no such model.
            Unavailable: it is unloaded.
            InvalidRequest: as in `plan`.
        """
        return self._made(model, version, requirements, most=None).plans[0]

    def _made(
        self,
        model: str,
        version: str,
        requirements: Requirements | None,
        most: int | None = MOST_CANDIDATES,
    ) -> _Draw:
        known = self._known()
        asked = Asked([], most=most)
        if requirements is not None:
            route = known.routes.get(model)
            domain = requirements.domain or (route.requirements.domain if route else "")
            expressed = partial(check_of_asked, allowance=self._allowance)
            found = checks(requirements, domain, known.live, expressed)
            asked = Asked(found, domain, requirements.versions, most)
        drawn = _plans(known, model, version, asked)
        if requirements is not None and requirements.max_latency is not None:
            drawn.is_live = True
        return drawn

    def _kept(self, key: tuple[str, str, Requirements | None], drawn: _Draw) -> _Draw:
        places = drawn.places
        if len(self._drawn) >= _MOST_KEPT or self._places + places > _MOST_PLACES:
            self.forget()
        self._drawn[key] = drawn
        self._places += places
        return drawn


def _plans(known: Known, model: str, version: str, asked: Asked) -> _Draw:
    route = known.routes.get(model)
    if route is None:
        return _direct(known, model, version, asked)
    if not route.loaded:
        raise Unavailable(f"'{model}' is not ready: it is unloaded")
    if version:
        raise NotFound(f"{unknown(model, version)}; it is a route, and routes have no versions")
    if route.cascade is not None and (why_not := unusable(route.cascade)):
        raise Unavailable(f"route '{model}' is not ready: {why_not}")
    found = through(known, route, asked)
    pairs = found.pairs
    if route.cascade is not None:
        pairs.sort(key=lambda pair: pair[0].card.cost)
    plan = Plan(
        route=model,
        candidates=tuple(candidate for candidate, _ in pairs),
        refusals=tuple(found.refusals[: asked.most]),
        retry=route.retry,
        timeout=route.timeout,
        cascade=route.cascade,
        mixture=route.mixture,
        hedging=route.hedging,
        given=tuple(found.given),
    )
    is_live = _is_live(known, route)
    if not pairs and not found.given:
        return _Draw(None, (plan,), error=_nobody(model, found.refusals), is_live=is_live)
    is_drawn = route.order == "weighted" and route.cascade is None and len(pairs) > 1
    if not is_drawn or not any(weight for _, weight in pairs):
        return _Draw(plan, (plan,), is_live=is_live)
    return _weighted(plan, [weight for _, weight in pairs], is_live)


def unknown(model: str, version: str) -> str:
    """What clients of Triton know and match."""
    which = f"'{model}' version {version}" if version else f"'{model}'"
    return f"Request for unknown model: {which} is not found"


def _is_live(known: Known, route: Route) -> bool:
    """Whether a plan of *route* follows how candidates fare, whatever its caller asks for."""
    if route.requirements.max_latency is not None:
        return True
    is_ranked = route.order == "scored" or any(entry.select for entry in route.chain)
    if is_ranked and not _LIVE_SCORERS.isdisjoint(route.preferences.weighted):
        return True
    for entry in route.chain:
        inner = known.routes.get(entry.name)
        if inner is not None and _is_live(known, inner):
            return True
    return False


def _nobody(model: str, refusals: list[Refusal]) -> FabricError:
    error = Unavailable if any(r.reason == UNLOADED for r in refusals) else NotFound
    named = "; ".join(f"{r.name}: {r.reason}" for r in refusals[:_MOST_NAMED])
    more = len(refusals) - _MOST_NAMED
    return error(
        f"no specialist of route '{model}' may answer; {len(refusals)} refused: {named}"
        + (f"; and {more} more, see `fabric explain`" if more > 0 else "")
    )


def _direct(known: Known, model: str, version: str, asked: Asked) -> _Draw:
    """The plan of a specialist called by its own name."""
    specialist = known.find(model, version)
    if specialist is None:
        raise NotFound(unknown(model, version))
    if not specialist.hosting.loaded:
        raise Unavailable(f"'{model}' is not ready: it is unloaded")
    timeout = specialist.hosting.timeouts.request
    card = specialist.card
    plan = Plan("", (Candidate(card, "called by its own name", timeout),), (), Retry(), timeout)
    reason = refused(card, asked.checks)
    if not reason:
        return _Draw(plan, (plan,))
    plan = replace(plan, candidates=(), refusals=(Refusal(card.name, card.version, reason),))
    return _Draw(None, (plan,), error=NotFound(f"specialist '{model}' may not answer: {reason}"))


def _weighted(plan: Plan, weights: list[float], is_live: bool) -> _Draw:
    """One plan for each candidate in the first place, the others behind it as they stood."""
    plans = []
    for place, first in enumerate(plan.candidates):
        others = (c for other, c in enumerate(plan.candidates) if other != place)
        share = f"{first.reason}, weight {weights[place]:g} of {sum(weights):g}"
        plans.append(replace(plan, candidates=(replace(first, reason=share), *others)))
    return _Draw(None, tuple(plans), tuple(accumulate(weights)), is_live=is_live)
