"""From a request's model, version and requirements to a plan."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from fabric.core.cards import Specialist
from fabric.core.errors import NotFound, Unavailable
from fabric.core.plans import Candidate, Plan, Refusal
from fabric.core.routes import Requirements, Retry, Route
from fabric.routing.confidence import unusable
from fabric.routing.filters import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.routes import ChainEntry

_MOST_KEPT = 4096
_UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class Known:
    """What the planner sees of a catalog at one revision."""

    routes: Mapping[str, Route]
    find: Callable[[str, str], Specialist | None]
    """A specialist by name and version; without a version the latest that is ready, if any is."""


@dataclass(frozen=True, slots=True)
class _Draw:
    """One plan, or one for each first place with the weights to draw it by."""

    plans: tuple[Plan, ...]
    weights: tuple[float, ...] = ()
    """Cumulative; empty when there is nothing to draw."""


class Planner:
    """Makes plans, and keeps each until the catalog changes."""

    def __init__(
        self, known: Callable[[], Known], draw: Callable[[], float] = random.random
    ) -> None:
        self._known = known
        self._draw = draw
        self._drawn: dict[tuple[str, str, Requirements | None], _Draw] = {}

    def forget(self) -> None:
        """The catalog has changed: plans are made anew."""
        self._drawn.clear()

    def plan(self, model: str, version: str, requirements: Requirements | None) -> Plan:
        """The plan for a request; under `weighted` one of several, drawn by weight.

        Raises:
            NotFound: no such model, or nobody in it meets the requirements.
            Unavailable: it is unloaded.
        """
        key = (model, version, requirements)
        drawn = self._drawn.get(key)
        if drawn is None:
            drawn = _plans(self._known(), model, version, requirements)
            if len(self._drawn) >= _MOST_KEPT:
                self._drawn.clear()
            self._drawn[key] = drawn
        if not drawn.weights:
            return drawn.plans[0]
        point = self._draw() * drawn.weights[-1]
        return drawn.plans[min(bisect(drawn.weights, point), len(drawn.plans) - 1)]


def _plans(known: Known, model: str, version: str, requirements: Requirements | None) -> _Draw:
    route = known.routes.get(model)
    asked = (requirements,) if requirements else ()
    if route is None:
        return _Draw((_direct(known, model, version, asked),))
    if not route.loaded:
        raise Unavailable(f"'{model}' is not ready: it is unloaded")
    if version:
        raise NotFound(f"{unknown(model, version)}; it is a route, and routes have no versions")
    if route.cascade is not None and (why_not := unusable(route.cascade)):
        raise Unavailable(f"route '{model}' is not ready: {why_not}")
    pairs, refusals = _through(known, route, asked)
    if route.cascade is not None:
        pairs.sort(key=lambda pair: pair[0].card.cost)
    if not pairs:
        error = Unavailable if any(r.reason == _UNLOADED for r in refusals) else NotFound
        refused = "; ".join(f"{r.name}: {r.reason}" for r in refusals)
        raise error(
            f"no specialist of route '{model}' may answer; {len(refusals)} refused: {refused}"
        )
    plan = Plan(
        route=model,
        candidates=tuple(candidate for candidate, _ in pairs),
        refusals=tuple(refusals),
        retry=route.retry,
        timeout=route.timeout,
        cascade=route.cascade,
        mixture=route.mixture,
    )
    if (
        route.order == "fixed"
        or route.cascade is not None
        or len(pairs) == 1
        or not any(weight for _, weight in pairs)
    ):
        return _Draw((plan,))
    return _weighted(plan, [weight for _, weight in pairs])


def unknown(model: str, version: str) -> str:
    """What clients of Triton know and match."""
    which = f"'{model}' version {version}" if version else f"'{model}'"
    return f"Request for unknown model: {which} is not found"


def _direct(known: Known, model: str, version: str, asked: Iterable[Requirements]) -> Plan:
    """The plan of a specialist called by its own name."""
    specialist = known.find(model, version)
    if specialist is None:
        raise NotFound(unknown(model, version))
    if not specialist.hosting.loaded:
        raise Unavailable(f"'{model}' is not ready: it is unloaded")
    for requirements in asked:
        if reason := refusal(specialist.card, requirements):
            raise NotFound(f"specialist '{model}' may not answer: {reason}")
    timeout = specialist.hosting.timeouts.request
    candidate = Candidate(specialist.card, "called by its own name", timeout)
    return Plan(route="", candidates=(candidate,), refusals=(), retry=Retry(), timeout=timeout)


def _through(
    known: Known, route: Route, asked: tuple[Requirements, ...]
) -> tuple[list[tuple[Candidate, float]], list[Refusal]]:
    """The candidates of *route* with their weights, and who was refused.

    Routes within it are taken in where they stand; a specialist counts once, at its first place.
    """
    asked = (route.requirements, *asked)
    pairs: list[tuple[Candidate, float]] = []
    refusals: list[Refusal] = []
    seen: set[str] = set()
    for place, entry in enumerate(route.chain, 1):
        inner = known.routes.get(entry.name)
        if inner is not None and not inner.loaded:
            refusals.append(Refusal(inner.name, "", _UNLOADED))
            continue
        if inner is not None:
            found, refused = _through(known, inner, asked)
            total = sum(weight for _, weight in found) or 1.0
            found = [(candidate, weight / total * entry.weight) for candidate, weight in found]
        else:
            found, refused = _entry(known, entry, asked, f"place {place} of route {route.name}")
        refusals += refused
        pairs += [pair for pair in found if pair[0].card.key not in seen]
        seen.update(candidate.card.key for candidate, _ in found)
    return pairs, refusals


def _entry(
    known: Known, entry: ChainEntry, asked: Iterable[Requirements], reason: str
) -> tuple[list[tuple[Candidate, float]], list[Refusal]]:
    specialist = known.find(entry.name, entry.version)
    if specialist is None:
        return [], [Refusal(entry.name, entry.version, "not in the catalog")]
    card = specialist.card
    if not specialist.hosting.loaded:
        return [], [Refusal(card.name, card.version, _UNLOADED)]
    for requirements in asked:
        if why_not := refusal(card, requirements):
            return [], [Refusal(card.name, card.version, why_not)]
    return [(Candidate(card, reason, specialist.hosting.timeouts.request), entry.weight)], []


def _weighted(plan: Plan, weights: list[float]) -> _Draw:
    """One plan for each candidate in the first place, the others behind it as they stood."""
    plans = []
    for place, first in enumerate(plan.candidates):
        others = (c for other, c in enumerate(plan.candidates) if other != place)
        share = f"{first.reason}, weight {weights[place]:g} of {sum(weights):g}"
        first = Candidate(first.card, share, first.timeout)
        plans.append(
            Plan(
                route=plan.route,
                candidates=(first, *others),
                refusals=plan.refusals,
                retry=plan.retry,
                timeout=plan.timeout,
                mixture=plan.mixture,
            )
        )
    return _Draw(tuple(plans), tuple(accumulate(weights)))
