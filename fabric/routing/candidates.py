"""Who may answer a request to a route, in which order, and why the others may not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

from fabric.core.cards import Specialist
from fabric.core.plans import PLAIN, Candidate, Refusal, Terms
from fabric.core.routes import CONDITIONS, ChainEntry, Requirements, Route
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

    def by(self, wanted: Requirements, known: Known) -> Asked:
        """What a candidate has to meet if it is *wanted*, too."""
        domain = self.domain or wanted.domain
        own = checks(wanted, domain, known.live)
        versions = self.versions or wanted.versions
        return Asked([*own, *self.checks], domain, versions, self.most)


Pairs = list[tuple[Candidate, float]]
"""Candidates with their weights."""


@dataclass(slots=True)
class Found:
    """What a route, or an entry of its chain, leads to."""

    pairs: Pairs = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    given: list[ChainEntry] = field(default_factory=list)
    """Answers that nobody is asked for."""


def through(known: Known, route: Route, asked: Asked) -> Found:
    """The candidates of *route*, and who was refused.

    Routes within it are taken in where they stand; a specialist counts once, at its first place.
    """
    asked = asked.by(route.requirements, known)
    if not route.chain:
        return _open(known, route, asked)
    all_found = Found()
    by_key: dict[str, tuple[Candidate, float]] = {}
    for place, entry in enumerate(route.chain, 1):
        found = _of_entry(known, route, entry, place, asked)
        all_found.refusals += found.refusals
        all_found.given += found.given
        total = sum(weight for _, weight in found.pairs) or 1.0
        for candidate, weight in _on_terms(entry, found.pairs):
            by_key.setdefault(candidate.card.key, (candidate, weight / total * entry.weight))
    pairs = list(by_key.values())
    all_found.pairs = _ranked(known, route, asked, pairs) if route.order == "scored" else pairs
    return all_found


def _of_entry(known: Known, route: Route, entry: ChainEntry, place: int, asked: Asked) -> Found:
    if entry.is_given:
        return Found(given=[entry])
    if entry.select is not None:
        return _open(known, route, asked.by(entry.select, known))
    inner = known.routes.get(entry.name)
    if inner is None:
        made = _made(known, entry.name, entry.version, asked, (place, route.name))
        if isinstance(made, Refusal):
            return Found(refusals=[made])
        return Found([(made, 1.0)])
    if not inner.loaded:
        return Found(refusals=[Refusal(inner.name, "", UNLOADED)])
    return through(known, inner, asked)


def _on_terms(entry: ChainEntry, pairs: Pairs) -> Pairs:
    """*pairs* on the terms of the *entry* that leads to them: it is entered at the first of them,
    and left behind the last."""
    on, last = entry.conditions, len(pairs) - 1
    if Terms(on, entry.share, entry.tries, entry.substitute) == PLAIN:
        return pairs
    made: Pairs = []
    for place, (candidate, weight) in enumerate(pairs):
        own = candidate.terms
        terms = Terms(
            on=own.on if place else on,
            share=own.share * entry.share,
            tries=entry.tries or own.tries,
            substitute=own.substitute and (entry.substitute or place < last),
        )
        reason = f"{candidate.reason}, {_worded(terms)}"
        made.append((replace(candidate, terms=terms, reason=reason), weight))
    return made


def _worded(terms: Terms) -> str:
    """*terms* in words, for explanations."""
    words = [f"on {', '.join(each for each in CONDITIONS if each in terms.on)}"]
    if terms.share < 1.0:
        words.append(f"with {terms.share:.0%} of the time")
    if terms.tries:
        words.append(f"tried {terms.tries} times at most")
    if not terms.substitute:
        words.append("the last of the chain")
    return ", ".join(words)


def _open(known: Known, route: Route, asked: Asked) -> Found:
    """Every specialist but the one that reads for *route*, the best first."""
    encoder = route.content.encoder if route.content is not None else ""
    found = Found()
    for name in sorted(known.names()):
        if name != encoder:
            made = _made(known, name, "", asked)
            if isinstance(made, Refusal):
                found.refusals.append(made)
            else:
                found.pairs.append((made, 1.0))
    found.pairs = _ranked(known, route, asked, found.pairs)
    return found


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
    score, parts = scores.means[at], scores.parts(at)
    return Candidate(candidate.card, reason, candidate.timeout, score, parts, candidate.terms)
