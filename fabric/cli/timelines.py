"""Runs and profiles of pipelines, as people see them: when each step ran, where the time went."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabric.cli.views import View
    from fabric.core.runs import PipelineRun, Profile, StepRun

_WIDTH = 32
"""Characters of a bar for all of the run."""
_ROW, _LEFT, _BARS = 22, 240, 640
"""Of the drawing, in pixels: the height of a row, the room for names, and that for bars."""


def timeline(run: PipelineRun) -> View:
    """A row for each step, in the order of their starts, with a bar for when it ran."""
    columns = ("step", "ms", "", "who", "error")
    return columns, (
        (
            _name(each),
            f"{each.seconds * 1e3:.2f}",
            _bar(each, run.seconds),
            _who(each),
            each.error,
        )
        for each in _in_order(run.steps)
    )


def profile(found: Profile) -> View:
    """A row for each step, as they are written."""
    columns = ("step", "does", "runs", "failed", "mean ms", "p50", "p99", "share", "waits")
    return columns, (
        (
            *(each.step, each.does, each.runs, each.failures),
            *map(_ms, (each.mean if each.runs else None, each.p50, each.p99)),
            f"{each.share:.0%}" if each.share else "",
            "" if each.waiting is None else f"{each.waiting:.0%}",
        )
        for each in found.steps
    )


def summary(found: Profile) -> str:
    """The pipeline as a whole, and what to scale."""
    quantiles = f"p50 {_ms(found.p50) or '-'} ms, p99 {_ms(found.p99) or '-'} ms"
    head = f"{found.pipeline}: {found.runs} runs, {found.failures} failed, {quantiles}"
    way = " > ".join(each.step for each in found.steps if each.share)
    return "\n".join((head, *([f"critical path: {way}"] if way else []), *found.advice))


def svg(run: PipelineRun) -> str:
    """The timeline as a drawing of its own, for light and dark pages."""
    steps = _in_order(run.steps)
    total = max(run.seconds, 1e-9)
    title = f"{run.pipeline}, {run.seconds * 1e3:.2f} ms{', ' + run.error if run.error else ''}"
    rows = [_svg_row(place, each, total) for place, each in enumerate(steps)]
    height = _ROW * (len(steps) + 2)
    width = _LEFT + _BARS + 90
    style = (
        "text{font:13px system-ui,sans-serif;fill:#222}.bar{fill:#3b7dd8}.bad{fill:#c0392b}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.bar{fill:#6ea8fe}.bad{fill:#ff7b6b}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title><style>{style}</style>'
        f'<text x="8" y="{_ROW - 6}">{escape(title)}</text>{"".join(rows)}</svg>\n'
    )


def _svg_row(place: int, each: StepRun, total: float) -> str:
    top = _ROW * (place + 1)
    begin = _LEFT + _BARS * min(each.started / total, 1.0)
    length = max(_BARS * min(each.seconds / total, 1.0), 1.0)
    kind = "bad" if each.error else "bar"
    said = " ".join(filter(None, (f"{each.seconds * 1e3:.2f} ms", _who(each), each.error)))
    return (
        f"<g><title>{escape(f'{_name(each)}: {said}')}</title>"
        f'<text x="8" y="{top + 15}">{escape(_name(each))}</text>'
        f'<rect class="{kind}" x="{begin:.1f}" y="{top + 3}" width="{length:.1f}" '
        f'height="{_ROW - 7}" rx="2"/>'
        f'<text x="{begin + length + 6:.1f}" y="{top + 15}">{each.seconds * 1e3:.2f}</text></g>'
    )


def _in_order(steps: Iterable[StepRun]) -> Sequence[StepRun]:
    return sorted(steps, key=lambda each: (each.started, -each.seconds))


def _name(each: StepRun) -> str:
    return f"{each.step} [{each.item}]" if each.item else each.step


def _who(each: StepRun) -> str:
    more = f", {each.attempts} attempts" if each.attempts > 1 else ""
    return each.who + (", fallback" if each.fallback else "") + more


def _bar(each: StepRun, total: float) -> str:
    """When it ran, of so many seconds in all."""
    if total <= 0:
        return ""
    begin = min(int(each.started / total * _WIDTH), _WIDTH - 1)
    length = max(1, round(each.seconds / total * _WIDTH))
    return " " * begin + "█" * min(length, _WIDTH - begin)


def _ms(seconds: Any) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.2f}"
