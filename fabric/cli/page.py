"""The page of an evaluation: one HTML file that asks nobody for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fabric.cli import evaluated
from fabric.cli.figures import figures

if TYPE_CHECKING:
    from fabric.learning.evaluation import Evaluation


def made(report: Evaluation, name: str) -> str:
    """The page of *report*, which is about the table or data set *name*."""
    environment = Environment(
        loader=PackageLoader("fabric.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = {title: (view[0], list(view[1])) for title, view in evaluated.tables(report)}
    return environment.get_template("evaluation.html").render(
        report=report,
        name=name,
        lines=list(evaluated.lines(report)),
        tables=tables,
        figures={key: Markup(svg) for key, svg in figures(report).items()},  # noqa: S704 - ours
    )
