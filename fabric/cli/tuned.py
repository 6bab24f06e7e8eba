"""What `fabric tune` found: as data, as a table, as sentences, and as points of a plot."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fabric.cli.plots import Point
from fabric.runtime.tuning import MAX_SIZE, middle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fabric.cli.views import View
    from fabric.core.cards import Specialist
    from fabric.runtime.tuner import Tuning
    from fabric.runtime.tuning import Setting


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One setting, and what is known of it; what is not known is NaN."""

    provider: str
    graph_optimization: str
    intra_op_threads: int
    rows: int
    """Of each run."""
    kind: str
    """current, chosen or other."""
    throughput: float
    """Rows a second."""
    p50_ms: float
    p99_ms: float
    """Of one run."""
    gain: float
    """The median of how many times the throughput of the current setting it had."""
    middle: tuple[float, float]
    """Where half of these ratios lie."""
    repeats: int
    failure: str


@dataclass(frozen=True, kw_only=True)
class Change:
    field: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Report:
    specialist: str
    """`name:version`."""
    changes: tuple[Change, ...]
    """Of the portfolio file; none where the current setting is as good as any."""
    why: str
    notes: tuple[str, ...]
    settings: tuple[Measured, ...]
    """The best first."""


def report_of(specialist: Specialist, tuning: Tuning) -> Report:
    results, verdict = tuning.results, tuning.verdict
    changes = verdict.changes(tuning.space.current)
    measured = [_measured(tuning, setting) for setting in {**results.times, **results.failures}]
    return Report(
        specialist=specialist.key,
        changes=tuple(Change(field=f, before=a, after=b) for f, (a, b) in changes.items()),
        why=verdict.why,
        notes=tuple(
            note for note in (tuning.note, *_advice(specialist, verdict.chosen, changes)) if note
        ),
        settings=tuple(sorted(measured, key=lambda m: -m.gain if m.repeats else math.inf)),
    )


def _measured(tuning: Tuning, setting: Setting) -> Measured:
    results, options = tuning.results, setting.options
    ratios = results.ratios(setting, results.current)
    rates = results.rates(setting).values()
    kinds = {setting: "other", tuning.verdict.chosen: "chosen", results.current: "current"}
    return Measured(
        provider=options.providers[0].removesuffix("ExecutionProvider"),
        graph_optimization=options.graph_optimization,
        intra_op_threads=options.intra_op_threads,
        rows=setting.rows,
        kind=kinds[setting],
        throughput=statistics.median(rates) if rates else math.nan,
        p50_ms=results.percentile(setting, 50) * 1e3,
        p99_ms=results.percentile(setting, 99) * 1e3,
        gain=statistics.median(ratios) if ratios else math.nan,
        middle=middle(ratios),
        repeats=len(rates),
        failure=results.failures.get(setting, ""),
    )


def _advice(specialist: Specialist, chosen: Setting, changes: dict[str, Any]) -> Iterator[str]:
    """What a change brings with it."""
    cpus, threads = specialist.hosting.resources.cpus, chosen.options.intra_op_threads
    if MAX_SIZE in changes and chosen.rows > 1:
        yield f"requests of more than {chosen.rows} rows will be refused"
    if "onnxruntime.intra_op_threads" in changes and threads > max(1.0, cpus):
        yield f"a replica will use {threads} threads, and reserves resources.cpus: {cpus:g}"


# ------------------------------------------------------------------ for people
def table(report: Report) -> View:
    columns = ("provider", "graph", "threads", "rows", "rows/s", "p50 ms", "p99 ms")
    return (*columns, "times now", "half between", ""), map(_row, report.settings)


def _row(measured: Measured) -> tuple[Any, ...]:
    setting = (measured.provider, measured.graph_optimization)
    threads = measured.intra_op_threads or "all"
    if not measured.repeats:
        return (*setting, threads, measured.rows, *[""] * 5, f"failed: {measured.failure}")
    low, high = measured.middle
    return (
        *(*setting, threads, measured.rows, f"{measured.throughput:,.0f}"),
        *(f"{measured.p50_ms:.3g}", f"{measured.p99_ms:.3g}"),
        *(f"{measured.gain:.2f}", f"{low:.2f} {high:.2f}" if measured.repeats > 1 else ""),
        "" if measured.kind == "other" else measured.kind,
    )


def lines(report: Report) -> Iterator[str]:
    """What to do, and what to know about it."""
    if report.changes:
        said = ", ".join(f"{change.field}: {_said(change.after)}" for change in report.changes)
        yield f"better: {said}; {report.why}"
    else:
        yield f"keep what you have: {report.why}"
    yield from (f"note: {note}" for note in report.notes)


def _said(value: Any) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


def points(report: Report) -> list[Point]:
    return [Point(m.p99_ms, m.throughput, m.kind, m.rows) for m in report.settings if m.repeats]
