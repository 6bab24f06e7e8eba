"""The whole story in one run: `python -m examples.documents`, or `make demo-documents`.

Serves the models of magika and rapidocr as specialists, and two pipelines over them; gives the
desk every file of a folder, compares what it reads with what is written there and with what
rapidocr reads by itself, and shows where the time went.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from examples.documents import check, pages
from examples.documents.desk import desk, read_page
from examples.documents.portfolio import portfolio
from fabric import AsyncClient
from fabric.app import Fabric, FabricSettings
from fabric.cli import timelines
from fabric.config import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabric.client import Answer

SEED = 7
ROOT = Path(__file__).parents[2]
PATIENCE = 120.0

console = Console(highlight=False)
began = time.monotonic()


@dataclass(frozen=True, slots=True)
class Found:
    """What the desk says of one file."""

    file: str
    label: str
    group: str
    text: str | None
    seconds: float
    request: str

    @classmethod
    def of(cls, file: str, answer: Answer, seconds: float) -> Found:
        said = {name: array.item().decode() for name, array in answer.items() if name != "score"}
        text = said.get("text")
        return cls(file, said["label"], said["group"], text, seconds, answer.request)


def say(text: str) -> None:
    console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {text}", soft_wrap=True)


async def main(host: str) -> int:
    """The demo; the exit status is 0 if no page was read worse than by rapidocr itself."""
    with tempfile.TemporaryDirectory(prefix="documents-") as folder:
        files = Path(folder) / "desk"
        files.mkdir()
        pages.write(files, SEED)
        path = Path(folder) / "portfolio.yaml"
        path.write_text(yaml.safe_dump(declared(Path(folder)), sort_keys=False))
        settings = FabricSettings(
            state=Path(folder) / "state", host=host, listen="127.0.0.1:0", python_path=(ROOT,)
        )
        fabric = Fabric(settings, load(path), lambda part, step: say(f"{part}: {step}"))
        async with fabric, AsyncClient(fabric.server) as client:
            if failed := await fabric.ready():
                say(f"[red]not ready: {failed}[/red]")
                return 1
            say(f"[bold]serving at {fabric.server}[/bold]")
            await until_ready(client)
            found = await give(client, sorted(files.iterdir()))
            console.print(kinds(found))
            await show_time(client, found)
        say("reading the same pages with rapidocr in this process")
        alone = check.read_by_rapidocr(files / page.file for page in pages.PAGES)
        table, is_worse = compared(found, alone)
        console.print(table)
        return 1 if is_worse else 0


def declared(folder: Path) -> dict[str, object]:
    """The portfolio with its pipelines."""
    module = "examples.documents.desk"
    names = (f"{module}:read_page", f"{module}:desk")
    return {**portfolio(folder), "pipelines": [{"python": name} for name in names]}


async def until_ready(client: AsyncClient) -> None:
    """Returns when the gateway knows what all that the desk calls takes."""
    async with asyncio.timeout(PATIENCE):
        for pipeline in (read_page, desk):
            while not await client.ready(pipeline.graph.name):
                await asyncio.sleep(0.1)


async def give(client: AsyncClient, files: Sequence[Path]) -> list[Found]:
    """What the desk says of each of *files*, given one after the other."""
    found = []
    for file in files:
        content = np.array([file.read_bytes()], np.object_)
        started = time.perf_counter()
        answer = await client.infer("desk", {"content": content}, timeout=PATIENCE)
        found.append(Found.of(file.name, answer, time.perf_counter() - started))
        say(f"{file.name}: {found[-1].label}")
    return found


def kinds(found: Sequence[Found]) -> Table:
    table = Table(title="What lies on the desk", title_justify="left")
    for title in ("file", "kind", "group", "lines read", "ms"):
        table.add_column(title, justify="right" if title in ("lines read", "ms") else "left")
    for each in found:
        lines = "" if each.text is None else str(len(each.text.splitlines()))
        table.add_row(each.file, each.label, each.group, lines, f"{each.seconds * 1e3:.0f}")
    return table


async def show_time(client: AsyncClient, found: Sequence[Found]) -> None:
    """Prints when each step was of the run that took longest, and where the time goes."""
    longest = max(found, key=lambda each: each.seconds)
    run = await client.run_of(longest.request)
    whole = replace(run, steps=tuple(step for step in run.steps if not step.item))
    console.print(f"{longest.file}, step by step; each of its lines on its own is left out")
    console.print(tabled(("step", "ms", "when"), timelines.timeline(whole)[1]))
    profile = await client.profile(read_page.graph.name)
    console.print(timelines.summary(profile), markup=False)


def tabled(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Table:
    """The first cells of *rows*."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(str, row[: len(columns)]))
    return table


def compared(found: Sequence[Found], alone: dict[str, check.Reading]) -> tuple[Table, bool]:
    """The character error rates of the desk and of rapidocr by itself; whether ours is worse."""
    table = Table(title="Characters that were read wrong", title_justify="left")
    for title in ("page", "desk", "rapidocr", "desk ms", "rapidocr ms"):
        table.add_column(title, justify="left" if title == "page" else "right")
    read = {each.file: each for each in found}
    rates = []
    for page in pages.PAGES:
        ours, theirs = read[page.file], alone[page.file]
        best = check.in_best_order(theirs.text, page.text)
        rates.append(
            (check.error_rate(ours.text or "", page.text), check.error_rate(best, page.text))
        )
        cells = (*(f"{rate:.2%}" for rate in rates[-1]), f"{ours.seconds * 1e3:.0f}")
        table.add_row(page.file, *cells, f"{theirs.seconds * 1e3:.0f}")
    return table, any(ours > theirs for ours, theirs in rates)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="ray", choices=("ray", "local"))
    sys.exit(asyncio.run(main(parser.parse_args().host)))
