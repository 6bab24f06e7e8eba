"""Routers of textbooks, to be measured beside ours: neighbours, clusters, a network, ridge."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from fabric.learning.stages import fit_slopes
from fabric.routing.features import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fabric.core.decisions import Query

Floats = NDArray[np.float64]

WIDTH = 64


class Baselines:
    """Predictions of quality by each baseline, over features that are made once for a table."""

    def __init__(self, queries: tuple[Query, ...]) -> None:
        self._words: Any = None
        if any(query.text for query in queries):
            texts = [shortened(query.text).decode("utf-8", "replace") for query in queries]
            made = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
            self._words = made.fit_transform(texts).tocsr()
            width = min(WIDTH, self._words.shape[1] - 1)
            self._dense = TruncatedSVD(width, random_state=0).fit_transform(self._words)
        else:
            numbers = np.array([query.numbers for query in queries], dtype=float)
            logs = np.sign(numbers) * np.log1p(np.abs(numbers))
            self._dense = np.nan_to_num(StandardScaler().fit_transform(logs))

    def predict(
        self, quality: Floats, fitted: NDArray[np.intp], held: NDArray[np.intp]
    ) -> Iterator[tuple[str, Floats]]:
        """Of each baseline its name and what it expects of held-out queries: [rows, k]."""
        x, z, y = self._dense[fitted], self._dense[held], quality[fitted]
        yield "kNN", KNeighborsRegressor(20).fit(x, y).predict(z)
        clusters = KMeans(20, n_init=1, random_state=0).fit(x)
        means = np.array(
            [
                y[clusters.labels_ == c].mean(0) if (clusters.labels_ == c).any() else y.mean(0)
                for c in range(20)
            ]
        )
        yield "clusters", means[clusters.predict(z)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network = MLPRegressor(
                hidden_layer_sizes=(64,), max_iter=60, early_stopping=True, random_state=0
            ).fit(x, y)
        yield "MLP", network.predict(z)
        if self._words is not None:
            ones = np.ones(y.shape)
            slopes, level = fit_slopes(self._words[fitted], y, ones, 10.0)
            yield "ridge TF-IDF", self._words[held] @ slopes + level
        else:
            yield "ridge", RidgeCV(np.logspace(0, 5, 11)).fit(x, y).predict(z)
