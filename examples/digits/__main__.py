"""The whole story in one run: `python -m examples.digits`, or `make demo`.

Trains a portfolio, serves it with Ray Serve behind a gateway, compares specialists, generalist and
route on images that nobody trained on, has a route learn without being told the domain, and kills a
specialist while requests flow.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.table import Table

from examples.digits.data import DOMAINS, load, write
from examples.digits.learn import UNTOLD, compared, right, teach, untold
from examples.digits.load import Case, Result, accuracy, ask_all, cases, quantiles
from examples.digits.portfolio import portfolio
from examples.digits.train import GENERALIST, SEED, Trained, train_portfolio
from fabric import AsyncClient
from fabric.app import Fabric, FabricSettings
from fabric.config import load as load_portfolio
from fabric.core.replicas import Replica

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTE = "digits"
VICTIM = "digits-rotated"
IN_FLIGHT = 64
IN_FLIGHT_WHILE_KILLING = 8
BEFORE_THE_KILL = 1.0
AFTER_IT_IS_BACK = 1.0
PATIENCE = 60.0

console = Console(highlight=False)
began = time.monotonic()


def say(text: str) -> None:
    console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {text}", soft_wrap=True)


async def main(host: str, keep: str) -> int:
    """The demo; the exit status is 0 if every request was answered and the victim came back.

    The models, their portfolio and the held-out images are left in the folder *keep*, if any.
    """
    with tempfile.TemporaryDirectory(prefix="digits-") as scratch:
        trained, path = make(keep or scratch)
        settings = FabricSettings(state=Path(scratch) / "state", host=host, listen="127.0.0.1:0")
        fabric = Fabric(settings, load_portfolio(path), lambda part, step: say(f"{part}: {step}"))
        async with fabric, AsyncClient(fabric.server) as client:
            failed = await fabric.ready()
            if failed:
                say(f"[red]not ready: {failed}[/red]")
                return 1
            say(f"[bold]serving at {fabric.server}[/bold]")
            processes = {*fabric.processes.values(), *await replica_pids(client)}
            lost = await compare(client) + await learn(client, trained) + await kill(client)
            processes |= await replica_pids(client)
        left = [pid for pid in processes if is_running(pid)]
        say(f"all {len(processes)} processes are gone" if not left else f"[red]left: {left}[/red]")
        return 1 if lost or left else 0


def make(folder: str) -> tuple[list[Trained], Path]:
    """The models in *folder*, beside them their portfolio, which is returned, and `test.npz`."""
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    trained = train_portfolio(place, lambda line: say(f"trained {line}"))
    path = place / "portfolio.yaml"
    path.write_text(yaml.safe_dump(portfolio(trained), sort_keys=False))
    write(load(SEED).test, place / "test.npz")
    return trained, path


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"  # ended, and not yet told its parent


async def replica_pids(client: AsyncClient) -> set[int]:
    return {replica.pid for replica in await client.list("replica") if isinstance(replica, Replica)}


# ---------------------------------------------------------------------- who is right, and how fast
async def compare(client: AsyncClient) -> int:
    """Prints accuracy and speed of specialists, generalist and route; returns what was lost."""
    test = load(SEED).test
    say(f"asking {len(cases(test, DOMAINS))} held-out images of the specialists, one by one")
    own: list[Result] = []
    for domain in DOMAINS:
        own += await ask_all(client, f"digits-{domain}", cases(test, [domain]), IN_FLIGHT)
    runs = {"specialist": own}
    for title, model in (("generalist", GENERALIST), ("route", ROUTE)):
        say(f"asking the same images of {model}, {IN_FLIGHT} in flight")
        runs[title] = await ask_all(client, model, cases(test, DOMAINS), IN_FLIGHT)
    console.print(accuracy_table(runs))
    console.print(speed_table(runs))
    return sum(bool(result.error) for results in runs.values() for result in results)


def accuracy_table(runs: dict[str, list[Result]]) -> Table:
    table = Table(title="Right answers on held-out images", title_justify="left")
    table.add_column("domain")
    for title in (*runs, "specialist - generalist"):
        table.add_column(title, justify="right")
    for domain in DOMAINS:
        shares = [accuracy(results, domain) for results in runs.values()]
        margin = 100 * (shares[0] - shares[1])
        colour = "green" if margin > 0 else "red"
        cells = (f"{share:.1%}" for share in shares)
        table.add_row(domain, *cells, f"[{colour}]{margin:+.1f} points[/{colour}]")
    return table


def speed_table(runs: dict[str, list[Result]]) -> Table:
    """Measured in this process, by one Python client: its own time is part of the figures."""
    table = Table(title=f"Speed with {IN_FLIGHT} in flight, client included", title_justify="left")
    for title in ("asked", "requests", "requests/s", "p50 ms", "p99 ms", "unanswered"):
        table.add_column(title, justify="left" if title == "asked" else "right")
    for title, results in runs.items():
        seconds = max(r.at for r in results) - min(r.at - r.seconds for r in results)
        median, high = quantiles(results)
        unanswered = sum(bool(result.error) for result in results)
        rate = len(results) / seconds
        cells = (f"{rate:,.0f}", f"{median:.1f}", f"{high:.1f}", str(unanswered))
        table.add_row(title, str(len(results)), *cells)
    return table


# ---------------------------------------------------------------------- nobody says the domain
async def learn(client: AsyncClient, trained: list[Trained]) -> int:
    """Prints how a route that is told no domain answers, before it has learned and after; returns
    what was lost."""
    digits = load(SEED)
    was_right = right(trained, digits.test)
    table = Table(title=f"Right answers of {UNTOLD}, which is told no domain", title_justify="left")
    for title in ("", "best model alone", "route", "oracle", "of the gap closed, 95 % interval"):
        table.add_column(title, justify="right" if title else "left")
    lost = 0
    for title in ("by evidence", "by what it learned"):
        if title == "by what it learned":
            say(f"telling {UNTOLD} who reads other images right, and training it")
            await teach(client, trained, digits.validation, IN_FLIGHT)
        say(f"asking the held-out images of {UNTOLD}, {title}")
        results = await ask_all(client, UNTOLD, untold(digits.test), IN_FLIGHT)
        lost += sum(bool(result.error) for result in results)
        found = compared(results, was_right)
        shares = (f"{share:.1%}" for share in (found.best, found.route, found.oracle))
        closed = (100 * each for each in (found.closed.value, found.closed.low, found.closed.high))
        table.add_row(title, *shares, "{:.0f} % [{:.0f}, {:.0f}]".format(*closed))
    console.print(table)
    return lost


# ---------------------------------------------------------------------- a specialist dies
async def kill(client: AsyncClient) -> int:
    """Kills the replica of a specialist while its domain is asked for.

    Returns what was lost; a victim that stays away counts, too.
    """
    (victim,) = [r for r in await client.list("replica") if is_replica_of(r, VICTIM)]
    say(f"asking for {VICTIM}'s domain without pause, and killing its replica, pid {victim.pid}")
    state = {"killed": 0.0, "back": 0.0}
    running = asyncio.create_task(
        ask_all(client, ROUTE, until_back(state), IN_FLIGHT_WHILE_KILLING)
    )
    await asyncio.sleep(BEFORE_THE_KILL)
    os.kill(victim.pid, signal.SIGKILL)
    state["killed"] = time.monotonic()
    say(f"[bold]kill -9 {victim.pid}[/bold]")
    while not state["back"] and time.monotonic() < state["killed"] + PATIENCE:
        await asyncio.sleep(0.1)
        replicas = [r for r in await client.list("replica") if is_replica_of(r, VICTIM)]
        if any(replica.id != victim.id for replica in replicas):
            state["back"] = time.monotonic()
    results = await running
    report(results, state["killed"])
    if not state["back"]:
        say(f"[red]{VICTIM} did not come back within {PATIENCE:g} s[/red]")
        return 1
    return sum(bool(result.error) for result in results)


def is_replica_of(resource: object, specialist: str) -> bool:
    return isinstance(resource, Replica) and resource.specialist == specialist


def until_back(state: dict[str, float]) -> Iterator[Case]:
    """Images of the victim's domain, until a second after its new replica has registered."""
    (domain,) = [domain for domain in DOMAINS if VICTIM.endswith(domain)]
    for case in itertools.cycle(cases(load(SEED).test, [domain])):
        if 0 < state["back"] < time.monotonic() - AFTER_IT_IS_BACK:
            return
        if 0 < state["killed"] < time.monotonic() - PATIENCE:
            return
        yield case


def report(results: list[Result], killed: float) -> None:
    """Prints who answered before and after the kill, and when the specialist was back."""
    after = sorted((r for r in results if r.at > killed), key=lambda r: r.at)
    substitutes = [result for result in after if result.fallback]
    back = None
    if substitutes:
        own = (r.at for r in after if r.specialist == VICTIM and r.at > substitutes[0].at)
        back = next(own, None)
    phases = {
        "before the kill": [r for r in results if r.at <= killed],
        "while it was gone": [r for r in after if back is None or r.at < back],
        "after it was back": [r for r in after if back is not None and r.at >= back],
    }
    table = Table(title=f"kill -9 of {VICTIM} under load", title_justify="left")
    for title in ("", "requests", "unanswered", "answered by", "right"):
        table.add_column(title, justify="right" if title in ("requests", "unanswered") else "left")
    for title, phase in phases.items():
        answered = [result for result in phase if not result.error]
        who = Counter(result.specialist for result in answered)
        names = ", ".join(f"{name} {count}" for name, count in who.most_common())
        share = f"{sum(r.is_right for r in answered) / len(answered):.1%}" if answered else "-"
        table.add_row(title, str(len(phase)), str(len(phase) - len(answered)), names, share)
    console.print(table)
    for error in {result.error for result in results if result.error}:
        console.print(f"[red]{error}[/red]")
    if substitutes and back is not None:
        gap = 1000 * (substitutes[0].at - killed)
        say(f"the generalist stood in after {gap:.0f} ms")
        say(f"the specialist was back after {back - killed:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", choices=("ray", "local"), default="ray")
    parser.add_argument("--keep", metavar="FOLDER", default="", help="leave what was made there")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.host, given.keep)))
