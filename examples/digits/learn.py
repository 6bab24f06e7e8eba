"""A route that nobody tells the domain learns who reads an image best.

It looks at the image, 64 numbers. Of images that no model was trained on it is told which models
read them right; from that the control plane trains a policy, by which the gateway asks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from examples.digits.data import DOMAINS, Split
from examples.digits.load import Case, Result, ask_all, cases
from examples.digits.train import predict
from fabric.core.decisions import Feedback
from fabric.core.errors import NotFound
from fabric.learning.measures import Interval, bootstrap, gap_closed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from examples.digits.train import Trained
    from fabric import AsyncClient

UNTOLD = "digits-untold"
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Shares of right answers to the same images."""

    best: float
    """Of the best model alone."""
    route: float
    oracle: float
    """Of whoever is right, if anybody is."""
    closed: Interval
    """How much of the gap between best and oracle the route closes."""


def untold(split: Split) -> list[Case]:
    """Every image of all domains, without its domain."""
    return [replace(case, domain="") for case in cases(split, DOMAINS)]


def right(trained: Sequence[Trained], split: Split) -> NDArray[np.bool_]:
    """Which model reads which image of `untold` right: [images, models]."""
    images, labels = split.join(DOMAINS)
    return np.column_stack([predict(each.path, images)[0] == labels for each in trained])


async def teach(
    client: AsyncClient, trained: Sequence[Trained], split: Split, in_flight: int
) -> None:
    """Asks the route for the images of *split*, says which models read them right, and has it
    learn; returns when the gateway asks by what it has learned.

    Raises:
        RuntimeError: it has learned nothing.
    """
    asked, was_right = untold(split), right(trained, split)
    results = await ask_all(client, UNTOLD, asked, in_flight)
    await client.feedback_many(
        Feedback(request=result.request, specialist=f"{each.name}:1", score=float(score))
        for result in results
        for each, score in zip(trained, was_right[result.case.place], strict=True)
    )
    async with asyncio.timeout(PATIENCE):
        while not await is_known(client, results[-1].request):
            await asyncio.sleep(0.1)
    learnt = await client.train(UNTOLD)
    if not learnt.version:
        raise RuntimeError(f"{UNTOLD} has learned nothing: {learnt.report}")
    async with asyncio.timeout(PATIENCE):
        while await policy_of(client, asked[0]) != learnt.version:
            await asyncio.sleep(0.1)


async def is_known(client: AsyncClient, request: str) -> bool:
    """Whether the control plane has heard of *request*, and so of those before it."""
    try:
        await client.decisions(request=request)
    except NotFound:
        return False
    return True


async def policy_of(client: AsyncClient, case: Case) -> int:
    """The version of the policy that decides now; 0 for none."""
    answer = await client.infer(UNTOLD, {"image": case.image})
    decision = (await client.explain(request=answer.request)).decision
    return decision.policy if decision is not None else 0


def compared(results: Sequence[Result], was_right: NDArray[np.bool_]) -> Comparison:
    """The route's *results* for all images of `untold` beside what each model reads, as `right`.

    The interval is by bootstrap over the images, each of which is in all domains.
    """
    route = np.zeros(len(was_right))
    for result in results:
        route[result.case.place] = result.is_right
    best, oracle = was_right[:, was_right.mean(axis=0).argmax()], was_right.any(axis=1)
    wrong = [1.0 - each.reshape(len(DOMAINS), -1) for each in (route, best, oracle)]

    def closed(images: NDArray[np.intp]) -> float:
        return gap_closed(*(each[:, images] for each in wrong))

    return Comparison(
        best=float(best.mean()),
        route=float(route.mean()),
        oracle=float(oracle.mean()),
        closed=bootstrap(closed, wrong[0].shape[1]),
    )
