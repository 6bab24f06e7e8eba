"""Tables of ratios, what was recorded of them, and whether one has fallen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from tests.benchmarks.figures import ALLOWED, Ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.benchmarks.figures import Result

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.json"
README = HERE / "README.md"
BEGIN, END = "<!-- latest -->\n", "<!-- /latest -->\n"
TITLES = ("part", "what", "fabric", "against", "other", "ratio", "target", "recorded", "")
_TEXTS = ("part", "what", "against", "")
_WRITTEN = 7
"""Of the columns, into the README."""


def cells(ratio: Ratio, recorded: float | None) -> tuple[str, ...]:
    """One row of the table."""
    sign = "≤" if ratio.is_limited else "≥"
    return (
        ratio.part,
        ratio.what,
        _number(ratio.ours, ratio.unit),
        ratio.against,
        _number(ratio.other, ratio.unit),
        f"× {ratio.value:.2f}",
        "" if ratio.target is None else f"{sign} {ratio.target:.2f}",
        "" if recorded is None else f"{recorded:.2f}",
        verdict(ratio, recorded),
    )


def verdict(ratio: Ratio, recorded: float | None) -> str:
    if recorded is not None and ratio.has_fallen(recorded):
        return "fell"
    return "" if ratio.target is None else "met" if ratio.meets_target else "missed"


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def table(ratios: Sequence[Ratio], recorded: Mapping[str, float]) -> Table:
    """For a terminal."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        made.add_column(title, justify="left" if title in _TEXTS else "right")
    colours = {"fell": "red", "missed": "yellow", "met": "green"}
    for ratio in ratios:
        *shown, last = cells(ratio, recorded.get(ratio.key))
        made.add_row(*shown, f"[{colours[last]}]{last}[/]" if last else "")
    return made


# ------------------------------------------------------------------ what is kept
def recorded(path: Path = RECORDED) -> dict[str, float]:
    """The ratios that were recorded, by key."""
    return json.loads(path.read_text()) if path.exists() else {}


def fallen(ratios: Iterable[Ratio], recorded: Mapping[str, float]) -> list[str]:
    """What is worse than recorded by more than is allowed, in words."""
    return [
        f"{ratio.key}: × {ratio.value:.2f}, worse than the recorded {recorded[ratio.key]:.2f} "
        f"by more than {ALLOWED:.0%}"
        for ratio in ratios
        if ratio.key in recorded and ratio.has_fallen(recorded[ratio.key])
    ]


def renewed(
    recorded: Mapping[str, float], ratios: Sequence[Ratio], parts: Iterable[str]
) -> dict[str, float]:
    """*recorded* with all of *parts* measured anew; what they no longer give is out of it."""
    kept = {key: value for key, value in recorded.items() if key.partition(":")[0] not in parts}
    new = {ratio.key: round(ratio.value, 3) for ratio in ratios if ratio.is_steady}
    return dict(sorted({**kept, **new}.items()))


def with_table(readme: str, ratios: Sequence[Ratio], parts: Iterable[str], host: str) -> str:
    """*readme* with the latest table in its place; rows of other parts stay as they are."""
    before, _, rest = readme.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = [line for line in old.splitlines() if line.startswith("| ")][1:]
    kept = [row for row in rows if row.split("|")[1].strip() not in parts]
    new = [_line(cells(ratio, None)) for ratio in ratios]
    said = f"On {os.cpu_count()} cores, replicas on the {host} host.\n"
    lines = [said, _line(TITLES), "|" + "---|" * _WRITTEN, *sorted([*kept, *new])]
    return before + BEGIN + "\n".join(lines) + "\n" + END + after


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells[:_WRITTEN]) + " |"


def record(ratios: Sequence[Ratio], parts: Sequence[str], host: str) -> None:
    """Writes the ratios down as what later ones are held to, and the table into the README."""
    said = renewed(recorded(), ratios, parts)
    RECORDED.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n")
    README.write_text(with_table(README.read_text(), ratios, parts, host))


def write(results: Mapping[str, Result], path: Path) -> None:
    """All figures of a run, as JSON."""
    said = {name: result.as_json() for name, result in results.items()}
    path.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n")
