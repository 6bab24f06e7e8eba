"""Pipelines that are written in Python are traced, and what cannot be is refused with its line."""

from __future__ import annotations

import inspect
from typing import Annotated

import numpy as np
import pytest

from fabric import (
    Value,
    branch,
    cascade,
    constant,
    each,
    first,
    loop,
    op,
    pipeline,
    step,
    switch,
    tensor,
)
from fabric.core.pipelines import PipelineInput, Source
from fabric.core.routes import Requirements
from fabric.pipelines.checking import Callee, check
from fabric.pipelines.operations import OPERATIONS
from fabric.pipelines.tracing import TracingError
from tests.pipelines.test_python_form import EXAMPLES


def refusal(function) -> str:
    """Why *function* is no pipeline, behind the number of the line within it that says so."""
    with pytest.raises(TracingError) as caught:
        pipeline(function)
    where, _, why = caught.value.message.partition(": ")
    file, _, line = where.rpartition(":")
    assert file == __file__
    return f"{int(line) - function.__code__.co_firstlineno}: {why}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_shape_of_flow_can_be_written(name):
    """And its values fit together, whoever the specialists are."""
    graph = EXAMPLES[name].graph
    assert check(graph, lambda _: Callee(None)).problems == ()


def test_steps_are_called_after_what_they_call():
    """With a number behind it where that is taken, and otherwise as one says."""

    @pipeline
    def named(x: Value) -> Value:
        step("text.reader:1.10", x=x)
        step("text.reader", x=x)
        step("text.reader", x=x, name="reader")
        return each(x, lambda text: step("text", x=text))

    assert [made.name for made in named.graph.all_steps] == [
        *("text-reader", "text-reader-2", "reader", "each", "text-2")
    ]


def test_inputs_say_what_they_take():
    """In their annotations, also where these have names of their own."""
    Image = Annotated[Value, tensor("UINT8", "h", -1, 3)]  # noqa: N806 - as a type is called

    @pipeline(name="looks", description="Sees.", timeout=2.0, optional=["value"])
    def seen(image: Image, hint: Annotated[Value, tensor(optional=True, name="a hint")]) -> Value:
        return step("see", image=image, hint=hint)

    graph = seen.graph
    assert graph.inputs == (
        PipelineInput(name="image", datatype="UINT8", shape=("h", "-1", "3")),
        PipelineInput(name="a hint", optional=True),
    )
    assert (graph.name, graph.description, graph.timeout) == ("looks", "Sees.", 2.0)
    assert graph.outputs[0].optional


def test_lines_of_all_steps_are_kept():
    """By the name of the step; that of the function under none."""

    @pipeline
    def lined(x: Value) -> Value:
        y = step("a", x=x)
        return each(
            y,
            lambda item: step("b", x=item),
        )

    start = int(lined.lines[""].rpartition(":")[2])
    assert {name: int(at.rpartition(":")[2]) - start for name, at in lined.lines.items()} == {
        "": 0,
        "a": 2,
        "each": 3,
        "b": 5,
    }


def test_whatever_a_step_may_be_told_reaches_the_graph():
    """Inputs that are called like it go into a dict."""

    @pipeline
    def told(x: Value) -> Value:
        return step(
            "reader",
            {"name": x, "others": [x, x]},
            timeout=0.5,
            share=0.5,
            tries=2,
            fallback="other",
            cache=60.0,
            optional=True,
            requirements=Requirements(task="read"),
            when=x == "yes",
        )

    equal, made = told.graph.steps
    assert made.inputs == {
        "name": Source(values=("x",)),
        "others": Source(values=("x", "x"), is_list=True),
    }
    assert (made.timeout, made.share, made.tries, made.cache) == (0.5, 0.5, 2, 60.0)
    assert (made.fallback, made.optional, made.when) == (("other",), True, equal.name)
    assert made.requirements == Requirements(task="read")


def test_constants_are_tensors():
    """Texts and arrays by themselves, numbers with a datatype."""

    @pipeline
    def constants() -> dict[str, Value]:
        return {
            "a": constant([[1, 2]], "INT8"),
            "b": constant(["é", "a\0"]),
            "c": constant(np.zeros((2, 0), np.float32)),
            "d": constant([True, False]),
            "e": constant(0.5, "BF16"),
        }

    made = [made.constant for made in constants.graph.steps]
    assert [(value.datatype, value.shape) for value in made] == [
        *(("INT8", (1, 2)), ("BYTES", (2,)), ("FP32", (2, 0)), ("BOOL", (2,)), ("BF16", ()))
    ]
    assert (made[1].texts, made[3].numbers) == (("é", "a\0"), (1, 0))


def test_an_item_may_hide_what_is_called_like_it():
    """As a parameter does in Python; who means the outer one is told so."""

    @pipeline
    def hiding(text: Value) -> Value:
        return loop(text, lambda text: step("polish", text=text), until="text", most=2)

    assert hiding.graph.steps[0].loop.state == {"text": "text"}

    def hidden(text: Value) -> Value:
        return each(text, lambda text, outer=text: step("join", a=text, b=outer))

    assert refusal(hidden) == (
        "1: input 'b' of 'join' is <value 'text'>, which an item of the same name hides here: "
        "give the parameter of the body another name"
    )


# ------------------------------------------------------------------ what is refused
def use_in_if(x: Value) -> Value:
    if x > 1:
        return x
    return step("a", x=x)


def use_with_and(x: Value) -> Value:
    return (x > 1) and (x < 2)


def go_over(x: Value) -> Value:
    return [step("a", x=row) for row in x][0]  # noqa: RUF015


def take_length(x: Value) -> Value:
    return x[: len(x)]


def look_into(x: Value) -> Value:
    return branch("yes" in x, then=x)


def give_to_numpy(x: Value) -> Value:
    return np.argmax(x)


def give_nothing(x: Value) -> None:
    step("a", x=x)


def give_a_list(x: Value) -> list[Value]:
    return [x]


def body_gives_nothing(x: Value) -> Value:
    def body(item: Value) -> None:
        step("a", x=item)

    return each(x, body)


def body_takes_more(x: Value) -> Value:
    return each(x, lambda a, b: step("a", x=a, y=b))


def value_of_a_body(x: Value) -> Value:
    seen = []
    each(x, lambda item: seen.append(step("a", x=item)) or item)
    return step("b", x=seen[0])


def number_as_an_input(x: Value) -> Value:
    return step("a", x=x, threshold=0.5)


def number_without_datatype() -> Value:
    return constant(0.5)


def number_too_large() -> Value:
    return constant(300, "INT8")


def unknown_output(x: Value) -> Value:
    return op.topk(x, 3).index


def which_output(x: Value) -> Value:
    return op.topk(x, 3)


def output_of_an_input(x: Value) -> Value:
    return x["scores"]


def step_beside_branch(x: Value) -> Value:
    return branch(
        x > 0,
        then=step("a", x=x).y,
        otherwise=x,
    )


def same_name(x: Value) -> Value:
    step("a", x=x, name="b")
    return step("b", x=x, name="b")


def no_name(x: Value) -> Value:
    return step("a", x=x, name="B")


def too_few_tries(x: Value) -> Value:
    return step("a", x=x, tries=0)


def state_is_not_given(x: Value) -> Value:
    return loop(x, lambda x: {"y": x}, until="y", most=2)


def different_outputs(x: Value) -> Value:
    return first(lambda: {"a": x}, lambda: {"b": x})


def nobody_is_sure(x: Value) -> Value:
    return cascade(lambda: x, sure="sure")


def no_cases(x: Value) -> Value:
    return switch(x, {})


def default_of_an_input(x: Value, y: Value = None) -> Value:
    return step("a", x=x, y=y)


def any_inputs(*x: Value) -> Value:
    return x[0]


KNOWN = "is not known while the pipeline is written: for `if` use branch(…) or `when=`, for"
IN_A_DICT = "return a value, or several by name, in a dict"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (use_in_if, f"1: <value 'greater'> {KNOWN} `and`, `or` and `not` use `&`, `|` and `~`"),
        (use_with_and, f"1: <value 'greater'> {KNOWN} `and`, `or` and `not` use `&`, `|` and `~`"),
        (
            go_over,
            (
                "1: <value 'x'> cannot be gone over while the pipeline is written: "
                "use each(…, lambda item: …)"
            ),
        ),
        (
            take_length,
            (
                "1: the length of <value 'x'> is not known while the pipeline is written: "
                "use op.size(…)"
            ),
        ),
        (
            look_into,
            "1: what <value 'x'> holds is not known while the pipeline is written: use op.any(…)",
        ),
        (
            give_to_numpy,
            "1: <value 'x'> is no array while the pipeline is written: use operations of `op`",
        ),
        (give_nothing, f"0: pipeline 'give_nothing' gives nothing: {IN_A_DICT}"),
        (give_a_list, f"0: pipeline 'give_a_list' gives a list: {IN_A_DICT}"),
        (body_gives_nothing, f"1: the body of each gives nothing: {IN_A_DICT}"),
        (body_takes_more, "1: the body of each takes 2 values, and is given 1"),
        (
            value_of_a_body,
            (
                "3: input 'x' of 'b' is <value 'a'>, which is given within a body, or in another "
                "pipeline: let the body give it"
            ),
        ),
        (
            number_as_an_input,
            (
                "1: input 'threshold' of 'a' is the float 0.5, and no value of the pipeline: "
                "write constant(…)"
            ),
        ),
        (
            number_without_datatype,
            "1: a constant of numbers needs a datatype, such as constant(0.5, 'FP32')",
        ),
        (number_too_large, "1: constant: INT8 does not hold [300]"),
        (unknown_output, "1: step 'topk' gives no 'index', only values and indices"),
        (which_output, "0: step 'topk' gives values and indices: say which, as in .values"),
        (output_of_an_input, "1: <value 'x'> has no outputs, so no 'scores': only steps have"),
        (
            step_beside_branch,
            (
                "1: case 'true' of branch holds <value 'a.y'> itself, whose step would run in any "
                "case: write `lambda:` before it"
            ),
        ),
        (same_name, "2: the name 'b' is given already, at "),
        (no_name, "1: step 'B': 'B' is no valid name of a step: use 1 to 64 lower-case letters"),
        (too_few_tries, "1: step 'a': tries is 0, it is at least 1"),
        (state_is_not_given, "1: loop: body gives no output 'x', which the loop needs"),
        (different_outputs, "1: first: bodies have different outputs: all need the same names"),
        (nobody_is_sure, "1: cascade: sure is 'sure', which the bodies do not give"),
        (no_cases, "1: switch has no case: name at least one value"),
        (default_of_an_input, "0: input 'y' has a default: what requests may leave out is"),
        (any_inputs, "0: '*x: 'Value'' is no input: inputs are parameters, one each"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_its_line_and_the_way_out(function, why):
    """The line is the user's, whatever of ours it is that refuses."""
    assert refusal(function).startswith(why)


def test_steps_have_their_place_in_a_pipeline():
    """Elsewhere there is no graph that they could belong to."""
    with pytest.raises(TracingError, match=r"\d: step\(…\) has its place in a function under"):
        step("a")


def test_a_value_from_before_may_be_what_a_branch_gives():
    """Only a step that is written within the call looks as if it ran only then."""

    @pipeline
    def chosen(x: Value) -> Value:
        one, other = step("a", x=x), step("b", x=x)
        return branch(one == other, then=one, otherwise=other)

    assert chosen.graph.steps[-1].branch.cases["true"].steps == ()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_a_function(name):
    """With the inputs, arguments, defaults and the sentence that the registry has."""
    operation = OPERATIONS[name]
    function = getattr(op, name)
    parameters = dict(inspect.signature(function).parameters)
    assert parameters.pop("options").kind is inspect.Parameter.VAR_KEYWORD
    assert " ".join(function.__doc__.split()) == operation.doc
    assert parameters.keys() == {
        *(taken.name for taken in operation.inputs),
        *operation.parameters,
    }
    for taken in operation.inputs:
        default = None if taken.optional else inspect.Parameter.empty
        assert parameters.pop(taken.name).default is default
    for argument, parameter in parameters.items():
        default = operation.parameters[argument].default
        assert parameter.default == (inspect.Parameter.empty if default is None else default)


def test_nothing_is_computed_while_numpy_stands_on_the_left():
    """Its numbers leave the operation to values."""

    @pipeline
    def added(x: Value) -> Value:
        return np.float64(1.5) + x

    (made,) = added.graph.steps
    assert (made.operation, made.arguments) == ("add", {"x": 1.5})
