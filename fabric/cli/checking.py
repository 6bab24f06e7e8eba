"""`fabric conformance`: what is printed of a run, and while it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from fabric.cli import output as out
from fabric.client.transport import target_of
from fabric.conformance import report as reports
from fabric.conformance.checks import Status
from fabric.conformance.suite import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fabric.cli.output import Output
    from fabric.conformance.suite import Report


def write_models(folder: Path) -> None:
    """Writes the models that the checks ask, and says where."""
    from fabric.conformance.writing import write

    for path in write(folder):
        out.console(sys.stdout).print(str(path))


def check(
    address: str,
    output: Output,
    junit: Path | None,
    **how: Any,
) -> bool:
    """Checks the server at *address* and prints how it did; true where nothing failed.

    *how* is what `run` takes beside.
    """
    with _progress() as show:
        report = asyncio.run(run(target_of(address), progress=show, **how))
    if junit is not None:
        reports.write_junit(report, junit)
    if output is not out.Output.TABLE:
        out.write(report, output)
    else:
        _print(report)
    return report.passed


def _print(report: Report) -> None:
    console = out.console(sys.stdout)
    out.table(*reports.dialect(report))
    console.print()
    if not report.passed:
        out.table(*reports.failures(report))
        console.print()
    out.table(*reports.scores(report))
    counted = len(report.outcomes) - report.count(Status.NOT_OFFERED)
    console.print(f"\n{report.count(Status.PASS)} of {counted} checks passed")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """Shows which check runs, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    on = out.console(sys.stderr)
    with Progress(*columns, console=on, transient=True, disable=not on.is_terminal) as shown:
        task = shown.add_task("what the server speaks", total=None)

        def show(done: int, total: int, name: str) -> None:
            shown.update(task, completed=done, total=total, description=name)

        yield show
