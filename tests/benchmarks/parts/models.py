"""Models of other kinds: a sentence encoder whose requests differ in length, and boosted trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.generator import Answers, Full, generate
from tests.benchmarks.measuring import OURS, Setup, alternating, middle, side_by_side
from tests.benchmarks.models import ENCODER, TREES, request
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from tests.benchmarks.servers import Server

NAME = "models"
MODELS = (ENCODER, TREES)
IN_FLIGHT = (1, 64)
_BODIES = 256


def measure(setup: Setup) -> Result:
    ratios, data = [], {}
    with side_by_side(setup, MODELS, "triton") as servers:
        for model in MODELS:
            bodies = [request(model.name, inputs) for inputs in model.samples(_BODIES)]
            for in_flight in IN_FLIGHT:

                def full(server: Server, bodies=bodies, in_flight=in_flight) -> Answers:
                    return generate(server.address, bodies, Full(in_flight, setup.seconds))

                alternating(1, servers, full)  # warms up
                runs = alternating(setup.rounds, servers, full)
                label = f"{model.name} c{in_flight}"
                data[label] = {name: _told(label, name, each) for name, each in runs.items()}
                ratios += _against_triton(label, data[label])
    return Result(ratios, data)


def _told(label: str, name: str, runs: list[Answers]) -> dict[str, float]:
    made = {
        "rate": middle(runs, lambda run: run.rate),
        "p50": middle(runs, lambda run: 1e3 * run.quantile(0.5)),
        "p99": middle(runs, lambda run: 1e3 * run.quantile(0.99)),
    }
    say(
        f"{label} {name}: {made['rate']:,.0f} req/s, p50 {made['p50']:.2f} ms, "
        f"p99 {made['p99']:.2f}"
    )
    return made


def _against_triton(label: str, figures: dict[str, dict[str, float]]) -> list[Ratio]:
    return [
        Ratio(
            part=NAME,
            what=f"{label}, requests",
            unit="/s",
            ours=figures[OURS]["rate"],
            against=name,
            other=each["rate"],
        )
        for name, each in figures.items()
        if name != OURS
    ]
