"""What `fabric evaluate` found: as tables, as sentences, and as evidence for cards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fabric.core.cards import Evidence
from fabric.learning.cascades import DELTA
from fabric.learning.contest import LEARNED
from fabric.learning.measures import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fabric.cli.views import View
    from fabric.learning.cascades import FittedCascade
    from fabric.learning.evaluation import Evaluation
    from fabric.learning.savings import CascadeReport
    from fabric.learning.worth import Cell

_DIGITS = 4
"""Of values that are written into cards."""


def tables(report: Evaluation) -> Iterator[tuple[str, View]]:
    """Every table of the report that has rows, under its title."""
    yield "Specialists", specialists(report)
    if report.domains:
        yield f"Domains, beside {report.generalist}", domains(report)
    yield "Routers", routers(report)
    if report.curves:
        yield "Quality for cost", curves(report)
    if report.recoveries:
        yield (
            "Gap recovered, by the share of calls to the better one",
            recoveries(report),
        )
    if report.calibrations:
        yield "Calibration", calibrations(report)
    if report.cascade is not None:
        yield "Cascade", stages(report.cascade.report)


# ------------------------------------------------------------------ tables
def specialists(report: Evaluation) -> View:
    columns = ("specialist", "quality", "95 %", "cost", "ms", "nobody better", "alone best")
    rows = (
        (
            *(each.specialist, *_interval(each.quality), f"{each.cost:.3g}"),
            *(f"{each.seconds * 1e3:.3g}", f"{each.first:.1%}", f"{each.alone:.1%}"),
            *(_points(each.oracle_loss), _points(each.routed_loss) if each.routed_loss else ""),
        )
        for each in sorted(report.worth, key=lambda w: -_finite(w.quality.value))
    )
    return (*columns, "oracle loses without", "routed loses without"), rows


def domains(report: Evaluation) -> View:
    """In each: who is best, and how many are better or worse than the generalist."""
    columns = ("domain", "rows", "best", "quality", "generalist", "gain, points", "better", "worse")
    return columns, (
        _domain(name, [cell for cell in report.cells if cell.domain == name], report.generalist)
        for name in report.domains
    )


def _domain(name: str, cells: list[Cell], generalist: str) -> tuple[Any, ...]:
    best = max(cells, key=lambda cell: _finite(cell.quality.value))
    own = next(cell for cell in cells if cell.specialist == generalist)
    verdicts = [cell.verdict for cell in cells]
    return (
        *(name, own.rows, best.specialist, f"{best.quality.value:.3f}"),
        *(f"{own.quality.value:.3f}", _points(best.gain) if best is not own else ""),
        *(verdicts.count("better"), verdicts.count("worse")),
    )


def routers(report: Evaluation) -> View:
    columns = ("router", "quality", "95 %", "m", "95 % of m", "regret", "switched", "cost")
    return (*columns, "ms to decide"), (
        (
            *(each.router, *_interval(each.quality), *_interval(each.m)),
            *(f"{each.regret.value:.3f}", f"{each.switched:.1%}", f"{each.cost:.3g}"),
            "" if each.deciding is None else f"{each.deciding * 1e3:.3g}",
        )
        for each in report.ladder
    )


def curves(report: Evaluation) -> View:
    columns = ("router", "area", "95 %", "cost at the best single's quality")
    return columns, (
        (each.router, *_interval(each.area), "-" if _is_nan(each.saving) else f"{each.saving:.0%}")
        for each in report.curves
    )


def recoveries(report: Evaluation) -> View:
    columns = ("router", "area (APGR)", "calls for 50 %", "calls for 80 %")
    return columns, (
        (each.router, f"{each.area:.3f}", f"{each.half:.1%}", f"{each.most:.1%}")
        for each in report.recoveries
    )


def calibrations(report: Evaluation) -> View:
    return ("router", "error (ECE)"), (
        (each.router, f"{each.error:.3f}") for each in report.calibrations
    )


def stages(report: CascadeReport) -> View:
    columns = ("cascade", "right alone, %", "asked, %", "of these passed on, %")
    return columns, (
        (each.specialist, *map(_points, (each.accuracy, each.asked, each.escalated)))
        for each in report.stages
    )


def _interval(found: Interval) -> tuple[str, str]:
    if _is_nan(found.value):
        return "-", ""
    return f"{found.value:.3f}", f"{found.low:.3f} {found.high:.3f}"


def _points(found: Interval) -> str:
    """In hundredths, with their interval."""
    if _is_nan(found.value):
        return "-"
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} {100 * found.high:.1f})"


def _is_nan(value: float) -> bool:
    return math.isnan(value)


def _finite(value: float) -> float:
    return -math.inf if math.isnan(value) else value


# ------------------------------------------------------------------ sentences
def lines(report: Evaluation) -> Iterator[str]:
    """What to learn from it."""
    yield from _beside(report)
    for pair in report.pairs:
        if pair.redundant:
            other = next(name for name in pair.specialists if name != pair.redundant)
            most = f"{100 * pair.most:.1f} points"
            yield (
                f"redundant: {pair.redundant} adds at most {most} to {other}; "
                f"{pair.agreement:.1%} of their outcomes are equal"
            )
    routers = {rung.router: rung for rung in report.ladder}
    if LEARNED in routers and not _is_nan(routers[LEARNED].m.value):
        m = routers[LEARNED].m
        yield (
            f"learned routing closes {m.value:.0%} ({m.low:.0%} to {m.high:.0%}) of the gap from "
            f"{report.best_single} to the oracle, and switches {routers[LEARNED].switched:.1%}"
        )
    if report.cascade is not None:
        yield from _cascade(report.cascade, report.rows)
    yield from (f"note: {note}" for note in report.notes)


def _cascade(fitted: FittedCascade, rows: int) -> Iterator[str]:
    """Whether it keeps to its risk, what it keeps of the last one's answers, and what it saves."""
    report, last = fitted.report, fitted.report.stages[-1].specialist
    wrong = f"wrong in {_points(report.wrong)} % of answers"
    if report.is_met:
        yield (
            f"cascade: answered from a confidence of {fitted.threshold:g} on; the risk of "
            f"{report.risk:.3g} is kept, but for a chance of one in {1 / DELTA:g}; it is {wrong}"
        )
    else:
        yield (
            f"cascade: the risk of {report.risk:.3g} CANNOT be certified by {report.rows} queries; "
            f"the best threshold, {fitted.threshold:g}, is {wrong}, {last} alone in "
            f"{100 * (1 - report.accuracy_of_last.value):.1f} %"
        )
    saved = report.saved
    more = Interval(-saved.value, -saved.high, -saved.low)
    costs = f"costs {_points(more)} % more" if saved.value < 0 else f"saves {_points(saved)} %"
    yield (
        f"cascade: on the {report.rows} queries that it was fitted to it keeps "
        f"{_points(report.kept)} % of the right answers of {last}, and {costs} of what that costs"
    )
    if report.rows < rows:
        yield f"cascade: {rows - report.rows} queries that somebody did not answer are left out"


def _beside(report: Evaluation) -> Iterator[str]:
    """Where specialists beat the generalist, and where they do not."""
    cells = [cell for cell in report.cells if cell.domain]
    for name in report.specialists:
        own = [cell for cell in cells if cell.specialist == name]
        better = [cell.domain for cell in own if cell.verdict == "better"]
        worse = [cell.domain for cell in own if cell.verdict == "worse"]
        if better:
            yield f"{name} beats {report.generalist} in {_some(better)}" + (
                f", and is worse in {_some(worse)}" if worse else ""
            )
    beaten = {cell.domain for cell in cells if cell.verdict == "better"}
    if report.domains and len(report.specialists) > 1:
        yield (
            f"somebody beats {report.generalist} in {len(beaten)} of {len(report.domains)} domains"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


# ------------------------------------------------------------------ evidence
def evidence(
    report: Evaluation, specialist: str, *, metric: str, dataset: str, day: str
) -> Iterator[Evidence]:
    """What was measured of *specialist*, over all and by domain."""
    for cell in report.cells:
        if cell.specialist == specialist and cell.rows:
            yield Evidence(
                metric=metric,
                value=round(cell.quality.value, _DIGITS),
                dataset=dataset,
                domain=cell.domain,
                rows=cell.rows,
                measured=day,
            )


def merged(said: tuple[Evidence, ...], measured: Iterable[Evidence]) -> dict[str, Any]:
    """The changes that make a card that says *said* also say *measured*, by their places.

    What was measured of the same metric, data set and domain takes the place of what was said.
    """
    known = {_subject(each): place for place, each in enumerate(said)}
    changes: dict[str, Any] = {}
    new = []
    for each in measured:
        place = known.get(_subject(each))
        if place is None:
            new.append(each)
            continue
        for name in ("value", "rows", "measured"):
            if getattr(said[place], name) != getattr(each, name):
                changes[f"evidence.{place}.{name}"] = getattr(each, name)
    if not said and new:
        return {"evidence": tuple(new)}
    return changes | {f"evidence.{len(said) + i}": each for i, each in enumerate(new)}


def said(changes: Mapping[str, Any]) -> str:
    """*changes* of a card in a line."""
    new = changes.get("evidence", ())
    new = (*new, *(each for each in changes.values() if isinstance(each, Evidence)))
    parts = [f"evidence {each.metric} {each.value:g} for {each.domain or 'all'}" for each in new]
    parts += [f"{at} to {to}" for at, to in changes.items() if at.endswith(".value")]
    return ", ".join(parts) or "evidence measured again, with the same values"


def _subject(evidence: Evidence) -> tuple[str, str, str]:
    return evidence.metric, evidence.dataset, evidence.domain
