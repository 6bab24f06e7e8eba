"""`fabric tune`: the options with which a model runs best on this machine."""

from __future__ import annotations

import asyncio
import math
import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path  # noqa: TC003 - typer reads the types
from typing import TYPE_CHECKING, Annotated

import typer

from fabric.cli import output as out
from fabric.cli.output import Output, OutputOption, reporting

if TYPE_CHECKING:
    from fabric.cli.tuned import Report
    from fabric.config import Portfolio
    from fabric.core.cards import Specialist


class GoalOption(StrEnum):
    THROUGHPUT = "throughput"
    LATENCY = "latency"


def tune(
    specialist: Annotated[str, typer.Argument(help="Its name, or `name:version`.")],
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The portfolio file.", show_default=False)
    ],
    goal: Annotated[
        GoalOption,
        typer.Option(help="Most rows a second in batches, or the shortest run of a single row."),
    ] = GoalOption.THROUGHPUT,
    p99: Annotated[
        float | None, typer.Option(metavar="MS", help="What the p99 of a run may be.", min=0.001)
    ] = None,
    seconds: Annotated[float, typer.Option(help="For all of it.", min=1)] = 60.0,
    max_size: Annotated[int, typer.Option(help="Of the batches to try.", min=1)] = 128,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="Of made-up inputs, where the model leaves a size open; else 1. Repeat.",
            show_default=False,
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            exists=True,
            dir_okay=False,
            help="Real inputs, an array for each, instead of made-up ones.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Plot throughput against p99 here.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put what is better into the portfolio file.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure how a model runs best on this machine: threads, batches, providers, graph level.

    Nothing is started but what measures. A setting counts as better when it is so by more than its
    repeats differ.
    """
    from fabric.config import load
    from fabric.runtime.tuning import Goal

    sizes = _sizes(size)
    with reporting():
        _check_installed(plot)
        found = _found(load(file), specialist, file)
        from fabric.cli import plots
        from fabric.cli.tuned import points, report_of
        from fabric.runtime.tuner import Wanted
        from fabric.runtime.tuner import tune as measured

        wanted = Wanted(
            goal=Goal(goal),
            p99=math.inf if p99 is None else p99 / 1e3,
            seconds=seconds,
            largest=max_size,
            inputs=inputs,
            sizes=sizes,
        )
        with out.progress() as show:
            tuning = asyncio.run(measured(found, wanted, show))
        report = report_of(found, tuning)
        _show(report, output)
        if plot is not None:
            plots.save(points(report), f"{found.key} on this machine", plot)
        if write and report.changes:
            _write(report, file, output)


# ------------------------------------------------------------------ before anything is measured
def _sizes(given: list[str] | None) -> dict[str, int]:
    sizes = {}
    for text in given or ():
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal() or int(number) < 1:
            raise typer.BadParameter(f"--size {text!r} must read NAME=N, with N at least 1")
        sizes[name] = int(number)
    return sizes


def _check_installed(plot: Path | None) -> None:
    from fabric.core.errors import InvalidRequest

    if find_spec("onnxruntime") is None:
        raise InvalidRequest(
            "ONNX Runtime is not installed here: pip install 'fabric-specialists[serve]'"
        )
    if plot is None:
        return
    if find_spec("matplotlib") is None:
        raise InvalidRequest("a plot takes matplotlib: pip install 'fabric-specialists[plot]'")
    if not plot.resolve().parent.is_dir():
        raise InvalidRequest(f"--plot: there is no folder {plot.resolve().parent}")


def _found(portfolio: Portfolio, name: str, file: Path) -> Specialist:
    from fabric.catalog.catalog import suggestion
    from fabric.core.errors import InvalidRequest, NotFound

    found = [s for s in portfolio.specialists if name in (s.key, s.card.name)]
    if len(found) == 1:
        return found[0]
    if found:
        versions = ", ".join(each.key for each in found)
        raise InvalidRequest(f"'{name}' has several versions: name one of {versions}")
    for route in portfolio.routes:
        if route.name == name:
            names = ", ".join(entry.name for entry in route.chain if entry.name)
            raise InvalidRequest(f"'{name}' is a route: tune a specialist of its chain, {names}")
    known = {text for s in portfolio.specialists for text in (s.key, s.card.name)}
    raise NotFound(f"no specialist '{name}' in {file}{suggestion(name, known)}")


# ------------------------------------------------------------------ afterwards
def _show(report: Report, output: Output) -> None:
    from fabric.cli import plots, tuned

    if output is not Output.TABLE:
        out.write(report, output)
        return
    out.table(*tuned.table(report))
    console = out.console(sys.stdout)
    console.print(f"\n{plots.drawn(tuned.points(report))}\n", markup=False)
    for line in tuned.lines(report):
        console.print(line, markup=False)


def _write(report: Report, file: Path, output: Output) -> None:
    """Puts the changes into *file*, and shows them as `fabric apply` does."""
    from fabric.config.editing import edit

    if output is Output.TABLE:
        fields = ", ".join(f"{c.field} {c.before} to {c.after}" for c in report.changes)
        rows = [("update", "specialist", report.specialist, fields)]
        out.table(("change", "kind", "name", "fields"), rows)
    edit(file, report.specialist, {change.field: change.after for change in report.changes})
