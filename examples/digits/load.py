"""Send requests through a gateway, many at once, and keep what came of each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from examples.digits.data import Images, Split
from fabric import AsyncClient, FabricError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Case:
    """One image float32 [1, 64], what it shows, and the domain it is drawn from."""

    image: Images
    label: int
    domain: str
    """Empty where nobody is told."""
    place: int
    """Among the cases of one list."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one request got; `error` is empty for those that were answered."""

    case: Case
    at: float
    """When it ended, in seconds on the monotonic clock."""
    seconds: float
    specialist: str = ""
    request: str = ""
    """Its id, if the route decides one by one."""
    fallback: bool = False
    is_right: bool = False
    error: str = ""


def cases(split: Split, domains: Iterable[str]) -> list[Case]:
    """Every image of the given domains."""
    found = (
        (image[None], int(label), domain)
        for domain in domains
        for image, label in zip(split.images[domain], split.labels[domain], strict=True)
    )
    return [Case(*each, place) for place, each in enumerate(found)]


async def ask(client: AsyncClient, model: str, case: Case) -> Result:
    """One request; the domain is said as a requirement, which only a route makes use of."""
    started = time.monotonic()
    asked = {"domain": case.domain} if case.domain else {}
    try:
        answer = await client.infer(model, {"image": case.image}, requirements=asked, timeout=10.0)
    except FabricError as error:
        now = time.monotonic()
        return Result(case, now, now - started, error=f"{error.reason}: {error}")
    now = time.monotonic()
    return Result(
        case,
        now,
        now - started,
        specialist=answer.specialist,
        request=answer.request,
        fallback=answer.fallback,
        is_right=int(answer["label"][0]) == case.label,
    )


async def ask_all(
    client: AsyncClient, model: str, cases: Iterable[Case], in_flight: int
) -> list[Result]:
    """The results of all *cases*, with at most *in_flight* requests at once.

    Generators that run for ever are fine: ends when *cases* does.
    """
    waiting: Iterator[Case] = iter(cases)
    results: list[Result] = []

    async def worker() -> None:
        for case in waiting:
            result = await ask(client, model, case)
            results.append(result)

    async with asyncio.TaskGroup() as workers:
        for _ in range(in_flight):
            workers.create_task(worker())
    return results


def accuracy(results: Iterable[Result], domain: str) -> float:
    """Share of right answers among those of one domain."""
    return float(np.mean([result.is_right for result in results if result.case.domain == domain]))


def quantiles(results: Sequence[Result]) -> tuple[float, float]:
    """The median and the 99th percentile of the latency, in milliseconds."""
    seconds = np.array([result.seconds for result in results])
    median, high = np.quantile(seconds, (0.5, 0.99))
    return float(1000 * median), float(1000 * high)
