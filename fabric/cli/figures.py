"""Plots of an evaluation, as SVG within a page: their text has its fonts and its colour."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fabric.learning.ladder import ORACLE, RANDOM, SINGLE, TASK_ORACLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fabric.learning.evaluation import Evaluation
    from fabric.learning.measures import Interval
    from fabric.learning.worth import Cell

_INK = "#010203"
"""Stands for the colour of the page's text, whatever that is."""
_MAIN, _OTHER = "#2a78d6", "#8a94a3"
_SERIES = ("#2a78d6", "#e07a1f", "#2b9a66", "#a259c4", "#c7963a", "#d6457a", "#5a8f99", "#8a94a3")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor", "legend.facecolor"), "none"),
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_MOST_DOMAINS = 60
"""Rows of the heat map; of more domains those with most queries are drawn."""


def figures(report: Evaluation) -> dict[str, str]:
    """The plots that *report* has something for, by name, as SVG."""
    makers = {
        "domains": _domains if report.domains else None,
        "ladder": _ladder,
        "curves": _curves if report.curves else None,
        "calibration": _calibration if report.calibrations else None,
        "worth": _worth,
        "cascade": _cascade if report.cascade else None,
    }
    with mpl.rc_context(_STYLE):
        return {name: _svg(name, make(report)) for name, make in makers.items() if make is not None}


def _svg(name: str, figure: Figure) -> str:
    """*figure* without its prologue; what it names within is named after *name*."""
    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(target, format="svg", metadata={"Date": None}, transparent=True)
    text = target.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\1{name}-", text)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'role="img"', text, count=1)


def _axes(width: float, height: float, **how: Any) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot(**how)


# ------------------------------------------------------------------ plots
def _domains(report: Evaluation) -> Figure:
    """Quality of each specialist in each domain; colour is the difference to the generalist."""
    rows = {cell.domain: cell.rows for cell in report.cells if cell.domain}
    shown = sorted(sorted(rows, key=lambda domain: -rows[domain])[:_MOST_DOMAINS])
    cells = {(cell.domain, cell.specialist): cell for cell in report.cells}
    names = sorted(report.specialists, key=lambda name: -_known(cells["", name].quality.value))
    gains = np.array([[cells[domain, name].gain.value for name in names] for domain in shown])
    largest = max(float(np.nanmax(np.abs(gains), initial=0)), 0.01)
    figure, axes = _axes(3 + 0.62 * len(names), max(3.4, 1.6 + 0.27 * len(shown)))
    colors = Normalize(-100 * largest, 100 * largest)
    image = axes.pcolormesh(100 * gains, cmap="RdBu", norm=colors)
    axes.invert_yaxis()
    for y, domain in enumerate(shown):
        for x, name in enumerate(names):
            _number(axes, x + 0.5, y + 0.5, cells[domain, name], 0.6 * largest)
    turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(np.arange(len(names)) + 0.5, names, **turned)
    axes.set_yticks(np.arange(len(shown)) + 0.5, shown)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label=f"points beside {report.generalist}", shrink=0.8)
    return figure


def _number(axes: Axes, x: float, y: float, cell: Cell, dark: float) -> None:
    """The quality of *cell* in per cent; white where the colour behind it is a *dark* one."""
    if not np.isnan(cell.quality.value):
        color = "#ffffff" if abs(_known(cell.gain.value)) > dark else "#1b1f24"
        weight = "bold" if cell.verdict == "better" else "normal"
        said = f"{100 * cell.quality.value:.0f}"
        axes.text(x, y, said, ha="center", va="center", size=8, color=color, weight=weight)


def _ladder(report: Evaluation) -> Figure:
    """Quality of every router, with its interval."""
    figure, axes = _axes(7, 0.7 + 0.3 * len(report.ladder), xlabel="quality")
    for y, rung in enumerate(report.ladder):
        is_router = rung.router not in (RANDOM, SINGLE, TASK_ORACLE, ORACLE)
        _bar(axes, y, rung.quality, _MAIN if is_router else _OTHER)
    single = report.rung(SINGLE).quality.value
    axes.axvline(single, color=_INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(report.ladder)), [rung.router for rung in report.ladder])
    axes.grid(visible=True, axis="x", alpha=0.2)
    return figure


def _curves(report: Evaluation) -> Figure:
    """Quality over cost, of routers and of single specialists."""
    figure, axes = _axes(8.5, 4.4, xlabel="mean cost of a query", ylabel="quality")
    dearest = max(each.cost for each in report.worth)
    for at, curve in enumerate(report.curves):
        xs, ys = list(curve.cost), list(curve.quality)
        if xs[-1] < dearest:
            xs, ys = [*xs, dearest], [*ys, ys[-1]]
        style = "--" if curve.router in ("by lot", ORACLE) else "-"
        label = f"{curve.router}, area {curve.area.value:.3f}"
        axes.plot(xs, ys, style, color=_SERIES[at % len(_SERIES)], label=label, linewidth=1.6)
    for worth in report.worth:
        axes.plot(worth.cost, worth.quality.value, "o", color=_OTHER, markersize=4)
    axes.grid(visible=True, alpha=0.2)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _calibration(report: Evaluation) -> Figure:
    """What came out, by what was estimated."""
    how = {"xlabel": "estimated quality", "ylabel": "quality that came out"}
    figure, axes = _axes(6.5, 4.4, xlim=(0, 1), ylim=(0, 1), **how)
    axes.plot([0, 1], [0, 1], ":", color=_INK, linewidth=0.8)
    for at, each in enumerate(report.calibrations):
        label = f"{each.router}, error {each.error:.3f}"
        color = _SERIES[at % len(_SERIES)]
        axes.plot(each.estimated, each.reached, "o-", color=color, label=label, markersize=3.5)
    axes.grid(visible=True, alpha=0.2)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _cascade(report: Evaluation) -> Figure:
    """How often answers are right by their confidence, and from where on they are given."""
    fitted = report.cascade
    assert fitted is not None  # noqa: S101 - as in `figures`
    how = {"xlabel": "confidence as it is read", "ylabel": "answers that are right"}
    figure, axes = _axes(6.5, 3.6, xlim=(0, 1), ylim=(0, 1), **how)
    axes.axhline(fitted.threshold, color=_INK, linewidth=0.8, linestyle=":")
    for at, each in enumerate(fitted.calibrations):
        xs, ys = [0, *each.confidence, 1], [each.accuracy[0], *each.accuracy, each.accuracy[-1]]
        color = _SERIES[at % len(_SERIES)]
        axes.plot(xs, ys, color=color, label=each.specialist, linewidth=1.6)
    axes.grid(visible=True, alpha=0.2)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _worth(report: Evaluation) -> Figure:
    """What the oracle, and routing, lose without each specialist."""
    ordered = sorted(report.worth, key=lambda worth: worth.oracle_loss.value)
    figure, axes = _axes(7, 0.8 + 0.36 * len(ordered), xlabel="points of quality lost without it")
    for y, worth in enumerate(ordered):
        losses = (worth.oracle_loss, worth.routed_loss)
        for loss, color, off in zip(losses, (_OTHER, _MAIN), (0.18, -0.18), strict=True):
            if loss is not None:
                axes.barh(y + off, 100 * loss.value, 0.32, color=color)
                axes.plot([100 * loss.low, 100 * loss.high], [y + off] * 2, color=_INK, lw=0.9)
    axes.set_yticks(range(len(ordered)), [worth.specialist for worth in ordered])
    axes.grid(visible=True, axis="x", alpha=0.2)
    names = {"oracle": _OTHER, "routed": _MAIN}
    handles = [Patch(color=color, label=name) for name, color in names.items()]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    return figure


def _bar(axes: Axes, y: float, found: Interval, color: str) -> None:
    axes.plot([found.low, found.high], [y, y], color=color, linewidth=2)
    axes.plot(found.value, y, "o", color=color, markersize=5)


def _known(value: float) -> float:
    return 0.0 if np.isnan(value) else value
