"""The ladder: how well routers do on public tables of outcomes, beside what others published.

`python -m tests.benchmarks.routing FOLDER [--table NAME] [--json FILE]`, where FOLDER has the
tables as `routing_tables` describes them. One configuration and fixed seeds for all; nothing is
tuned for a table. What is printed of each:

    pair     APGR of the order in which queries go to the strong model, and CPT(50 %)
    pool     m, the part closed of the gap from the best single model to the oracle
    priced   AIQ, the area under quality over cost, and the cost at the best single's quality
    solvers  nPAR10, the mean over the folds, and m of all of them
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fabric.learning import measures
from fabric.learning.training import Training, fit
from tests.benchmarks.routing_baselines import Baselines
from tests.benchmarks.routing_tables import Task, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fabric.learning.outcomes import Table
    from fabric.routing.learned import Learned

Floats = NDArray[np.float64]
Scores = dict[str, Floats]
"""Of each router [queries, k]: what it ranks candidates by."""

DRAWS = 200
PRICES = np.append(0, np.logspace(0, 6, 120))
"""What quality is traded for a unit of cost at, to draw a curve of cost and quality."""
OURS = "fabric"
GUARDED = "fabric, guarded"

# Published or textbook, our reference, the aim; of the first figure of each table. In brackets what
# LLAMA publishes of all folds together, to be held against 1 - m.
LADDER: Mapping[str, tuple[str, str, str]] = {
    "routellm/mmlu, 1500 labels": (".603", ".646", ".665"),
    "routellm/mmlu": (".684", ".699 (.710 tagged)", ".72"),
    "routellm/gsm8k": (".597", ".621", ".64"),
    "llmrouter9": (".10", ".248 (.260 tagged)", ".29"),
    "llmrouter9, own split": (".14", ".31", ".33"),
    "routerbench3": (".838", ".840", ".86"),
    "routerbench3, own split": (".838", ".840", ".86"),
    "aslib/QBF-2011": (".154 (.138)", ".091", ".154"),
    "aslib/MAXSAT12-PMS": (".238 (.110)", ".060", ".238"),
    "aslib/SAT11-RAND": (".082 (.122)", ".067", ".082"),
    "aslib/CPMP-2015": (".812 (.738)", ".845", ".812"),
    "aslib/BNSL-2016": (".188 (.134)", "", ""),
    "aslib/CSP-2010": (".243 (.229)", "", ""),
    "aslib/MAXSAT19-UCMS": ("(.668)", "", ""),
    "aslib/MIP-2016": (".957 (.872)", "", "1.05"),
    "aslib/QBF-2014": (".301 (.176)", "", ""),
    "aslib/SAT11-HAND": (".362 (.251)", "", ""),
    "aslib/SAT15-INDU": (".653 (.469)", "", ""),
}


def textbooks(task: Task) -> list[Scores]:
    """Of each split what textbooks' routers say, which know texts or numbers and no tags."""
    baselines = Baselines(task.table.queries)
    return [dict(baselines.predict(task.table.quality, *split)) for split in task.splits]


def predictions(
    task: Task, beside: list[Scores]
) -> list[tuple[NDArray[np.intp], Scores, NDArray[np.intp], Floats]]:
    """Of each split: held-out rows, scores by router, the best single's column, probabilities."""
    found = []
    for seed, (fitted, held) in enumerate(task.splits):
        learned = fit(task.table.rows(fitted), Training(), seed)
        scores, probabilities = ours(learned, task, held)
        scores.update(beside[seed])
        best = np.full(len(held), task.table.candidates.index(learned.best))
        found.append((held, scores, best, probabilities))
    return found


def ours(learned: Learned, task: Task, held: NDArray[np.intp]) -> tuple[Scores, Floats]:
    """Scores of the stages and of the whole, with and without the guard, and probabilities."""
    table, k = task.table, len(task.table.candidates)
    queries = [table.queries[row] for row in held]
    inputs = np.array([learned.inputs(query, is_whole=False)[: 2 * k] for query in queries], float)
    scores = {"our prior": inputs[:, :k]}
    if learned.words is not None:
        scores["our words"] = inputs[:, k:]
    scores[OURS] = whole = np.array([learned.score(query) for query in queries])
    if task.kind != "pair":  # where what counts is the order in which queries are dear
        first = [learned.choose(query, table.candidates).first for query in queries]
        scores[GUARDED] = whole.copy()
        scores[GUARDED][np.arange(len(first)), first] += 2
    return scores, learned.calibrated(whole)


def oracles(task: Task, held: NDArray[np.intp], best: NDArray[np.intp]) -> Scores:
    """What no router may know: who was best at each query, and at each task or domain."""
    quality = task.table.quality[held]
    tags = np.array([(q.task or q.domain) for q in (task.table.queries[row] for row in held)])
    by_tag = np.zeros(quality.shape)
    for tag in np.unique(tags):
        by_tag[tags == tag] = quality[tags == tag].mean(0)
    single = np.zeros(quality.shape)
    single[np.arange(len(held)), best] = 1
    noise = np.random.default_rng(0).random(quality.shape)
    return {"random": noise, "best single": single, "tag oracle": by_tag, "oracle": quality}


def measured(task: Task, beside: list[Scores]) -> dict[str, dict[str, Any]]:
    """Of each router its figures with intervals."""
    found = predictions(task, beside)
    every = [
        (held, {**oracles(task, held, best), **scores}, best) for held, scores, best, _ in found
    ]
    if task.is_repeated:
        parts = [figures(task, held, scores, best, [len(held)]) for held, scores, best in every]
        result = {name: _averaged([part[name] for part in parts]) for name in parts[0]}
    else:
        held = np.concatenate([part[0] for part in every])
        best = np.concatenate([part[2] for part in every])
        scores = {name: np.concatenate([part[1][name] for part in every]) for name in every[0][1]}
        result = figures(task, held, scores, best, [len(part[0]) for part in every])
    errors = [measures.calibration_error(p, task.table.quality[held]) for held, _, _, p in found]
    sizes = [len(part[0]) for part in found]
    if not task.is_repeated:
        everything = np.concatenate([p for *_, p in found])
        rows = np.concatenate([part[0] for part in found])
        errors, sizes = [measures.calibration_error(everything, task.table.quality[rows])], [1]
    result[OURS]["ECE"] = float(np.average(errors, weights=sizes))
    return result


def _averaged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(key: str) -> Any:
        values = [part[key] for part in parts]
        if isinstance(values[0], float):
            return float(np.mean(values))
        return measures.Interval(*np.mean([astuple(value) for value in values], axis=0).tolist())

    return {key: mean(key) for key in parts[0]}


def figures(
    task: Task,
    held: NDArray[np.intp],
    scores: Scores,
    best: NDArray[np.intp],
    folds: list[int],
) -> dict[str, dict[str, Any]]:
    table = task.table.rows(held)
    if task.kind == "pair":
        return {name: _of_pair(table, s) for name, s in scores.items()}
    if task.kind == "priced":
        cost = expected_cost(task, held)
        found = {name: _of_priced(table, s, cost, name) for name, s in scores.items()}
        found[GUARDED] = {"m": found[GUARDED]["m"]}  # the guard knows no prices
        return found
    single = np.full(len(held), measures.best_single(table.quality))
    if task.kind == "pool":
        return {name: {"m": _gap(table, s, single)} for name, s in scores.items()}
    return {name: _of_solvers(table, s, best, folds) for name, s in scores.items()}


def _gap(table: Table, scores: Floats, single: NDArray[np.intp]) -> measures.Interval:
    loss = 1 - measures.taken(table.quality, scores.argmax(1))
    usual = 1 - measures.taken(table.quality, single)
    oracle = 1 - table.quality.max(1)
    return _bootstrap(
        lambda rows: measures.gap_closed(loss[rows], usual[rows], oracle[rows]), len(loss)
    )


def _bootstrap(statistic: Callable[[NDArray[np.intp]], float], rows: int) -> measures.Interval:
    return measures.bootstrap(statistic, rows, draws=DRAWS)


def _of_pair(table: Table, scores: Floats) -> dict[str, Any]:
    gain, (weak, strong) = scores[:, 1] - scores[:, 0], table.quality.T
    rows = len(gain)
    return {
        "APGR": _bootstrap(lambda r: measures.average_recovered(gain[r], weak[r], strong[r]), rows),
        "CPT50": _bootstrap(
            lambda r: measures.calls_needed(gain[r], weak[r], strong[r], 0.5), rows
        ),
        "CPT80": measures.calls_needed(gain, weak, strong, 0.8),
    }


def expected_cost(task: Task, held: NDArray[np.intp]) -> Floats:
    """Of each query what each candidate costs at its task in the rows that were fitted."""
    cost, tags = task.table.cost, np.array([query.task for query in task.table.queries])
    expected = np.zeros(cost.shape)
    for fitted, rows in task.splits:
        for tag in np.unique(tags[rows]):
            same = fitted[tags[fitted] == tag]
            expected[rows[tags[rows] == tag]] = cost[same if len(same) else fitted].mean(0)
    return expected[held]


def _of_priced(table: Table, scores: Floats, expected: Floats, name: str) -> dict[str, Any]:
    if name == "best single":  # the hull of all single models, what the paper calls its zero router
        points = np.stack([table.cost, table.quality], axis=-1)
    else:
        cost = table.cost if name == "oracle" else expected
        choices = [(scores - price * cost).argmax(1) for price in PRICES]
        points = np.stack(
            [
                np.stack([measures.taken(table.cost, c), measures.taken(table.quality, c)], axis=-1)
                for c in choices
            ],
            axis=1,
        )
    single = measures.best_single(table.quality)

    def area(rows: NDArray[np.intp]) -> float:
        prices = table.cost[rows].mean(0)
        x, y = points[rows].mean(0).T
        return measures.quality_area(x, y, prices.min(), prices.max())

    def share(rows: NDArray[np.intp]) -> float:
        x, y = points[rows].mean(0).T
        wanted = table.quality[rows, single].mean()
        return measures.cost_at_quality(x, y, wanted) / float(table.cost[rows, single].mean())

    return {
        "AIQ": _bootstrap(area, len(expected)),
        "cost at best": _bootstrap(share, len(expected)),
        "m": _gap(table, scores, np.full(len(expected), single)),
    }


def _of_solvers(
    table: Table, scores: Floats, best: NDArray[np.intp], folds: list[int]
) -> dict[str, Any]:
    loss = measures.taken(table.seconds, scores.argmax(1))
    single, oracle = measures.taken(table.seconds, best), table.seconds.min(1)
    ends = np.cumsum([0, *folds])
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
    values = [measures.normalized_par10(loss[p], single[p], oracle[p]) for p in parts]
    mean = float(np.nanmean(values))
    error = float(np.nanstd(values) / np.sqrt(len(values)))
    return {
        "nPAR10": measures.Interval(mean, mean - 1.96 * error, mean + 1.96 * error),
        "m": _bootstrap(lambda r: measures.gap_closed(loss[r], single[r], oracle[r]), len(loss)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", default="", help="only those whose name has this in it")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    written: dict[str, Any] = {}
    started, began = time.monotonic(), time.process_time()
    for task in tables(arguments.folder):
        kinds = (task, task.untagged()) if task.is_tagged else (task,)
        if wanted := [each for each in kinds if arguments.table in each.name]:
            beside = textbooks(task)
            written |= {each.name: _shown(each, beside) for each in wanted}
    spent = time.process_time() - began
    print(f"{time.monotonic() - started:.0f} s in all, {spent:.0f} s of CPU")
    if arguments.json:
        arguments.json.write_text(json.dumps(written, default=asdict, indent=1))


def _shown(task: Task, others: list[Scores]) -> dict[str, Any]:
    began = time.process_time()
    result = measured(task, others)
    known = LADDER.get(task.name.removesuffix(", text only"))
    beside = "published {}, reference {}, aim {}".format(*known) if known else ""
    shape = task.table.quality.shape
    print(f"\n{task.name} ({task.kind}, {shape[0]} × {shape[1]}) {beside}")
    for name, values in result.items():
        shown = (
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
            for key, value in values.items()
        )
        print(f"  {name:16} {'  '.join(shown)}")
    print(f"  {time.process_time() - began:.0f} s of CPU", flush=True)
    return result


if __name__ == "__main__":
    main()
