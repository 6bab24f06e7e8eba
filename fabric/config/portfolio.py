"""The portfolio file: YAML in, the dataclasses of core out, and every mistake with its cure.

The dataclasses of `fabric.core` are the only definition of what may be said: pydantic reads their
types, and each of their `mistakes` is one of that place in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from fabric.config import pipelines as piped
from fabric.config.document import Document, Mistake, PortfolioError
from fabric.config.names import (
    chain_entry,
    check_expressions,
    check_names,
    locate_files,
)
from fabric.config.validating import validated
from fabric.core.cards import Card, Hosting, Model, Specialist
from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import Pipeline
from fabric.core.routes import ChainEntry, Route

if TYPE_CHECKING:
    from collections.abc import Collection

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


_NAMED = re.compile(r"pipeline '(?P<pipeline>[^']+)'(?:[:,] step '(?P<step>[^']+)')?")
"""What a refusal begins with."""


@dataclass(frozen=True)
class Portfolio:
    specialists: tuple[Specialist, ...] = ()
    routes: tuple[Route, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    lines: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)
    """Of each pipeline, by name, the lines of its steps, by name, as `file:line`; its own one under
    an empty name."""

    @contextmanager
    def located(self) -> Iterator[None]:
        """A refusal of its pipelines inside says on which lines their steps are."""
        try:
            yield
        except InvalidRequest as error:
            raise InvalidRequest("\n".join(map(self._placed, error.message.split("\n")))) from error

    def _placed(self, text: str) -> str:
        named = _NAMED.match(text)
        lines = self.lines.get(named["pipeline"], {}) if named else {}
        line = lines.get(named["step"] or "") if named else None
        return f"{line}: {text}" if line else text


# ------------------------------------------------------------------ what may be written
def _model(value: object) -> object:
    return {"uri": value} if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class SpecialistEntry(Hosting, Card):
    """A specialist: what it is good at and how it runs, side by side."""

    __pydantic_config__ = _STRICT
    model: Annotated[Model | None, BeforeValidator(_model, json_schema_input_type=str | Model)] = (
        None
    )
    """The model file: its URI, or `uri` and `sha256`. A relative path starts at this file."""

    def mistakes(self) -> Iterator[str]:
        yield from Card.mistakes(self)
        yield from Hosting.mistakes(self)

    def specialist(self) -> Specialist:
        def part(cls: type[Any]) -> Any:
            return cls(**{field.name: getattr(self, field.name) for field in fields(cls)})

        return Specialist(card=part(Card), hosting=part(Hosting))


_ChainEntry = Annotated[
    ChainEntry, BeforeValidator(chain_entry, json_schema_input_type=str | ChainEntry)
]


@dataclass(frozen=True, kw_only=True)
class RouteEntry(Route):
    """A virtual model: requirements, a fallback chain and a policy, called like any model."""

    __pydantic_config__ = _STRICT
    chain: tuple[_ChainEntry, ...] = ()
    """What is tried, in order: `name`, `name:version`, or an entry with a weight; none under
    `order: scored` for every specialist that meets the requirements."""

    def route(self) -> Route:
        return Route(**{field.name: getattr(self, field.name) for field in fields(Route)})


@dataclass(frozen=True, kw_only=True)
class PortfolioFile:
    """The specialists, routes and pipelines of a fabric."""

    __pydantic_config__ = _STRICT
    specialists: tuple[SpecialistEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()


@cache
def _adapter() -> TypeAdapter[PortfolioFile]:
    return TypeAdapter(PortfolioFile)


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The classes that entries inherit from: pydantic reads only a class's own docstrings."""

    __pydantic_config__ = _STRICT
    card: Card
    hosting: Hosting
    route: Route


def schema() -> dict[str, Any]:
    """The JSON Schema of the portfolio file, with which editors complete and check it."""
    made = _adapter().json_schema(schema_generator=_Schema)
    parts = TypeAdapter(_Parts).json_schema(schema_generator=_Schema)["$defs"]
    for entry, bases in (("SpecialistEntry", ("Card", "Hosting")), ("RouteEntry", ("Route",))):
        properties = made["$defs"][entry]["properties"]
        for name, said in ((n, p) for base in bases for n, p in parts[base]["properties"].items()):
            if "description" in said:
                properties[name].setdefault("description", said["description"])
    piped.describe(made)
    return {"$schema": _Schema.schema_dialect, **made, "title": "fabric portfolio"}


# ------------------------------------------------------------------ reading
def load(file: str | Path, known: Collection[str] = ()) -> Portfolio:
    """The portfolio that *file* declares, with local model paths made absolute.

    Chains and calls may also name what *known* names: `name:version` of specialists, names of
    routes and pipelines.

    Raises:
        PortfolioError: with all mistakes of the file.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise PortfolioError(file, [Mistake(0, "", f"cannot be read: {what}")]) from error
    document = Document(file, text)
    locate_files(document)
    lines = {**piped.lines(document), **piped.trace(document)}
    piped.complete(document)
    declared = validated(document, _adapter(), PortfolioFile, piped.is_in_python)
    check_names(document, known)
    check_expressions(document)
    if declared is not None:
        portfolio = Portfolio(
            specialists=tuple(entry.specialist() for entry in declared.specialists),
            routes=tuple(entry.route() for entry in declared.routes),
            pipelines=declared.pipelines,
            lines=lines,
        )
        piped.check(document, portfolio, known)
    if document.mistakes or declared is None:
        raise PortfolioError(file, document.mistakes)
    return portfolio
