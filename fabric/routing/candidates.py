"""Who may answer a request to a route, in which order, and why the others may not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from fabric.core.cards import Card, Specialist
from fabric.core.plans import Candidate, Refusal
from fabric.core.routes import Route
from fabric.routing.filters import Check, checks, refused
from fabric.routing.live import NOTHING, Live
from fabric.routing.scorers import Scores, Sight

MOST_CANDIDATES = 64
"""Of a route that ranks them: the best by score, of whom many more than are ever tried."""
UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class Known:
    """What the planner sees of a catalog at one revision."""

    routes: Mapping[str, Route]
    find: Callable[[str, str], Specialist | None]
    """A specialist by name and version; without a version the latest that is ready, if any is."""
    names: Callable[[], Iterable[str]] = tuple
    """Of all specialists."""
    cards: Callable[[], Iterable[Card]] = tuple
    """Of all versions of all specialists, to tell which limits are alike; without, all differ."""
    is_ready: Callable[[str], bool] = bool
    """Whether a replica of `name:version` can be sent requests."""
    live: Live = NOTHING
    region: str = ""
    """Where it is that asks."""


class Asked(NamedTuple):
    """What a candidate has to meet."""

    checks: list[Check]
    domain: str = ""
    versions: tuple[str, ...] = ()
    most: int | None = MOST_CANDIDATES
    """How many a route that ranks them has; None for all."""

    def by(self, route: Route, known: Known) -> Asked:
        """What a candidate of *route* has to meet."""
        wanted = route.requirements
        domain = self.domain or wanted.domain
        own = checks(wanted, domain, known.live)
        versions = self.versions or wanted.versions
        return Asked([*own, *self.checks], domain, versions, self.most)


Pairs = list[tuple[Candidate, float]]
"""Candidates with their weights."""


def through(known: Known, route: Route, asked: Asked) -> tuple[Pairs, list[Refusal]]:
    """The candidates of *route*, and who was refused.

    Routes within it are taken in where they stand; a specialist counts once, at its first place.
    """
    asked = asked.by(route, known)
    if not route.chain:
        pairs, refusals = _open(known, route, asked)
        return _ranked(known, route, asked, pairs), refusals
    found: dict[str, tuple[Candidate, float]] = {}
    refusals = []
    for place, entry in enumerate(route.chain, 1):
        inner = known.routes.get(entry.name)
        if inner is not None and not inner.loaded:
            refusals.append(Refusal(inner.name, "", UNLOADED))
        elif inner is not None:
            pairs, others = through(known, inner, asked)
            refusals += others
            total = sum(weight for _, weight in pairs) or 1.0
            for candidate, weight in pairs:
                share = weight / total * entry.weight
                found.setdefault(candidate.card.key, (candidate, share))
        else:
            made = _made(known, entry.name, entry.version, asked, (place, route.name))
            if isinstance(made, Refusal):
                refusals.append(made)
            else:
                found.setdefault(made.card.key, (made, entry.weight))
    pairs = list(found.values())
    return (_ranked(known, route, asked, pairs) if route.order == "scored" else pairs), refusals


def _open(known: Known, route: Route, asked: Asked) -> tuple[Pairs, list[Refusal]]:
    """Every specialist but the one that reads for *route*, by name."""
    encoder = route.content.encoder if route.content is not None else ""
    pairs: Pairs = []
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
    known: Known, name: str, version: str, asked: Asked, place: tuple[int, str] | None = None
) -> Candidate | Refusal:
    """The specialist that an entry names as a candidate, or why it is none."""
    specialist = _found(known, name, version, asked.versions)
    if specialist is None:
        return Refusal(name, version, "not in the catalog")
    card = specialist.card
    if why_not := refused(card, asked.checks):
        return Refusal(card.name, card.version, why_not)
    if not specialist.hosting.loaded:
        return Refusal(card.name, card.version, UNLOADED)
    reason = f"place {place[0]} of route {place[1]}" if place else ""
    return Candidate(card, reason, specialist.hosting.timeouts.request)


def _found(known: Known, name: str, version: str, versions: tuple[str, ...]) -> Specialist | None:
    """The *version* that is named, or the first there is of *versions*, or the latest."""
    if versions and not version:
        for each in versions:
            if (found := known.find(name, each)) is not None:
                return found
    return known.find(name, version)


def _ranked(known: Known, route: Route, asked: Asked, pairs: Pairs) -> Pairs:
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
