"""Where the time of a pipeline goes."""

from __future__ import annotations

from fabric import Value, pipeline, step
from fabric.core.runs import StepProfile
from fabric.pipelines.compiling import compiled
from fabric.pipelines.profiling import advice, critical


@pipeline
def forked(x: Value) -> Value:
    """Two ways that meet."""
    short = step("short", x=x)
    long = step("longer", x=step("long", x=x))
    return step("last", a=short, b=long)


def test_the_critical_path_is_the_longest_way():
    """By the seconds of its steps, not by their number."""
    graph = compiled(forked.graph, {})
    seconds = {"short": 1.0, "long": 1.0, "longer": 1.0, "last": 1.0}
    assert critical(graph, seconds) == ("long", "longer", "last")
    assert critical(graph, {**seconds, "short": 5.0}) == ("short", "last")


def test_what_waits_is_to_have_more_replicas():
    """What works is to be faster; what hardly matters is not worth a word."""
    said = advice(
        (
            StepProfile(step="a", does="m", runs=1, share=0.3, waiting=0.5),
            StepProfile(step="b", does="n", runs=1, share=0.6, waiting=0.1),
            StepProfile(step="c", does="o", runs=1, share=0.05, waiting=0.9),
        )
    )
    assert said == (
        (
            "b takes 60% of the time, of which n works 90%: a larger batch or a faster model; more "
            "replicas would change little"
        ),
        "a takes 30% of the time, and waits for 50% of its own: more replicas of m",
    )
