"""Tables of outcomes: what came out when specialists were given queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabric.core.decisions import Query

OUTCOMES = ("quality", "cost", "seconds", "confidence")
"""What is known of an answer."""


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
    confidence: NDArray[np.float64] | None = None
    """[n, k], of each answer, from 0 to 1; not a number where it cannot be read."""

    def __post_init__(self) -> None:
        shape = (len(self.queries), len(self.candidates))
        for name, values in self.outcomes.items():
            if values.shape != shape:
                raise ValueError(f"{name} is of {values.shape}, not of {shape}")
        if np.nanmin(self.quality, initial=0) < 0 or np.nanmax(self.quality, initial=0) > 1:
            raise ValueError("quality lies from 0 to 1")

    @property
    def outcomes(self) -> dict[str, NDArray[np.float64]]:
        """All that came out, [n, k] each, by its name."""
        named = {name: getattr(self, name) for name in OUTCOMES}
        return {name: values for name, values in named.items() if values is not None}

    def rows(self, chosen: NDArray[np.intp]) -> Table:
        """Some of the queries, in the order of *chosen*."""
        return Table(
            self.candidates,
            tuple(self.queries[row] for row in chosen),
            **{name: values[chosen] for name, values in self.outcomes.items()},
        )
