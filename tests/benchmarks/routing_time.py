"""How long a policy takes to choose, and how large it is.

`python -m tests.benchmarks.routing_time`, of texts of about 500 and
4,000 bytes with a declared task, for few and for many candidates.
"""

from __future__ import annotations

import time

import numpy as np

from fabric.core.decisions import Query
from fabric.learning.outcomes import Table
from fabric.learning.training import Training, fit
from fabric.routing.learned import Learned

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


def timed(learned: Learned, queries: tuple[Query, ...]) -> tuple[float, float]:
    """Median and 99th percentile of a choice, in seconds."""
    taken = []
    for round_ in range(ROUNDS):
        began = time.perf_counter()
        learned.choose(queries[round_ % len(queries)], learned.candidates)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)), float(np.quantile(taken, 0.99))


def main() -> None:
    for candidates in (3, 10, 50):
        for words in (60, 460):
            made = table(1000, candidates, words)
            for stages in (("prior",), ("prior", "words"), ("prior", "words", "forest")):
                data = fit(made, Training(stages=stages)).write()
                middle, slow = timed(Learned.read(data), made.queries)
                print(
                    f"{candidates:3} candidates, {words * 9:5} bytes, {'+'.join(stages):18} "
                    f"{middle * 1e3:.3f} ms p50  {slow * 1e3:.3f} ms p99  {len(data) >> 10} KiB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
