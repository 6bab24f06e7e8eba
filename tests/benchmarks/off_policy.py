"""How near estimates from a log come to the truth, on a table where the truth is known.

`python -m tests.benchmarks.off_policy FOLDER` takes a folder with LLMRouter's table
`train.parquet`. The policy that is scored takes the best model of each task. The log is decided by
a softmax of the means of models by task, at several temperatures: the higher, the farther from the
policy. Each log has 2,000 of the queries, each with the reward of the model that was drawn. The
truth is the policy's mean reward on the whole table. Beside the error of each method stands the
least that any unbiased one could have without knowing more than the task: the semiparametric
efficiency bound (Hahn 1998; Dudík et al. 2011).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from fabric.core.decisions import Decision, Feedback, Outcome, Query, Record
from fabric.learning.replay import METHODS, replay


class Known:
    """A table with everything that came out, and what is best by task."""

    def __init__(self, folder: Path, with_text: bool) -> None:
        frame = pl.read_parquet(folder / "train.parquet")
        self.names = tuple(frame.columns[3:])
        self.quality = frame.select(self.names).to_numpy()
        tasks, self.task = np.unique(frame["task"].to_list(), return_inverse=True)
        texts = frame["question"].to_list() if with_text else [""] * len(frame)
        self.queries = [
            Query(task=str(tasks[task]), text=text[:1000])
            for task, text in zip(self.task, texts, strict=True)
        ]
        self.means = np.array([self.quality[self.task == t].mean(0) for t in range(len(tasks))])
        self.best = dict(zip(tasks.tolist(), self.means.argmax(axis=1).tolist(), strict=True))
        self.truth = self.quality[np.arange(len(self.task)), self.means.argmax(1)[self.task]].mean()

    def policy(self, query: Query, candidates: tuple[str, ...]) -> list[float]:
        best = self.names[self.best[query.task]]
        return [float(name == best) for name in candidates]

    def record(self, row: int, chances: np.ndarray, random: np.random.Generator) -> Record:
        first = int(random.choice(len(self.names), p=chances))
        order = [first, *(column for column in range(len(self.names)) if column != first)]
        decision = Decision(
            request=str(row),
            route="log",
            time=float(row),
            query=self.queries[row],
            candidates=tuple(self.names[column] for column in order),
            propensities=tuple(chances[order].tolist()),
        )
        answered = Outcome(request=str(row), specialist=self.names[first], seconds=0.0)
        told = Feedback(request=str(row), score=float(self.quality[row, first]))
        return Record(decision, (answered,), (told,))

    def bound(self, chances: np.ndarray, size: int) -> float:
        """The least standard error, of logs that are drawn without returning queries."""
        chosen = self.means.argmax(axis=1)
        within = (self.quality - self.means[self.task])[
            np.arange(len(self.task)), chosen[self.task]
        ]
        weights = 1 / chances[np.arange(len(chosen)), chosen]
        left = 1 - size / len(self.task)
        return float(
            np.sqrt(
                np.mean((weights[self.task] - 1 + left) * within**2) / size
                + left * self.means.max(axis=1)[self.task].var() / size
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--logs", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--text", action="store_true", help="let the model of rewards read")
    parser.add_argument("--temperatures", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    arguments = parser.parse_args()
    known = Known(arguments.folder, arguments.text)
    print(f"root mean square errors of {arguments.draws} logs of {arguments.logs}")
    print(f"{'temperature':>11} {'average':>8} " + " ".join(f"{m:>6}" for m in METHODS), end="")
    print(f" {'bound':>6}  share of 95 % intervals of dr with the truth, effective sample size")
    for temperature in arguments.temperatures:
        print(measured(known, temperature, arguments), flush=True)


def measured(known: Known, temperature: float, arguments: argparse.Namespace) -> str:
    soft = np.exp(known.means / temperature)
    soft /= soft.sum(axis=1, keepdims=True)
    errors, averages, held, effective = [], [], [], []
    for seed in range(arguments.draws):
        random = np.random.default_rng(seed)
        rows = random.choice(len(known.queries), arguments.logs, replace=False)
        log = [known.record(int(row), soft[known.task[row]], random) for row in rows]
        averages.append(np.mean([r.rewards[r.decision.candidates[0]] for r in log]) - known.truth)
        replayed = replay(log)
        found = [replayed.estimate(known.policy, method) for method in METHODS]
        errors.append([estimate.value - known.truth for estimate in found])
        held.append(found[0].low <= known.truth <= found[0].high)
        effective.append(found[0].effective_sample_size)
    off = np.sqrt(np.mean(np.square(errors), axis=0))
    average = np.sqrt(np.mean(np.square(averages)))
    return (
        f"{temperature:>11} {average:>8.3f} " + " ".join(f"{value:>6.4f}" for value in off) + " "
        f"{known.bound(soft, arguments.logs):>6.4f}  {np.mean(held):.2f} {np.mean(effective):.0f}"
    )


if __name__ == "__main__":
    main()
