"""Expressions in Python, on one line where there is room, else with a line for each part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Group:
    """Parts between brackets."""

    opening: str
    """All before the parts, the bracket included."""
    parts: tuple[str | Group, ...]
    closing: str

    def __str__(self) -> str:
        return f"{self.opening}{', '.join(map(str, self.parts))}{self.closing}"


def around(before: str, expression: str | Group, after: str = "") -> str | Group:
    """*expression* with what is *before* and *after* it."""
    if isinstance(expression, str):
        return f"{before}{expression}{after}"
    opening, closing = f"{before}{expression.opening}", f"{expression.closing}{after}"
    return replace(expression, opening=opening, closing=closing)


def lines_of(expression: str | Group, width: int) -> list[str]:
    """*expression* on lines of *width* characters, if it can be broken so."""
    if len(text := str(expression)) <= width or isinstance(expression, str):
        return [text]
    inner = chain.from_iterable(
        lines_of(around("", part, ","), width - 4) for part in expression.parts
    )
    return [expression.opening, *indented(inner), expression.closing]


def indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
