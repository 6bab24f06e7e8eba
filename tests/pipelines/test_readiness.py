"""Whether a pipeline could be run, by who answers now."""

from __future__ import annotations

import pytest

from fabric.core.pipelines import Body, Branch, First, Step
from fabric.pipelines.readiness import lacking


def call(*names: str, optional: bool = False) -> Step:
    return Step(name=names[0], call=names[0], fallback=names[1:], optional=optional)


def body(*steps: Step) -> Body:
    return Body(steps=steps, outputs={"y": f"{steps[0].name}.y"})


def branch(*steps: Step, optional: bool = False) -> Step:
    cases = {step.name: body(step) for step in steps}
    return Step(name="branch", branch=Branch(on="x", cases=cases), optional=optional)


def first(*steps: Step) -> Step:
    return Step(name="first", first=First(bodies=tuple(map(body, steps))))


@pytest.mark.parametrize(
    ("steps", "there", "absent"),
    [
        ([], "", ""),
        ([call("a"), call("b")], "ab", ""),
        ([call("a"), call("b")], "a", "b"),
        ([call("a", "b")], "b", ""),
        ([call("a", "b")], "", "a"),
        ([call("a", optional=True)], "", ""),
        ([branch(call("a"), call("b"))], "a", "b"),
        ([branch(call("a"), call("b"), optional=True)], "", ""),
        ([first(call("a"), call("b"))], "b", ""),
        ([first(call("a"), call("b"))], "", "a"),
        ([first(call("a", optional=True), call("b"))], "", ""),
        ([Step(name="op", operation="equal")], "", ""),
    ],
)
def test_a_pipeline_lacks_whom_it_cannot_do_without(steps, there, absent):
    """Optional steps, fallbacks and other bodies make up for who is absent."""
    assert lacking(steps, set(there).__contains__) == absent
