"""Whether a pipeline could be run, by who answers now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fabric.core.pipelines import Step


def lacking(steps: Iterable[Step], can_serve: Callable[[str], bool]) -> str:
    """Whom *steps* cannot do without while nobody answers for them; empty where they could run.

    *can_serve* is asked by `name` or `name:version`. A step may go over to its fallback, and
    bodies of which the first counts to the next one; all branches are taken to be needed.
    """
    for step in steps:
        if step.optional:
            continue
        if step.calls and not any(map(can_serve, step.calls)):
            return step.call
        inner = [lacking(body.steps, can_serve) for body in step.bodies.values()]
        absent = list(filter(None, inner))
        if absent and (step.first is None or len(absent) == len(inner)):
            return absent[0]
    return ""
