"""The results as a picture: a panel for each part that was measured."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter, ScalarFormatter

from tests.benchmarks.measuring import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from tests.benchmarks.figures import Result

_COLOURS = {
    OURS: "#0b6e4f",
    "triton": "#76b82a",
    "kserve": "#3f6fb5",
    "mlserver": "#9a6fb0",
    "ray-fast": "#e0a030",
}
_GOOD, _LATE = "#0b6e4f", "#c8553d"
_WIDTH, _HEIGHT = 5.2, 3.8
_COLUMNS = 3
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def draw(results: Mapping[str, Result], path: Path) -> bool:
    """Writes the picture of *results*; False if there is nothing to show of them."""
    panels = [
        (panel, results[part].data)
        for part, panel in _PANELS
        if part in results and results[part].data
    ]
    if not panels:
        return False
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (panel, data) in zip(grid, panels, strict=False):
        panel(axes, data)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    return True


def _throughput(label: str) -> Callable[[Axes, dict[str, Any]], None]:
    """Bars of all servers, with how many times as much the fabric does."""

    def panel(axes: Axes, data: dict[str, Any]) -> None:
        ours = median(pair[label][OURS]["rate"] for pair in data.values())
        rates = {OURS: ours} | {name: pair[label][name]["rate"] for name, pair in data.items()}
        names = list(reversed(rates))
        bars = axes.barh(names, [rates[n] for n in names], color=[_COLOURS[n] for n in names])
        texts = [
            f"{rates[n]:,.0f}"
            if n == OURS
            else f"{rates[n]:,.0f}   × {data[n][label][OURS]['rate'] / rates[n]:.2f}"
            for n in names
        ]
        axes.bar_label(bars, texts, padding=4, fontsize=9)
        axes.set_xlim(0, 1.3 * max(rates.values()))
        axes.xaxis.set_major_formatter(_THOUSANDS)
        model, load = label.split(" c")
        axes.set_title(f"{model}, {load} in flight: requests/s, fabric's ratio", loc="left")

    return panel


def _latency(axes: Axes, data: dict[str, Any]) -> None:
    for name, each in data.items():
        rates = [load["rate"] for load in each["loads"]]
        for label, line in (("p50", "-"), ("p99", "--"), ("p99.9", ":")):
            values = [load[label] for load in each["loads"]]
            style = {"color": _COLOURS[name], "marker": "o", "ms": 3.5}
            axes.plot(rates, values, line, label=f"{name} {label}", **style)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_xlabel("offered requests per second: 25, 50, 75 and 90 % of capacity")
    axes.set_title("small, open loop: milliseconds from when it was due", loc="left")
    axes.legend(frameon=False, fontsize=8, ncols=len(data))


def _goodput(axes: Axes, data: dict[str, Any]) -> None:
    told = {f"{model} {name}": each for model, by in data.items() for name, each in by.items()}
    names = list(reversed(told))
    left = [0.0] * len(names)
    for kind, colour in (("in time", _GOOD), ("late", _LATE)):
        widths = [told[name][kind] / told[name]["capacity"] for name in names]
        bars = axes.barh(names, widths, left=left, color=colour, label=kind, height=0.55)
        texts = [f"{width:.0%}" if width > 0.08 else "" for width in widths]
        axes.bar_label(bars, texts, label_type="center", fontsize=9, color="white")
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.axvline(0.8, color="black", lw=1, ls=":")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(-0.6, len(names) + 0.3)
    axes.set_xlabel("of capacity; the dotted line is what is to be answered in time")
    axes.set_title("twice the capacity, 50 ms to answer; the rest was refused", loc="left")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")


def _memory(axes: Axes, data: dict[str, Any]) -> None:
    millions = [count / 1e6 for count in data["requests"]]
    axes.plot(millions, data["MiB"], color=_COLOURS[OURS], lw=1.8)
    axes.set_ylim(0, 1.25 * max(data["MiB"]))
    axes.set_xlim(0, max(millions))
    axes.grid(axis="y", color="#e6e6e6")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("million requests")
    slope = f"{data['slope']:+.2f} MiB per million in the second half"
    axes.text(0.98, 0.06, slope, transform=axes.transAxes, ha="right", fontsize=9)
    axes.set_title("the gateway's resident memory, MiB", loc="left")


def _bytes(axes: Axes, data: dict[str, Any]) -> None:
    servers = list(dict.fromkeys(name for by_server in data.values() for name in by_server))
    width = 0.8 / len(servers)
    for number, name in enumerate(servers):
        at = [group + (number - (len(servers) - 1) / 2) * width for group in range(len(data))]
        rates = [by_server.get(name, 0.0) for by_server in data.values()]
        bars = axes.bar(at, rates, width * 0.94, color=_COLOURS[name], label=name)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=2, fontsize=8)
    axes.set_xticks(range(len(data)), [label.replace(" c", ", c") for label in data])
    axes.set_ylim(0, 1.25 * max(max(by_server.values()) for by_server in data.values()))
    axes.yaxis.set_major_formatter(_THOUSANDS)
    axes.set_title("FP32 identity: MiB per second", loc="left")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")


def _models(axes: Axes, data: dict[str, Any]) -> None:
    measured = {label: each for label, each in reversed(data.items()) if "triton" in each}
    ratios = [each[OURS]["rate"] / each["triton"]["rate"] for each in measured.values()]
    labels = list(measured)
    bars = axes.barh(labels, ratios, color=_COLOURS[OURS], height=0.6)
    axes.bar_label(bars, [f"× {ratio:.2f}" for ratio in ratios], padding=4, fontsize=9)
    axes.axvline(1.0, color="black", lw=1, ls=":")
    axes.set_xlim(0, 1.25 * max([*ratios, 1.0]))
    axes.set_title("other models: fabric's requests per second to Triton's", loc="left")


_PANELS = (
    ("closed", _throughput("small c64")),
    ("closed", _throughput("medium c64")),
    ("open", _latency),
    ("goodput", _goodput),
    ("memory", _memory),
    ("bytes", _bytes),
    ("models", _models),
)
