"""Which columns of a file are outcomes, of whom, and what is known of the queries.

A wide file has a row for each query and a column for each specialist, a long one a row for each
query and specialist.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from fabric.core.decisions import Query
from fabric.core.errors import InvalidRequest, NotFound
from fabric.learning.files import WORDS, frame
from fabric.learning.outcomes import OUTCOMES, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

_SHARES = ("quality", "confidence")
"""Outcomes from 0 to 1, which differ by row."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of a file means what. The defaults are what `write` writes.

    `quality`, `cost`, `seconds` and `confidence` of a wide file are `NAME=COLUMN`, or a pattern
    such as `{}|total_cost` where `{}` is the specialist's name; of cost and seconds, a number in
    place of a column holds for all rows. Of a long file they are the one column. What a default
    names may be missing.
    """

    quality: tuple[str, ...] = ("{}|quality",)
    cost: tuple[str, ...] = ("{}|cost",)
    seconds: tuple[str, ...] = ("{}|seconds",)
    confidence: tuple[str, ...] = ("{}|confidence",)
    text: str = "text"
    task: str = "task"
    domain: str = "domain"
    language: str = "language"
    numbers: str = "numbers|*"
    """A pattern of columns with numbers, such as `x*`."""
    query: str = ""
    """Of a long file: what the rows of one query have in common,"""
    specialist: str = ""
    """and who it was given to."""
    where: str = ""
    """The rows that count, in SQL."""


def read(uri: str, columns: Columns = Columns()) -> Table:
    """The outcomes in the file at *uri*; not a number where it has none.

    Raises:
        NotFound: there is no such file, or no such column.
        InvalidRequest: the file cannot be read, or a value is none of its column.
    """
    return table_of(frame(uri), columns)


def table_of(found: pl.DataFrame, columns: Columns = Columns()) -> Table:
    """The outcomes that *found* holds; see `read`."""
    if columns.where:
        found = _filtered(found, columns.where)
    if not found.height:
        raise InvalidRequest("the table has no rows" + " that --where keeps" * bool(columns.where))
    if columns.query or columns.specialist:
        found, columns = _widened(found, columns)
    words = {word: _words(found, word, getattr(columns, word)) for word in WORDS}
    numbers = _numbers(found, columns.numbers)
    taken = {getattr(columns, word) for word in WORDS} | {*numbers}
    cost = _by_specialist(found, "cost", columns.cost, taken)
    seconds = _by_specialist(found, "seconds", columns.seconds, taken)
    confidence = _by_specialist(found, "confidence", columns.confidence, taken)
    taken |= {*cost.values(), *seconds.values(), *confidence.values()}
    quality = _by_specialist(found, "quality", columns.quality, taken)
    if not quality:
        raise InvalidRequest(
            f"no column has the quality of a specialist: none is like {columns.quality[0]!r}; name "
            "them by --quality 'NAME=COLUMN' or a pattern such as --quality '{}'"
        )
    given_of = {"cost": cost, "seconds": seconds, "confidence": confidence}
    for kind, given in given_of.items():
        for name in given.keys() - quality.keys():
            if getattr(columns, kind) != getattr(Columns, kind):
                raise NotFound(f"--{kind}: no specialist '{name}'{_nearest(name, quality)}")
    vectors = np.column_stack([_floats(found, c) for c in numbers]) if numbers else None
    return Table(
        tuple(quality),
        tuple(_queries(words, vectors, found.height)),
        _shares(found, "quality", quality, quality),
        _amounts(found, "cost", quality, cost),
        _amounts(found, "seconds", quality, seconds),
        _shares(found, "confidence", quality, confidence) if confidence else None,
    )


def _filtered(found: pl.DataFrame, where: str) -> pl.DataFrame:
    import polars as pl

    try:
        return found.filter(pl.sql_expr(where))
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise InvalidRequest(
            f"--where {where!r}: {first}; the columns are {', '.join(found.columns)}"
        ) from error


def _widened(found: pl.DataFrame, columns: Columns) -> tuple[pl.DataFrame, Columns]:
    """A long table as a wide one."""
    query, who = columns.query, columns.specialist
    for option, name in (("query", query), ("specialist", who)):
        if not name:
            raise InvalidRequest(f"a long table takes --query and --specialist: give --{option}")
        _known(found, f"--{option}", name)
    values = {}
    for kind in OUTCOMES:
        default, given = getattr(Columns, kind), getattr(columns, kind)
        name = kind if given == default else given[0]
        if kind == "quality" or given != default or name in found.columns:
            values[kind] = _known(found, f"--{kind}", name)
    twice = found.filter(found.select(query, who).is_duplicated())
    if twice.height:
        row = twice.row(0, named=True)
        raise InvalidRequest(f"query {row[query]!r} has two rows of specialist {row[who]!r}")
    first = found.unique(query, keep="first", maintain_order=True)
    wide = first.drop(who, *values.values())
    for kind, name in values.items():
        pivoted = found.pivot(on=who, index=query, values=name, aggregate_function=None)
        wide = wide.join(
            pivoted.rename({c: f"{c}|{kind}" for c in pivoted.columns if c != query}),
            on=query,
            how="left",
            maintain_order="left",
        )
    defaults = {kind: getattr(Columns, kind) for kind in OUTCOMES}
    return wide, Columns(
        **{**vars(columns), **defaults, "query": "", "specialist": "", "where": ""}
    )


def _known(found: pl.DataFrame, option: str, column: str) -> str:
    if column not in found.columns:
        raise NotFound(f"{option}: no column '{column}'{_nearest(column, found.columns)}")
    return column


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; use one of {', '.join(names)}"


# ------------------------------------------------------------------ queries
def _words(found: pl.DataFrame, word: str, column: str) -> list[str]:
    if column == getattr(Columns, word) and column not in found.columns:
        return []
    series = found[_known(found, f"--{word}", column)]
    return ["" if value is None else str(value) for value in series]


def _numbers(found: pl.DataFrame, pattern: str) -> list[str]:
    matched = [c for c in found.columns if fnmatchcase(c, pattern) and found[c].dtype.is_numeric()]
    if not matched and pattern != Columns.numbers:
        raise NotFound(f"--numbers: no column of numbers is like {pattern!r}")
    return matched


def _queries(
    words: Mapping[str, Sequence[str]], vectors: NDArray[np.float64] | None, rows: int
) -> Iterator[Query]:
    given = {word: values for word, values in words.items() if values}
    for row in range(rows):
        said = {word: values[row] for word, values in given.items()}
        numbers = () if vectors is None else tuple(vectors[row].tolist())
        yield Query(**said, numbers=numbers)


# ------------------------------------------------------------------ outcomes
def _by_specialist(
    found: pl.DataFrame, kind: str, given: tuple[str, ...], taken: Collection[str]
) -> dict[str, str]:
    """The column, or the number, of each specialist that *given* names."""
    named: dict[str, str] = {}
    for text in given:
        name, equals, column = text.partition("=")
        if "{}" in text:
            named |= _matched(found, text, taken)
        elif not equals or not name:
            raise InvalidRequest(f"--{kind} {text!r} must read NAME=COLUMN, or have {{}} for NAME")
        elif kind in _SHARES or not _is_number(column):
            named[name] = _known(found, f"--{kind}", column)
        else:
            named[name] = column
    if not named and given != getattr(Columns, kind):
        raise NotFound(f"--{kind}: no column of numbers is like {', '.join(given)}")
    return named


def _matched(found: pl.DataFrame, pattern: str, taken: Collection[str]) -> dict[str, str]:
    """Columns of numbers or truths that *pattern* fits, by what `{}` stands for."""
    before, _, after = pattern.partition("{}")
    fits = re.compile(f"{re.escape(before)}(.+){re.escape(after)}")
    return {
        match[1]: column
        for column in found.columns
        if column not in taken and (match := fits.fullmatch(column)) and _counts(found, column)
    }


def _counts(found: pl.DataFrame, column: str) -> bool:
    import polars as pl

    dtype = found[column].dtype
    return bool(dtype.is_numeric()) or dtype in (pl.Boolean, pl.Null)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _floats(found: pl.DataFrame, column: str) -> NDArray[np.float64]:
    import polars as pl

    try:
        return found[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise InvalidRequest(f"column '{column}' does not hold numbers alone") from error


def _shares(
    found: pl.DataFrame, kind: str, specialists: Collection[str], columns: Mapping[str, str]
) -> NDArray[np.float64]:
    """What is from 0 to 1 of each answer, [n, k]; not a number where nobody knows."""
    shares = np.full((found.height, len(specialists)), np.nan)
    for at, name in enumerate(specialists):
        if name not in columns:
            continue
        shares[:, at] = _floats(found, columns[name])
        for row in np.flatnonzero((shares[:, at] < 0) | (shares[:, at] > 1))[:1]:
            raise InvalidRequest(
                f"row {row + 1}, column '{columns[name]}': {kind} is {shares[row, at]:g}, "
                f"it must be from 0 to 1"
            )
    return shares


def _amounts(
    found: pl.DataFrame, kind: str, specialists: Collection[str], columns: Mapping[str, str]
) -> NDArray[np.float64]:
    """What each call took, [n, k]; zeros where nobody knows."""
    amounts = np.zeros((found.height, len(specialists)))
    for at, name in enumerate(specialists):
        column = columns.get(name)
        if column is None:
            continue
        if column in found.columns:
            amounts[:, at] = np.nan_to_num(_floats(found, column))
        else:
            amounts[:, at] = float(column)
        if amounts[:, at].min() < 0:
            raise InvalidRequest(f"column '{column}': {kind} cannot be negative")
    return amounts
