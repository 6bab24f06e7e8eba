"""Answers of several specialists made into one.

The candidates are the experts of a mixture and their scores the gate, dense where all of them are
asked and sparse where the best few are (Jacobs et al., "Adaptive Mixtures of Local Experts", 1991;
Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
2017, whose y = Σ G(x)_i E_i(x) is the mean here).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.scores import are_probabilities, margin, probabilities, voted
from fabric.core.tensors import Tensors
from fabric.routing.confidence import named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.core.routes import Mixture


@dataclass(frozen=True, slots=True)
class Mixed:
    """What answers make together."""

    parts: tuple[int, ...]
    """Whose answers it was made from, the heaviest first."""
    tensors: Tensors = field(default_factory=dict)
    """To take the place of outputs of the heaviest; none where its answer is given as it is."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """Whose answer could not be taken with the others, and why."""
    confidence: float | None = None
    """Of the surest, where that is who answers."""


def mixed(mixture: Mixture, answers: Sequence[Tensors], scores: Sequence[float]) -> Mixed:
    """One of *answers*, or all of them, by their *scores*; there is one answer at least.

    `mean` weighs by the scores, equally where all are zero: of probabilities if one of them gives
    these, else of whatever numbers they give. `vote` takes for each row the class that most give,
    or among as many the one with the larger sum of scores, and the numbers of the heaviest who
    gave it. `best` takes the answer with the widest margin. Other outputs than the one that is
    combined are the heaviest's.
    """
    order = sorted(range(len(answers)), key=lambda place: -scores[place])
    arrays, left_out = _alike(mixture, answers, order)
    parts = tuple(place for place in order if place in arrays) or (order[0],)
    left_out.pop(parts[0], None)
    if len(parts) == 1:
        return Mixed(parts, left_out=left_out)
    stacked = [arrays[place] for place in parts]
    if mixture.combine == "best":
        sure = [_sureness(array) for array in stacked]
        surest = parts[int(np.argmax(sure))]
        others = (place for place in parts if place != surest)
        return Mixed((surest, *others), left_out=left_out, confidence=max(sure))
    weights = _weights([scores[place] for place in parts])
    combined = (_mean if mixture.combine == "mean" else voted)(stacked, weights)
    name = mixture.output or next(iter(answers[parts[0]]))
    return Mixed(parts, {name: combined}, left_out)


def _alike(
    mixture: Mixture, answers: Sequence[Tensors], order: Sequence[int]
) -> tuple[dict[int, NDArray[Any]], dict[int, str]]:
    """The output that is combined, of those where it is like that of the heaviest who has it."""
    arrays: dict[int, NDArray[Any]] = {}
    left_out: dict[int, str] = {}
    first: tuple[str, NDArray[Any]] | None = None
    for place in order:
        try:
            array = named(answers[place], mixture.output)
        except LookupError as error:
            left_out[place] = str(error)
            continue
        name = mixture.output or next(iter(answers[place]))
        if reason := _unfit(mixture.combine, array) or (first and _unlike(name, array, *first)):
            left_out[place] = reason
            continue
        first = first or (name, array)
        arrays[place] = array
    return arrays, left_out


def _unfit(combine: str, array: NDArray[Any]) -> str:
    if np.issubdtype(array.dtype, np.floating):
        return "" if np.isfinite(array).all() else "not all of its numbers are finite"
    return "" if combine == "vote" else f"{array.dtype} are no scores of classes"


def _unlike(name: str, array: NDArray[Any], other: str, than: NDArray[Any]) -> str:
    if (name, array.dtype, array.shape) == (other, than.dtype, than.shape):
        return ""
    return (
        f"its output '{name}' is {array.dtype} {list(array.shape)}, "
        f"that of the others '{other}' {than.dtype} {list(than.shape)}"
    )


def _weights(scores: Sequence[float]) -> NDArray[np.float64]:
    total = sum(scores)
    if total <= 0:
        return np.full(len(scores), 1 / len(scores))
    return np.array(scores, np.float64) / total


def _mean(arrays: Sequence[NDArray[Any]], weights: NDArray[np.float64]) -> NDArray[Any]:
    shape, dtype = arrays[0].shape, arrays[0].dtype
    if any(map(are_probabilities, arrays)):
        arrays = [probabilities(array).reshape(shape) for array in arrays]
    numbers = np.stack([array.astype(np.float64) for array in arrays])
    return np.asarray(np.tensordot(weights, numbers, 1).astype(dtype))


def _sureness(array: NDArray[Any]) -> float:
    return float(np.min(margin(probabilities(array)), initial=1.0))
