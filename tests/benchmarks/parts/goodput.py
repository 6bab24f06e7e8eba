"""Overload: `medium` offered at twice its capacity, with a deadline of 50 ms for each request.

The model is what limits `medium`, so that sending twice as much takes little from the server.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.generator import Answers, Constant, Full, generate
from tests.benchmarks.measuring import OURS, Setup, alternating, middle, side_by_side
from tests.benchmarks.models import MEDIUM, request
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from tests.benchmarks.servers import Server

NAME = "goodput"
OVER = 2.0
DEADLINE, TIMEOUT = 0.05, "50m"
_TARGET = 0.8


def measure(setup: Setup) -> Result:
    bodies = [request(MEDIUM.name, inputs) for inputs in MEDIUM.samples(16)]
    data: dict[str, dict] = {}
    with side_by_side(setup, [MEDIUM], "triton") as servers:

        def full(server: Server) -> Answers:
            return generate(server.address, bodies, Full(64, setup.seconds))

        def overload(server: Server) -> Answers:
            schedule = Constant(OVER * data[server.name]["capacity"], setup.seconds)
            return generate(server.address, bodies, schedule, TIMEOUT)

        alternating(1, servers, full)  # warms up
        for name, runs in alternating(setup.rounds, servers, full).items():
            data[name] = {"capacity": middle(runs, lambda run: run.rate)}
        for name, runs in alternating(setup.rounds, servers, overload).items():
            data[name] |= _told(name, data[name]["capacity"], runs)
    ratios = [
        Ratio(
            part=NAME,
            what="medium at twice its capacity, in time",
            unit="/s",
            ours=data[OURS]["in time"],
            against="its capacity",
            other=data[OURS]["capacity"],
            target=_TARGET,
        ),
        Ratio(
            part=NAME,
            what="medium at twice its capacity, p50 of refusals",
            unit="ms",
            ours=data[OURS]["refusal p50"],
            against="the deadline",
            other=1e3 * DEADLINE,
            is_limited=True,
            is_steady=False,
        ),
    ]
    return Result(ratios, data)


def _told(name: str, capacity: float, runs: list[Answers]) -> dict:
    """Per second what was answered in time, late and not, and what was refused how fast."""
    made = {
        "in time": middle(runs, lambda run: run.in_time(DEADLINE)),
        "late": middle(runs, lambda run: run.late(DEADLINE)),
        "refusal p50": middle(runs, lambda run: 1e3 * run.refusal(0.5)),
        "refusal p99": middle(runs, lambda run: 1e3 * run.refusal(0.99)),
        "lag": middle(runs, lambda run: 1e3 * run.lag),
    }
    codes = {code for run in runs for code in run.refused()}
    refused = {code: median(run.refused().get(code, 0.0) for run in runs) for code in sorted(codes)}
    shown = ", ".join(f"{rate:,.0f} by status {code}" for code, rate in refused.items())
    say(
        f"{name}: of {OVER * capacity:,.0f} req/s {made['in time']:,.0f} in time "
        f"({made['in time'] / capacity:.0%} of capacity), {made['late']:,.0f} late, refused "
        f"{shown or 'none'} after {made['refusal p50']:.1f} ms (p99 {made['refusal p99']:.1f})"
    )
    return {**made, "refused": refused}
