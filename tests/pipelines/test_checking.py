"""Pipelines checked before they run."""

# ruff: noqa: E501 - texts are kept whole
from __future__ import annotations

import pytest

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
from fabric.core.tensors import Signature, TensorSpec, TensorValue
from fabric.pipelines.checking import Callee, Problem, check


def spec(name, datatype, *shape, optional=False):
    """Sizes are numbers, -1, or symbols."""
    symbols = tuple(size if isinstance(size, str) else "" for size in shape)
    return TensorSpec(
        name=name,
        datatype=datatype,
        shape=tuple(-1 if isinstance(size, str) else size for size in shape),
        optional=optional,
        symbols=symbols if any(symbols) else (),
    )


def callee(inputs, outputs, batched=False, **options):
    return Callee(Signature(inputs=tuple(inputs), outputs=tuple(outputs), **options), batched)


DECLARED = {
    "detector": callee(
        [spec("image", "UINT8", "h", "w", 3)],
        [spec("boxes", "FP32", "n", 4), spec("scores", "FP32", "n")],
    ),
    "resizer": callee([spec("image", "UINT8", -1, -1, 3)], [spec("image", "UINT8", 64, 64, 3)]),
    "reader": callee([spec("x", "FP32", -1, 8)], [spec("text", "BYTES", -1)], batched=True),
    "adder": callee([spec("a", "FP32", "n"), spec("b", "FP32", "n")], [spec("sum", "FP32", "n")]),
    "classifier": callee([spec("x", "FP32", -1, 8)], [spec("y", "FP32", -1, 3)], batched=True),
    "single": callee([spec("x", "FP32", 1, 8)], [spec("y", "FP32", 1, 3)]),
    "stream": callee([spec("x", "FP32", -1, 8)], [spec("y", "FP32", -1)], decoupled=True),
    "maybe": callee([spec("x", "FP32", -1, 8)], [spec("y", "FP32", -1, 3, optional=True)]),
    "helped": callee(
        [spec("x", "FP32", -1, 8), spec("hint", "BYTES", 1, optional=True)],
        [spec("y", "FP32", -1, 3)],
    ),
    "unregistered": Callee(None),
}


def source(given):
    return (
        Source(values=tuple(given), is_list=True)
        if isinstance(given, list)
        else (Source(values=(given,)))
    )


def call(name, whom=None, *, options=None, **inputs):
    given = {key: source(value) for key, value in inputs.items()}
    return Step(name=name, call=whom or name, inputs=given, **(options or {}))


def op(name, operation, arguments=None, options=None, **inputs):
    given = {key: source(value) for key, value in inputs.items()}
    return Step(
        name=name,
        operation=operation,
        inputs=given,
        arguments=arguments or {},
        **(options or {}),
    )


def made(*steps, outputs=None, inputs=("x",), optional=()):
    """Its inputs are names, or `PipelineInput`s; its outputs references by name."""
    outputs = {"out": steps[-1].name} if outputs is None else outputs
    return Pipeline(
        name="p",
        inputs=tuple(
            PipelineInput(name=each) if isinstance(each, str) else each for each in inputs
        ),
        steps=steps,
        outputs=tuple(
            PipelineOutput(name=name, source=text, optional=name in optional)
            for name, text in outputs.items()
        ),
    )


def problems(*steps, **options):
    return list(map(str, check(made(*steps, **options), DECLARED.get).problems))


def types(*steps, **options):
    checked = check(made(*steps, **options), DECLARED.get)
    assert not checked.problems
    return {name: str(each) for name, each in checked.types.items()}


def signature(*steps, **options):
    checked = check(made(*steps, **options), DECLARED.get)
    assert not checked.problems
    return checked.signature


def rows(name="x", *sizes, datatype="FP32", **options):
    shape = tuple(map(str, sizes or ("rows", 8)))
    return PipelineInput(name=name, datatype=datatype, shape=shape, **options)


GOOD = op("good", "greater", {"y": 0.5}, x="x")
"""One BOOL where `x` is one element."""


# ------------------------------------------------------------------ signatures
def test_a_pipeline_takes_what_its_steps_take_and_gives_what_they_give():
    """Sizes of one symbol stay the same size through the graph."""
    found = signature(
        call("detector", image="image"),
        op("crop", "select", {"indices": 0}, x="detector.boxes"),
        inputs=["image"],
        outputs={"scores": "detector.scores", "boxes": "detector.boxes", "first": "crop"},
    )
    assert found == Signature(
        inputs=(spec("image", "UINT8", "h", "w", 3),),
        outputs=(
            spec("scores", "FP32", "n"),
            spec("boxes", "FP32", "n", 4),
            spec("first", "FP32", 4),
        ),
    )


def test_sizes_of_one_name_in_two_calls_are_two_sizes():
    """A symbol holds within one call; who has the same symbol elsewhere has it for itself."""
    found = signature(
        call("first", "adder", a="a", b="a"),
        call("second", "adder", a="b", b="b"),
        inputs=["a", "b"],
        outputs={"one": "first", "other": "second"},
    )
    assert found.inputs == (spec("a", "FP32", "n"), spec("b", "FP32", "n2"))
    assert found.outputs == (spec("one", "FP32", "n"), spec("other", "FP32", "n2"))


def test_a_batched_specialist_gives_as_many_rows_as_it_takes():
    """Also where nobody named its dimensions."""
    found = signature(call("classifier", x="x"), inputs=[PipelineInput(name="x")])
    assert found.inputs == (spec("x", "FP32", "n", 8),)
    assert found.outputs == (spec("out", "FP32", "n", 3),)


def test_what_an_input_is_said_to_be_narrows_what_steps_take():
    """Its own names of sizes are those of the pipeline."""
    found = signature(call("classifier", x="x"), inputs=[rows()])
    assert found.inputs == (spec("x", "FP32", "rows", 8),)
    assert found.outputs == (spec("out", "FP32", "rows", 3),)
    found = signature(call("classifier", x="x"), inputs=[rows("x", 5, -1, optional=True)],
                      optional=["out"])  # fmt: skip
    assert found.inputs == (spec("x", "FP32", 5, 8, optional=True),)
    assert found.outputs == (spec("out", "FP32", 5, 3, optional=True),)


def test_what_nobody_knows_yet_fits_anything():
    """A specialist that has not registered has no signature, nor has a pipeline that needs it."""
    found = signature(
        call("unregistered", x="x", y="y"),
        call("classifier", x="unregistered.z"),
        inputs=["x", "y"],
        outputs={"out": "classifier", "raw": "unregistered.raw"},
    )
    assert found is None


def test_a_constant_is_given_under_its_name():
    """Its type is what its elements are."""
    constant = TensorValue(name="scale", datatype="FP32", shape=(2,), numbers=(1, 2))
    step = Step(name="c", constant=constant)
    assert types(step, op("sum", "add", x="c.scale", y="c"), inputs=[])["sum.value"] == "FP32[2]"


# ------------------------------------------------------------------ names
def test_references_to_nobody_are_found_all_at_once():
    """With whoever may have been meant."""
    found = problems(
        call("detector", image="imag"),
        op("best", "topk", {"k": 1}, x="detector.score"),
        op("size", "size", x="detector"),
        op("last", "argmax", x="best"),
        inputs=[rows("image", 4, 4, 3, datatype="UINT8")],
        outputs={"a": "last", "b": "size.values", "c": "image.x", "d": "nobody", "e": ""},
    )
    assert found == [
        "step 'detector', inputs.image: there is no step or input 'imag': did you mean 'image'?",
        "step 'best', inputs.x: step 'detector' gives no 'score': did you mean 'scores'?",
        "step 'size', inputs.x: step 'detector' gives boxes, scores: say which, as 'detector.boxes'",
        "step 'last', inputs.x: step 'best' gives values, indices: say which, as 'best.values'",
        "outputs.b: step 'size' gives no 'values': did you mean 'value'?",
        "outputs.c: 'image' is no step, and so has no 'x'",
        "outputs.d: there is no step or input 'nobody'; there is best, detector, image, last, size",
        "outputs.e: a reference is empty",
    ]


def test_names_are_used_once():
    """Those of steps in bodies and of inputs included."""
    inner = Body(steps=(call("x", "classifier", x="row"),), outputs={"y": "x"})
    found = problems(
        Step(name="each", each=Each(over={"row": "x"}, body=inner)),
        op("each", "size", x="each"),
        inputs=[rows(), rows()],
        outputs={"out": "each"},
    )
    assert "inputs.x: 'x' is used twice: give each step and input its own name" in found
    assert "step 'each', name: 'each' is used twice: give each step and input its own name" in found


def test_steps_that_wait_for_themselves_are_shown_with_the_way():
    """Also where the way goes through a body."""
    found = problems(
        op("a", "add", x="x", y="b"),
        op("b", "add", x="c", y="x"),
        op("c", "add", x="a", y="x"),
        op("after", "add", x="c", y="x"),
        inputs=[rows()],
    )
    assert found == ["step 'a', inputs: it waits for itself: a -> b -> c -> a"]
    inner = Body(steps=(op("inner", "add", x="row", y="each.v"),), outputs={"v": "inner"})
    found = problems(Step(name="each", each=Each(over={"row": "x"}, body=inner)), inputs=[rows()],
                     outputs={"out": "x"})  # fmt: skip
    assert "step 'each', inputs: it waits for itself: each -> each" in found


def test_what_nobody_needs_is_a_problem():
    """Steps, steps that only such steps need, and outputs of bodies."""
    body = Body(
        steps=(call("classifier", x="row"), op("unused", "size", x="row")),
        outputs={"y": "classifier", "same": "row"},
    )
    found = problems(
        op("needed", "size", x="x"),
        op("lost", "size", x="x"),
        op("more", "add", {"y": 1}, x="lost"),
        Step(name="each", each=Each(over={"row": "x"}, body=body)),
        op("stack", "concat", values="each.y"),
        inputs=[rows()],
        outputs={"a": "needed", "b": "stack"},
    )
    assert found == [
        "step 'lost', operation: nobody needs what it gives: refer to it, or leave it out",
        "step 'more', operation: nobody needs what it gives: refer to it, or leave it out",
        "step 'each', each: nobody needs its output 'same': leave it out of the outputs",
        "step 'unused', operation: nobody needs what it gives: refer to it, or leave it out",
    ]


def test_a_step_of_another_body_is_not_seen():
    """What it gives has to be an output of that body."""
    cases = {
        "true": Body(steps=(op("one", "size", x="x"),), outputs={"n": "one"}),
        "false": Body(steps=(op("two", "add", x="one", y="one"),), outputs={"n": "two"}),
    }
    found = problems(GOOD, Step(name="b", branch=Branch(on="good", cases=cases)),
                     inputs=[rows("x", 1)])  # fmt: skip
    assert found[0] == (
        "step 'two', inputs.x: step 'one' is within another body: make it an output of that"
    )


# ------------------------------------------------------------------ calls
def test_inputs_of_calls_are_those_that_the_callee_takes():
    """By name, and all that it cannot do without."""
    found = problems(
        call("helped", x="x"),
        call("adder", a="x", c="x"),
        op("both", "add", x="helped", y="adder"),
        inputs=[rows("x", -1, 8)],
    )
    assert found == [
        "step 'adder', inputs.a: it is FP32[?, 8], and FP32[n] is needed ('adder')",
        "step 'adder', inputs.c: 'adder' takes no 'c'; there is a, b",
        "step 'adder', inputs: 'adder' needs 'b', FP32[n]",
    ]


def test_datatypes_and_sizes_fit():
    """Sizes that are known on one side are those on the other."""
    found = problems(
        call("resizer", image="image"),
        call("detector", image="resizer"),
        op("scores", "cast", {"datatype": "FP64"}, x="detector.scores"),
        call("adder", a="detector.scores", b="scores"),
        call("classifier", x="detector.boxes"),
        op("both", "add", x="adder", y="classifier"),
        inputs=["image"],
    )
    assert found == [
        "step 'adder', inputs.b: it is FP64[n], and FP32 is needed: cast it ('adder')",
        "step 'classifier', inputs.x: it is FP32[n, 4], and FP32[n, 8] is needed ('classifier')",
    ]


def test_nobody_is_called_who_is_not_declared():
    """Unless the step is optional: then what it gives is missing, and may be anything."""
    step = call("reader", "tomorrow", x="x")
    assert problems(step, inputs=[rows()]) == [
        "step 'reader', call: nobody is declared as 'tomorrow': declare it, or make the step optional"
    ]
    step = call("reader", "tomorrow", options={"optional": True}, x="x")
    assert not problems(step, inputs=[rows()], optional=["out"])
    step = call("reader", "classifier", options={"fallback": ("tomorrow",)}, x="x")
    assert problems(step, inputs=[rows()])[0].startswith("step 'reader', fallback: nobody")


def test_those_who_are_called_instead_take_and_give_the_same():
    """Only outputs that all of them have can be referred to."""
    step = call("reader", "classifier", options={"fallback": ("helped", "adder")}, x="x")
    assert problems(step, inputs=[rows()]) == [
        "step 'reader', inputs.x: 'adder' takes no 'x'; there is a, b",
        "step 'reader', inputs: 'adder' needs 'a', FP32[n]",
        "step 'reader', inputs: 'adder' needs 'b', FP32[n]",
        "outputs.out: step 'reader' gives nothing: say which, as 'reader.x'",
    ]
    step = call("reader", "classifier", options={"fallback": ("helped",)}, x="x")
    assert signature(step, inputs=[rows()]).outputs == (spec("out", "FP32", -1, 3),)


def test_a_step_has_one_answer():
    """Who answers any number of times cannot be called."""
    assert problems(call("stream", x="x")) == [
        "step 'stream', call: 'stream' answers any number of times, and a step has one answer"
    ]


# ------------------------------------------------------------------ lists
def test_lists_and_tensors_are_told_apart():
    """With what makes one of the other."""
    found = problems(
        call("classifier", x=["x", "x"]),
        op("stack", "stack", values="x"),
        op("parts", "unstack", x="x"),
        inputs=[rows()],
        outputs={"a": "classifier", "b": "stack", "c": "parts"},
    )
    assert found == [
        "step 'classifier', inputs.x: it is a list of FP32[rows, 8], and a tensor is needed: stack or concat the list ('classifier')",
        "step 'stack', inputs.values: it is FP32[rows, 8], and a list is needed: unstack the tensor",
        "outputs.c: it is a list of FP32[8], and a tensor is needed: stack or concat the list",
    ]


def test_a_list_in_a_list_is_what_it_holds():
    """Of one datatype and number of dimensions; sizes may differ."""
    found = types(
        op("parts", "unstack", x="x"),
        op("stack", "stack", values=["parts", "y"]),
        inputs=[rows("x", 2, 8), rows("y", "n")],
    )
    assert found["stack.value"] == "FP32[3, ?]"
    found = problems(
        op("stack", "stack", values=["x", "y"]),
        op("other", "stack", values=["x", "z"]),
        op("all", "concat", values=["stack", "other"]),
        op("none", "concat", values=[]),
        op("sum", "add", x="all", y="none"),
        inputs=[rows(), rows("y", 3), rows("z", "rows", 8, datatype="FP64")],
    )
    assert found == [
        "step 'stack', inputs.values: it is FP32[rows, 8] or FP32[3]: give both the same number of dimensions",
        "step 'other', inputs.values: it is FP32[rows, 8] or FP64[rows, 8]: cast one of them",
        "step 'none', inputs.values: the list has no values",
    ]


# ------------------------------------------------------------------ missing values
def test_what_may_be_missing_reaches_no_output_that_must_be_there():
    """Skipped, optional, or made of what is: with the reason."""
    skipped = call("classifier", options={"when": "good"}, x="y")
    found = problems(
        GOOD,
        skipped,
        op("late", "argmax", x="classifier"),
        call("maybe", x="y"),
        call("helped", options={"optional": True}, x="y"),
        inputs=[rows("x", 1), rows("y"), rows("z", 1, optional=True)],
        outputs={"a": "late", "b": "maybe", "c": "helped", "d": "z", "e": "late"},
        optional=["e"],
    )
    end = ": declare it optional, or use default"
    assert found == [
        f"outputs.a: it may be missing, as step 'classifier' is skipped by its when{end}",
        f"outputs.b: it may be missing, as 'maybe' may answer without 'y'{end}",
        f"outputs.c: it may be missing, as step 'helped' is optional{end}",
        f"outputs.d: it may be missing, as input 'z' is optional{end}",
    ]


def test_a_list_goes_without_what_is_missing():
    """Of several one is taken to be there; of one it is known that it may not be."""
    first = call("first", "classifier", options={"optional": True}, x="x")
    second = call("second", "classifier", options={"optional": True}, x="x")
    vote = op("vote", "vote", values=["first", "second"])
    assert not problems(first, second, vote, inputs=[rows()])
    vote = op("vote", "vote", values=["first"])
    end = "declare it optional, or use default"
    assert problems(first, vote, inputs=[rows()]) == [
        f"outputs.out: it may be missing, as step 'first' is optional: {end}"
    ]


# ------------------------------------------------------------------ conditions and branches
def test_conditions_are_one_bool():
    """Of whatever decides."""
    found = problems(
        op("many", "greater", {"y": 0.5}, x="x"),
        call("a", "classifier", options={"when": "x"}, x="x"),
        call("b", "classifier", options={"when": "many"}, x="x"),
        op("ok", "any", x="many"),
        call("c", "classifier", options={"when": "ok"}, x="x"),
        op("vote", "vote", values=["a", "b", "c"]),
        inputs=[rows("x", 2, 8)],
        optional=["out"],
    )
    assert found == [
        "step 'a', when: it is FP32[2, 8], and BOOL is needed: compare it",
        "step 'b', when: it is BOOL[2, 8], and one element is needed: use all, any, max or slice",
    ]


def branch_on(on, cases, **options):
    bodies = {
        case: Body(steps=(op(f"in-{at}", "add", {"y": at}, x="x"),), outputs={"v": f"in-{at}"})
        for at, case in enumerate(cases)
    }
    return Step(name="b", branch=Branch(on=on, cases=bodies, **options))


def test_cases_are_of_the_datatype_that_decides():
    """BOOL, a whole number, or BYTES."""
    inputs = [
        rows(),
        *(rows(name, 1, datatype=name) for name in ("UINT8", "BYTES", "BOOL", "FP16")),
    ]
    otherwise = Body(outputs={"v": "x"})
    assert not problems(branch_on("UINT8", ["0", "255"], otherwise=otherwise), inputs=inputs)
    assert not problems(branch_on("BYTES", ["", "x"], otherwise=otherwise), inputs=inputs)
    assert not problems(branch_on("BOOL", ["true", "false"]), inputs=inputs)
    text = "cases of UINT8 are whole numbers, from 0 to 255"
    assert problems(branch_on("UINT8", ["256", "01", "x", "7"], otherwise=otherwise),
                    inputs=inputs) == [
        f"step 'b', branch.cases.{case}: {text}" for case in ("256", "01", "x")
    ]  # fmt: skip
    assert problems(branch_on("BOOL", ["yes", "true"], otherwise=otherwise), inputs=inputs) == [
        "step 'b', branch.cases.yes: cases of BOOL are true and false"
    ]
    assert problems(branch_on("FP16", ["1"], otherwise=otherwise), inputs=inputs) == [
        "step 'b', branch.cases.1: there are no cases of FP16: compare it, or cast it"
    ]


def test_a_branch_gives_what_all_its_bodies_give():
    """Sizes may differ; names, datatypes and numbers of dimensions may not. Without a body for
    each value it may give nothing."""
    cut = Body(steps=(op("cut", "slice", {"at": ":3"}, x="x"),), outputs={"v": "cut"})
    bool_ = rows("BOOL", 1, datatype="BOOL")
    found = types(branch_on("BOOL", ["true"], otherwise=cut), inputs=[rows("x", 5, 8), bool_])
    assert found["b.v"] == "FP32[?, 8]"
    flat = Body(steps=(op("cut", "slice", {"at": "0"}, x="x"),), outputs={"v": "cut", "w": "cut"})
    found = problems(branch_on("BOOL", ["true"], otherwise=flat), inputs=[rows("x", 5, 8), bool_])
    assert found == [
        "step 'b', branch: its bodies give v or v, w: all need the same names",
        "step 'b', branch, output 'v': it is FP32[5, 8] or FP32[8]: give both the same number of dimensions",
    ]
    assert problems(branch_on("BOOL", ["true"]), inputs=[rows("x", 5, 8), bool_]) == [
        "outputs.out: it may be missing, as step 'b' has no otherwise: declare it optional, or use default"
    ]


# ------------------------------------------------------------------ each
def going_over(*steps, over, gives, **options):
    return Step(name="each", each=Each(over=over, body=Body(steps=steps, outputs=gives), **options))


def test_items_of_tensors_are_rows_and_of_lists_what_they_hold():
    """What a body gives are lists; as many as there are items."""
    found = types(
        going_over(call("classifier", x="row"), over={"row": "x"}, gives={"y": "classifier"}),
        op("all", "concat", values="each"),
        op("parts", "stack", values="each"),
        inputs=[rows("x", 5, 8)],
        outputs={"a": "all", "b": "parts"},
    )
    assert found["row"] == "FP32[1, 8]"
    assert found["each.y"] == "a list of FP32[1, 3]"
    assert (found["all.value"], found["parts.value"]) == ("FP32[5, 3]", "FP32[5, 1, 3]")


@pytest.mark.parametrize("batch", [False, True])
def test_an_input_is_gone_over_as_its_rows_are_taken(batch):
    """Nobody else has to say what it is."""
    found = signature(
        going_over(
            call("classifier", x="row"), over={"row": "x"}, gives={"y": "classifier"}, batch=batch
        ),
        op("all", "concat", values="each"),
    )
    assert found.inputs == (spec("x", "FP32", -1, 8),)
    assert found.outputs == (spec("out", "FP32", -1, 3),)


def test_several_are_gone_over_in_step():
    """They have as many items."""
    two = {"row": "x", "other": "y"}
    step = going_over(op("sum", "add", x="row", y="other"), over=two, gives={"v": "sum"})
    both = op("all", "concat", values="each")
    assert types(step, both, inputs=[rows(), rows("y", 3, 8)])["all.value"] == "FP32[3, 8]"
    assert problems(step, both, inputs=[rows("x", 2, 8), rows("y", 3, 8)]) == [
        "step 'each', each.over.other: it has 3 items, and others 2: go over as many"
    ]
    assert problems(
        step, both, inputs=[rows("x", 2), PipelineInput(name="y", datatype="FP32")]
    ) == ["step 'each', each.over.other: it is FP32[], and has no rows to go over"]


def test_calls_for_several_items_together_take_any_number_of_rows():
    """Else they are made for each item alone."""
    step = going_over(call("single", x="row"), over={"row": "x"}, gives={"y": "single"}, batch=True)
    both = op("all", "concat", values="each")
    end = "FP32[1, {}]: call it for each, without batch"
    start = "step 'single', call: 'single' is called for several items together, and its"
    assert problems(step, both, inputs=[rows()]) == [
        f"{start} input 'x' is {end.format(8)}",
        f"{start} output 'y' is {end.format(3)}",
    ]
    step = going_over(call("single", x="row"), over={"row": "x"}, gives={"y": "single"})
    assert not problems(step, both, inputs=[rows()])


def test_a_list_of_results_lacks_those_that_are_missing():
    """So nobody knows how many there are."""
    step = going_over(
        call("classifier", options={"optional": True}, x="row"),
        over={"row": "x"},
        gives={"y": "classifier"},
    )
    found = types(step, op("all", "concat", values="each"), inputs=[rows("x", 5, 8)])
    assert found["all.value"] == "FP32[?, 3]"


# ------------------------------------------------------------------ loop, first
def looping(*steps, gives, state=None):
    body = Body(steps=steps, outputs=gives)
    return Step(name="loop", loop=Loop(state=state or {"s": "x"}, body=body, until="done", most=3))


MORE = op("more", "add", {"y": 1}, x="s")
SUM = op("total", "sum", x="more")
DONE = op("done", "greater", {"y": 9}, x="total")
GIVES = {"s": "more", "done": "done"}


def test_a_loop_gives_its_state_as_it_began():
    """Sizes that its body leaves alone stay known, and those that change do not."""
    step = looping(MORE, SUM, DONE, gives=GIVES)
    assert (
        types(step, inputs=[rows("x", 5, 8)], outputs={"out": "loop.s"})["loop.s"] == "FP32[5, 8]"
    )
    grown = op("more", "concat", values=["s", "s"])
    step = looping(grown, SUM, DONE, gives=GIVES)
    assert (
        types(step, inputs=[rows("x", 5, 8)], outputs={"out": "loop.s"})["loop.s"] == "FP32[?, 8]"
    )


def test_a_state_can_be_taken_again():
    """It keeps its datatype, its number of dimensions and the sizes that the body needs."""
    outputs = {"out": "loop.s"}
    less = op("more", "slice", {"at": "0"}, x="s")
    assert problems(looping(less, SUM, DONE, gives=GIVES), inputs=[rows()], outputs=outputs) == [
        "step 'loop', loop.body.outputs.s: it is not as it was before: it is FP32[?, ?] or FP32[?]: give both the same number of dimensions"
    ]
    step = looping(call("more", "classifier", x="s"), SUM, DONE, gives=GIVES)
    assert problems(step, inputs=[rows()], outputs=outputs) == [
        "step 'loop', loop.body.outputs.s: it is not as it was before: it begins as FP32[rows, 8] and goes on as FP32[rows, 3], and FP32[rows, 8] is needed"
    ]


def test_what_ends_a_loop_is_one_bool_that_is_there():
    """Or nobody knows when it ends."""
    outputs = {"out": "loop.s"}
    gives = {"s": "more", "done": "total"}
    assert problems(looping(MORE, SUM, gives=gives), inputs=[rows()], outputs=outputs) == [
        "step 'loop', loop.body.outputs.done: it is FP32[], and BOOL is needed: compare it"
    ]
    rarely = op("total", "sum", options={"optional": True}, x="more")
    assert problems(looping(MORE, rarely, DONE, gives=GIVES), inputs=[rows()], outputs=outputs) == [
        "step 'loop', loop.body.outputs.done: it may be missing, as step 'total' is optional: use default"
    ]


def trying(*bodies, sure=""):
    return Step(name="first", first=First(bodies=bodies, sure=sure))


def test_bodies_that_are_tried_give_the_same():
    """How sure they are is one BOOL, and needed by nobody else."""
    one = Body(
        steps=(
            call("classifier", x="x"),
            op("c", "confidence", x="classifier"),
            op("sure", "greater", {"y": 0.8}, x="c"),
        ),
        outputs={"y": "classifier", "sure": "sure"},
    )
    other = Body(steps=(call("helped", x="x"),), outputs={"y": "helped", "sure": "yes"})
    yes = Step(name="yes", constant=TensorValue(name="v", datatype="BOOL", shape=(), numbers=(1,)))
    found = types(yes, trying(one, other, sure="sure"), inputs=[rows()], outputs={"o": "first.y"})
    assert found["first.y"] == "FP32[?, 3]"
    found = problems(
        trying(one, Body(outputs={"y": "x", "sure": "x"}), sure="sure"),
        inputs=[rows()],
        outputs={"o": "first.y"},
    )
    assert found == [
        "step 'first', first.bodies.1.outputs.sure: it is FP32[rows, 8], and BOOL is needed: compare it",
        "step 'first', first, output 'sure': it is BOOL[] or FP32[rows, 8]: cast one of them",
    ]


# ------------------------------------------------------------------ operations, and what is not said
def test_operations_take_what_they_are_made_for():
    """Inputs, arguments and names."""
    found = problems(
        op("a", "sofmax", x="x"),
        op("b", "softmax", {"axes": 1}, x="x"),
        op("c", "softmax", {"axis": "1"}, x="x"),
        op("d", "reshape", {"shape": (3, 7)}, x="y"),
        op("e", "add", x="x", y="y"),
        op("f", "topk", x="x"),
        op("g", "stack", values=["a", "b.value", "c", "d", "e", "f.values"]),
        inputs=[rows("x", 2, 8), rows("y", 4, 5)],
    )
    assert found == [
        "step 'a', operation: there is no operation 'sofmax': did you mean 'softmax'?",
        "step 'b', arguments.axes: softmax has no argument 'axes': did you mean 'axis'?",
        "step 'c', arguments.axis: argument 'axis' is '1', it must be int",
        "step 'd', operation: cannot reshape array of size 20 into shape (3,7); it is given x FP32[4, 5]",
        "step 'e', operation: sizes 2 and 4 do not go together; it is given x FP32[2, 8], y FP32[4, 5]",
        "step 'f', arguments: topk needs argument 'k'",
    ]


def test_an_input_of_which_nobody_says_anything_has_to_say_it_itself():
    """Else nobody could read a request."""
    assert problems(op("size", "size", x="x")) == [
        "inputs.x: nothing it is given to says what it is: say its datatype and shape"
    ]


def test_outputs_have_names_of_their_own():
    """An answer has one tensor of a name."""
    one = PipelineOutput(name="out", source="x")
    pipeline = Pipeline(name="p", inputs=(rows(),), outputs=(one, one))
    assert check(pipeline, DECLARED.get).problems == (
        Problem("", "outputs", "two have the same name"),
    )


def test_a_thousand_steps_are_checked_in_whatever_order_they_are_written():
    """Nothing of it is as deep as the graph is long."""
    steps = [call("s0", "adder", a="x", b="x")]
    for number in range(1, 1000):
        before = f"s{number - 1}"
        steps.append(
            call(f"s{number}", "adder", a=before, b="x")
            if number % 2
            else op(f"s{number}", "multiply", {"y": 0.5}, x=before)
        )
    found = signature(*reversed(steps), outputs={"out": "s999"})
    assert found.inputs == (spec("x", "FP32", "n"),)
    assert found.outputs == (spec("out", "FP32", "n"),)
    steps[0] = call("s0", "adder", a="s999", b="x")
    (problem,) = problems(*steps, outputs={"out": "s999"})
    assert problem.startswith("step 's0', inputs: it waits for itself: s0 -> s999 -> s998")
