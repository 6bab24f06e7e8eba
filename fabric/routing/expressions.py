"""Requirements in the Common Expression Language (https://cel.dev), over `card`.

`card` has the fields of a portfolio's card, absent texts as "", and `signature`, null until known:
`card.cost <= 2.0 && 'de' in card.languages && has(card.labels.tier)`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

from fabric.core.cards import Card
from fabric.core.errors import InvalidRequest
from fabric.routing.allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import Callable


def _library() -> Any:
    """The extension module of the library `cel` alone: with the package comes its command line,
    and so a quarter of a second and the toolkits of a terminal."""
    package = find_spec("cel")
    places = package.submodule_search_locations if package else None
    spec = PathFinder.find_spec("cel.cel", places)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("no module cel: install common-expression-language")
    module = sys.modules["cel.cel"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cel = _library()

MOST_ASKED = 256
"""Characters of an expression that comes with a request."""
_MOST = 4096
_MOST_KEPT = 8192
_SHARE = 0.05
_MOST_SAVED = 0.2
_LOOP = re.compile(r"\(\s*([A-Za-z_]\w*)\s*,")
"""What `all`, `exists`, `map` and the like begin with, and the name that they bind."""
_FIELD = re.compile(r"\bcard\s*\.\s*(\w+)")
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
_POSITION = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


def allowance() -> Allowance:
    """What the expressions of requests may take together: a twentieth of the time."""
    refusal = (
        "expressions of requests take too long: state them in a route, where they are evaluated "
        "once"
    )
    return Allowance(_SHARE, _MOST_SAVED, refusal)


@lru_cache(1024)
def compiled(expression: str) -> Any:
    """The program of *expression*.

    Raises:
        InvalidRequest: it is none, with the position of what is wrong, or names what is not there.
    """
    if len(expression) > _MOST:
        raise InvalidRequest(f"an expression has at most {_MOST} characters, not {len(expression)}")
    try:
        program = cel.compile(expression)
    except ValueError as error:
        raise InvalidRequest(f"{_shown(expression)} is no expression: {_place(error)}") from None
    bound = {"card", *_LOOP.findall(expression)}
    for name in program.variables():
        if name not in bound:
            near = f"did you mean 'card.{name}'?" if name in _FIELDS else "all it knows is `card`"
            raise InvalidRequest(f"{_shown(expression)} names '{name}'; {near}")
    for name in _FIELD.findall(_TEXT.sub("", expression)):
        if name not in _FIELDS:
            near = get_close_matches(name, _FIELDS, 1, cutoff=0)[0]
            raise InvalidRequest(
                f"{_shown(expression)} names 'card.{name}', which no card has; did you mean "
                f"'card.{near}'?"
            )
    return program


def check_of(expression: str) -> Callable[[Card], str]:
    """From a card to why it is refused by *expression*; empty if it is not."""
    program, names = compiled(expression), _read(expression)
    return lambda card: _refusal(program, expression, _context(card, names))


def check_of_asked(expression: str, allowance: Allowance) -> Callable[[Card], str]:
    """As `check_of`, for the expression of a request, which has to be cheap, without regular
    expressions and with one loop at most, and to do with the *allowance*.

    Raises:
        InvalidRequest: it is none, or not that cheap.
        Overloaded: here or by the check, the allowance is used up.
    """
    with allowance.taken():
        check = check_of(_cheap(expression))

    def checked(card: Card) -> str:
        with allowance.taken():
            return check(card)

    return checked


def _cheap(expression: str) -> str:
    if len(expression) > MOST_ASKED:
        raise InvalidRequest(
            f"the expression of a request has at most {MOST_ASKED} characters, "
            f"not {len(expression)}; state it in a route"
        )
    is_dear = "matches" in compiled(expression).functions() or "//" in expression
    if is_dear or len(_LOOP.findall(expression)) > 1:
        raise InvalidRequest(
            "the expression of a request has no `matches`, no comment, and at most one `exists`, "
            "`all`, `filter` or `map`; state it in a route"
        )
    return expression


def _refusal(program: Any, expression: str, context: Any) -> str:
    try:
        given = program.execute(context)
    except KeyError as error:
        return f"{_shown(expression)} fails: card has no {error}; ask has(…) first"
    except (RuntimeError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        return f"{_shown(expression)} fails: {error}"
    if given is True:
        return ""
    if given is False:
        return f"{_shown(expression)} is false"
    return f"{_shown(expression)} gives {str(given)[:64]}, not true or false"


@lru_cache(1024)
def _read(expression: str) -> tuple[str, ...]:
    """The fields of `card` that *expression* reads; all if it does not say which."""
    named = _FIELD.findall(expression)
    if len(named) < len(re.findall(r"\bcard\b", expression)) or "//" in expression:
        return _FIELDS
    return tuple(name for name in _FIELDS if name in named)


_contexts: dict[tuple[int, tuple[str, ...]], tuple[Card, Any]] = {}
"""By the id of a card, which is kept for as long: a conversion takes ten evaluations."""


def _context(card: Card, names: tuple[str, ...]) -> Any:
    key = id(card), names
    found = _contexts.get(key)
    if found is None:
        if len(_contexts) >= _MOST_KEPT:
            _contexts.clear()
        document = {name: _document(getattr(card, name)) for name in names}
        found = _contexts[key] = card, cel.Context(variables={"card": document})
    return found[1]


def _document(value: Any) -> Any:
    """*value* in mappings and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _document(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, tuple):
        return [_document(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


@lru_cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


_FIELDS = _names(Card)


def _shown(expression: str) -> str:
    line = " ".join(expression.split())
    short = line if len(line) <= 80 else f"{line[:79]}…"
    return f"expression `{short}`"


def _place(error: ValueError) -> str:
    found = _POSITION.search(str(error))
    if found is None:
        return str(error)[:200]
    line, column, what = found.groups()
    where = f"line {line}, column {column}" if line != "1" else f"column {column}"
    return f"{where}: {what.partition(' expecting {')[0]}"
