"""Operations as Python's operators write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fabric.pipelines.code import scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.core.pipelines import Argument

_COMPARISONS = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_LOGIC = {"logical_and": "&", "logical_or": "|"}
_ARITHMETIC = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_SYMBOLS = {**_COMPARISONS, **_LOGIC, **_ARITHMETIC}
_NUMBER = r"(0|-?[1-9]\d*)"
_PLACE = rf"(\.\.\.|None|{_NUMBER}|{_NUMBER}?:{_NUMBER}?(:{_NUMBER})?)"
_PLACES = re.compile(rf"{_PLACE}(, {_PLACE})*")
"""Slices as brackets make them."""


def operator(kind: str, values: Mapping[str, str], arguments: Mapping[str, Argument]) -> str | None:
    """The operation *kind* of *values*, which are expressions, as an operator that makes the same
    step; None if there is none."""
    x = values.get("x", "")
    if kind in _SYMBOLS:
        return _binary(kind, values, arguments)
    if kind == "logical_not" and values.keys() == {"x"} and not arguments:
        return f"~{x}"
    if kind == "slice" and values.keys() == {"x"} and arguments.keys() == {"at"}:
        at = str(arguments["at"])
        return f"{x}[{at}]" if _PLACES.fullmatch(at) else None
    return None


def _binary(kind: str, values: Mapping[str, str], arguments: Mapping[str, Argument]) -> str | None:
    literals = {n: scalar(each) for n, each in arguments.items() if _goes_with(kind, each)}
    if literals.keys() != arguments.keys() or {*values, *literals} != {"x", "y"}:
        return None
    if "x" in literals and kind in _COMPARISONS:
        return None  # Python would turn it round
    x, y = ({**literals, **values}[name] for name in ("x", "y"))
    return f"{x} {_SYMBOLS[kind]} {y}"


def _goes_with(kind: str, literal: object) -> bool:
    """Whether the operator of *kind* takes *literal*."""
    if kind in _LOGIC:
        return isinstance(literal, bool)
    if kind in _ARITHMETIC:
        return isinstance(literal, int | float) and not isinstance(literal, bool)
    return isinstance(literal, bool | int | float | str)
