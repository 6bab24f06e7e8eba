"""From a request's model, version and requirements to a plan."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import accumulate

from fabric.core.cards import Specialist
from fabric.core.errors import FabricError, NotFound, Unavailable
from fabric.core.plans import Candidate, Plan, Refusal
from fabric.core.routes import Requirements, Retry, Route
from fabric.routing.expressions import Allowance, check_of_asked
from fabric.routing.filters import Check, checks, refused
from fabric.routing.live import NOTHING, Live
from fabric.routing.scorers import Scores, Sight

MOST_CANDIDATES = 64
"""Of a route that ranks them: the best by score, of whom many more than are ever tried."""
_MOST_KEPT = 4096
_MOST_PLACES = 1 << 17
"""Candidates and refusals of all plans that are kept."""
_MOST_NAMED = 8
"""Refusals that an error names."""
_UNLOADED = "unloaded"
_LIVE_SCORERS = frozenset(("latency", "load"))


@dataclass(frozen=True, slots=True)
class Known:
    """What the planner sees of a catalog at one revision."""

    routes: Mapping[str, Route]
    find: Callable[[str, str], Specialist | None]
    """A specialist by name and version; without a version the latest that is ready, if any is."""
    names: Callable[[], Iterable[str]] = tuple
    """Of all specialists."""
    is_ready: Callable[[str], bool] = bool
    """Whether a replica of `name:version` can be sent requests."""
    live: Live = NOTHING
    region: str = ""
    """Where it is that asks."""


@dataclass(frozen=True, slots=True)
class _Draw:
    """One plan, or one for each first place with the weights to draw it by."""

    plans: tuple[Plan, ...]
    weights: tuple[float, ...] = ()
    """Cumulative; empty when there is nothing to draw."""
    error: FabricError | None = None
    """Why there is no plan."""
    is_live: bool = False
    """Whether it would be another one if candidates fared otherwise."""

    @property
    def places(self) -> int:
        return sum(len(plan.candidates) + len(plan.refusals) for plan in self.plans)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a candidate has to meet."""

    checks: list[Check]
    domain: str = ""
    versions: tuple[str, ...] = ()
    most: int | None = MOST_CANDIDATES
    """How many a route that ranks them has."""

    def by(self, route: Route, known: Known) -> _Asked:
        """What a candidate of *route* has to meet."""
        wanted = route.requirements
        domain = self.domain or wanted.domain
        own = checks(wanted, domain, known.live)
        versions = self.versions or wanted.versions
        return _Asked([*own, *self.checks], domain, versions, self.most)


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
        self.live_places = 0
        """Candidates and refusals of those kept plans that follow how candidates fare."""

    def forget(self) -> None:
        """The catalog has changed: plans are made anew."""
        self._drawn.clear()
        self._places = self.live_places = 0

    def forget_live(self) -> None:
        """Candidates fare otherwise: plans that follow it are made anew."""
        self._drawn = {key: drawn for key, drawn in self._drawn.items() if not drawn.is_live}
        self._places -= self.live_places
        self.live_places = 0

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
            drawn = self._kept(key, self._made(model, version, requirements))
        if drawn.error is not None:
            raise type(drawn.error)(drawn.error.message)
        if not drawn.weights:
            return drawn.plans[0]
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
        asked = _Asked([], most=most)
        if requirements is not None:
            route = known.routes.get(model)
            domain = requirements.domain or (route.requirements.domain if route else "")
            expressed = partial(check_of_asked, allowance=self._allowance)
            found = checks(requirements, domain, known.live, expressed)
            asked = _Asked(found, domain, requirements.versions, most)
        drawn = _plans(known, model, version, asked)
        if requirements is not None and requirements.max_latency is not None:
            return replace(drawn, is_live=True)
        return drawn

    def _kept(self, key: tuple[str, str, Requirements | None], drawn: _Draw) -> _Draw:
        places = drawn.places
        if len(self._drawn) >= _MOST_KEPT or self._places + places > _MOST_PLACES:
            self.forget()
        self._drawn[key] = drawn
        self._places += places
        if drawn.is_live:
            self.live_places += places
        return drawn


def _plans(known: Known, model: str, version: str, asked: _Asked) -> _Draw:
    route = known.routes.get(model)
    if route is None:
        return _direct(known, model, version, asked)
    if not route.loaded:
        raise Unavailable(f"'{model}' is not ready: it is unloaded")
    if version:
        raise NotFound(f"{unknown(model, version)}; it is a route, and routes have no versions")
    pairs, refusals = _through(known, route, asked)
    plan = Plan(
        route=model,
        candidates=tuple(candidate for candidate, _ in pairs),
        refusals=tuple(refusals),
        retry=route.retry,
        timeout=route.timeout,
        cascade=route.cascade,
        mixture=route.mixture,
    )
    is_live = _is_live(known, route)
    if not pairs:
        return _Draw((plan,), error=_nobody(model, refusals), is_live=is_live)
    is_drawn = route.order == "weighted" and len(pairs) > 1
    if not is_drawn or not any(weight for _, weight in pairs):
        return _Draw((plan,), is_live=is_live)
    return _weighted(plan, [weight for _, weight in pairs], is_live)


def unknown(model: str, version: str) -> str:
    """What clients of Triton know and match."""
    which = f"'{model}' version {version}" if version else f"'{model}'"
    return f"Request for unknown model: {which} is not found"


def _is_live(known: Known, route: Route) -> bool:
    """Whether a plan of *route* follows how candidates fare, whatever its caller asks for."""
    if route.requirements.max_latency is not None:
        return True
    if route.order == "scored" and not _LIVE_SCORERS.isdisjoint(route.preferences.weighted):
        return True
    inner = (known.routes.get(entry.name) for entry in route.chain)
    return any(_is_live(known, each) for each in inner if each is not None)


def _nobody(model: str, refusals: list[Refusal]) -> FabricError:
    error = Unavailable if any(r.reason == _UNLOADED for r in refusals) else NotFound
    named = "; ".join(f"{r.name}: {r.reason}" for r in refusals[:_MOST_NAMED])
    more = len(refusals) - _MOST_NAMED
    return error(
        f"no specialist of route '{model}' may answer; {len(refusals)} refused: {named}"
        + (f"; and {more} more, see `fabric explain`" if more > 0 else "")
    )


def _direct(known: Known, model: str, version: str, asked: _Asked) -> _Draw:
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
        return _Draw((plan,))
    plan = replace(plan, candidates=(), refusals=(Refusal(card.name, card.version, reason),))
    return _Draw((plan,), error=NotFound(f"specialist '{model}' may not answer: {reason}"))


_Pairs = list[tuple[Candidate, float]]
"""Candidates with their weights."""


def _through(known: Known, route: Route, asked: _Asked) -> tuple[_Pairs, list[Refusal]]:
    """The candidates of *route*, and who was refused.

    Routes within it are taken in where they stand; a specialist counts once, at its first place.
    """
    asked = asked.by(route, known)
    if not route.chain:
        pairs, refusals = _open(known, route, asked)
        return _ranked(known, route, asked, pairs), refusals
    pairs, refusals = [], []
    seen: set[str] = set()
    for place, entry in enumerate(route.chain, 1):
        inner = known.routes.get(entry.name)
        if inner is not None and not inner.loaded:
            refusals.append(Refusal(inner.name, "", _UNLOADED))
            continue
        if inner is not None:
            found, refused = _through(known, inner, asked)
            total = sum(weight for _, weight in found) or 1.0
            pairs += [
                (candidate, weight / total * entry.weight)
                for candidate, weight in found
                if candidate.card.key not in seen
            ]
            refusals += refused
        else:
            made = _made(known, entry.name, entry.version, asked, (place, route.name))
            if isinstance(made, Refusal):
                refusals.append(made)
            elif made.card.key not in seen:
                pairs.append((made, entry.weight))
        seen.update(candidate.card.key for candidate, _ in pairs)
    return (_ranked(known, route, asked, pairs) if route.order == "scored" else pairs), refusals


def _open(known: Known, route: Route, asked: _Asked) -> tuple[_Pairs, list[Refusal]]:
    """Every specialist but the one that reads for *route*, by name."""
    encoder = route.content.encoder if route.content is not None else ""
    pairs: _Pairs = []
    refusals: list[Refusal] = []
    for name in sorted(known.names()):
        if name != encoder:
            made = _made(known, name, "", asked)
            if isinstance(made, Refusal):
                refusals.append(made)
            else:
                pairs.append((made, 1.0))
    return pairs, refusals


def _made(
    known: Known, name: str, version: str, asked: _Asked, place: tuple[int, str] | None = None
) -> Candidate | Refusal:
    """The specialist that an entry names as a candidate, or why it is none."""
    specialist = _found(known, name, version, asked.versions)
    if specialist is None:
        return Refusal(name, version, "not in the catalog")
    card = specialist.card
    if not specialist.hosting.loaded:
        return Refusal(card.name, card.version, _UNLOADED)
    if why_not := refused(card, asked.checks):
        return Refusal(card.name, card.version, why_not)
    reason = f"place {place[0]} of route {place[1]}" if place else ""
    return Candidate(card, reason, specialist.hosting.timeouts.request)


def _found(known: Known, name: str, version: str, versions: tuple[str, ...]) -> Specialist | None:
    """The *version* that is named, or the first there is of *versions*, or the latest."""
    if versions and not version:
        for each in versions:
            if (found := known.find(name, each)) is not None:
                return found
    return known.find(name, version)


def _ranked(known: Known, route: Route, asked: _Asked, pairs: _Pairs) -> _Pairs:
    """The best by score, those without a replica last; the first has all the weight."""
    preferences = route.preferences
    sight = Sight(
        domain=asked.domain,
        metric=preferences.metric,
        region=preferences.region or known.region,
        live=known.live,
        today=date.today(),
    )
    scores = Scores([candidate.card for candidate, _ in pairs], preferences, sight)
    ready = [known.is_ready(candidate.card.key) for candidate, _ in pairs]
    places = sorted(range(len(pairs)), key=lambda at: (not ready[at], -scores.means[at]))
    return [
        (_scored(pairs[at][0], scores, at, ready[at]), float(rank == 0))
        for rank, at in enumerate(places[: asked.most])
    ]


def _scored(candidate: Candidate, scores: Scores, at: int, is_ready: bool) -> Candidate:
    reason = scores.reason(at) if is_ready else f"no replica is ready; {scores.reason(at)}"
    return Candidate(candidate.card, reason, candidate.timeout, scores.means[at], scores.parts(at))


def _weighted(plan: Plan, weights: list[float], is_live: bool) -> _Draw:
    """One plan for each candidate in the first place, the others behind it as they stood."""
    plans = []
    for place, first in enumerate(plan.candidates):
        others = (c for other, c in enumerate(plan.candidates) if other != place)
        share = f"{first.reason}, weight {weights[place]:g} of {sum(weights):g}"
        plans.append(replace(plan, candidates=(replace(first, reason=share), *others)))
    return _Draw(tuple(plans), tuple(accumulate(weights)), is_live=is_live)
