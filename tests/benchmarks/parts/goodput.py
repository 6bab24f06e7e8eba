"""Overload: twice the capacity is offered, with a deadline of 50 ms for each request.

`medium` by h2load, which takes little from a server on the same cores. It tells how long each
request took and not how it ended, so results are counted by the server's own statistics, and what
took longer than the deadline is taken to have been a result: at least as many are in time as is
said. The encoder, whose requests differ, by a generator that knows how each ended.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import grpc
import numpy as np

from fabric.api.inference.v2 import extensions_pb2 as pb
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.generator import Answers, Constant, Full, generate
from tests.benchmarks.h2load import C64, paced, run
from tests.benchmarks.measuring import OURS, Setup, alternating, middle, side_by_side, target
from tests.benchmarks.models import ENCODER, MEDIUM, request
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.servers import Server

NAME = "goodput"
OVER = 2.0
DEADLINE, TIMEOUT = 0.05, "50m"
_TARGET = 0.8

_Told = dict[str, float]
"""Per second what was in time and what was late, and more."""


def measure(setup: Setup) -> Result:
    data: dict[str, dict[str, _Told]] = {}
    with side_by_side(setup, [MEDIUM, ENCODER], "triton") as servers:
        data[MEDIUM.name] = _overloaded(
            setup,
            servers,
            lambda server: run(target(server, MEDIUM, setup.folder), C64, setup.seconds).rate,
            lambda server, capacity: _of_equals(setup, server, capacity),
        )
        bodies = [request(ENCODER.name, inputs) for inputs in ENCODER.samples(64)]
        data[ENCODER.name] = _overloaded(
            setup,
            servers,
            lambda server: generate(server.address, bodies, Full(64, setup.seconds)).rate,
            lambda server, capacity: _told(
                generate(server.address, bodies, Constant(OVER * capacity, setup.seconds), TIMEOUT)
            ),
        )
    ratios = [_in_time(name, by_server[OURS]) for name, by_server in data.items()]
    return Result([*ratios, _refusals(data[ENCODER.name][OURS])], dict(data))


def _overloaded(
    setup: Setup,
    servers: list[Server],
    full: Callable[[Server], float],
    over: Callable[[Server, float], _Told],
) -> dict[str, _Told]:
    """By server, what became of twice the requests that it answers with 64 in flight."""
    alternating(1, servers, full)  # warms up
    capacities = {
        name: median(runs) for name, runs in alternating(setup.rounds, servers, full).items()
    }
    runs = alternating(setup.rounds, servers, lambda server: over(server, capacities[server.name]))
    made = {}
    for name, each in runs.items():
        made[name] = {key: middle(each, lambda told, key=key: told[key]) for key in each[0]}
        made[name]["capacity"] = capacity = capacities[name]
        say(
            f"{name}: of {OVER * capacity:,.0f} req/s {made[name]['in time']:,.0f} in time "
            f"({made[name]['in time'] / capacity:.0%} of capacity), {made[name]['late']:,.0f} late"
        )
    return made


def _of_equals(setup: Setup, server: Server, capacity: float) -> _Told:
    asked = target(server, MEDIUM, setup.folder)
    before = _results(server)
    taken, elapsed = paced(asked, OVER * capacity, setup.seconds, TIMEOUT)
    results = _results(server) - before
    late = int((taken > DEADLINE).sum())
    return {
        "in time": max(0, results - late) / elapsed,
        "late": late / elapsed,
        "p50 of all": 1e3 * float(np.median(taken)),
    }


def _results(server: Server) -> int:
    """How often the server has answered for `medium`."""
    with grpc.insecure_channel(server.address) as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics",
            request_serializer=pb.ModelStatisticsRequest.SerializeToString,
            response_deserializer=pb.ModelStatisticsResponse.FromString,
        )
        (statistics,) = ask(pb.ModelStatisticsRequest(name=MEDIUM.name)).model_stats
    return int(statistics.inference_stats.success.count)


def _told(answers: Answers) -> _Told:
    return {
        "in time": answers.in_time(DEADLINE),
        "late": answers.late(DEADLINE),
        "refused": sum(answers.refused().values()),
        "refusal p50": 1e3 * answers.refusal(0.5),
        "refusal p99": 1e3 * answers.refusal(0.99),
        "lag": 1e3 * answers.lag,
    }


def _in_time(model: str, told: _Told) -> Ratio:
    return Ratio(
        part=NAME,
        what=f"{model} at twice its capacity, in time",
        unit="/s",
        ours=told["in time"],
        against="its capacity",
        other=told["capacity"],
        target=_TARGET,
    )


def _refusals(told: _Told) -> Ratio:
    return Ratio(
        part=NAME,
        what=f"{ENCODER.name} at twice its capacity, p50 of refusals",
        unit="ms",
        ours=told["refusal p50"],
        against="the deadline",
        other=1e3 * DEADLINE,
        is_limited=True,
        is_steady=False,
    )
