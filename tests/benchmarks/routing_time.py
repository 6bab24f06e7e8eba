"""How long it takes to decide who answers, and how large a policy is.

`python -m tests.benchmarks.routing_time`, of texts of about 500 and 4,000 bytes, for few and for
many candidates: a choice of the policy, and the whole decision of a gateway, from the request's
bytes to its plan, with the record that is kept of it. In CPU time, which others do not lengthen.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np

from fabric.core.cards import Evidence, Specialist
from fabric.core.deadlines import NEVER
from fabric.core.decisions import Query
from fabric.core.policies import Policy
from fabric.core.requests import InferRequest
from fabric.core.routes import Exploration, Learning, Preferences
from fabric.learning.outcomes import Table
from fabric.learning.training import Training, fit
from fabric.routing.learned import Learned
from fabric.testing import specialist
from tests.gateway.deciding import CONTENT, kept, request, route, view_of

ROUNDS = 1000


def table(rows: int, candidates: int, words: int) -> Table:
    rng = np.random.default_rng(0)
    vocabulary = [f"word{number:x}" for number in rng.integers(0, 1 << 20, 3000)]
    skills = rng.random((10, candidates))
    tasks = rng.integers(0, 10, rows)
    texts = [" ".join(rng.choice(vocabulary, words)) for _ in range(rows)]
    queries = tuple(Query(task=f"task{t}", text=text) for t, text in zip(tasks, texts, strict=True))
    quality = (rng.random((rows, candidates)) < skills[tasks]).astype(float)
    names = tuple(f"candidate-{number}:1" for number in range(candidates))
    nothing = np.zeros(quality.shape)
    return Table(names, queries, quality, nothing, nothing)


def timed(learned: Learned, queries: tuple[Query, ...]) -> str:
    """Of a choice."""
    taken = []
    for round_ in range(ROUNDS):
        began = time.thread_time()
        learned.choose(queries[round_ % len(queries)], learned.candidates)
        taken.append(time.thread_time() - began)
    return quantiles(taken)


async def decided(
    data: bytes, queries: tuple[Query, ...], exploration: Exploration, **weights: float
) -> str:
    """Of a decision by the policy *data*, among all whom it knows."""
    preferences = Preferences(preset="quality", weights={"quality": 1.0, **weights})
    along = route(
        learning=Learning(mode="apply"),
        content=CONTENT,
        preferences=preferences,
        exploration=exploration,
    )
    specialists = [known(key) for key in Learned.read(data).candidates]
    view = view_of(*specialists, along, policies=[Policy(route="r", version=1, data=data)])
    payloads = [request(query.text).payload for query in queries]
    taken = []
    async with kept(view):
        for round_ in range(ROUNDS):
            asked = InferRequest("r", "", payloads[round_ % len(payloads)])
            began = time.thread_time()
            await view.decisions._decide(asked, NEVER)
            taken.append(time.thread_time() - began)
            view.records.take()
            await asyncio.sleep(0)
    return quantiles(taken)


def known(key: str) -> Specialist:
    name, _, number = key.removesuffix(":1").partition("-")
    evidence = Evidence(metric="accuracy", value=0.5 + int(number) / 200, rows=100)
    about = f"Knows word {number}, and others."
    return specialist(f"{name}-{number}", description=about, evidence=(evidence,))


def quantiles(taken: list[float]) -> str:
    middle, slow = np.quantile(taken[ROUNDS // 10 :], (0.5, 0.99)) * 1e3
    return f"{middle:.3f} ms p50  {slow:.3f} ms p99"


def main() -> None:
    for candidates in (3, 10, 50):
        for words in (60, 460):
            made = table(1000, candidates, words)
            for stages in (("prior",), ("prior", "words"), ("prior", "words", "forest")):
                data = fit(made, Training(stages=stages)).write()
                who = f"{candidates:3} candidates, {words * 9:5} bytes, {'+'.join(stages):18}"
                chosen = timed(Learned.read(data), made.queries)
                print(f"{who} choice    {chosen}  {len(data) >> 10} KiB", flush=True)
                for what, exploration, similarity in (
                    ("decision ", Exploration(), 0.0),
                    ("… similar", Exploration(), 0.2),
                    ("… exploring", Exploration(share=0.05, shadow=0.05), 0.0),
                ):
                    weights = {"similarity": similarity} if similarity else {}
                    whole = asyncio.run(decided(data, made.queries, exploration, **weights))
                    print(f"{who} {what} {whole}", flush=True)


if __name__ == "__main__":
    main()
