"""Large tensors: an FP32 identity of 1 MiB and of 16 MiB, one and four in flight."""

from __future__ import annotations

from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import C1, Load, run
from tests.benchmarks.measuring import OURS, Setup, alternating, middle, side_by_side, target
from tests.benchmarks.models import identity
from tests.benchmarks.progress import say

NAME = "bytes"
SIZES = (1, 16)
LOADS = (C1, Load(4, 1))


def measure(setup: Setup) -> Result:
    ratios, data = [], {}
    models = {size: identity(size) for size in SIZES}
    with side_by_side(setup, list(models.values()), "triton") as servers:
        for size, model in models.items():
            for load in LOADS:
                runs = alternating(
                    setup.rounds,
                    servers,
                    lambda server, model=model, load=load: run(
                        target(server, model, setup.folder), load, setup.seconds
                    ),
                )
                label = f"{size} MiB {load}"
                by_server = {
                    name: size * middle(each, lambda r: r.rate) for name, each in runs.items()
                }
                say(f"{label}: " + ", ".join(f"{n} {v:,.0f} MiB/s" for n, v in by_server.items()))
                data[label] = by_server
                ratios += _against_triton(label, by_server)
    return Result(ratios, data)


def _against_triton(label: str, by_server: dict[str, float]) -> list[Ratio]:
    return [
        Ratio(
            part=NAME,
            what=f"identity of {label}",
            unit="MiB/s",
            ours=by_server[OURS],
            against=name,
            other=rate,
            target=1.0,
        )
        for name, rate in by_server.items()
        if name != OURS
    ]
