"""Pipelines as drawings: in Graphviz's language, and as SVG that needs nobody else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from fabric.core.pipelines import Reference
from fabric.pipelines.layout import layered
from fabric.pipelines.wiring import begins_with, needs, references

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fabric.core.pipelines import Pipeline, Step


@dataclass(slots=True)
class Node:
    name: str
    kind: str
    """`input` and `output` of a graph, or what the step is."""
    does: str = ""
    """Of a step, in a few words."""
    is_optional: bool = False
    bodies: list[tuple[str, Graph]] = field(default_factory=list)
    """Behind what they are for."""


@dataclass(frozen=True, slots=True)
class Edge:
    giver: int
    """Place of the node."""
    taker: int
    output: str
    """What is given; empty for the only output."""
    decides: bool = False
    """It is given for whether the step runs."""


@dataclass(slots=True)
class Graph:
    nodes: list[Node]
    edges: list[Edge]


def graph(pipeline: Pipeline) -> Graph:
    """The nodes and edges of *pipeline*, and of bodies within."""
    inputs = [Node(each.name, "input", is_optional=each.optional) for each in pipeline.inputs]
    outputs = {each.name: each.source for each in pipeline.outputs}
    return _graph(inputs, pipeline.steps, outputs)


def _graph(inputs: list[Node], steps: Sequence[Step], outputs: Mapping[str, str]) -> Graph:
    nodes = [*inputs, *map(_node, steps)]
    givers = {node.name: place for place, node in enumerate(nodes)}
    for name, source in outputs.items():
        is_outer = Reference.of(source).giver not in givers
        nodes.append(Node(name, "output", f"is {source}" if is_outer else ""))
    edges: dict[Edge, None] = {}

    def join(references: Iterable[str], taker: int, when: str = "") -> None:
        for text in references:
            reference = Reference.of(text)
            if reference.giver in givers:
                giver = givers[reference.giver]
                edges[Edge(giver, taker, reference.output, decides=text == when)] = None

    for place, step in enumerate(steps, len(inputs)):
        near = tuple(references(step))
        join(near, place, step.when)
        # What only its bodies take is given to the step as a whole.
        join(sorted(needs(step) - {Reference.of(text).giver for text in near}), place)
    for place, source in enumerate(outputs.values(), len(inputs) + len(steps)):
        join([source], place)
    return Graph(nodes, list(edges))


def _node(step: Step) -> Node:
    items = [Node(name, "input") for name in begins_with(step)]
    bodies = [
        (_title(step, key), _graph(list(items), body.steps, body.outputs))
        for key, body in step.bodies.items()
    ]
    return Node(step.name, step.kind, _does(step), step.optional or bool(step.when), bodies)


def _does(step: Step) -> str:
    if step.call:
        return " or ".join((step.call, *step.fallback))
    if step.operation:
        said = (f"{name}={_short(value)}" for name, value in step.arguments.items())
        return " ".join([step.operation, *said])
    if step.constant is not None:
        shape = ", ".join(map(str, step.constant.shape))
        return f"{step.constant.datatype}[{shape}]"
    if step.branch is not None:
        return f"by {step.branch.on}"
    if step.loop is not None:
        return f"again until '{step.loop.until}', at most {step.loop.most} times"
    if step.first is not None:
        return (
            f"in turn until {step.first.sure}" if step.first.sure else "in turn until one answers"
        )
    together = " together" if step.each and step.each.batch else ""
    return f"for each {', '.join(begins_with(step))}{together}"


def _short(value: object) -> str:
    text = str(list(value) if isinstance(value, tuple) else value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 24 else f"{text[:23]}…"


def _title(step: Step, key: str) -> str:
    if step.branch is not None:
        return "otherwise" if key == "otherwise" else f"if {key}"
    return f"{int(key) + 1}." if step.first is not None else ""


# ------------------------------------------------------------------ Graphviz
def dot(pipeline: Pipeline) -> str:
    """*pipeline* in Graphviz's language; bodies are clusters."""
    lines = [
        f"digraph {_quoted(pipeline.name)} {{",
        '  compound=true; fontname="sans-serif"; fontsize=11;',
        '  node [shape=box, style=rounded, fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=9];',
        *_indented(_dot_graph(graph(pipeline), "")),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _dot_graph(graph: Graph, path: str) -> Iterator[str]:
    for place, node in enumerate(graph.nodes):
        name = f"{path}{place}"
        if not node.bodies:
            yield _dot_node(node, name)
            continue
        yield f"subgraph {_quoted(f'cluster {name}')} {{"
        yield f"  label={_quoted(_label(node))}; style={_style(node)};"
        for number, (title, body) in enumerate(node.bodies):
            inner = f"{name}.{number}."
            yield f"  subgraph {_quoted(f'cluster {inner}')} {{"
            yield f"    label={_quoted(title)}; style=dotted;"
            yield from _indented(_indented(_dot_graph(body, inner)))
            yield "  }"
        yield "}"
    for edge in graph.edges:
        giver, tail = _end(graph.nodes[edge.giver], f"{path}{edge.giver}", last=True)
        taker, head = _end(graph.nodes[edge.taker], f"{path}{edge.taker}", last=False)
        said = [f"label={_quoted(edge.output)}"] if edge.output else []
        said += [f"ltail={_quoted(tail)}"] if tail else []
        said += [f"lhead={_quoted(head)}"] if head else []
        said += ["style=dashed"] if edge.decides else []
        how = f" [{', '.join(said)}]" if said else ""
        yield f"{_quoted(giver)} -> {_quoted(taker)}{how};"


def _dot_node(node: Node, name: str) -> str:
    said = [f"label={_quoted(_label(node))}"]
    if node.kind in ("input", "output"):
        said.append("shape=plaintext, style=solid")
    elif node.is_optional:
        said.append('style="rounded,dashed"')
    return f"{_quoted(name)} [{', '.join(said)}];"


def _style(node: Node) -> str:
    return '"rounded,dashed"' if node.is_optional else "rounded"


def _end(node: Node, name: str, *, last: bool) -> tuple[str, str]:
    """The node at which an edge of *node*, called *name*, ends, and the cluster it is cut at."""
    cluster = f"cluster {name}" if node.bodies else ""
    while node.bodies:
        number, (_, body) = 0, node.bodies[0]
        place = len(body.nodes) - 1 if last else 0
        node, name = body.nodes[place], f"{name}.{number}.{place}"
    return name, cluster


def _label(node: Node) -> str:
    return node.name if node.does in ("", node.name) else f"{node.name}\n{node.does}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


# ------------------------------------------------------------------ SVG
_LETTER, _BOLD, _LINE, _EDGE = 7.0, 8.0, 16.0, 10.0
"""Pixels: of a letter, about; of a line; and between what is written and what is around it."""
_CSS = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1b1f24}.does,.title{fill:#59636e}"
    ".name{font-weight:600}rect{fill:#fff;stroke:#8a94a3}.call{fill:#e7f0fd;stroke:#2a78d6}"
    ".within{fill:none;stroke:#c5cbd3;stroke-dasharray:2 3}.block{fill:#8a94a3;fill-opacity:.08}"
    ".end{fill:#f0f1f3;stroke:none}.optional{stroke-dasharray:6 3}path{fill:none;stroke:#59636e}"
    ".decides{stroke-dasharray:4 3}marker path{fill:#59636e;stroke:none}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e8eb}.does,.title{fill:#9aa4b0}"
    "rect{fill:#20252b;stroke:#6b7683}.call{fill:#15304f;stroke:#5b9be8}.within{fill:none;"
    "stroke:#4a535e}.block{fill:#8a94a3;fill-opacity:.1}.end{fill:#2b3138}path{stroke:#9aa4b0}"
    "marker path{fill:#9aa4b0}}"
)


def svg(pipeline: Pipeline) -> str:
    """*pipeline* as a drawing of its own, for light and dark pages; said in words for those who
    do not see it."""
    made = graph(pipeline)
    drawn, width, height = _drawn(made)
    size = f"{width + 2 * _EDGE:.0f}", f"{height + 2 * _EDGE:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {" ".join(size)}" '
        f'width="{size[0]}" height="{size[1]}" role="img" aria-labelledby="title desc">'
        f'<title id="title">Pipeline {escape(pipeline.name)}</title>'
        f'<desc id="desc">{escape(" ".join(_words(made)))}</desc><style>{_CSS}</style>'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        f'<g transform="translate({_EDGE:.0f} {_EDGE:.0f})">{drawn}</g></svg>\n'
    )


def _words(graph: Graph) -> Iterator[str]:
    """Who is given what, a sentence each."""
    for place, node in enumerate(graph.nodes):
        given = [
            ".".join(filter(None, (graph.nodes[edge.giver].name, edge.output)))
            for edge in graph.edges
            if edge.taker == place
        ]
        takes = f" takes {', '.join(given)}" if given else ""
        if node.kind == "input":
            yield f"Input {node.name}."
        elif node.kind == "output":
            yield f"Output {node.name} {node.does or 'is ' + ', '.join(given)}."
        else:
            yield f"Step {node.name} ({node.kind}: {node.does}){takes}."
        for title, body in node.bodies:
            yield " ".join([f"Within {node.name}{f', {title}' if title else ''}:", *_words(body)])


def _drawn(graph: Graph) -> tuple[str, float, float]:
    """The elements of *graph*, its width and its height."""
    boxes = [_box(node) for node in graph.nodes]
    pairs = [(edge.giver, edge.taker) for edge in graph.edges]
    layout = layered([(width, height) for _, width, height in boxes], pairs)
    parts = []
    for edge, way in zip(graph.edges, layout.ways, strict=True):
        kind = ' class="decides"' if edge.decides else ""
        said = ".".join(filter(None, (graph.nodes[edge.giver].name, edge.output)))
        title = escape(f"{said} → {graph.nodes[edge.taker].name}")
        parts.append(
            f'<path{kind} d="{_curve(way)}" marker-end="url(#arrow)"><title>{title}</title></path>'
        )
    for (drawn, _, _), (x, y) in zip(boxes, layout.corners, strict=True):
        parts.append(f'<g transform="translate({x:.1f} {y:.1f})">{drawn}</g>')
    return "".join(parts), layout.width, layout.height


def _curve(way: Sequence[tuple[float, float]]) -> str:
    """A line through the points of *way* that is upright at each."""
    (x, y), *others = way
    parts = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in others:
        middle = (y + to_y) / 2
        parts.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return "".join(parts)


def _box(node: Node) -> tuple[str, float, float]:
    """The elements of *node*, its width and its height."""
    lines = _label(node).split("\n")
    width = max(len(lines[0]) * _BOLD, *(len(line) * _LETTER for line in lines)) + 2 * _EDGE
    height = len(lines) * _LINE + _EDGE
    inner, across, top = [], _EDGE, height
    for title, body in node.bodies:
        drawn, body_width, body_height = _drawn(body)
        body_width = max(body_width, len(title) * _LETTER) + 2 * _EDGE
        under = _LINE if title else 0.0
        body_height += under + 2 * _EDGE
        inner.append(
            f'<g transform="translate({across:.1f} {top:.1f})"><rect class="within" rx="6" '
            f'width="{body_width:.1f}" height="{body_height:.1f}"/>'
            f"{_written(title, 'title', _EDGE, _LINE)}"
            f'<g transform="translate({_EDGE:.1f} {under + _EDGE:.1f})">{drawn}</g></g>'
        )
        across += body_width + _EDGE
        width, height = max(width, across), max(height, top + body_height + _EDGE)
    kind = "end" if node.kind in ("input", "output") else "block" if node.bodies else node.kind
    optional = " optional" if node.is_optional else ""
    texts = [
        _written(line, "does" if place else "name", _EDGE, _LINE * (place + 1))
        for place, line in enumerate(lines)
    ]
    rect = (
        f'<rect class="{kind}{optional}" rx="{12 if kind == "end" else 6}" '
        f'width="{width:.1f}" height="{height:.1f}"/>'
    )
    return "".join([rect, *texts, *inner]), width, height


def _written(text: str, kind: str, x: float, y: float) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>' if text else ""
