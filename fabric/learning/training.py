"""Training a policy: stages fitted, held out against each other, weighed, calibrated, guarded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fabric.core.decisions import Query
from fabric.learning import measures, stacking, stages
from fabric.learning.calibration import fit_curve
from fabric.routing import features
from fabric.routing.learned import STAGES, Learned, Numbers, Prior, Words, scaled

if TYPE_CHECKING:
    from fabric.core.cards import Evidence
    from fabric.learning.outcomes import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How policies are trained; the defaults serve tables of all kinds."""

    shrinkage: float = 20.0
    """Labels that the prior of a task or domain is worth."""
    folds: int = 5
    """Parts, each held out once to weigh the stages."""
    least_rows: int = 60
    """With fewer queries the prior alone is fitted."""
    bits: int = 16
    """Words are hashed into 2 ** bits buckets, of fewer where there are many candidates."""
    penalty: float = 10.0
    """Of the squared slopes of words."""
    topics: int = 32
    """Directions in which texts differ, that the forest is told."""
    trees: int = 100
    leaves: int = 700
    """Of a tree, about, at most."""
    certainty: float = 2.0
    """Standard errors that a gain must lie above zero for the guard to let it through."""
    stages: tuple[str, ...] = STAGES
    """Those to be fitted, of prior, words, numbers and forest; the prior always is."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds is {self.folds}, it is at least 2")
        if unknown := set(self.stages) - set(STAGES):
            raise ValueError(f"no stages are named {sorted(unknown)}; there are {STAGES}")


@dataclass(frozen=True, eq=False)
class _Texts:
    """The texts of some queries."""

    words: csr_matrix
    """[n, buckets]"""
    told: Floats
    """What the forest is told of each: where it lies among the topics, and statistics."""
    rare: NDArray[np.float16]
    topics: NDArray[np.float16]

    def some(self, rows: NDArray[np.intp]) -> _Texts:
        return replace(self, words=self.words[rows], told=self.told[rows])


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is known of some queries."""

    queries: Sequence[Query]
    y: Floats
    w: Floats
    texts: _Texts | None
    numbers: Floats | None
    start: Floats

    def some(self, rows: NDArray[np.intp]) -> _Rows:
        return replace(
            self,
            queries=[self.queries[row] for row in rows],
            y=self.y[rows],
            w=self.w[rows],
            texts=None if self.texts is None else self.texts.some(rows),
            numbers=None if self.numbers is None else self.numbers[rows],
        )


@dataclass(frozen=True, eq=False)
class _Simple:
    """The stages below the forest, fitted."""

    prior: Prior
    words: Words | None
    numbers: Numbers | None

    def predict(self, rows: _Rows) -> list[Floats]:
        """What each says of each query: [n, k]."""
        said = [_priors(self.prior, rows.queries)]
        if self.words is not None and rows.texts is not None:
            slopes = self.words.slopes.astype(float)
            said.append(said[0] + rows.texts.words @ slopes + self.words.level)
        if self.numbers is not None and rows.numbers is not None:
            z = scaled(rows.numbers, self.numbers.middle, self.numbers.spread)
            said.append(z @ self.numbers.slopes.astype(float) + self.numbers.level)
        return said


def fit(
    table: Table,
    settings: Training = Training(),
    seed: int = 0,
    *,
    weights: Floats | None = None,
    evidence: Mapping[str, Sequence[Evidence]] | None = None,
) -> Learned:
    """The policy for the candidates of *table*, with a report of held-out queries.

    Args:
        table: outcomes; not a number where nobody asked.
        settings: how.
        seed: of folds and trees; the same gives the same policy.
        weights: [n, k] or [n], how much each outcome counts, as when old ones are discounted.
        evidence: of cards, by candidate: what to expect of those with few labels or none.

    Raises:
        ValueError: the table has no candidates.
    """
    if not table.candidates:
        raise ValueError("there is nothing to learn for a route without candidates")
    rows = _prepared(table, settings, weights, evidence or {}, seed)
    if len(rows.queries) < settings.least_rows:
        return _only_prior(table, rows, settings)
    return _stacked(table, rows, settings, seed)


def _prepared(
    table: Table,
    settings: Training,
    weights: Floats | None,
    evidence: Mapping[str, Sequence[Evidence]],
    seed: int,
) -> _Rows:
    seen = np.isfinite(table.quality)
    kept = np.flatnonzero(seen.any(1))
    if weights is None:
        weights = np.ones(len(seen))
    w = np.where(seen, weights[:, None] if weights.ndim == 1 else weights, 0.0)[kept]
    y = np.where(seen, table.quality, 0.0)[kept]
    queries = [table.queries[row] for row in kept]
    texts = numbers = None
    if "words" in settings.stages and any(query.text for query in queries):
        bits = settings.bits - (2 if len(table.candidates) > 12 else 0)
        texts = _read([features.shortened(query.text) for query in queries], settings, bits, seed)
    width = max((len(query.numbers) for query in queries), default=0)
    if "numbers" in settings.stages and width:
        none = (float("nan"),) * width
        numbers = np.array([q.numbers if len(q.numbers) == width else none for q in queries])
    start = stages.starting(table.candidates, y, w, evidence)
    return _Rows(queries, y, w, texts, numbers, start)


def _read(texts: Sequence[bytes], settings: Training, bits: int, seed: int) -> _Texts:
    rare, words = stages.rarity(texts, bits)
    topics, places = stages.topics(words, min(settings.topics, len(texts)), seed)
    told = np.hstack([places, [features.statistics(text) for text in texts]])
    return _Texts(words, told, rare, topics)


def _only_prior(table: Table, rows: _Rows, settings: Training) -> Learned:
    prior = stages.fit_prior(rows.queries, rows.y, rows.w, rows.start, settings.shrinkage)
    k = len(table.candidates)
    weights = np.zeros((len(STAGES), 2))
    weights[0] = 1.0
    return Learned(
        candidates=table.candidates,
        best=table.candidates[int(prior.means[0].argmax())],
        prior=prior,
        weights=weights,
        offset=np.zeros(k),
        curve=np.array([[0.0, 1.0], [0.0, 1.0]]),
        margin=float("inf"),
        report={"queries": len(rows.queries), "labels": int((rows.w > 0).sum()), "switched": 0.0},
    )


def _simple(rows: _Rows, settings: Training) -> _Simple:
    prior = stages.fit_prior(rows.queries, rows.y, rows.w, rows.start, settings.shrinkage)
    words = numbers = None
    if (texts := rows.texts) is not None:
        means = _priors(prior, rows.queries)
        words = stages.fit_words(
            texts.words, texts.rare, texts.topics, rows.y, rows.w, means, settings.penalty
        )
    if rows.numbers is not None:
        filled = np.where(rows.w > 0, rows.y, _priors(prior, rows.queries))
        numbers = stages.fit_numbers(rows.numbers, stages.blended(filled, rows.w), rows.w)
    return _Simple(prior, words, numbers)


def _priors(prior: Prior, queries: Sequence[Query]) -> Floats:
    return np.array([prior.predict(query) for query in queries], dtype=np.float64)


def _parts(rows: _Rows, settings: Training, seed: int) -> list[tuple[NDArray[np.intp], ...]]:
    """Rows to fit on and rows held out, for each fold."""
    fold = np.random.default_rng(seed).permutation(len(rows.queries)) % settings.folds
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(settings.folds)]


def _stacked(table: Table, rows: _Rows, settings: Training, seed: int) -> Learned:
    parts = _parts(rows, settings, seed)
    simple = _simple(rows, settings)
    names = [n for n in STAGES[:3] if getattr(simple, n) is not None]
    said = [np.zeros(rows.y.shape) for _ in names]
    for fitted, held in parts:
        inner = _simple(rows.some(fitted), settings)
        for total, part in zip(said, inner.predict(rows.some(held)), strict=True):
            total[held] = part
    forest = None
    if "forest" in settings.stages and (rows.texts is not None or rows.numbers is not None):
        x = _inputs(rows, simple, said)
        y = stages.blended(_filled(rows, said[0]), rows.w)
        told = _telling(rows)
        leaf = max(2, len(x) // settings.leaves)
        forest = stages.fit_forest(x[told], y[told], rows.w[told], settings.trees, leaf, seed)
        held_out = np.zeros(rows.y.shape)
        for fitted, held in parts:
            some = fitted[told[fitted]]
            held_out[held] = stages.forest_predictions(
                x[some], y[some], rows.w[some], x[held], -(-settings.trees // 3), leaf, seed
            )
        names, said = [*names, "forest"], [*said, held_out]
    found, offset = stacking.weigh(said, stages.blended(rows.y, rows.w), rows.w)
    weights = np.zeros((len(STAGES), 2))
    weights[[STAGES.index(name) for name in names]] = found
    scores = stacking.combined(said, found, offset)
    best = int(_means(rows).argmax())
    return Learned(
        candidates=table.candidates,
        best=table.candidates[best],
        prior=simple.prior,
        weights=weights,
        offset=offset,
        curve=fit_curve(scores.ravel(), rows.y.ravel(), rows.w.ravel()),
        margin=stacking.margin(scores, rows.y, rows.w, best, settings.certainty),
        words=simple.words,
        numbers=simple.numbers,
        forest=forest,
        report=_report(rows, scores, best, settings, weights),
    )


def _means(rows: _Rows) -> Floats:
    """Of each candidate, shrunk a little to what was expected of it."""
    return np.asarray(((rows.w * rows.y).sum(0) + 2 * rows.start) / (rows.w.sum(0) + 2))


def _inputs(rows: _Rows, simple: _Simple, said: Sequence[Floats]) -> NDArray[np.float32]:
    """What `Learned.inputs` makes of each query, with what the stages said of it held out."""
    # held out, the mean of all would tell only which fold a query is of, and that backwards
    told = said[0] if len(simple.prior.rows) > 1 else _priors(simple.prior, rows.queries)
    parts: list[NDArray[Any]] = [told]
    if simple.words is not None and rows.texts is not None:
        parts += [said[1], rows.texts.told]
    if simple.numbers is not None and rows.numbers is not None:
        parts.append(scaled(rows.numbers, simple.numbers.middle, simple.numbers.spread))
    return np.hstack(parts).astype(np.float32)


def _telling(rows: _Rows) -> NDArray[np.bool_]:
    """Which queries the forest is grown on: not those at which all failed, unless few are left."""
    told: NDArray[np.bool_] = np.any(rows.w * rows.y > 0, axis=1)
    return told if told.sum() * 4 >= len(told) else np.ones(len(told), dtype=np.bool_)


def _filled(rows: _Rows, prior: Floats) -> Floats:
    """Outcomes; what was not observed is as the prior says, shifted as far as the rest is off."""
    off = (rows.w * (rows.y - prior)).sum(1, keepdims=True) / (rows.w.sum(1, keepdims=True) + 1)
    return np.where(rows.w > 0, rows.y, np.clip(prior + off, 0, 1))


def _report(
    rows: _Rows, scores: Floats, best: int, settings: Training, weights: Floats
) -> dict[str, Any]:
    """Of held-out queries; curve and margin are each taken from the half that they do not judge."""
    half = np.arange(len(scores)) % 2 == 0
    first = np.full(len(scores), best)
    probability = np.zeros(scores.shape)
    for fitted, judged in ((half, ~half), (~half, half)):
        y, w = rows.y[fitted], rows.w[fitted]
        curve = fit_curve(scores[fitted].ravel(), y.ravel(), w.ravel())
        probability[judged] = np.interp(scores[judged], *curve)
        margin = stacking.margin(scores[fitted], y, w, best, settings.certainty)
        top = scores[judged].argmax(1)
        gain = scores[judged].max(1) - scores[judged, best]
        first[judged] = np.where(gain > margin, top, best)
    seen = rows.w > 0
    y = np.where(seen, rows.y, np.nan)
    both = np.flatnonzero(np.isfinite(measures.taken(y, first)) & seen[:, best])
    report: dict[str, Any] = {
        "queries": len(scores),
        "labels": int(seen.sum()),
        "switched": float((first != best).mean()),
        "calibration_error": measures.calibration_error(probability, y),
        "weights": {
            name: {"between": float(pair[0]), "level": float(pair[1])}
            for name, pair in zip(STAGES, weights, strict=True)
        },
    }
    if len(both):
        gained = measures.taken(y[both], first[both]) - y[both, best]
        interval = measures.bootstrap(lambda drawn: float(gained[drawn].mean()), len(both))
        report["gain"] = {"value": interval.value, "low": interval.low, "high": interval.high}
    return report
