"""Pipelines in portfolio files."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from fabric.config import Portfolio, PortfolioError, load, schema, written
from fabric.config.document import Document
from fabric.config.pipelines import complete
from fabric.config.portfolio import _adapter
from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import (
    Body,
    Branch,
    Each,
    Pipeline,
    PipelineInput,
    PipelineOutput,
    Source,
    Step,
)
from fabric.core.tensors import TensorValue
from tests.pipelines.graphs import pipelines
from tests.pipelines.test_python_form import EXAMPLES


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "portfolio.yaml"
        file.write_text(dedent(text))
        return file

    return write


@pytest.fixture
def refused(write):
    """The mistakes of a file, without its path."""

    def refused(text, known=()):
        file = write(text)
        with pytest.raises(PortfolioError) as caught:
            load(file, known)
        return (
            caught.value.message.replace(f"{file}:", "").replace(f"{file.parent}/", "").splitlines()
        )

    return refused


DESK = """\
    pipelines:
      - name: desk
        description: Reads.
        timeout: 5
        inputs: [image, {name: hint, datatype: BYTES, shape: [n, -1, 3], optional: true}]
        steps:
          - {name: boxes, call: "detector:1.10", inputs: {image: image}, tries: 2, fallback: old}
          - {name: least, constant: {datatype: FP32, shape: [], numbers: [0.5]}}
          - {name: sure, operation: greater, inputs: {x: boxes.score, y: least}}
          - {name: is-no, operation: equal, inputs: {x: boxes.word}, arguments: {y: no}}
          - {name: part, operation: slice, inputs: {x: image}, arguments: {at: 1:30}}
          - {name: over, operation: threshold, inputs: {x: part}, arguments: {least: 1e-1}}
          - name: lines
            each:
              over: {box: boxes}
              batch: yes
              body:
                steps:
                  - name: turned
                    branch:
                      on: sure
                      cases:
                        true: {steps: [{name: t, call: turn, inputs: {x: box}}], outputs: t}
                      otherwise: box
                outputs: turned
          - name: both
            operation: concat
            inputs: {values: [lines, over.values]}
            arguments: {axis: -1}
        outputs: {text: both, no: is-no, indices: over.indices}
    """


def test_a_pipeline_is_read_with_its_short_forms(write):
    """References alone, lists of them, bodies without steps, and arguments by what they are."""
    (pipeline,) = load(write(DESK), ["detector:1.10", "old", "turn"]).pipelines
    assert pipeline == Pipeline(
        name="desk",
        description="Reads.",
        timeout=5.0,
        inputs=(
            PipelineInput(name="image"),
            PipelineInput(name="hint", datatype="BYTES", shape=("n", "-1", "3"), optional=True),
        ),
        steps=(
            Step(
                name="boxes",
                call="detector:1.10",
                inputs={"image": Source(values=("image",))},
                tries=2,
                fallback=("old",),
            ),
            Step(
                name="least",
                constant=TensorValue(name="value", datatype="FP32", shape=(), numbers=(0.5,)),
            ),
            Step(
                name="sure",
                operation="greater",
                inputs={"x": Source(values=("boxes.score",)), "y": Source(values=("least",))},
            ),
            Step(
                name="is-no",
                operation="equal",
                inputs={"x": Source(values=("boxes.word",))},
                arguments={"y": "no"},
            ),
            Step(
                name="part",
                operation="slice",
                inputs={"x": Source(values=("image",))},
                arguments={"at": "1:30"},
            ),
            Step(
                name="over",
                operation="threshold",
                inputs={"x": Source(values=("part",))},
                arguments={"least": 0.1},
            ),
            Step(
                name="lines",
                each=Each(
                    over={"box": "boxes"},
                    batch=True,
                    body=Body(
                        steps=(
                            Step(
                                name="turned",
                                branch=Branch(
                                    on="sure",
                                    cases={
                                        "true": Body(
                                            steps=(
                                                Step(
                                                    name="t",
                                                    call="turn",
                                                    inputs={"x": Source(values=("box",))},
                                                ),
                                            ),
                                            outputs={"value": "t"},
                                        )
                                    },
                                    otherwise=Body(outputs={"value": "box"}),
                                ),
                            ),
                        ),
                        outputs={"value": "turned"},
                    ),
                ),
            ),
            Step(
                name="both",
                operation="concat",
                inputs={"values": Source(values=("lines", "over.values"), is_list=True)},
                arguments={"axis": -1},
            ),
        ),
        outputs=(
            PipelineOutput(name="text", source="both"),
            PipelineOutput(name="no", source="is-no"),
            PipelineOutput(name="indices", source="over.indices"),
        ),
    )


def test_what_is_written_short_is_read_again(write):
    """With the short forms, and nothing that needs not be said."""
    file = write(DESK)
    portfolio = load(file, ["detector:1.10", "old", "turn"])
    said = written(portfolio)
    assert said["pipelines"][0]["inputs"][0] == "image"
    assert said["pipelines"][0]["steps"][0]["inputs"] == {"image": "image"}
    assert said["pipelines"][0]["outputs"]["indices"] == "over.indices"
    file.write_text(yaml.safe_dump(said, sort_keys=False))
    assert load(file, ["detector:1.10", "old", "turn"]) == portfolio


@given(pipelines())
@settings(max_examples=30, deadline=None)
def test_any_graph_goes_through_yaml_and_back(pipeline):
    """Whatever its names, texts and numbers look like; and editors find nothing wrong with it."""
    said = written(Portfolio(pipelines=(pipeline,)))
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    document = Document(Path("portfolio.yaml"), text)
    complete(document)
    assert _adapter().validate_python(document.value).pipelines == (pipeline,), text


VALIDATOR = Draft202012Validator(schema())


@given(pipelines())
@settings(max_examples=20, deadline=None)
def test_editors_find_nothing_wrong_with_any_graph(pipeline):
    """The JSON Schema has all short forms."""
    VALIDATOR.validate(written(Portfolio(pipelines=(pipeline,))))


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_written_in_python_can_be_said_in_yaml(name, tmp_path):
    """The same graph comes from either."""
    traced = EXAMPLES[name]
    file = tmp_path / "portfolio.yaml"
    file.write_text(yaml.safe_dump(written(Portfolio(pipelines=(traced.graph,))), sort_keys=False))
    assert load(file, traced.graph.calls).pipelines == (traced.graph,)


def test_all_mistakes_are_named_with_their_lines(refused):
    """Those of the form first; each with the nearest right word, also within bodies."""
    text = """\
        pipelines:
          - name: desk
            inputs: [image, {name: x, datatype: FP31}]
            steps:
              - {name: a, cal: detector}
              - {name: b, call: detector, tries: 0}
              - {name: c, operation: softmax, arguments: {axis: {x: 1}}}
              - name: d
                branch:
                  on: a
                  cases: {true: {stpes: [], outputs: a}}
              - name: e
                each: {over: {x: image}, body: {steps: [{name: F, call: y}], outputs: F}, batch: 3}
              - null
            outputs: {text: a}
        """
    assert refused(text) == [
        (
            "3: pipelines[0].inputs[1].datatype: datatype is 'FP31'; use BOOL, UINT8, UINT16, "
            "UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BF16 or BYTES"
        ),
        "5: pipelines[0].steps[0].cal: unknown key; did you mean 'call'?",
        "6: pipelines[0].steps[1].tries: tries is 0, it is at least 1",
        (
            "7: pipelines[0].steps[2].arguments.axis: must be a number, a text, true, "
            "false, or a list of these"
        ),
        ("11: pipelines[0].steps[3].branch.cases.true.stpes: unknown key; did you mean 'steps'?"),
        '13: pipelines[0].steps[4].each.batch: must be true or false, not "3"',
        (
            "13: pipelines[0].steps[4].each.body.steps[0]: 'F' is no valid name of "
            "a step: use 1 to 64 lower-case letters, digits, '-' or '_', with a letter or digit at "
            "both ends"
        ),
        "14: pipelines[0].steps[5]: must be a mapping, not null",
    ]


def test_a_name_that_is_no_text_is_refused(refused):
    """Also where names are held against each other."""
    text = """\
        pipelines:
          - {name: [page], inputs: [x], outputs: {y: x}}
        """
    assert refused(text) == ["2: pipelines[0].name: must be a text, not a list"]


def test_values_that_do_not_fit_are_named_with_their_lines(refused):
    """What the checks find, at the key that says it."""
    text = """\
        specialists:
          - name: detector
            python: a:B
            signature:
              inputs: [{name: image, datatype: UINT8, shape: [-1, -1, 3]}]
              outputs: [{name: boxes, datatype: FP32, shape: [-1, 4]}]
        pipelines:
          - name: desk
            inputs: [image]
            steps:
              - name: boxes
                call: detector
                inputs: {imgae: image}
              - name: each
                each:
                  over: {box: boxes}
                  body:
                    steps:
                      - name: odd
                        call: crpo
                        inputs: {box: boxez}
                    outputs: odd
            outputs:
              crops: each
        """
    assert refused(text) == [
        "13: pipelines[0].steps[0].inputs: 'detector' needs 'image', UINT8[?, ?, 3]",
        (
            "13: pipelines[0].steps[0].inputs.imgae: 'detector' takes no 'imgae': did "
            "you mean 'image'?"
        ),
        (
            "20: pipelines[0].steps[1].each.body.steps[0].call: nobody is declared as "
            "'crpo': declare it, or make the step optional"
        ),
        (
            "21: pipelines[0].steps[1].each.body.steps[0].inputs.box: there is no step "
            "or input 'boxez': did you mean 'boxes'?"
        ),
        (
            "24: pipelines[0].outputs.crops: it is a list of a tensor of any datatype, "
            "and a tensor is needed: stack or concat the list"
        ),
    ]


def test_names_are_taken_once_and_nobody_calls_itself(refused):
    """Specialists, routes and pipelines share their names; routes lead to no pipeline."""
    text = """\
        specialists: [{name: a, python: a:B}]
        routes: [{name: r, chain: [a, q]}]
        pipelines:
          - {name: a, steps: [{name: s, call: q}], outputs: s}
          - {name: q, steps: [{name: s, call: p}], outputs: s}
          - {name: p, steps: [{name: s, call: q}], outputs: s}
          - {name: z, steps: [{name: s, call: r}], outputs: s}
          - {name: z, steps: [{name: s, call: r}], outputs: s}
        """
    assert refused(text) == [
        (
            "2: routes[0].chain[1]: 'q' is a pipeline: routes lead to specialists and "
            "to other routes"
        ),
        "4: pipelines[0].name: 'a' is a specialist already",
        "5: pipelines[1]: calls itself: q -> p -> q",
        "6: pipelines[2]: calls itself: p -> q -> p",
        "8: pipelines[4].name: 'z' is declared twice",
    ]


PYTHON = """\
    from fabric import Value, pipeline, step


    @pipeline
    def reading(image: Value) -> Value:
        boxes = step("detector", image=image)
        return step("reader", image=image, boxes=boxes.boxez)


    other = 3
    """


def test_a_pipeline_may_be_written_in_python_beside_the_file(write, tmp_path):
    """The module is that of this folder, whatever other folders have; lines are its lines."""
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "desk.py").write_text(dedent(PYTHON).replace("reading", f"reading_{number}"))
        (folder / "portfolio.yaml").write_text("pipelines: [python: desk:reading_" + f"{number}]")
        portfolio = load(folder / "portfolio.yaml", ["detector", "reader"])
        assert portfolio.pipelines[0].name == f"reading-{number}"
        name = str(folder / "desk.py")
        assert portfolio.lines[f"reading-{number}"] == {
            "": f"{name}:4",
            "detector": f"{name}:6",
            "reader": f"{name}:7",
        }


def test_mistakes_in_python_are_named_with_their_lines(refused, tmp_path):
    """Modules that are not there, objects that are none, what tracing and the checks refuse."""
    (tmp_path / "desk_a.py").write_text(dedent(PYTHON))
    (tmp_path / "desk_b.py").write_text(
        dedent(PYTHON).replace("    boxes = ", "    if image:\n        boxes = ")
    )
    text = """\
        specialists:
          - name: detector
            python: a:B
            signature:
              inputs: [{name: image, datatype: UINT8, shape: [-1, -1, 3]}]
              outputs: [{name: boxes, datatype: FP32, shape: [-1, 4]}]
        pipelines:
          - python: no-module
          - python: no_module:desk
          - python: desk_a:readingg
          - python: desk_a:other
            name: other
          - python: desk_b:reading
        """
    assert refused(text) == [
        ("8: pipelines[0].python: python is 'no-module', it must read package.module:object"),
        "9: pipelines[1].python: ModuleNotFoundError: No module named 'no_module'",
        "10: pipelines[2].python: desk_a has no readingg: did you mean 'reading'?",
        "11: pipelines[3].python: desk_a is no pipeline: other; there is reading",
        "12: pipelines[3].name: has no place beside python, which says all",
        (
            "13: pipelines[4].python: desk_b.py:6: <value 'image'> is not known while "
            "the pipeline is written: for `if` use branch(…) or `when=`, for `and`, `or` and "
            "`not` use `&`, `|` and `~`"
        ),
    ]
    text = text.partition("pipelines")[0] + "pipelines: [python: desk_a:reading]"
    assert refused(text) == [
        (
            "7: pipelines[0].python: desk_a.py:7: step 'reader', inputs.boxes: step 'detector' "
            "gives no 'boxez': did you mean 'boxes'?"
        ),
        (
            "7: pipelines[0].python: desk_a.py:7: step 'reader', call: nobody is declared as "
            "'reader': declare it, or make the step optional"
        ),
    ]


def test_what_the_fabric_refuses_is_named_with_its_lines(write):
    """Of steps, of a pipeline as a whole, and of neither."""
    file = write(
        """\
        pipelines:
          - name: desk
            steps:
              - {name: read, call: reader}
            outputs: read
        """
    )
    said = ["pipeline 'desk', step 'read', call: no", "pipeline 'desk', outputs: no", "other"]
    with pytest.raises(InvalidRequest) as caught, load(file, ["reader"]).located():
        raise InvalidRequest("\n".join(said))
    assert caught.value.message.splitlines() == [
        *(f"{file}:4: {said[0]}", f"{file}:2: {said[1]}", said[2])
    ]
