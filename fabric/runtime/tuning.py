"""What `fabric tune` measures next, and which setting wins: decisions without a clock.

One part of a setting is varied at a time, around the best that was found so far. The current
setting is measured in every round, and others are compared with it within a round alone: what else
the machine does then hits both. The last stage decides, on nothing but its own rounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any

from fabric.core.cards import OnnxRuntime

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEVELS = ("disable", "basic", "extended", "all")
MAX_SIZE = "batching.max_size"
LEAST_ROUNDS = 3
"""Of the last stage; from fewer nothing is concluded."""
_LEAST_GAIN = 0.01
"""What is less is not worth a change."""
_LARGE = 16
"""Rows of a batch that shows what batching is worth, where none are declared."""


class Goal(StrEnum):
    THROUGHPUT = "throughput"
    """Most rows a second, in batches."""
    LATENCY = "latency"
    """The shortest run of a single row; the batch size stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How ONNX Runtime runs a model, and how many rows at once."""

    options: OnnxRuntime
    rows: int

    def __str__(self) -> str:
        options = self.options
        threads = f"{options.intra_op_threads} threads"
        return f"{options.graph_optimization}, {threads}, {self.rows} rows"

    def parts(self) -> dict[str, Any]:
        """What is chosen, by its place in a portfolio file."""
        return {
            "onnxruntime.providers": self.options.providers,
            "onnxruntime.intra_op_threads": self.options.intra_op_threads,
            "onnxruntime.graph_optimization": self.options.graph_optimization,
            MAX_SIZE: self.rows,
        }


@dataclass(frozen=True, kw_only=True)
class Space:
    """What there is to choose from."""

    current: Setting
    providers: tuple[tuple[str, ...], ...]
    threads: tuple[int, ...]
    sizes: tuple[int, ...]
    """Of batches, the least first."""
    p99: float = math.inf
    """Seconds that a run may take, but for one in a hundred."""

    @property
    def pair(self) -> tuple[int, ...]:
        """The two batch sizes at which everything else is varied."""
        larger = [size for size in self.sizes if size >= _LARGE] or self.sizes[-1:]
        large = self.current.rows if self.current.rows > 1 else larger[0]
        return tuple(dict.fromkeys((self.sizes[0], large)))


def space_of(
    current: Setting,
    here: Sequence[str],
    *,
    cores: int,
    largest: int,
    p99: float = math.inf,
) -> Space:
    """The choices where the providers *here* are wanted and available, and so many *cores*.

    *largest* is the most rows that may be stacked; 0 where their number is to stay.
    """
    rows, threads = current.rows, current.options.intra_op_threads
    return Space(
        current=current,
        providers=(current.options.providers, *(tuple(here[i:]) for i in range(1, len(here)))),
        threads=tuple(sorted({*_powers_of_two(cores), cores, threads})),
        sizes=tuple(sorted({*_powers_of_two(largest), rows})),
        p99=p99,
    )


def _powers_of_two(most: int) -> list[int]:
    return [1 << bits for bits in range(most.bit_length())]


# ------------------------------------------------------------------ what was measured
@dataclass
class Results:
    """How long the runs of settings took, by setting and round, in seconds."""

    current: Setting
    times: dict[Setting, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    failures: dict[Setting, str] = field(default_factory=dict)
    """Settings that do not run, and why."""

    def add(self, setting: Setting, number: int, times: Sequence[float]) -> None:
        """*number* is that of the round, which no other stage has."""
        self.times.setdefault(setting, {})[number] = tuple(times)

    def rates(self, setting: Setting, since: int = 0) -> dict[int, float]:
        """Rows a second, by round from *since* on."""
        rounds = self.times.get(setting, {})
        return {n: setting.rows * len(t) / sum(t) for n, t in rounds.items() if n >= since}

    def ratios(self, setting: Setting, other: Setting, since: int = 0) -> list[float]:
        """How many times the rate of *other* it had, by the rounds that had both."""
        others = self.rates(other, since)
        rates = self.rates(setting, since)
        return [rate / others[n] for n, rate in rates.items() if n in others]

    def gain(self, setting: Setting, since: int = 0) -> float:
        """How many times the rate of the current setting it has as a rule; 0 if nobody knows."""
        return statistics.median(self.ratios(setting, self.current, since) or [0.0])

    def percentile(self, setting: Setting, percent: int) -> float:
        """Of the seconds that a run took, in all rounds."""
        ordered = sorted(chain.from_iterable(self.times.get(setting, {}).values()))
        return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else math.inf

    def best(self, settings: Iterable[Setting], p99: float, since: int = 0) -> Setting | None:
        """Of *settings* the one with the most gain, or one that is as good and nearer to the
        current one; None if none ran. One whose p99 is above *p99* is the best of last resort.
        """
        ran = [s for s in settings if self.gain(s, since) and s not in self.failures]
        if not ran:
            return None
        within = [s for s in ran if self.percentile(s, 99) <= p99]
        if not within:
            return min(ran, key=lambda setting: self.percentile(setting, 99))
        top = max(within, key=lambda setting: self.gain(setting, since))
        as_good = [s for s in within if s == top or self.is_as_good(s, top, since)]
        return max(as_good, key=lambda s: (-self._changed(s), self.gain(s, since)))

    def is_as_good(self, setting: Setting, other: Setting, since: int) -> bool:
        """Whether *other* was faster by no more than its repeats differ, where both ran."""
        ratios = self.ratios(other, setting, since)
        return len(ratios) >= LEAST_ROUNDS and not is_above_one(ratios)

    def _changed(self, setting: Setting) -> int:
        """How many options of ONNX Runtime are not the current ones."""
        current, parts = self.current.parts(), setting.parts()
        return sum(current[part] != parts[part] for part in parts.keys() - {MAX_SIZE})


def middle(ratios: Sequence[float]) -> tuple[float, float]:
    """Between which the middle half of *ratios* lies."""
    if len(ratios) < 2:
        return (0.0, math.inf)
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, high


def is_above_one(ratios: Sequence[float]) -> bool:
    """Whether *ratios* are, by more than they differ among themselves, and worth a change."""
    if len(ratios) < LEAST_ROUNDS:
        return False
    low, high = middle(ratios)
    return statistics.median(ratios) - 1 > max(high - low, _LEAST_GAIN)


# ------------------------------------------------------------------ what is measured next
Chooser = Callable[[Space, Results], "list[Setting]"]


def _varied(part: str, choices: Callable[[Space], tuple[Any, ...]]) -> Chooser:
    """The best setting at each of two batch sizes, with every choice for one *part* of it."""

    def chosen(space: Space, results: Results) -> list[Setting]:
        values = choices(space)
        if len(values) == 1:
            return []
        return [
            Setting(options=replace(leader.options, **{part: value}), rows=leader.rows)
            for leader in leaders(space, results)
            for value in values
        ]

    return chosen


def leaders(space: Space, results: Results) -> list[Setting]:
    """The best setting at each of the two batch sizes; the current one where none ran yet."""
    found = []
    for rows in space.pair:
        best = results.best((s for s in results.times if s.rows == rows), space.p99)
        found.append(best or replace(space.current, rows=rows))
    return found


def _sizes(space: Space, results: Results) -> list[Setting]:
    if len(space.sizes) == 1:
        return []
    options = dict.fromkeys(leader.options for leader in leaders(space, results))
    return [Setting(options=each, rows=rows) for rows in space.sizes for each in options]


def _finalists(space: Space, results: Results) -> list[Setting]:
    """The best, what comes next, and the best batch size alone."""
    current = space.current
    others = [setting for setting in results.times if setting != current]
    best = results.best(others, space.p99)
    if best is None:
        return []
    next_best = results.best((s for s in others if s != best), space.p99)
    return [each for each in (best, next_best, replace(current, rows=best.rows)) if each]


@dataclass(frozen=True, kw_only=True)
class Stage:
    name: str
    chosen: Chooser
    """What is measured in it, the current setting aside."""
    share: float
    """Of the time, in proportion to the shares of the stages that are left."""
    rounds: int = 5


STAGES = (
    Stage(name="providers", chosen=_varied("providers", lambda space: space.providers), share=2),
    Stage(
        name="graph optimization", chosen=_varied("graph_optimization", lambda _: LEVELS), share=2
    ),
    Stage(name="threads", chosen=_varied("intra_op_threads", lambda space: space.threads), share=2),
    Stage(name="batch sizes", chosen=_sizes, share=3),
    Stage(name="the best again", chosen=_finalists, share=3, rounds=15),
)


# ------------------------------------------------------------------ which wins
@dataclass(frozen=True, kw_only=True)
class Verdict:
    chosen: Setting
    """The current one, where none is better for sure."""
    why: str

    def changes(self, current: Setting) -> dict[str, tuple[Any, Any]]:
        """What is to change of *current*, by its place in a portfolio file: from what, to what."""
        before, after = current.parts(), self.chosen.parts()
        return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def verdict(space: Space, results: Results, since: int) -> Verdict:
    """What the rounds from *since* on, those of the last stage, say."""
    current = space.current
    best = results.best((s for s in results.times if s != current), space.p99, since)
    if best is None or len(ratios := results.ratios(best, current, since)) < LEAST_ROUNDS:
        why = "nothing else was measured often enough to tell: give it more seconds"
        return Verdict(chosen=current, why=why)
    low, high = middle(ratios)
    times = f"{statistics.median(ratios):.2f} times the rows/s"
    said = f"{times} (half of its repeats: {low:.2f} to {high:.2f})"
    slowest = results.percentile(best, 99)
    if slowest > space.p99:
        limit = f"none of the best keeps to a p99 of {space.p99 * 1e3:g} ms"
        return Verdict(chosen=current, why=f"{limit}; the nearest has {slowest * 1e3:.3g} ms")
    if results.percentile(current, 99) > space.p99:
        return Verdict(chosen=best, why=f"it keeps to the limit, at {said}")
    if is_above_one(ratios):
        return Verdict(chosen=best, why=f"it has {said}")
    return Verdict(chosen=current, why=f"the best other setting has {said}")
