"""Pipelines drawn."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from fabric.pipelines.drawing import dot, svg
from fabric.pipelines.layout import layered
from tests.pipelines.graphs import pipelines
from tests.pipelines.test_python_form import EXAMPLES

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - which we wrote


def test_graphviz_is_given_bodies_as_clusters():
    """Edges to and from a step with bodies end at its cluster."""
    made = dot(EXAMPLES["read_page"].graph)
    assert made.startswith('digraph "read-page" {\n')
    assert '"1" [label="text-detector"];' in made
    assert 'label="each\\nfor each crop"' in made
    assert 'label="if true"' in made
    assert '"2" -> "3.0.0" [lhead="cluster 3"];' in made
    assert '"3.0.1" -> "3.0.2" [label="label"];' in made
    assert made.count("{") == made.count("}")


def test_optional_steps_and_what_decides_are_dashed():
    """In both drawings."""
    graph = EXAMPLES["optional_parts"].graph
    spelling = next(line for line in dot(graph).splitlines() if '"spelling"' in line)
    assert spelling.endswith('style="rounded,dashed"];')
    assert '[label="answer", style=dashed];' in dot(graph)
    assert 'class="decides"' in svg(graph)
    assert 'class="call optional"' in svg(graph)


def test_a_drawing_says_in_words_what_it_shows():
    """For those who do not see it."""
    root = parsed(svg(EXAMPLES["branching"].graph))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Pipeline branching"
    assert root.findtext(f"{SVG}desc") == (
        "Input x. Step confidence (operation: confidence measure=entropy) takes x. Step greater "
        "(operation: greater y=0.9) takes confidence. Step whether-sure (branch: by greater) takes "
        "greater, x. Within whether-sure, if true: Output value is x. Within whether-sure, "
        "otherwise: Step second-look (call: second-look). Output value is second-look. Output "
        "value is whether-sure."
    )
    assert "prefers-color-scheme:dark" in root.findtext(f"{SVG}style")


@given(pipelines())
@settings(max_examples=30, deadline=None)
def test_any_graph_can_be_drawn(pipeline):
    """As a document that is well formed, whatever its names are."""
    root = parsed(svg(pipeline))
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {step.name for step in pipeline.all_steps} <= texts
    assert dot(pipeline).startswith("digraph ")


@pytest.mark.parametrize("name", EXAMPLES)
def test_boxes_stand_below_what_they_wait_for_and_beside_each_other(name):
    """And all within the drawing."""
    root = parsed(svg(EXAMPLES[name].graph))
    width, height = map(float, root.get("viewBox").split()[2:])
    outer = root.find(f"{SVG}g")
    boxes = []
    for group in outer.findall(f"{SVG}g"):
        x, y = map(float, re.findall(r"[\d.]+", group.get("transform")))
        rect = group.find(f"{SVG}rect")
        boxes.append((x, y, x + float(rect.get("width")), y + float(rect.get("height"))))
    for at, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for others in boxes[:at]:
            apart = right <= others[0] or others[2] <= left or bottom <= others[1]
            assert apart or others[3] <= top
    for path in outer.findall(f"{SVG}path"):
        numbers = list(map(float, re.findall(r"[\d.]+", path.get("d"))))
        assert numbers[1] < numbers[-1]


def test_ways_go_past_the_layers_between():
    """Between the boxes there, and not through them."""
    layout = layered([(10, 10)] * 3, [(0, 1), (1, 2), (0, 2)])
    middle = layout.corners[1][0]
    past = [x for x, y in layout.ways[2] if layout.corners[1][1] <= y <= layout.corners[1][1] + 10]
    assert past
    assert all(not middle <= x <= middle + 10 for x in past)
