"""One gateway and two on the same port, before a replica that answers at once.

All share the machine's cores with the load and the replica. On two cores a second gateway process
can only take what these leave it, so requests per second of processor that gateways used are
compared as well: they tell what a core of its own would bring.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.fabrics import before_instant_replicas
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import C64, Target, run
from tests.benchmarks.instant import NAME as MODEL
from tests.benchmarks.instant import answer
from tests.benchmarks.measuring import Setup, alternating
from tests.benchmarks.models import request
from tests.benchmarks.processes import seconds_used
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from tests.benchmarks.servers import Server

NAME = "gateways"


def measure(setup: Setup) -> Result:
    body = setup.folder / "instant.grpc"
    body.write_bytes(request(MODEL, {"x": np.zeros((1, 64), np.float32)}))

    def measured(server: Server) -> dict[str, float]:
        """Requests per second, and the cores that the gateways and the load took."""
        gateways = [pid for each in (server.running, *server.others) for pid in each.pids()]
        used, began = seconds_used(gateways), time.monotonic()
        done = run(Target(server.address, body, len(answer())), C64, setup.seconds)
        cores = (seconds_used(gateways) - used) / (time.monotonic() - began)
        return {"rate": done.rate, "gateways": cores, "load": done.used}

    with (
        before_instant_replicas(setup.folder, 1) as one,
        before_instant_replicas(setup.folder, 2) as two,
    ):
        runs = alternating(setup.rounds, [one, two], measured)
    made = {
        name: {key: median(run[key] for run in each) for key in each[0]}
        for name, each in runs.items()
    }
    for name, each in made.items():
        say(
            f"{name}: {each['rate']:,.0f} req/s; the gateways took {each['gateways']:.2f} cores, "
            f"the load {each['load']:.2f}"
        )
    first, second = made[one.name], made[two.name]
    return Result(
        [
            _ratio("requests", "/s", second["rate"], first["rate"]),
            _ratio(
                "requests per second of processor",
                "/s",
                second["rate"] / second["gateways"],
                first["rate"] / first["gateways"],
            ),
        ],
        made,
    )


def _ratio(what: str, unit: str, ours: float, other: float) -> Ratio:
    return Ratio(
        part=NAME,
        what=f"two gateway processes, {what}",
        unit=unit,
        ours=ours,
        against="one",
        other=other,
    )
