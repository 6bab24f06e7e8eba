"""How sure an answer is, from 0 to 1, by the outputs of the specialist that gave it.

An answer of several rows is as sure as its least sure row: they are given, or asked for again,
together.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fabric.core.scores import classes, entropy, margin, probabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fabric.core.cards import Card
    from fabric.core.routes import Calibration, Cascade
    from fabric.core.tensors import Tensors


class Confidence(NamedTuple):
    value: float
    doubt: str = ""
    """Why it cannot be read, where it is 0 for that."""


def confidence(
    cascade: Cascade, card: Card, outputs: Tensors, before: Tensors | None
) -> Confidence:
    """How sure *outputs* of the specialist with *card* are, calibrated where that is known.

    *before* are those of the candidate asked before; who is asked first agrees with nobody. What
    cannot be read is not sure: an output that is missing, is no number, or a function that fails.
    """
    try:
        raw = _raw(cascade, outputs, before)
    except (LookupError, TypeError, ValueError) as error:
        return Confidence(0.0, f"its confidence cannot be read: {error}")
    if not 0.0 <= raw <= 1.0:
        return Confidence(0.0, f"its confidence is {raw:g}, it must be from 0 to 1")
    return Confidence(calibrated(cascade.calibrations, card, raw))


def _raw(cascade: Cascade, outputs: Tensors, before: Tensors | None) -> float:
    if cascade.confidence == "python":
        return _asked(cascade.python, outputs)
    output = named(outputs, cascade.output)
    if cascade.confidence == "agreement":
        if before is None:
            return 0.0
        other = named(before, cascade.output)
        return float(np.array_equal(classes(output), classes(other)))
    if cascade.confidence == "output":
        return float(np.min(output.astype(np.float64))) if output.size else 1.0
    measure = margin if cascade.confidence == "margin" else entropy
    return float(np.min(measure(probabilities(output)), initial=1.0))


def named(outputs: Tensors, name: str) -> NDArray[Any]:
    """The output *name*, or the first. Raises LookupError if there is none."""
    if not name and outputs:
        return next(iter(outputs.values()))
    if name not in outputs:
        raise LookupError(f"no output '{name}', only {', '.join(outputs) or 'none'}")
    return outputs[name]


def calibrated(calibrations: Sequence[Calibration], card: Card, raw: float) -> float:
    """How often an answer of *card* with the confidence *raw* is right; *raw* where nobody knows.

    Linear between the points of its calibration, and level outside of them.
    """
    for each in calibrations:
        if each.specialist in (card.key, card.name):
            return float(np.interp(raw, each.confidence, each.accuracy))
    return raw


def _asked(python: str, outputs: Tensors) -> float:
    function = _imported(python)
    if isinstance(function, str):
        raise LookupError(function)
    try:
        return float(function(outputs))
    except Exception as error:
        raise ValueError(f"{python} raised {type(error).__name__}: {error}") from error


def unusable(cascade: Cascade) -> str:
    """Why the function of *cascade* cannot be asked; empty where it can, or has none.

    It is imported here, once. It is called on the event loop of the gateway, so it must be quick.
    """
    function = _imported(cascade.python) if cascade.python else ""
    return function if isinstance(function, str) else ""


@lru_cache(256)
def _imported(python: str) -> Callable[[Tensors], float] | str:
    """The function `package.module:function`, or why there is none."""
    module, _, name = python.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # noqa: BLE001 - what a module raises is up to it
        return f"{python} cannot be imported: {type(error).__name__}: {error}"
    return found if callable(found) else f"{python} is no function"
