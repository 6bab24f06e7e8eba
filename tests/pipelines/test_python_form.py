"""A graph as Python, and Python as a graph."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

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
