"""Measures fabric beside other servers: `python -m tests.benchmarks`; the method is in README.md.

Ends with status 1 when a ratio is worse than the recorded one by more than a fifth, or a part could
not be measured.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tests.benchmarks import plot, report
from tests.benchmarks.environments import ROOT
from tests.benchmarks.measuring import Setup
from tests.benchmarks.parts import (
    bytes,
    catalog,
    ceiling,
    closed,
    gateways,
    goodput,
    memory,
    models,
    open,
    telemetry,
)
from tests.benchmarks.processes import Failed
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.figures import Result

PARTS = {
    part.NAME: part
    for part in (
        closed,
        ceiling,
        bytes,
        catalog,
        gateways,
        open,
        goodput,
        telemetry,
        models,
        memory,
    )
}
FOLDER = ROOT / "benchmarks-results"
QUICK = {"seconds": 0.5, "rounds": 1, "requests": 20_000}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        help="measure this part; repeat for more than one",
    )
    parser.add_argument(
        "--quick", action="store_true", help="short runs, once: to see that it works"
    )
    parser.add_argument(
        "--record", action="store_true", help="hold later runs to the ratios of this one"
    )
    parser.add_argument("--host", choices=("ray", "local"), default="ray", help="of the replicas")
    parser.add_argument("--requests", type=int, help="while memory is watched; 10,000,000")
    parser.add_argument("--logs", type=Path, help="folder to keep logs and models in")
    given = parser.parse_args()
    if given.record and given.quick:
        parser.error("--record takes a full run, without --quick")
    return given


def main() -> int:
    given = arguments()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all blocks end
    names = given.only or list(PARTS)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = given.logs.absolute() if given.logs else Path(scratch)
        setup = Setup(folder, given.host)
        if given.quick:
            setup = replace(setup, **QUICK)
        if given.requests:
            setup = replace(setup, requests=given.requests)
        results, failures = measured(names, setup)
    return concluded(results, failures, given)


def measured(names: Sequence[str], setup: Setup) -> tuple[dict[str, Result], list[str]]:
    """What each part gave, and what was wrong with those that gave nothing."""
    results: dict[str, Result] = {}
    failures: list[str] = []
    for name in names:
        part = replace(setup, folder=setup.folder / name)
        part.folder.mkdir(parents=True, exist_ok=True)
        say(f"[bold]{name}[/bold]")
        try:
            results[name] = PARTS[name].measure(part)
        except Failed as error:
            failures.append(f"{name} could not be measured: {error}")
            say(f"[red]{failures[-1]}[/red]")
    return results, failures


def concluded(results: dict[str, Result], failures: list[str], given: argparse.Namespace) -> int:
    """Shows and writes what came out; the status of the command."""
    ratios = [ratio for result in results.values() for ratio in result.ratios]
    known = report.recorded()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(report.table(ratios, known))
    FOLDER.mkdir(exist_ok=True)
    report.write(results, FOLDER / "results.json")
    is_drawn = plot.draw(results, FOLDER / "results.png")
    say(f"written to {FOLDER.name}: results.json{', results.png' if is_drawn else ''}")
    if given.record and not failures:
        report.record(ratios, list(results), given.host)
        say(f"recorded in {report.RECORDED.name} and {report.README.name}")
    fallen = [] if given.quick or given.record else report.fallen(ratios, known)
    for line in (*failures, *fallen):
        console.print(f"[red]{line}[/red]")
    return 1 if failures or fallen else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
