"""Tables of outcomes: what came out when specialists were given queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabric.core.decisions import Query


@dataclass(frozen=True, eq=False)
class Table:
    """Outcomes of n queries at k specialists; not a number where nobody asked."""

    candidates: tuple[str, ...]
    """`name:version`, or any name, of each specialist."""
    queries: tuple[Query, ...]
    quality: NDArray[np.float64]
    """[n, k], from 0 (wrong) to 1 (right)."""
    cost: NDArray[np.float64]
    """[n, k], per call; zeros where there is none."""
    seconds: NDArray[np.float64]
    """[n, k]; zeros where nobody measured."""

    def __post_init__(self) -> None:
        shape = (len(self.queries), len(self.candidates))
        for name in ("quality", "cost", "seconds"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} is of {getattr(self, name).shape}, not of {shape}")
        if np.nanmin(self.quality, initial=0) < 0 or np.nanmax(self.quality, initial=0) > 1:
            raise ValueError("quality lies from 0 to 1")

    def rows(self, chosen: NDArray[np.intp]) -> Table:
        """Some of the queries, in the order of *chosen*."""
        return Table(
            self.candidates,
            tuple(self.queries[row] for row in chosen),
            self.quality[chosen],
            self.cost[chosen],
            self.seconds[chosen],
        )
