"""Routers to measure others by: fixed, by declared or measured quality, and textbook models.

A router learns from a table, and then estimates the quality of every candidate for queries. That
of kNN, clusters and MLPs was found no better than one good model on hard pools; they are here to
be beaten.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fabric.core.decisions import Query
from fabric.learning.measures import Floats, means
from fabric.learning.outcomes import Table

if TYPE_CHECKING:
    from fabric.core.cards import Evidence


@dataclass(frozen=True, eq=False)
class Judged:
    """What a router makes of m queries and k candidates."""

    estimates: Floats
    """Of quality: [m, k]."""
    choices: NDArray[np.intp] | None = None
    """Whom it takes: [m]; None for whoever has the highest estimate."""
    ranks: Callable[[], Floats] | None = None
    """What it tells candidates apart by, [m, k], where that is finer than the estimates; no part of
    a decision, and so not made with it."""


Judge = Callable[[Sequence[Query]], Judged]
Router = Callable[[Table], Judge]
"""Learns from outcomes to judge queries."""

_SHRINKAGE = 20.0
"""Queries of a group at which its own mean counts as much as that of all."""
_NEIGHBOURS = 40
_CLUSTERS = 32
_TOPICS = 64
"""Dimensions that texts are brought down to."""


# ------------------------------------------------------------------ without looking at content
def best_single(train: Table) -> Judge:
    """Whoever was best on all queries."""
    mean = _mean(train)
    return lambda queries: Judged(np.tile(mean, (len(queries), 1)))


def prior(train: Table) -> Judge:
    """The mean of the query's task and domain, shrunken to that of all (empirical Bayes)."""
    groups: dict[tuple[str, str], list[int]] = {}
    for row, query in enumerate(train.queries):
        groups.setdefault((query.task, query.domain), []).append(row)
    mean = _mean(train)
    known = {key: _shrunken(train.quality[rows], mean) for key, rows in groups.items()}
    return lambda queries: Judged(np.array([known.get((q.task, q.domain), mean) for q in queries]))


def declared(evidence: Mapping[str, Sequence[Evidence]]) -> Router:
    """Whoever's card has the best evidence for the query's domain, or else for all."""

    def router(train: Table) -> Judge:
        by_domain = [_by_domain(evidence.get(name, ())) for name in train.candidates]

        def judge(queries: Sequence[Query]) -> Judged:
            domains = [query.domain or query.task for query in queries]
            values = [[said.get(d, said.get("", 0.0)) for said in by_domain] for d in domains]
            return Judged(np.clip(np.array(values), 0, 1))

        return judge

    return router


def _by_domain(evidence: Sequence[Evidence]) -> dict[str, float]:
    found = {each.domain: each.value for each in evidence}
    if found and "" not in found:
        found[""] = min(found.values())  # elsewhere it is hardly better than where it is worst
    return found


def _mean(train: Table) -> Floats:
    """Of each candidate [k]; 0 for one that nobody asked."""
    return np.nan_to_num(means(train.quality))


def _shrunken(quality: Floats, mean: Floats) -> Floats:
    """Of the queries *quality* [m, k], with so many more that have the *mean* [k]."""
    seen = np.isfinite(quality)
    top = np.where(seen, quality, 0).sum(0) + _SHRINKAGE * mean
    return np.asarray(top / (seen.sum(0) + _SHRINKAGE))


# ------------------------------------------------------------------ by content
class Features:
    """Dense features of queries: topics of the text, numbers, or tags where there is neither."""

    def __init__(self, queries: Sequence[Query], seed: int) -> None:
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        self._texts = self._scaler = self._tags = None
        if any(map(str.isalnum, "".join(query.text for query in queries))):
            self._texts = _topics(queries, seed)
        if any(query.numbers for query in queries):
            self._scaler = StandardScaler().fit(_numbers(queries))
        if self._texts is None and self._scaler is None:
            self._tags = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
            self._tags.fit(_tags(queries))

    def __call__(self, queries: Sequence[Query]) -> Floats:
        """[m, d]; texts and numbers are of length 1, so that both count alike."""
        parts = []
        if self._texts is not None:
            parts.append(_unit(self._texts.transform([query.text for query in queries])))
        if self._scaler is not None:
            parts.append(_unit(np.nan_to_num(self._scaler.transform(_numbers(queries)))))
        if self._tags is not None:
            parts.append(self._tags.transform(_tags(queries)))
        return np.hstack(parts)


def _topics(queries: Sequence[Query], seed: int) -> Any:
    """Latent semantic analysis: TF-IDF of words, brought down to a few dimensions."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    texts = [query.text for query in queries]
    words = TfidfVectorizer(
        sublinear_tf=True,
        max_features=20_000,
        token_pattern=r"\w+",  # noqa: S106
        dtype=np.float32,
    )
    size = len(words.fit(texts).vocabulary_)
    topics = TruncatedSVD(min(_TOPICS, size, len(texts)), n_iter=3, random_state=seed)
    return make_pipeline(words, topics).fit(texts)


def _numbers(queries: Sequence[Query]) -> Floats:
    return np.array([query.numbers for query in queries], dtype=np.float64)


def _tags(queries: Sequence[Query]) -> list[list[str]]:
    return [[query.task, query.domain, query.language] for query in queries]


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1))


def neighbours(train: Table, features: Features) -> Judge:
    """The mean of the nearest queries (kNN)."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(train.queries)), algorithm="brute")
    near.fit(features(train.queries))
    mean = _mean(train)

    def judge(queries: Sequence[Query]) -> Judged:
        found = train.quality[near.kneighbors(features(queries), return_distance=False)]
        seen = np.isfinite(found)
        top = np.where(seen, found, 0).sum(1) + mean  # one more query that is like all
        return Judged(top / (seen.sum(1) + 1))

    return judge


def clusters(train: Table, features: Features, seed: int) -> Judge:
    """The shrunken mean of the query's cluster (k-means)."""
    from sklearn.cluster import KMeans

    seen = features(train.queries)
    count = min(_CLUSTERS, max(1, len(seen) // 20), len(np.unique(seen, axis=0)))
    found = KMeans(count, n_init=1, random_state=seed).fit(seen)
    mean = _mean(train)
    members = [train.quality[found.labels_ == each] for each in range(count)]
    known = np.array([_shrunken(quality, mean) for quality in members])
    return lambda queries: Judged(known[found.predict(features(queries))])


def network(train: Table, features: Features, seed: int) -> Judge:
    """A perceptron with one hidden layer, of the quality of all candidates (MLP)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    goal = np.where(np.isfinite(train.quality), train.quality, _mean(train))
    made = MLPRegressor(
        hidden_layer_sizes=(64,),
        learning_rate_init=3e-3,
        max_iter=100,
        early_stopping=len(goal) >= 50,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        made.fit(features(train.queries), goal if goal.shape[1] > 1 else goal[:, 0])

    def judge(queries: Sequence[Query]) -> Judged:
        said = made.predict(features(queries)).reshape(len(queries), -1)
        return Judged(np.clip(said, 0, 1))

    return judge
