"""Small tables of outcomes with something to learn in them."""

import numpy as np

from fabric.core.decisions import Query
from fabric.learning.outcomes import Table

NAMES = ("anna:1", "bert:1", "carl:2")
WORDS = {
    "sum": "add the numbers and give the total of 12 and 30",
    "poem": "write a poem about the sea and the silent moon",
    "code": "def f(x): return x + 1 what does this function return",
}


def table(queries: list[Query], quality: np.ndarray, names: tuple[str, ...] = NAMES) -> Table:
    nothing = np.zeros(quality.shape)
    return Table(names, tuple(queries), quality, nothing, nothing)


def of_texts(rows: int = 240, seed: int = 0, tagged: bool = False) -> Table:
    """Each of three candidates is good at one kind of text, and the first is best on the whole."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(3, rows, p=(0.5, 0.3, 0.2))
    chances = np.full((rows, 3), 0.25)
    chances[:, 0] = 0.5
    chances[np.arange(rows), kinds] = 0.9
    names = list(WORDS)
    queries = []
    for kind in kinds:
        words = WORDS[names[kind]].split()
        text = " ".join(rng.permutation(words)) + f" {rng.integers(1000)}"
        queries.append(Query(task=names[kind] if tagged else "", text=text))
    return table(queries, (rng.random((rows, 3)) < chances).astype(float))


def of_numbers(rows: int = 240, seed: int = 0) -> Table:
    """Who succeeds depends on the sign of the first of three numbers."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, 3)) * (1, 100, 0.01)
    chances = np.where(numbers[:, :1] > 0, (0.9, 0.2, 0.5), (0.2, 0.8, 0.5))
    queries = [Query(numbers=tuple(map(float, row))) for row in numbers]
    return table(queries, (rng.random((rows, 3)) < chances).astype(float))
