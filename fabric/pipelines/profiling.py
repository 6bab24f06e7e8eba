"""Where the time of a pipeline goes, and what to scale for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.core.runs import StepProfile
    from fabric.pipelines.compiling import Graph, Node

_WAITS = 0.3
"""Share of a call's time in queues from which on replicas are what is short."""
_MATTERS = 0.1
"""Share of the pipeline's time from which on a step is worth a word."""


def critical(graph: Graph, seconds: Mapping[str, float]) -> tuple[str, ...]:
    """The steps of *graph* that its last output waits for, in order: the longest way through it.

    *seconds* are those that each step takes.
    """
    ends: dict[str, float] = {}
    before: dict[str, Node | None] = {}
    nodes = {node.step.name: node for node in graph.nodes}
    for node in graph.nodes:
        waited = [nodes[name] for name in node.needs if name in nodes]
        last = max(waited, key=lambda each: ends[each.step.name], default=None)
        before[node.step.name] = last
        begin = ends[last.step.name] if last is not None else 0.0
        ends[node.step.name] = begin + seconds.get(node.step.name, 0.0)
    way: list[str] = []
    found = max(graph.nodes, key=lambda each: ends[each.step.name], default=None)
    while found is not None:
        way.append(found.step.name)
        found = before[found.step.name]
    return tuple(reversed(way))


def advice(steps: Sequence[StepProfile]) -> tuple[str, ...]:
    """What to scale so that the pipeline takes less time, what matters most first."""
    matter = sorted(steps, key=lambda each: each.share, reverse=True)
    return tuple(_advice(each) for each in matter if each.share >= _MATTERS)


def _advice(step: StepProfile) -> str:
    said = f"{step.step} takes {step.share:.0%} of the time"
    if step.waiting is None:
        return f"{said}: the steps in it are what to look at" if step.runs else said
    if step.waiting >= _WAITS:
        return f"{said}, and waits for {step.waiting:.0%} of its own: more replicas of {step.does}"
    return (
        f"{said}, of which {step.does} works {1 - step.waiting:.0%}: a larger batch or a faster "
        "model; more replicas would change little"
    )
