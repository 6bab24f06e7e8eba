"""A graph as Python, and Python as a graph."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import Source
from fabric.pipelines.python import source
from fabric.pipelines.tracing import Traced
from tests.pipelines.graphs import pipelines
from tests.typing import pipelines as written

EXAMPLES = {name: each for name, each in vars(written).items() if isinstance(each, Traced)}


def traced(text: str) -> Traced:
    """The pipeline of the module *text*."""
    names: dict[str, object] = {"__name__": "written"}
    exec(compile(text, "written.py", "exec"), names)  # noqa: S102 - which we wrote
    return next(each for each in names.values() if isinstance(each, Traced))


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_written_is_traced_to_the_same_graph(name):
    """Also if it was Python before."""
    graph = EXAMPLES[name].graph
    assert traced(source(graph)).graph == graph


@given(pipelines())
@settings(max_examples=100, deadline=None)
def test_any_graph_can_be_written(graph):
    """Whatever its steps, inputs and outputs are called."""
    text = source(graph)
    assert traced(text).graph == graph, text


def test_what_is_written_reads_as_one_writes():
    """With operators, lambdas and steps where they are used; as formatters and linters want it."""
    assert (
        source(EXAMPLES["branching"].graph)
        == '''\
from __future__ import annotations

from typing import Annotated

from fabric import Value, branch, op, pipeline, step, tensor


@pipeline
def branching(x: Annotated[Value, tensor("FP32", "rows", 4)]) -> Value:
    """By a threshold; both sides give the same."""
    return branch(
        op.confidence(x, measure="entropy") > 0.9,
        then=x,
        otherwise=lambda: step("second-look", x=x),
        name="whether-sure",
    )
'''
    )


def test_steps_are_written_in_an_order_in_which_they_can_be_traced():
    """Which need not be that of the graph; where there is none, it is no pipeline."""
    graph = EXAMPLES["sequence"].graph
    turned = replace(graph, steps=graph.steps[::-1])
    assert traced(source(turned)).graph == graph
    first, *others = graph.steps
    waiting = replace(first, inputs={"text": Source(values=("softmax",))})
    with pytest.raises(InvalidRequest, match="steps wait for one another: tokenizer, classifier"):
        source(replace(graph, steps=(waiting, *others)))
