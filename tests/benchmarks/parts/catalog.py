"""A large catalog: the time of a plan, and of a request, with 1,000 specialists and as many routes.

Plans are made in this process, by the gateway's own view of a catalog: again (as for nearly every
request), and for the first time after a change of the catalog.
"""

from __future__ import annotations

import random
import time
from statistics import median
from typing import TYPE_CHECKING

from fabric.core.changes import Changes, Hosted
from fabric.core.replicas import Status
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.view import View
from fabric.testing import route, specialist
from tests.benchmarks.fabrics import fabric
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import C64, run
from tests.benchmarks.measuring import Setup, alternating, middle, target
from tests.benchmarks.models import SMALL
from tests.benchmarks.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "catalog"
FEW, MANY = 10, 1000
_LIMIT = 30.0
"""Microseconds."""
_PLANS = 2000


def measure(setup: Setup) -> Result:
    ratios, data = [], {}
    for kind, prepare in (("again", lambda view: None), ("after a change", _change)):
        few, many = _side_by_side(setup.rounds, prepare)
        say(f"a plan {kind}: {few:.2f} µs of {FEW}, {many:.2f} µs of {MANY}")
        data[f"plan {kind}"] = {FEW: few, MANY: many}
        ratios += _ratios(f"plan {kind}, p50 of {MANY}", few, many)
    few, many = _requests(setup)
    data["requests"] = {FEW: few, MANY: many}
    ratios.append(
        Ratio(
            part=NAME,
            what=f"small {C64} before {MANY}, requests",
            unit="/s",
            ours=many,
            against=f"before {FEW}",
            other=few,
        )
    )
    return Result(ratios, data)


def _ratios(what: str, few: float, many: float) -> list[Ratio]:
    """Of microseconds, which depend on the machine and are too few to be steady."""
    others = ((f"that of {FEW}", few, None), ("the limit", _LIMIT, 1.0))
    return [
        Ratio(
            part=NAME,
            what=what,
            unit="µs",
            ours=many,
            against=against,
            other=other,
            target=target,
            is_limited=True,
            is_steady=False,
        )
        for against, other, target in others
    ]


# ------------------------------------------------------------------ plans
def _view(count: int) -> View:
    """So many specialists, and as many routes with a chain of two of them."""
    names = [f"specialist-{number}" for number in range(count)]
    chains = zip(names, (*names[1:], names[0]), strict=True)
    view = View(ReplicaPool())
    view.catalog.update(
        Changes(
            revision=1,
            specialists=tuple(Hosted(specialist(name), Status()) for name in names),
            routes=tuple(route(f"route-{n}", *chain) for n, chain in enumerate(chains)),
        )
    )
    view.changed()
    return view


def _change(view: View) -> None:
    revision = view.catalog.revision + 1
    hosted = Hosted(specialist("specialist-0"), Status())
    view.catalog.update(Changes(revision=revision, specialists=(hosted,)))
    view.changed()


def _side_by_side(rounds: int, prepare: Callable[[View], None]) -> tuple[float, float]:
    """The p50 in microseconds of plans of a small and of a large catalog, in turn."""
    views = {count: _view(count) for count in (FEW, MANY)}
    times: dict[int, list[float]] = {count: [] for count in views}
    for _ in range(rounds):
        for count, view in views.items():
            times[count].append(_plans(view, count, prepare))
    return median(times[FEW]), median(times[MANY])


def _plans(view: View, count: int, prepare: Callable[[View], None]) -> float:
    names = [f"route-{random.randrange(count)}" for _ in range(_PLANS)]
    for number in range(count):
        view.planner.plan(f"route-{number}", "", None)
    taken = []
    for name in names:
        prepare(view)
        start = time.perf_counter_ns()
        view.planner.plan(name, "", None)
        taken.append(time.perf_counter_ns() - start)
    return median(taken) / 1e3


# ------------------------------------------------------------------ requests
def _requests(setup: Setup) -> tuple[float, float]:
    """Requests per second of two fabrics, one of which has a large catalog."""
    with (
        fabric([SMALL], setup.folder, "local", name="few", fillers=FEW) as few,
        fabric([SMALL], setup.folder, "local", name="many", fillers=MANY) as many,
    ):
        runs = alternating(
            setup.rounds,
            [few, many],
            lambda server: run(target(server, SMALL, setup.folder), C64, setup.seconds),
        )
    rates = {name: middle(each, lambda r: r.rate) for name, each in runs.items()}
    say(f"small {C64}: {rates['few']:,.0f} req/s before {FEW}, {rates['many']:,.0f} before {MANY}")
    return rates["few"], rates["many"]
