"""What the checks of a pipeline say of its values is what its runs give."""

# ruff: noqa: E501 - an operation is a line
from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_operations_typed import check_is

from fabric.core.deadlines import NEVER
from fabric.core.errors import InvalidRequest, SpecialistFailed
from fabric.core.pipelines import (
    Body,
    Branch,
    Each,
    First,
    Loop,
    Pipeline,
    PipelineInput,
    PipelineOutput,
    Source,
    Step,
)
from fabric.core.tensors import DTYPES, Signature, TensorSpec, TensorValue
from fabric.pipelines.checking import Callee, check
from fabric.pipelines.compiling import compiled
from fabric.pipelines.running import Run
from fabric.pipelines.values import MISSING, Tensor
from fabric.testing import FakeCalls


def spec(name, *shape, symbols=()):
    return TensorSpec(name=name, datatype="FP32", shape=shape, symbols=symbols)


DECLARED = {
    "doubler": Callee(Signature(inputs=(spec("x", -1, 3),), outputs=(spec("y", -1, 3),)), True),
    "weaver": Callee(
        Signature(
            inputs=(spec("a", -1, -1, symbols=("n", "m")), spec("b", -1, -1, symbols=("n", "m"))),
            outputs=(spec("flat", -1, symbols=("m",)), spec("twice", -1, -1, symbols=("n", ""))),
        )
    ),
    "failing": Callee(Signature(inputs=(spec("x", -1, 3),), outputs=(spec("y", -1, 3),)), True),
}


def fail(x):
    raise SpecialistFailed("as it always does")


def weave(a, b):
    if a.shape != b.shape:  # as a model would
        raise InvalidRequest("a and b have different shapes")
    return {"flat": (a * b).sum(0), "twice": np.hstack([a, b])}


ANSWERS = {"doubler": lambda x: {"y": x * 2}, "weaver": weave, "failing": fail}
INPUTS = (
    PipelineInput(name="x", datatype="FP32", shape=("rows", "3")),
    PipelineInput(name="y", datatype="FP32", shape=("2", "3")),
    PipelineInput(name="z", datatype="UINT8", shape=("rows",)),
    PipelineInput(name="b", datatype="BOOL"),
    PipelineInput(name="o", datatype="FP32", shape=("-1", "3"), optional=True),
)
OPERATIONS = [
    ("add", ("x", "y"), {}), ("multiply", ("x",), {"y": 2}), ("greater", ("x",), {"y": 0.5}),
    ("softmax", ("x",), {}), ("sum", ("x",), {"axis": 0}), ("sum", ("x",), {"axis": -1, "keepdims": True}),
    ("argmax", ("x",), {}), ("any", ("x",), {}), ("slice", ("x",), {"at": "0"}),
    ("slice", ("x",), {"at": "1:"}), ("slice", ("x",), {"at": "..., None"}),
    ("transpose", ("x",), {}), ("reshape", ("x",), {"shape": (-1,)}), ("reshape", ("x",), {"shape": (-1, 3)}),
    ("expand_dims", ("x",), {"axis": 0}), ("squeeze", ("x",), {"axis": 0}),
    ("unstack", ("x",), {}), ("size", ("x",), {}), ("cast", ("x",), {"datatype": "FP32"}),
    ("stack", ("values",), {}), ("concat", ("values",), {}), ("mean", ("values",), {}),
    ("vote", ("values",), {}), ("default", ("values",), {}),
]  # fmt: skip


@st.composite
def steps(draw, number, names, depth):
    """A step that refers to some of *names*, and may have others within it, so many graphs deep."""
    name = f"s{number}"
    source = st.sampled_from(names)
    kinds = ["operation", "operation", "operation", "call", "constant"]
    kinds += ["branch", "each", "each", "loop", "first"] if depth else []
    kind = draw(st.sampled_from(kinds))
    options = {"optional": draw(st.integers(0, 4)) == 0}
    if draw(st.integers(0, 4)) == 0:
        options["when"] = "b"
    if kind == "operation":
        operation, taken, arguments = draw(st.sampled_from(OPERATIONS))
        inputs = {
            each: Source(values=tuple(draw(st.lists(source, min_size=1, max_size=3))), is_list=True)
            if each == "values" and draw(st.booleans())
            else Source(values=(draw(source),))
            for each in taken
        }
        return Step(name=name, operation=operation, inputs=inputs, arguments=arguments, **options)
    if kind == "call":
        callee = draw(st.sampled_from(sorted(DECLARED)))
        inputs = {
            each.name: Source(values=(draw(source),)) for each in DECLARED[callee].signature.inputs
        }
        fallback = draw(st.sampled_from([(), ("doubler",)])) if callee == "failing" else ()
        return Step(name=name, call=callee, inputs=inputs, fallback=fallback, **options)
    if kind == "constant":
        constant = TensorValue(name="c", datatype="FP32", shape=(1, 3), numbers=(1, 2, 3))
        return Step(name=name, constant=constant, **options)
    if kind == "each":
        over = {f"i{number}": draw(source)}
        if draw(st.integers(0, 2)) == 0:
            over[f"j{number}"] = draw(source)
        body = draw(bodies(number, [*names, *over], depth))
        return Step(
            name=name, each=Each(over=over, body=body, batch=draw(st.booleans())), **options
        )
    if kind == "loop":
        body = draw(bodies(number, [*names, f"i{number}"], depth))
        body = replace(body, outputs={f"i{number}": body.outputs["v"], "done": "b"})
        loop = Loop(state={f"i{number}": draw(source)}, body=body, until="done", most=2)
        return Step(name=name, loop=loop, **options)
    two = [draw(bodies(number + 30 * place, names, depth)) for place in range(2)]
    if kind == "first":
        return Step(name=name, first=First(bodies=tuple(two)), **options)
    otherwise = two[1] if draw(st.booleans()) else None
    return Step(
        name=name, branch=Branch(on="b", cases={"true": two[0]}, otherwise=otherwise), **options
    )


@st.composite
def bodies(draw, number, names, depth):
    """A body of up to two steps."""
    inner = []
    number = number * 100
    for _ in range(draw(st.integers(0, 2))):
        number += 1
        inner.append(draw(steps(number, names + [step.name for step in inner], depth - 1)))
    last = inner[-1].name if inner else draw(st.sampled_from(names))
    return Body(steps=tuple(inner), outputs={"v": last})


def pipeline_of(made, outputs, *, optional):
    return Pipeline(
        name="p",
        inputs=INPUTS,
        steps=tuple(made),
        outputs=tuple(
            PipelineOutput(name=each, source=each, optional=optional) for each in outputs
        ),
    )


def checked(made, outputs, *, optional=True):
    return check(pipeline_of(made, outputs, optional=optional), DECLARED.get)


def problems(made, output):
    """What is wrong with *made*, but that nobody needs some of them yet."""
    found = map(str, checked(made, [output]).problems)
    return [each for each in found if "nobody needs" not in each]


def gives(step):
    """References to what others may take of it."""
    if step.call == "weaver":
        return [f"{step.name}.flat", f"{step.name}.twice"]
    return [f"{step.name}.{next(iter(step.loop.state))}" if step.loop else step.name]


@st.composite
def graphs(draw):
    """Steps that have no problems, and references to tensors that they give."""
    names = [each.name for each in INPUTS]
    made, outputs = [], []
    for number in range(1, 9):
        step = draw(steps(number, names, 2))
        first, *others = gives(step)
        found = problems([*made, step], first)
        is_list = any(each.startswith(f"outputs.{first}: it is a list") for each in found)
        if len(found) > is_list:
            continue
        made.append(step)
        names += [first, *others]
        if not is_list:
            outputs += [first, *others]
            continue
        padded = Source(values=(first,))
        step = Step(name=f"p{number}", operation="pad", inputs={"values": padded})
        if not problems([*made, step], f"{step.name}.value"):
            made.append(step)
            outputs.append(f"{step.name}.value")
    return made, outputs


@st.composite
def requests(draw, signature):
    """Arrays for *signature*."""
    random = np.random.default_rng(draw(st.integers(0, 5)))
    sizes, arrays = {}, {}
    for spec in signature.inputs:
        if spec.optional and draw(st.booleans()):
            continue
        names = spec.symbols or ("",) * len(spec.shape)
        shape = [
            sizes.setdefault(name or len(sizes), draw(st.integers(0, 3))) if size == -1 else size
            for size, name in zip(spec.shape, names, strict=True)
        ]
        array = np.asarray(random.random(shape) * 3)
        array = array > 1.5 if spec.datatype == "BOOL" else array.astype(DTYPES[spec.datatype])
        arrays[spec.name] = Tensor.of(np.asarray(array))
    return arrays


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=HealthCheck,
)
@given(st.data())
def test_values_are_what_the_checks_say_and_missing_only_where_they_may_be(data):
    """Whatever graph passes them, unless it fails for what it is given."""
    made, outputs = data.draw(graphs())
    if not outputs:
        return
    said = checked(made, outputs)
    inputs = data.draw(requests(said.signature))
    needed = checked(made, outputs, optional=False).problems
    may_miss = {each.key for each in needed if "it may be missing" in each.message}
    pipeline = pipeline_of(made, outputs, optional=True)
    run = Run(pipeline, compiled(pipeline, said.types), FakeCalls(**ANSWERS), draw=lambda: 0.0)
    try:
        found = asyncio.run(run.outputs(inputs, NEVER))
    except (InvalidRequest, SpecialistFailed):
        return
    sizes = {}
    for name, value in {**inputs, **found}.items():
        if value is MISSING:
            assert f"outputs.{name}" in may_miss
        elif name in said.types:
            check_is(value, said.types[name], sizes)
