"""What the parts have in common: what a run is like, who is measured, and in which order."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from tests.benchmarks.fabrics import fabric
from tests.benchmarks.h2load import Target
from tests.benchmarks.models import request
from tests.benchmarks.processes import Failed
from tests.benchmarks.progress import say
from tests.benchmarks.servers import Server, other

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.benchmarks.h2load import Run
    from tests.benchmarks.models import Model

T = TypeVar("T")
OURS = "fabric"


@dataclass(frozen=True)
class Setup:
    """How the parts are run."""

    folder: Path
    """For models, logs and whatever else lives no longer than the run."""
    host: str
    """Where the replicas of the fabric run: `ray` or `local`."""
    seconds: float = 2.0
    """Of load in a run."""
    rounds: int = 3
    """Runs of everything, of which the median counts."""
    requests: int = 10_000_000
    """While the gateway's memory is watched."""


@contextlib.contextmanager
def side_by_side(setup: Setup, models: Sequence[Model], *names: str) -> Iterator[list[Server]]:
    """The fabric, and those of the other servers *names* that start."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(fabric(models, setup.folder, setup.host))
        others = [stack.enter_context(if_it_starts(name, models, setup.folder)) for name in names]
        yield [ours, *(server for server in others if server is not None)]


@contextlib.contextmanager
def if_it_starts(name: str, models: Sequence[Model], folder: Path) -> Iterator[Server | None]:
    """The server *name*; None where it does not start, which is said and costs only its rows."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(other(name, models, folder))
        except Failed as error:
            say(f"[red]{name} is left out[/red]: {error}")
            server = None
        yield server


def target(server: Server, model: Model, folder: Path) -> Target:
    """Where h2load finds *model*, and one request for it."""
    (inputs,) = model.samples(1)
    body = folder / f"{model.name}.grpc"
    body.write_bytes(request(model.name, inputs))
    answers = model.answers(folder / "models", inputs)
    return Target(server.address, body, sum(array.nbytes for array in answers.values()))


def alternating(
    rounds: int, servers: Sequence[Server], measure: Callable[[Server], T]
) -> dict[str, list[T]]:
    """What *measure* gives for each server, round by round, by the server's name."""
    runs: dict[str, list[T]] = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            runs[server.name].append(measure(server))
    return runs


def middle(values: Sequence[T], what: Callable[[T], float]) -> float:
    """The median of *what* the values say."""
    return median(map(what, values))


def summary(runs: Sequence[Run]) -> dict[str, float]:
    """Requests per second and milliseconds, each the median of the runs."""
    return {
        "rate": middle(runs, lambda run: run.rate),
        "mean": middle(runs, lambda run: 1e3 * run.mean),
        "p50": middle(runs, lambda run: 1e3 * run.quantile(0.5)),
        "p99": middle(runs, lambda run: 1e3 * run.quantile(0.99)),
        "spread": middle(runs, lambda run: run.quantile(0.99) / run.quantile(0.5)),
    }


def told(summary: dict[str, float]) -> str:
    return (
        f"{summary['rate']:,.0f} req/s, mean {summary['mean']:.2f} ms, p50 {summary['p50']:.2f}, "
        f"p99 {summary['p99']:.2f}"
    )
