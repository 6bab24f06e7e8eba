"""Pipelines as people write and see them: as a portfolio file, in Python, and drawn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fabric.cli.output import Output, write
from fabric.config import Portfolio, written
from fabric.pipelines.drawing import dot, svg
from fabric.pipelines.python import source

if TYPE_CHECKING:
    from collections.abc import Sequence


def show(pipelines: Sequence[Any], form: str) -> None:
    """Prints *pipelines* as a portfolio file in `yaml`; or one as `dot`, `svg` or `python`."""
    if form == "yaml":
        write(written(Portfolio(pipelines=tuple(pipelines))), Output.YAML)
    else:
        made = {"dot": dot, "svg": svg, "python": source}[form](pipelines[0])
        sys.stdout.write(made)
