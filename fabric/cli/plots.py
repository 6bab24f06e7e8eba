"""Plots of throughput against p99: in the terminal, and as PNG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_WIDTH, _HEIGHT = 64, 14
_MARKS = {"other": "·", "current": "o", "chosen": "X"}
"""What is drawn later covers what is drawn before."""


@dataclass(frozen=True)
class Point:
    p99: float
    """Milliseconds."""
    throughput: float
    """Rows a second."""
    kind: str
    """current, chosen or other."""
    rows: int
    """Of a run."""


def drawn(points: Sequence[Point]) -> str:
    """*points* as text: rows a second upwards, the logarithm of the p99 to the right."""
    across = _scale([math.log(point.p99) for point in points], _WIDTH)
    up = _scale([point.throughput for point in points], _HEIGHT)
    cells = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for kind, mark in _MARKS.items():
        for point in points:
            if point.kind == kind:
                cells[-1 - up(point.throughput)][across(math.log(point.p99))] = mark
    most = f"{max(point.throughput for point in points):,.0f}"
    least = f"{min(point.throughput for point in points):,.0f}".rjust(len(most))
    labels = [most, *[" " * len(most)] * (_HEIGHT - 2), least]
    lines = [f"{label} │{''.join(row)}" for label, row in zip(labels, cells, strict=True)]
    slowest = f"{max(point.p99 for point in points):.3g}"
    fastest = f"{min(point.p99 for point in points):.3g}"
    edge = " " * len(most)
    said = "p99 ms".center(_WIDTH - len(fastest) - len(slowest))
    legend = "   ".join(f"{mark} {kind}" for kind, mark in _MARKS.items())
    return "\n".join(
        [
            "rows/s",
            *lines,
            f"{edge} └{'─' * _WIDTH}",
            f"{edge}  {fastest}{said}{slowest}",
            f"{edge}  {legend}",
        ]
    )


def _scale(values: Sequence[float], cells: int) -> Callable[[float], int]:
    """In which of so many *cells* a value is, from the least to the largest of *values*."""
    least = min(values)
    width = (max(values) - least) or 1.0
    return lambda value: round((value - least) / width * (cells - 1))


def save(points: Sequence[Point], title: str, file: Path) -> None:
    """Writes *points* to *file* as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="p99 of a run, ms", ylabel="rows/s", title=title)
    for kind, marker, color, size in (
        ("other", "o", "#9aa5b1", 30),
        ("current", "s", "#c0392b", 80),
        ("chosen", "*", "#1e8449", 200),
    ):
        those = [point for point in points if point.kind == kind]
        across, up = [point.p99 for point in those], [point.throughput for point in those]
        axes.scatter(across, up, s=size, c=color, marker=marker, label=kind)
    for point in points:
        at = (point.p99, point.throughput)
        axes.annotate(str(point.rows), at, (6, 4), textcoords="offset points", fontsize=7)
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter())
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(title="settings, with the rows of a run")
    figure.savefig(file, format="png", dpi=120)
