"""`fabric import`: what another server serves, as a portfolio file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.cli import output as out
from fabric.cli.output import Output, OutputOption, reporting

app = typer.Typer(
    help="Make a portfolio file of what another server serves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FolderArgument = Annotated[Path, typer.Argument(help="The model repository.")]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="The portfolio file to write, instead of to stdout."),
]


@app.command()
def triton_repository(
    folder: FolderArgument,
    file: FileOption = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out models that cannot be served.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a portfolio file of a Triton model repository.

    What is not as it was there is told on stderr. Nothing is written where a model has to be left
    out, unless `--skip` is given.
    """
    from fabric.cli import views
    from fabric.config import written
    from fabric.config.triton import read_repository
    from fabric.core.errors import InvalidRequest

    with reporting():
        imported = read_repository(folder.resolve())
        if output is not Output.TABLE:
            out.write(imported.findings, output, sys.stderr)
        elif imported.findings:
            out.table(*views.findings(imported.findings), sys.stderr)
        if imported.left_out and not skip:
            if output is Output.TABLE:
                left_out = ", ".join(imported.left_out)
                out.fail(f"left out: {left_out}; to go on without, give --skip")
            raise typer.Exit(1)
        if not imported.portfolio.specialists:
            raise InvalidRequest(f"nothing is left of {folder} to serve")
        _write_portfolio(written(imported.portfolio, file and file.parent), file)


def _write_portfolio(said: dict[str, Any], file: Path | None) -> None:
    from fabric.core.errors import InvalidRequest

    if file is None:
        out.write(said, Output.YAML)
        return
    try:
        with file.open("w", encoding="utf-8") as opened:
            out.write(said, Output.YAML, opened)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}") from error
