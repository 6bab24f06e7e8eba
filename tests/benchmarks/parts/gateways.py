"""One gateway and two on the same port: before a replica that answers at once, and alone.

All share the machine's cores with the load and the replica. On two cores a second gateway process
can only take what these leave it. So calls that gateways answer by themselves are compared as well,
and the requests per second of processor that gateways used: they tell what a core of its own would
bring.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.fabrics import before_instant_replicas
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import READY, Load, Target, run
from tests.benchmarks.instant import NAME as MODEL
from tests.benchmarks.instant import answer
from tests.benchmarks.measuring import Setup, alternating
from tests.benchmarks.models import request
from tests.benchmarks.processes import seconds_used
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from tests.benchmarks.servers import Server

NAME = "gateways"
LOAD = Load(32, 4)
"""By many connections, because the system gives each to one of the gateways for good."""


def measure(setup: Setup) -> Result:
    infer, ready = setup.folder / "instant.grpc", setup.folder / "ready.grpc"
    infer.write_bytes(request(MODEL, {"x": np.zeros((1, 64), np.float32)}))
    ready.write_bytes(bytes(5))  # the prefix of an empty message
    kinds = {
        "requests": lambda address: Target(address, infer, len(answer())),
        "calls of its own": lambda address: Target(address, ready, 2, path=READY),
    }
    ratios, data = [], {}
    with (
        before_instant_replicas(setup.folder, 1) as one,
        before_instant_replicas(setup.folder, 2) as two,
    ):
        for kind, asked in kinds.items():
            runs = alternating(
                setup.rounds,
                [one, two],
                lambda server, asked=asked: _measured(setup, server, asked(server.address)),
            )
            made = {
                name: {key: median(run[key] for run in each) for key in each[0]}
                for name, each in runs.items()
            }
            for name, each in made.items():
                say(
                    f"{name}, {kind}: {each['rate']:,.0f} /s; the gateways took "
                    f"{each['gateways']:.2f} cores, the load {each['load']:.2f}"
                )
            data[kind] = made
            ratios += _ratios(kind, made[two.name], made[one.name])
    return Result(ratios, data)


def _measured(setup: Setup, server: Server, asked: Target) -> dict[str, float]:
    """Requests per second, and the cores that the gateways and the load took."""
    gateways = [pid for each in (server.running, *server.others) for pid in each.pids()]
    used, began = seconds_used(gateways), time.monotonic()
    done = run(asked, LOAD, setup.seconds)
    cores = (seconds_used(gateways) - used) / (time.monotonic() - began)
    return {"rate": done.rate, "gateways": cores, "load": done.used}


def _ratios(kind: str, two: dict[str, float], one: dict[str, float]) -> list[Ratio]:
    each = {name: made["rate"] / made["gateways"] for name, made in (("two", two), ("one", one))}
    return [
        _ratio(kind, two["rate"], one["rate"]),
        _ratio(f"{kind} per second of processor", each["two"], each["one"]),
    ]


def _ratio(what: str, ours: float, other: float) -> Ratio:
    return Ratio(
        part=NAME,
        what=f"two gateway processes, {what}",
        unit="/s",
        ours=ours,
        against="one",
        other=other,
    )
