"""`fabric evaluate`: where each specialist is worth its place, and what routing makes of them."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabric.cli import output as out
from fabric.cli.output import Output, OutputOption, reporting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fabric.cli.asking import Asked
    from fabric.config import Portfolio
    from fabric.core.cards import Card
    from fabric.core.routes import Cascade
    from fabric.learning.evaluation import Evaluation


_COLUMN = "COLUMN"


def _outcome(text: str) -> Any:
    return typer.Option(metavar="NAME=COLUMN", help=text, show_default=False)


def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            help="A table of outcomes: a path or any fsspec URI. With --data a route or specialist."
        ),
    ],
    quality: Annotated[
        list[str] | None,
        _outcome("Of a specialist, or a pattern such as '{}' for all others. Repeat."),
    ] = None,
    cost: Annotated[
        list[str] | None, _outcome("As for quality, or a number for all; '{}|total_cost'.")
    ] = None,
    seconds: Annotated[list[str] | None, _outcome("As for cost.")] = None,
    confidence: Annotated[
        list[str] | None,
        _outcome("As for quality. With --data what it is, 'margin=OUTPUT'; default: the route's."),
    ] = None,
    text: Annotated[str, typer.Option(metavar=_COLUMN, help="Of the query.")] = "text",
    task: Annotated[str, typer.Option(metavar=_COLUMN)] = "task",
    domain: Annotated[str, typer.Option(metavar=_COLUMN)] = "domain",
    language: Annotated[str, typer.Option(metavar=_COLUMN)] = "language",
    numbers: Annotated[
        str, typer.Option(metavar="PATTERN", help="Of columns with numbers, such as 'x*'.")
    ] = "numbers|*",
    query: Annotated[
        str, typer.Option(metavar=_COLUMN, help="Of a long table: which rows are one query,")
    ] = "",
    specialist: Annotated[str, typer.Option(metavar=_COLUMN, help="and who each is of.")] = "",
    where: Annotated[str, typer.Option(metavar="SQL", help="The rows that count.")] = "",
    train: Annotated[
        str, typer.Option(metavar="TABLE", help="That routers learn from, instead of by folds.")
    ] = "",
    data: Annotated[
        str, typer.Option(metavar="FILE", help="A labelled data set: .npz or a table.")
    ] = "",
    input: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME[=COLUMN]", help="Of the model. Repeat."),
    ] = None,
    label: Annotated[str, typer.Option(metavar=_COLUMN, help="The right answer.")] = "label",
    answer: Annotated[
        str, typer.Option(metavar="NAME", help="The output with the answer. Default: the first.")
    ] = "",
    in_flight: Annotated[int, typer.Option(help="Requests at a time.", min=1, max=1024)] = 16,
    server: Annotated[
        str,
        typer.Option("--server", "-s", envvar="FABRIC_SERVER", help="`host:port` of a fabric."),
    ] = "localhost:8080",
    save: Annotated[
        str, typer.Option(metavar="FILE", help="Keep the table: .parquet, .csv or .jsonl.")
    ] = "",
    generalist: Annotated[
        str, typer.Option(help="Who the others are held against. Default: the best single one.")
    ] = "",
    router: Annotated[
        list[str] | None, typer.Option(help="To measure, instead of all. Repeat.")
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Tell routers neither task nor domain of a query.")
    ] = False,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Fit one as well: the next where one is not sure.")
    ] = False,
    risk: Annotated[
        float | None,
        typer.Option(help="Its share of wrong answers. Default: the route's.", min=0, max=1),
    ] = None,
    route: Annotated[str, typer.Option(help="That it is for. With --data what is evaluated.")] = "",
    folds: Annotated[int, typer.Option(help="Of the cross-validation.", min=2)] = 5,
    seed: Annotated[int, typer.Option(help="Of folds and routers.")] = 0,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="The portfolio file, with the cards' own evidence."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put what was measured into the portfolio file.")
    ] = False,
    metric: Annotated[str, typer.Option(help="What the evidence is called.")] = "accuracy",
    dataset: Annotated[
        str, typer.Option(help="And what it was measured on. Default: the file's name.")
    ] = "",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with plots here.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which specialist is worth its place where, and what each way of routing makes of them.

    From a table of outcomes, a row a query, or from a labelled data set that every specialist of a
    running fabric's route is given.
    """
    from fabric.learning.reading import Columns

    words = {"task": task, "domain": domain, "language": language}
    columns = Columns(
        quality=tuple(quality or Columns.quality),
        cost=tuple(cost or Columns.cost),
        seconds=tuple(seconds or Columns.seconds),
        confidence=tuple((not data and confidence) or Columns.confidence),
        text=text,
        **words,
        numbers=numbers,
        query=query,
        specialist=specialist,
        where=where,
    )
    with reporting():
        _check(data, input, file, write, html, save)
        from fabric.cli import cascading
        from fabric.config import Portfolio, load
        from fabric.core.errors import InvalidRequest
        from fabric.learning import files
        from fabric.learning.evaluation import Wanted
        from fabric.learning.evaluation import evaluate as measured
        from fabric.learning.reading import read

        routers = tuple(router or ())
        wanted = Wanted(generalist=generalist, folds=folds, seed=seed, routers=routers, blind=blind)
        portfolio = load(file) if file else Portfolio()
        if data:
            route = subject
        cascading.check(cascade, risk, confidence, data, route, file, write)
        target = None
        if cascade:
            target = cascading.target(server, route, data, confidence, portfolio, write)
            wanted = replace(wanted, **cascading.goal(target, risk))
        with out.progress() as show:
            if data:
                asked = _asked(
                    *(server, subject, data, input, label, words, answer, in_flight, show),
                    target.cascade if target else None,
                )
                table, cards, notes = asked.table, asked.cards, asked.notes
            else:
                if "." not in subject:
                    raise InvalidRequest(
                        f"'{subject}' is no table; what a route is given is --data FILE"
                    )
                table, cards, notes = read(subject, columns), {}, ()
                cascading.check_table(target, portfolio, table.candidates)
            if save:
                files.write(table, save)
            declared = _declared(portfolio, table.candidates)
            cards = {**cards, **declared}
            trained = read(train, columns) if train else None
            evidence = {name: card.evidence for name, card in cards.items() if card.evidence}
            report = measured(table, replace(wanted, evidence=evidence), show, trained)
        report = replace(report, notes=(*notes, *report.notes))
        _show(report, output)
        name = dataset or Path(data or subject).stem
        if html is not None:
            _write_page(report, name, html)
        if write and file is not None:
            if target is not None:  # first: where it is refused, nothing is written
                cascading.write(report, file, portfolio, target, output)
            _write_evidence(report, file, declared, metric, name, output)


# ------------------------------------------------------------------ before anything is measured
def _check(
    data: str,
    inputs: list[str] | None,
    file: Path | None,
    write: bool,
    html: Path | None,
    save: str,
) -> None:
    from fabric.core.errors import InvalidRequest
    from fabric.learning.files import check_writable

    missing = [name for name in ("polars", "sklearn") if find_spec(name) is None]
    missing += [name for name in ("jinja2", "matplotlib") if html and find_spec(name) is None]
    if missing:
        raise InvalidRequest(
            f"{' and '.join(missing)} is not installed here: "
            "pip install 'fabric-specialists[learn]'"
        )
    if data and not inputs:
        raise typer.BadParameter("--data needs --input NAME: which input of the model it is for")
    if inputs and not data:
        raise typer.BadParameter("--input needs --data FILE, that it is a column of")
    if write and file is None:
        raise typer.BadParameter("--write needs --file, the portfolio file to write to")
    if save:
        check_writable(save)
    if html is not None and not html.resolve().parent.is_dir():
        raise InvalidRequest(f"--html: there is no folder {html.resolve().parent}")


def _declared(portfolio: Portfolio, names: Iterable[str]) -> dict[str, Card]:
    """The cards of the specialists that a table calls *names*: `name:version`, or the name alone
    where there is one version."""
    specialists = portfolio.specialists
    versions = Counter(s.card.name for s in specialists)
    known = {s.card.name: s.card for s in specialists if versions[s.card.name] == 1}
    known |= {s.key: s.card for s in specialists}
    return {name: known[name] for name in names if name in known}


# ------------------------------------------------------------------ outcomes
def _asked(
    server: str,
    name: str,
    data: str,
    inputs: list[str] | None,
    label: str,
    words: Mapping[str, str],
    answer: str,
    in_flight: int,
    show: out.Progress,
    cascade: Cascade | None,
) -> Asked:
    """What the specialists of a running fabric answer to a labelled data set."""
    from fabric.cli.asking import ask, labelled

    columns = {}
    for text in inputs or ():
        key, equals, column = text.partition("=")
        columns[key] = column if equals else key
    found = labelled(data, columns, label, words)
    how: dict[str, Any] = {"in_flight": in_flight, "progress": show, "cascade": cascade}
    return asyncio.run(ask(server, name, found, answer=answer, **how))


# ------------------------------------------------------------------ afterwards
def _show(report: Evaluation, output: Output) -> None:
    from fabric.cli import evaluated

    if output is not Output.TABLE:
        out.write(report, output)
        return
    console = out.console(sys.stdout)
    for title, view in evaluated.tables(report):
        console.print(title, style="bold", markup=False)
        out.table(*view)
        console.print()
    for line in evaluated.lines(report):
        console.print(line, markup=False)


def _write_page(report: Evaluation, name: str, file: Path) -> None:
    from fabric.cli import page
    from fabric.core.errors import InvalidRequest

    try:
        file.write_text(page.made(report, name), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}") from error


def _write_evidence(
    report: Evaluation,
    file: Path,
    cards: Mapping[str, Card],
    metric: str,
    dataset: str,
    output: Output,
) -> None:
    """Puts what was measured into the cards in *file*, and shows it as `fabric apply` does."""
    from fabric.cli import evaluated
    from fabric.config.editing import edit
    from fabric.core.errors import NotFound

    day = datetime.now(UTC).date().isoformat()
    if not cards:
        raise NotFound(f"{file} declares none of {', '.join(report.specialists)}")
    rows = []
    for name, card in cards.items():
        found = evaluated.evidence(report, name, metric=metric, dataset=dataset, day=day)
        changes = evaluated.merged(card.evidence, found)
        if changes:
            edit(file, card.key, changes)
            rows.append(("update", "specialist", card.key, evaluated.said(changes)))
    if output is Output.TABLE:
        out.table(("change", "kind", "name", "fields"), rows)
