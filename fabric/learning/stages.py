"""The stages of a policy, each fitted from outcomes: a prior, words, numbers, a forest.

Outcomes Y are [n, k] with weights W [n, k], which are 0 where nobody observed; what Y holds there
does not matter, as long as it is a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from sklearn.utils.extmath import randomized_svd, svd_flip

from fabric.routing import features
from fabric.routing.forest import Forest
from fabric.routing.learned import Numbers, Prior, Words, scaled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.core.cards import Evidence
    from fabric.core.decisions import Query

Floats = NDArray[np.float64]

_STEPS = 40
_CLOSE = 1e-3
_LEVEL = 0.7
"""How much the level of a query counts in splits, beside the differences between candidates."""
_RANKS = 0.2
"""How much ranks count beside outcomes."""


def fit_prior(
    queries: Sequence[Query], y: Floats, w: Floats, start: Floats, strength: float
) -> Prior:
    """Means of each task and domain, shrunk towards those of the task, of all, and to *start* [k].

    Empirical Bayes with a prior worth *strength* labels (Efron and Morris, Stein's Estimation Rule
    and Its Competitors, 1973): few labels say little, whatever they say. How hard a task or domain
    is for all candidates is known sooner than how hard it is for one, so that one of which hardly
    anything was observed there is no worse, or better, than the others for that.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for row, query in enumerate(queries):
        keys = {(query.task, query.domain), (query.task, ""), ("", query.domain)} - {("", "")}
        for key in keys:
            groups.setdefault(key, []).append(row)

    def shrunk(rows: Any, towards: Floats) -> Floats:
        weight, total = w[rows].sum(0), (w[rows] * y[rows]).sum(0)
        towards = towards + (total - weight * towards).sum() / (weight.sum() + strength)
        return np.asarray((total + strength * towards) / (weight + strength))

    means = {("", ""): shrunk(slice(None), start)}
    for key in sorted(groups, key=lambda key: (bool(key[0] and key[1]), key)):
        task, domain = key
        means[key] = shrunk(groups[key], means[task, ""] if task and domain else means["", ""])
    rows = {key: row for row, key in enumerate(means)}
    return Prior(rows, np.array(list(means.values()), dtype=np.float32))


def starting(
    candidates: Sequence[str], y: Floats, w: Floats, evidence: Mapping[str, Sequence[Evidence]]
) -> Floats:
    """What to expect of each candidate before its labels count: [k].

    The evidence of its card, weighed by its rows; without any the mean of all candidates' labels,
    or one half where there are none either.
    """
    usual = float((w * y).sum() / w.sum()) if w.any() else 0.5
    means = []
    for name in candidates:
        items = [item for item in evidence.get(name, ()) if 0 <= item.value <= 1]
        rows = [max(item.rows, 1) for item in items]
        means.append(np.average([item.value for item in items], weights=rows) if items else usual)
    return np.array(means)


def rarity(texts: Sequence[bytes], bits: int) -> tuple[NDArray[np.float16], csr_matrix]:
    """How rare each bucket is in *texts*, and their weighed buckets [n, buckets] (TF-IDF).

    What fewer than two texts have weighs nothing: it would only take from what others share.
    """
    counted = [features.counted(text, bits) for text in texts]
    seen = np.bincount(np.concatenate([buckets for buckets, _ in counted]), minlength=1 << bits)
    inverse = np.log((1 + len(texts)) / (1 + seen)) + 1
    rare = np.where(seen > 1, inverse, 0).astype(np.float16)
    data = [features.weighed(buckets, counts, rare) for buckets, counts in counted]
    ends = np.append(0, np.cumsum([len(buckets) for buckets, _ in counted]))
    columns = np.concatenate([buckets for buckets, _ in counted])
    shape = (len(texts), 1 << bits)
    return rare, csr_matrix((np.concatenate(data), columns, ends), shape=shape)


def fit_slopes(x: csr_matrix, y: Floats, w: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Ridge regression of each column of *y* over what was observed of it: slopes and levels.

    Conjugate gradients on the normal equations of all columns at once (Hestenes and Stiefel, 1952).
    """
    xt = x.T.tocsr()
    level = (w * y).sum(0) / np.maximum(w.sum(0), 1e-9)
    slopes = np.zeros((x.shape[1], y.shape[1]))
    left = xt @ (w * (y - level))
    step = left.copy()
    size = first = (left**2).sum(0)
    for _ in range(_STEPS):
        if (size <= _CLOSE**2 * first).all():
            break
        curved = xt @ (w * (x @ step)) + penalty * step
        length = size / np.maximum((step * curved).sum(0), 1e-30)
        slopes += length * step
        left -= length * curved
        before, size = size, (left**2).sum(0)
        step = left + size / np.maximum(before, 1e-30) * step
    return slopes, level


def topics(x: csr_matrix, count: int, seed: int) -> tuple[NDArray[np.float16], Floats]:
    """*count* directions in which the texts differ most, and where each text lies: [n, count].

    Latent semantic analysis (Deerwester et al., 1990) of fewer buckets. Kinds of texts lie apart in
    few directions, which a forest can split and words alone cannot.
    """
    places = features.folded(x.indices, x.shape[1], features.FEWER)
    fewer = csr_matrix((x.data, places, x.indptr), shape=(x.shape[0], features.FEWER))
    # TruncatedSVD would also divide by the variance of the texts, which may be all the same.
    left, _, right = randomized_svd(fewer, count, n_iter=3, random_state=seed, flip_sign=False)
    directions = np.asarray(svd_flip(left, right, u_based_decision=False)[1].T, np.float16)
    return directions, np.asarray(fewer @ directions.astype(np.float64))


def fit_words(
    x: csr_matrix,
    rare: NDArray[np.float16],
    directions: NDArray[np.float16],
    y: Floats,
    w: Floats,
    prior: Floats,
    penalty: float,
) -> Words:
    """What texts say beyond the *prior* [n, k] of their queries."""
    slopes, level = fit_slopes(x, y - prior, w, penalty)
    return Words(rare, slopes.astype(np.float16), level.astype(np.float32), directions)


def blended(y: Floats, w: Floats) -> Floats:
    """Outcomes in which some of the differences between candidates are ranks.

    What a candidate has beyond the mean of its query is mixed with the share of others that it
    beats less the share that beat it. Where outcomes are graded, as times are, differences speak of
    the few queries at which some fail; ranks also say of all others who is ahead. Outcomes that are
    0 or 1 stay as they are, as do queries of which some are not known.
    """
    level = y.mean(1, keepdims=True)
    ahead = (2 * rankdata(y, axis=1) - 1) / y.shape[1] - 1
    known = (w > 0).all(1, keepdims=True)
    return np.where(known, y + _RANKS * (level + ahead - y), y)


def number_scale(numbers: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The middle and the spread of signed logarithms of [n, m] numbers."""
    logs = np.sign(numbers) * np.log1p(np.abs(numbers))
    known = np.isfinite(logs)
    logs = np.where(known, logs, np.nan)
    logs[:, ~known.any(0)] = 0
    spread = np.nanstd(logs, axis=0)
    spread = np.where(spread > 1e-9, spread, 1)
    return np.nanmedian(logs, axis=0).astype(np.float32), spread.astype(np.float32)


def fit_numbers(numbers: Floats, y: Floats, w: Floats) -> Numbers:
    """A ridge regression whose penalty is chosen by leaving out one row at a time."""
    middle, spread = number_scale(numbers)
    z = scaled(numbers, middle, spread)
    rows = w.mean(1)
    ridge = RidgeCV(np.logspace(0, 5, 11)).fit(z, y, sample_weight=rows)
    slopes = np.asarray(ridge.coef_).reshape(y.shape[1], -1).T
    level = np.broadcast_to(ridge.intercept_, y.shape[1])
    return Numbers(middle, spread, slopes.astype(np.float32), level.astype(np.float32))


def fit_forest(
    x: NDArray[np.float32], y: Floats, w: Floats, trees: int, leaf: int, seed: int
) -> Forest:
    """Extremely randomized trees over all candidates at once, of [n, F] inputs."""
    model = _grown(x, y, w, trees, leaf, seed)
    return _flattened([tree.tree_ for tree in model.estimators_], y.shape[1])


def forest_predictions(
    x: NDArray[np.float32],
    y: Floats,
    w: Floats,
    held: NDArray[np.float32],
    trees: int,
    leaf: int,
    seed: int,
) -> Floats:
    """What a forest of the same kind says of other rows: [rows, k]."""
    model = _grown(x, y, w, trees, leaf, seed)
    return _outcomes(np.asarray(model.predict(held)))


def _outcomes(said: Floats) -> Floats:
    return np.asarray(said[:, :-1] + said[:, -1:] / (_LEVEL * np.sqrt(said.shape[1] - 1)))


def _grown(
    x: NDArray[np.float32], y: Floats, w: Floats, trees: int, leaf: int, seed: int
) -> ExtraTreesRegressor:
    """Geurts, Ernst and Wehenkel, Extremely randomized trees (2006).

    It is given the differences between candidates, which decide, and the level of each query: they
    sum up to outcomes, as in `_outcomes`.
    """
    level = y.mean(1, keepdims=True)
    targets = np.hstack([y - level, _LEVEL * np.sqrt(y.shape[1]) * level])
    model = ExtraTreesRegressor(trees, min_samples_leaf=leaf, max_features=0.3, random_state=seed)
    return model.fit(x, targets, sample_weight=w.mean(1))


def _flattened(trees: Sequence[Any], k: int) -> Forest:
    """Trees of scikit-learn as arrays."""
    inner = [tree.children_left >= 0 for tree in trees]
    leaves = sum(int((~mask).sum()) for mask in inner)
    total = sum(int(mask.sum()) for mask in inner)
    roots = np.zeros(len(trees), dtype=np.int32)
    children = np.zeros((total, 2), dtype=np.int32)
    feature = np.zeros(total, dtype=np.int16)
    threshold = np.zeros(total, dtype=np.float32)
    values = np.zeros((leaves, k), dtype=np.float16)
    node, leaf = 0, total
    for at, (tree, mask) in enumerate(zip(trees, inner, strict=True)):
        count, ends = int(mask.sum()), int((~mask).sum())
        number = np.empty(len(mask), dtype=np.int32)
        number[mask] = node + np.arange(count)
        number[~mask] = leaf + np.arange(ends)
        roots[at] = number[0]
        here = slice(node, node + count)
        children[here, 0] = number[tree.children_left[mask]]
        children[here, 1] = number[tree.children_right[mask]]
        feature[here] = tree.feature[mask]
        threshold[here] = _rounded_down(tree.threshold[mask])
        values[leaf - total : leaf - total + ends] = _outcomes(tree.value[~mask, :, 0])
        node, leaf = node + count, leaf + ends
    depth = max(int(tree.max_depth) for tree in trees)
    return Forest(roots, feature, threshold, children, values, depth)


def _rounded_down(thresholds: Floats) -> NDArray[np.float32]:
    """As float32 and not above, so that float32 features fall on the same side as before."""
    rounded = thresholds.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > thresholds, below, rounded)
