"""Closed loop: `small` and `medium` with one and with 64 requests in flight, of all servers."""

from __future__ import annotations

from statistics import median
from typing import Any

from tests.benchmarks.fabrics import fabric
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import C1, C64, run
from tests.benchmarks.measuring import OURS, Setup, alternating, if_it_starts, summary, target, told
from tests.benchmarks.models import MEDIUM, SMALL
from tests.benchmarks.progress import say

NAME = "closed"
MODELS = (SMALL, MEDIUM)
OTHERS = ("triton", "kserve", "mlserver", "ray-fast")
LOADS = (C1, C64)
_TARGETS = {
    ("small c64", "triton"): 1.3,
    ("small c1", "triton"): 1.05,
    ("medium c64", "triton"): 1.2,
    ("small c64", "kserve"): 8.0,
    ("small c64", "mlserver"): 8.0,
    ("small c64", "ray-fast"): 8.0,
}
"""What is asked of fabric: so many times the requests, or at most so many times the latency."""
_SPREAD = 4.0


def measure(setup: Setup) -> Result:
    """Each of the others beside the fabric, one after the other: what idles costs little."""
    figures: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    with fabric(MODELS, setup.folder, setup.host) as ours:
        for name in OTHERS:
            with if_it_starts(name, MODELS, setup.folder) as other:
                if other is not None:
                    figures[name] = _beside(setup, [ours, other])
    ratios = [ratio for name, pair in figures.items() for ratio in _against(name, pair)]
    return Result([*ratios, *_spreads(figures)], dict(figures))


def _beside(setup: Setup, servers: list[Any]) -> dict[str, dict[str, dict[str, float]]]:
    """By load and server, what each gave."""
    made: dict[str, dict[str, dict[str, float]]] = {}
    for model in MODELS:
        for load in LOADS:
            label = f"{model.name} {load}"
            runs = alternating(
                setup.rounds,
                servers,
                lambda server, model=model, load=load: run(
                    target(server, model, setup.folder), load, setup.seconds
                ),
            )
            made[label] = {name: summary(each) for name, each in runs.items()}
            for name, each in made[label].items():
                say(f"{label} {name}: {told(each)}")
    return made


def _against(name: str, pair: dict[str, dict[str, dict[str, float]]]) -> list[Ratio]:
    ratios = []
    for label, by_server in pair.items():
        ours, other = by_server[OURS], by_server[name]
        is_alone = label.endswith(str(C1))  # then the latency says it all
        key, unit = ("mean", "ms") if is_alone else ("rate", "/s")
        ratios.append(
            Ratio(
                part=NAME,
                what=f"{label}, {'mean latency' if is_alone else 'requests'}",
                unit=unit,
                ours=ours[key],
                against=name,
                other=other[key],
                target=_TARGETS.get((label, name)),
                is_limited=is_alone,
            )
        )
    return ratios


def _spreads(figures: dict[str, dict[str, dict[str, dict[str, float]]]]) -> list[Ratio]:
    """How far the slowest requests of ours are from the middle ones."""
    labels = [f"{model.name} {C64}" for model in MODELS] if figures else []
    ratios = []
    for label in labels:
        ours = [pair[label][OURS] for pair in figures.values()]
        ratios.append(
            Ratio(
                part=NAME,
                what=f"{label}, p99",
                unit="ms",
                ours=median(each["spread"] for each in ours) * median(each["p50"] for each in ours),
                against="its p50",
                other=median(each["p50"] for each in ours),
                target=_SPREAD,
                is_limited=True,
            )
        )
    return ratios
