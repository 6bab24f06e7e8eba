"""A document as the dataclasses that it declares, and every mistake with its cure."""

from __future__ import annotations

import copy
import difflib
import json
import re
import typing
from collections import Counter
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

from pydantic import TypeAdapter, ValidationError

from fabric.config.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from pydantic_core import ErrorDetails

    from fabric.config.document import Document, Location

T = TypeVar("T")

_WANTED = {
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "finite_number": "a finite number",
    "string": "a text",
    "tuple": "a list",
    "mapping": "a mapping",
    "dict": "a mapping",
    "dataclass": "a mapping",
}
_STAND_IN = "1"
"""For what is missing; it reads as a text and as a number."""
_ENTRY = 2
"""Parts of the location of an entry, such as `specialists[0]`."""
_TIMES = 2
"""What an object needs is taken out, then missing; what can stand in for neither goes with it."""


def validated(
    document: Document,
    adapter: TypeAdapter[T],
    cls: type[T],
    is_known: Callable[[Document, Location], bool],
) -> T | None:
    """What *document* declares, a *cls*; None where something is wrong, which it then knows.

    What is wrong where *is_known* says so has been told already.

    What is wrong is taken out and the rest is read again, from the inside out, until nothing more
    is found: an object is not looked at before its parts are right.
    """
    rest = copy.deepcopy(document.value)
    out: Counter[Location] = Counter()
    while True:
        try:
            made = adapter.validate_python(rest)
        except ValidationError as error:
            found = error.errors(include_url=False)
        else:
            return None if out else made
        places = set()
        for details in found:
            for at, text in _mistakes(details, cls):
                is_told = is_known(document, at) or _follows(details["loc"], at, text, out)
                if not is_told:
                    document.refuse(at, text)
                places.add(_cause(rest, at, out))
        deepest = max(map(len, places))
        if deepest <= _ENTRY:
            return None
        for place in (place for place in places if len(place) == deepest):
            _take_out(_within(rest, place[:-1]), place[-1])
            out[place] += 1


def _mistakes(details: ErrorDetails, cls: type) -> Iterator[tuple[Location, str]]:
    at: Location = details["loc"]
    kind = details["type"]
    if kind == "unexpected_keyword_argument":
        yield at, f"unknown key{_nearest(str(at[-1]), _keys_at(cls, at[:-1]))}"
    elif kind.startswith("missing"):
        yield at, "is missing"
    elif kind == "value_error":
        given = details["input"] if isinstance(details["input"], dict) else {}
        error = details["ctx"]["error"]
        for text in getattr(error, "mistakes", (str(error),)):
            first = text.split(maxsplit=1)[0]
            yield (*at, first) if first in given else at, text
    else:
        wanted = next((text for name, text in _WANTED.items() if kind.startswith(name)), None)
        value = details["input"]
        named = "a mapping" if isinstance(value, dict) else "a list"
        shown = named if isinstance(value, dict | list) else json.dumps(value)
        yield at, f"must be {wanted}, not {shown}" if wanted else details["msg"]


# ------------------------------------------------------------------ what one hides of another
def _follows(owner: Location, at: Location, text: str, out: Collection[Location]) -> bool:
    """Whether it may be a mistake only since something of *owner* was taken out."""
    if at == owner and any(place[:-1] == owner for place in out):
        return True  # it is about the whole, a part of which is missing
    return at in out or any((*owner, word) in out for word in re.findall(r"\w+", text))


def _cause(rest: Any, at: Location, out: Counter[Location]) -> Location:
    """The key at or above *at* that can be taken out, or is missing; else an entry."""
    for end in range(len(at), _ENTRY, -1):
        place, key = at[:end], at[end - 1]
        holder = _within(rest, place[:-1])
        if isinstance(holder, dict) and (key in holder or place == at) and out[place] < _TIMES:
            return place
    return at[:_ENTRY]


def _take_out(holder: dict[Any, Any], key: str | int) -> None:
    """Or puts something in where it is missing."""
    if holder.pop(key, None) is None:
        holder[key] = _STAND_IN


def _within(value: Any, at: Location) -> Any:
    for part in at:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return None
    return value


# ------------------------------------------------------------------ words
def _keys_at(cls: type, at: Location) -> tuple[str, ...]:
    """The keys that the mapping at *at* in a *cls* may have."""
    hint: Any = cls
    for part in at:
        if is_dataclass(hint):
            hint = typing.get_type_hints(hint)[str(part)]
        else:  # an element of a list, or of a mapping, and not its keys
            hint = typing.get_args(hint)[0 if isinstance(part, int) else 1]
        while typing.get_origin(hint) in (Annotated, Union, UnionType):
            hint = typing.get_args(hint)[0]  # others are what it may be short for, or nothing
    return tuple(field.name for field in fields(hint)) if is_dataclass(hint) else ()


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    return did_you_mean(near) or f"; use one of {', '.join(names)}"
