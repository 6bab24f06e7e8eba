"""Who is to answer a request by what it holds: evidence, then a learned policy, then exploration.

The plan of a route ranks its candidates for all requests of a kind. Here they are ranked for one:
the similarity of its content to what cards say is one more scorer, what a policy expects of each
takes the place of their measured quality, and sometimes somebody is tried to learn of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fabric.core.decisions import Decision, Query
from fabric.core.plans import Candidate, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fabric.core.routes import Exploration, Route
    from fabric.routing.exploration import Choice

    Floats = NDArray[np.float64]

_SIMILARITY = "similarity"
_QUALITY = "quality"
_MOST_SAID = 16
"""Candidates whose scores are told anew, of whom many more than are ever asked: those behind them
keep what the plan for all requests says, and their scores are in the decision alone."""
_AHEAD = 1e-9
"""Of one candidate over the next, of whom a policy expects as much."""


class Explores(Protocol):
    """Says who is tried to learn of it, see `fabric.routing.exploration.Explorer`."""

    def decide(self, request: str, query: Query, scores: Mapping[str, float]) -> Choice: ...


def is_decided(route: Route) -> bool:
    """Whether requests of *route* are ranked one by one."""
    return route.learns or route.content is not None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What is known of one request."""

    request: str
    """Its id."""
    time: float
    """Seconds since 1970."""
    query: Query
    similarities: Mapping[str, float] | None = None
    """By `name:version`; who is not there says nothing that could be compared."""
    doubts: tuple[str, ...] = ()
    """What could not be made use of, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a policy expects of the candidates, who stand as in the plan."""

    version: int
    success: Floats
    """[k], from 0 to 1; not a number of those whom it does not know, who are not all."""
    order: Sequence[int]
    """All places; first of whom it would ask, were success all there is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """One way to rank the candidates, by their places in the plan."""

    order: list[int]
    scores: Floats
    quality: Floats
    policy: int = 0


class Frame:
    """A plan taken apart into what does not depend on the request; kept as long as the plan."""

    def __init__(self, plan: Plan, route: Route, is_ready: Callable[[str], bool]) -> None:
        self.plan = plan
        self.route = route
        self.keys = tuple([candidate.card.key for candidate in plan.candidates])
        weights = route.preferences.weighted
        parts = [dict(candidate.parts) for candidate in plan.candidates]
        quality = np.array([each.pop(_QUALITY, np.nan) for each in parts])
        self._quality_weight = weights.get(_QUALITY, 0.0)
        self.similarity_weight = weights.get(_SIMILARITY, 0.0)
        self.parts = [tuple(each.items()) for each in parts]
        """What each candidate is ranked by beside its quality and what it is similar to."""
        weighed = [[(weights.get(name, 0.0), score) for name, score in each] for each in self.parts]
        self._sums = np.array([sum(weight * score for weight, score in each) for each in weighed])
        self._totals = np.array([sum(weight for weight, _ in each) for each in weighed])
        self._is_away = np.array([not is_ready(key) for key in self.keys])
        self.evidence = self.ranking(quality, None)
        """By what cards say alone."""

    def ranking(self, quality: Floats, similarity: Floats | None, policy: int = 0) -> _Ranking:
        """By the weighted mean of the scores of each; not a number is no quality."""
        is_known = ~np.isnan(quality)
        sums = self._sums + self._quality_weight * np.where(is_known, quality, 0.0)
        totals = self._totals + self._quality_weight * is_known
        if similarity is not None:
            sums += self.similarity_weight * similarity
            totals += self.similarity_weight
        scores: Floats = np.divide(sums, totals, out=np.zeros(len(sums)), where=totals > 0)
        return _Ranking(self._order(scores), scores, quality, policy)

    def _order(self, scores: Floats) -> list[int]:
        """The places of the candidates, the best first; who has no replica comes after who has.

        A cascade asks the cheapest first, whatever they are worth.
        """
        if self.plan.cascade is not None:
            return list(range(len(scores)))
        places: list[int] = np.lexsort((-scores, self._is_away)).tolist()
        return places


def decided(
    frame: Frame, seen: Seen, judged: Judged | None, explorer: Explores | None
) -> tuple[Plan, Decision]:
    """The plan for one request, and what is to be remembered of how it came about.

    The same arguments make the same plan: what is drawn is drawn by the request's id. Propensities
    are over all that is drawn.
    """
    similarity = _similarity(frame, seen)
    taken = frame.evidence
    if similarity is not None:
        taken = frame.ranking(taken.quality, similarity)
    other, share, doubts = taken, 1.0, list(seen.doubts)
    learning = frame.route.learning
    if judged is not None and learning is not None:
        other = frame.ranking(_expected(judged), similarity, judged.version)
        share = {"apply": 1.0, "canary": learning.canary}.get(learning.mode, 0.0)
        if _drawn(seen.request) < share:
            taken, other = other, taken
        else:
            share = 1.0 - share
            doubts.append(f"policy {judged.version} would ask {frame.keys[other.order[0]]}")
    choice = _choice(frame, taken, seen, judged, explorer)
    order = taken.order
    if choice is not None and (first := frame.keys.index(choice.first)) != order[0]:
        order = [first, *(place for place in order if place != first)]
    propensities = _propensities(frame, taken, other, share, choice)
    kind = "policy" if taken.policy else "evidence"
    if choice is not None and choice.kind:
        kind = choice.kind
    decision = Decision(
        request=seen.request,
        route=frame.plan.route,
        time=seen.time,
        query=seen.query,
        candidates=tuple([frame.keys[place] for place in order]),
        scores=tuple(taken.scores[order].tolist()),
        propensities=tuple([propensities[frame.keys[place]] for place in order]),
        policy=taken.policy,
        kind=kind,
        shadow=choice.shadow if choice is not None else "",
    )
    if kind == "exploration":
        doubts.append("tried to learn of it")
    return _planned(frame, taken, order, similarity, doubts), decision


def _similarity(frame: Frame, seen: Seen) -> Floats | None:
    if seen.similarities is None or not frame.similarity_weight:
        return None
    return np.array([seen.similarities.get(key, 0.0) for key in frame.keys])


def _expected(judged: Judged) -> Floats:
    """[k], what a policy expects of each, as far as it would act on it.

    Who is not known is taken to be as good as the worst, and nobody to be better than whom the
    policy would ask: its guard may stay with one whom it expects less of, see `Learned.choose`.
    """
    is_known = ~np.isnan(judged.success)
    success = np.where(is_known, judged.success, judged.success[is_known].min())
    order = list(judged.order)
    expected: Floats = np.minimum(success, success[order[0]])
    expected[order] -= _AHEAD * np.arange(len(order))
    return expected


def _choice(
    frame: Frame, taken: _Ranking, seen: Seen, judged: Judged | None, explorer: Explores | None
) -> Choice | None:
    """Who is tried to learn of it; None where nobody may be, as in a cascade."""
    if explorer is None or frame.plan.cascade is not None:
        return None
    expected = likely(frame, judged)
    in_order = {frame.keys[place]: expected[frame.keys[place]] for place in taken.order}
    return explorer.decide(seen.request, seen.query, in_order)


def likely(frame: Frame, judged: Judged | None) -> dict[str, float]:
    """How likely each candidate is to succeed, before anything is explored: as the policy expects,
    else by evidence, else as likely as not."""
    found = frame.evidence.quality
    if judged is not None:
        found = np.where(np.isnan(judged.success), found, judged.success)
    return dict(zip(frame.keys, np.where(np.isnan(found), 0.5, found).tolist(), strict=True))


def _propensities(
    frame: Frame, taken: _Ranking, other: _Ranking, share: float, choice: Choice | None
) -> dict[str, float]:
    """With which each is put first, where *taken* was drawn with *share* before *other*.

    What is explored is the same either way; else the first of the one or the other is.
    """
    found = dict.fromkeys(frame.keys, 0.0)
    kept = 1.0
    if choice is None:
        found[frame.keys[taken.order[0]]] = 1.0
    else:
        names = (frame.keys[place] for place in taken.order)
        found |= dict(zip(names, choice.propensities, strict=True))
        kept -= _explored(frame.route.exploration, len(frame.keys))
    found[frame.keys[taken.order[0]]] -= (1.0 - share) * kept
    found[frame.keys[other.order[0]]] += (1.0 - share) * kept
    return found


def _explored(exploration: Exploration, count: int) -> float:
    """The share of requests in which the method of *exploration* picks the first."""
    return (1.0 - exploration.shadow) * exploration.share if count > 1 else 0.0


def _planned(
    frame: Frame,
    taken: _Ranking,
    order: Sequence[int],
    similarity: Floats | None,
    doubts: Sequence[str],
) -> Plan:
    """The plan with its candidates in this *order*, each with its scores as they are now."""
    if not taken.policy and similarity is None:
        made = [frame.plan.candidates[place] for place in order]
    else:
        most = len(order) if frame.plan.mixture is not None else _MOST_SAID
        made = _scored(frame, taken, order[:most], similarity)
        made += [frame.plan.candidates[place] for place in order[most:]]
    if doubts:
        reason = "; ".join([made[0].reason, *doubts] if made[0].reason else doubts)
        made[0] = replace(made[0], reason=reason)
    return replace(frame.plan, candidates=tuple(made))


def _scored(
    frame: Frame, taken: _Ranking, order: Sequence[int], similarity: Floats | None
) -> list[Candidate]:
    by = f"policy {taken.policy} expects" if taken.policy else _QUALITY
    scores, quality = taken.scores.tolist(), taken.quality.tolist()
    near = None if similarity is None else similarity.tolist()
    made = []
    for place in order:
        before, parts = frame.plan.candidates[place], frame.parts[place]
        score, reason = scores[place], f"{by} {quality[place]:.2f}"
        if near is not None:
            parts = ((_SIMILARITY, near[place]), *parts)
            reason = f"{reason}, similarity {near[place]:.2f}"
        if (own := quality[place]) == own:
            parts = ((_QUALITY, own), *parts)
        reason = f"{reason}: {score:.2f}"
        made.append(Candidate(before.card, reason, before.timeout, score, parts, before.terms))
    return made


def _drawn(request: str) -> float:
    """A number from 0 to 1 that follows from the request's id, and from nothing else."""
    digest = hashlib.blake2b(request.encode(), digest_size=8, person=b"canary").digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53
