"""`fabric top`: specialists and their replicas, looked at again and again."""

from __future__ import annotations

import itertools
import json
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from fabric.cli import output as out
from fabric.cli import views
from fabric.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fabric.client import Client, SpecialistHealth

    Look = tuple[Sequence[SpecialistHealth], Mapping[str, float]]
    """What was seen, and answers a second by `name:version` and by the id of replicas."""


def top(client: Client, name: str, every: float, looks: int, output: Output) -> None:
    """Shows *looks* looks at the health of *name*, or of all, *every* so many seconds; with 0 until
    it is interrupted. Where *output* is no table, each is a document of its own."""
    seen = itertools.islice(_looks(client, name, every), looks or None)
    with suppress(KeyboardInterrupt):
        if output is Output.TABLE and sys.stdout.isatty():
            _live(seen)
        for found, rates in seen:
            if output is Output.TABLE:
                out.table(*views.health(found, rates))
            elif output is Output.JSON:  # one line for each look
                said = {"specialists": out.plain(found), "rates": out.plain(rates)}
                sys.stdout.write(json.dumps(said, allow_nan=False) + "\n")
            else:
                sys.stdout.write("---\n")
                out.write({"specialists": found, "rates": rates}, output)
            sys.stdout.flush()


def _live(seen: Iterator[Look]) -> None:
    from rich.live import Live

    with Live(console=out.console(sys.stdout), screen=True, auto_refresh=False) as live:
        for found, rates in seen:
            live.update(out.tabled(*views.health(found, rates)), refresh=True)


def _looks(client: Client, name: str, every: float) -> Iterator[Look]:
    before, then = answers(client.health(name)), time.monotonic()
    while True:
        time.sleep(every)
        found, now = client.health(name), time.monotonic()
        after = answers(found)
        yield found, rates(before, after, now - then)
        before, then = after, now


def answers(found: Sequence[SpecialistHealth]) -> dict[str, int]:
    """How many there were, by `name:version` and by the id of replicas."""
    told = {f"{one.name}:{one.version}": one.answers for one in found}
    return told | {replica.id: replica.answers for one in found for replica in one.replicas}


def rates(before: Mapping[str, int], after: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Answers a second of whoever is there after *seconds*; those of replicas that have gone, or of
    another gateway's count, are none."""
    return {key: max(0, count - before.get(key, count)) / seconds for key, count in after.items()}
