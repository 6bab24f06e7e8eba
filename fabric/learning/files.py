"""Tables as files, CSV, Parquet or JSON lines, by way of polars."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    from fabric.learning.outcomes import Table

WORDS = ("text", "task", "domain", "language")
"""What is said of queries."""


def frame(uri: str) -> pl.DataFrame:
    """The file at *uri*, a path or any URI that fsspec reads; blocks.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: it cannot be read.
    """
    import polars as pl

    readers = {
        "csv": lambda source: pl.read_csv(source, infer_schema_length=None),
        "parquet": pl.read_parquet,
        "jsonl": pl.read_ndjson,
        "ndjson": pl.read_ndjson,
    }
    kind = _kind(uri)
    if kind not in readers:
        raise InvalidRequest(f"{uri} is no table: use one of .csv, .parquet, .jsonl")
    try:
        with _opened(uri) as source:
            return readers[kind](source)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {uri}") from error
    except ImportError as error:
        raise InvalidRequest(f"{uri} cannot be read: {error}") from error
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidRequest(f"{uri} cannot be read: {first}") from error


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[Any]:
    if "://" not in uri:
        yield uri
        return
    import fsspec

    with fsspec.open(uri, "rb") as source:
        yield source


def write(table: Table, file: str) -> None:
    """Writes *table* to *file* as .parquet, .csv or .jsonl, such that `read` gives it back.

    Raises:
        InvalidRequest: the name ends otherwise, or the file cannot be written.
    """
    import polars as pl

    check_writable(file)
    columns: dict[str, Any] = {
        word: [getattr(query, word) for query in table.queries]
        for word in WORDS
        if any(getattr(query, word) for query in table.queries)
    }
    numbers = np.array([query.numbers for query in table.queries])
    columns |= {f"numbers|{index}": column for index, column in enumerate(numbers.T)}
    for name, values in table.outcomes.items():
        columns |= {f"{c}|{name}": values[:, k] for k, c in enumerate(table.candidates)}
    made = pl.DataFrame(columns).fill_nan(None)
    writers: dict[str, Callable[[str], object]] = {
        "parquet": made.write_parquet,
        "csv": made.write_csv,
        "jsonl": made.write_ndjson,
    }
    try:
        writers[_kind(file)](file)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error}") from error


def check_writable(file: str) -> None:
    """Raises InvalidRequest unless *file* names a kind of table that `write` writes."""
    if _kind(file) not in ("parquet", "csv", "jsonl"):
        raise InvalidRequest(f"{file} names no kind of table: use .parquet, .csv or .jsonl")


def _kind(file: str) -> str:
    return file.rpartition(".")[2].lower()
