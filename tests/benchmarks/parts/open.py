"""Open loop: `small` at constant rates of arrival, as shares of what each server can do.

The capacity is what the same generator gets with 64 requests in flight. Times count from when a
request was to be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.generator import Answers, Constant, Full, generate
from tests.benchmarks.measuring import OURS, Setup, alternating, middle, side_by_side
from tests.benchmarks.models import SMALL, request
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from tests.benchmarks.servers import Server

NAME = "open"
SHARES = (0.25, 0.5, 0.75, 0.9)
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_COMPARED = 0.5
_LONGER = 2
"""A run here is so much longer than others: one request in a thousand is looked at."""


def measure(setup: Setup) -> Result:
    bodies = [request(SMALL.name, inputs) for inputs in SMALL.samples(64)]
    data: dict[str, dict] = {}
    with side_by_side(setup, [SMALL], "triton") as servers:

        def full(server: Server) -> Answers:
            return generate(server.address, bodies, Full(64, setup.seconds))

        alternating(1, servers, full)  # warms up
        for name, runs in alternating(setup.rounds, servers, full).items():
            data[name] = {"capacity": middle(runs, lambda run: run.rate), "loads": []}
            say(f"{name}: {data[name]['capacity']:,.0f} req/s with 64 in flight")
        for share in SHARES:

            def constant(server: Server, share=share) -> Answers:
                rate = share * data[server.name]["capacity"]
                schedule = Constant(rate, _LONGER * setup.seconds)
                return generate(server.address, bodies, schedule)

            for name, runs in alternating(setup.rounds, servers, constant).items():
                data[name]["loads"].append(_told(name, share, data[name]["capacity"], runs))
    return Result(_ratios(data), data)


def _told(name: str, share: float, capacity: float, runs: list[Answers]) -> dict[str, float]:
    """Milliseconds at each of the quantiles."""
    made = {
        label: middle(runs, lambda run, q=q: 1e3 * run.quantile(q))
        for label, q in QUANTILES.items()
    }
    lag = middle(runs, lambda run: 1e3 * run.lag)
    shown = ", ".join(f"{label} {value:.2f}" for label, value in made.items())
    say(f"{name} at {share:.0%}, {share * capacity:,.0f} req/s: {shown} ms (sent {lag:.2f} late)")
    return {"share": share, "rate": share * capacity, "lag": lag, **made}


def _ratios(data: dict[str, dict]) -> list[Ratio]:
    at = SHARES.index(_COMPARED)
    return [
        Ratio(
            part=NAME,
            what=f"{label} at {_COMPARED:.0%} of its capacity",
            unit="ms",
            ours=data[OURS]["loads"][at][label],
            against=name,
            other=each["loads"][at][label],
            is_limited=True,
            is_steady=label == "p50",  # a single pause of the machine is in the others
        )
        for name, each in data.items()
        if name != OURS
        for label in ("p50", "p99")
    ]
