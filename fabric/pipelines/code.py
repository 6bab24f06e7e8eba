"""Expressions in Python: on one line where there is room, else with a line for each part."""

from __future__ import annotations

import inspect
import json
import keyword
import math
import re
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_OPERATORS = re.compile(r"^~| [-+*/&|<>=!]+ ")


@dataclass(frozen=True, slots=True)
class Group:
    """Parts between brackets."""

    opening: str
    """All before the parts, the bracket included."""
    parts: tuple[Code, ...]
    closing: str

    def __str__(self) -> str:
        return f"{self.opening}{', '.join(map(str, self.parts))}{self.closing}"


Code: TypeAlias = "str | Group"


def around(before: str, code: Code, after: str = "") -> Code:
    """*code* with what is *before* and *after* it."""
    if isinstance(code, str):
        return f"{before}{code}{after}"
    return replace(code, opening=f"{before}{code.opening}", closing=f"{code.closing}{after}")


def lines_of(code: Code, width: int) -> list[str]:
    """*code* on lines of *width* characters, if it can be broken so."""
    if len(text := str(code)) <= width or isinstance(code, str):
        return [text]
    inner = chain.from_iterable(lines_of(around("", part, ","), width - 4) for part in code.parts)
    return [code.opening, *indented(inner), code.closing]


def indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def atom(code: Code) -> Code:
    """*code*, between brackets if operators around it could take it apart."""
    return f"({code})" if isinstance(code, str) and _OPERATORS.search(code) else code


def text(value: str) -> str:
    """*value* between quotes."""
    return json.dumps(value, ensure_ascii=False)


def scalar(value: object) -> str:
    """A text, a number or a truth."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def nested(elements: Sequence[str], shape: Sequence[int]) -> Code:
    """*elements* in lists within lists; in one where sizes are 0, which lists do not show."""
    if not shape:
        return elements[0]
    if 0 in shape or len(shape) == 1:
        return Group("[", tuple(elements), "]")
    size = len(elements) // shape[0]
    rows = (elements[at : at + size] for at in range(0, len(elements), size))
    return Group("[", tuple(nested(row, shape[1:]) for row in rows), "]")


def is_name(value: str) -> bool:
    """Whether *value* may stand behind a dot, and as a keyword."""
    is_plain = value.isidentifier() and value.isascii() and value[0] != "_"
    return is_plain and not keyword.iskeyword(value)


def docstring(value: str) -> list[str]:
    """The lines of the docstring that is read as *value*; none where none is, or there is none."""
    first, *others = value.split("\n")
    is_plain = all(line.isprintable() for line in (first, *others))
    if not value or not is_plain or {*value} & {"\\", '"'} or inspect.cleandoc(value) != value:
        return []
    return [f'"""{first}', *others, '"""'] if others else [f'"""{first}"""']
