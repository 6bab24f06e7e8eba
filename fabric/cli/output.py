"""What commands print: tables for people, JSON and YAML for programs, on stdout alone."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from fabric.client import Client

    Progress = Callable[[float, str], None]
    """Is told which share is done, from 0 to 1, and what is being done."""


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


ServerOption = Annotated[
    str, typer.Option("--server", "-s", envvar="FABRIC_SERVER", help="`host:port` of a fabric.")
]
SERVER = "localhost:8080"
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How results are printed.")]


@contextmanager
def reporting() -> Iterator[None]:
    """Errors of fabric end the command with their message and status 1."""
    from fabric.core.errors import FabricError

    try:
        yield
    except FabricError as error:
        fail(error.message)
        raise typer.Exit(1) from None


@contextmanager
def connected(server: str) -> Iterator[Client]:
    """A client of the fabric at *server*, whose errors end the command."""
    from fabric.client import Client

    with reporting(), Client(server) as client:
        yield client


def plain(value: Any) -> Any:
    """*value* in the types of JSON; dataclasses by their fields, arrays with dtype and shape."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no other word for it
    if hasattr(value, "tolist"):
        from fabric.core.tensors import datatype_of

        shape = list(value.shape)
        return {
            "datatype": datatype_of(value),
            "shape": shape,
            "data": plain(value.tolist()),
        }
    return str(value) if isinstance(value, StrEnum) else value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def write(value: Any, output: Output, stream: Any = None) -> None:
    """Prints *value* as JSON or YAML."""
    stream = stream or sys.stdout
    if output is Output.JSON:
        stream.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")
    else:
        import yaml

        yaml.safe_dump(plain(value), stream, sort_keys=False, allow_unicode=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: Any = None) -> None:
    """Prints *rows* under *columns*; nothing is cut where the stream is not a terminal."""
    console(stream or sys.stdout).print(tabled(columns, rows))


def tabled(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """*rows* under *columns*."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column.upper(), overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell), style=_STYLES.get(str(cell), "")) for cell in row))
    return made


_STYLES = {
    "ready": "green",
    "degraded": "yellow",
    "pending": "yellow",
    "failed": "red",
    "create": "green",
    "update": "yellow",
    "replace": "yellow",
    "delete": "red",
    "changes answers": "yellow",
    "left out": "red",
    "closed": "green",
    "half-open": "yellow",
    "open": "red",
}


@contextmanager
def progress() -> Iterator[Progress]:
    """Shows how much is done, and what, while it is used on a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    shown_on = console(sys.stderr)
    with Progress(
        *columns, console=shown_on, transient=True, disable=not shown_on.is_terminal
    ) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda part, what: shown.update(task, completed=part, description=what)


def console(stream: Any) -> Console:
    from rich.console import Console

    width = None if stream.isatty() else 10_000
    return Console(file=stream, width=width, highlight=False, emoji=False)


def fail(message: str) -> None:
    """Prints an error."""
    console(sys.stderr).print(f"[red]error:[/red] {_escaped(message)}")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
