"""A forest as arrays, asked with numpy: all its trees walk down at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Forest:
    """Regression trees over all candidates at once. Nodes that ask come first, then the leaves."""

    roots: NDArray[np.int32]
    """[trees], the node at which each starts."""
    feature: NDArray[np.int16]
    """[inner], what each inner node asks for."""
    threshold: NDArray[np.float32]
    """[inner]; what is not above it goes to the first child."""
    children: NDArray[np.int32]
    """[inner, 2]; nodes from `len(feature)` on are leaves."""
    values: NDArray[np.float16]
    """[leaves, k], what each leaf says of each candidate."""
    depth: int
    """Steps from a root to the farthest leaf."""

    def check(self, features: int, candidates: int) -> None:
        """Raises ValueError unless every walk through it ends at a leaf of *candidates* values."""
        inner, leaves = len(self.feature), len(self.values)
        if self.threshold.shape != (inner,) or self.children.shape != (inner, 2):
            raise ValueError("the forest's nodes have no matching thresholds and children")
        if self.values.ndim != 2 or self.values.shape[1] != candidates or not len(self.roots):
            raise ValueError(f"the forest does not speak of {candidates} candidates")
        if inner and not 0 <= self.feature.min() <= self.feature.max() < features:
            raise ValueError(f"the forest asks for features that are not among {features}")
        for nodes in (self.roots, self.children):
            if nodes.size and not 0 <= nodes.min() <= nodes.max() < inner + leaves:
                raise ValueError("the forest has nodes that lead nowhere")
        if not 0 <= self.depth <= 64 or not np.isfinite(self.values).all():
            raise ValueError("the forest is too deep, or says what is no number")
        nodes = np.unique(self.roots)
        for _ in range(self.depth):
            nodes = np.unique(self.children[nodes[nodes < inner]])
        if (nodes < inner).any():
            raise ValueError("the forest is deeper than it says")

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The mean of what the trees say of one query's [F] features: [k]."""
        inner = len(self.feature)
        nodes = self.roots
        ends = []
        for _ in range(self.depth):
            walking = nodes < inner
            if not walking.all():
                ends.append(nodes[~walking])
                nodes = nodes[walking]
            right = features[self.feature[nodes]] > self.threshold[nodes]
            nodes = self.children[nodes, right.view(np.int8)]
        leaves = np.concatenate([*ends, nodes]) - inner
        return np.asarray(self.values[leaves].mean(axis=0, dtype=np.float64))
