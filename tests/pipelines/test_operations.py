"""What tensor operations give."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

import warnings

import numpy as np
import pytest

from fabric.core.errors import InvalidRequest
from fabric.pipelines.operations import OPERATIONS
from fabric.pipelines.types import TypeProblem
from fabric.pipelines.values import MISSING, Tensor


def tensor(elements, datatype=""):
    """Of `datatype`, or of what numpy makes of *elements*; floats are FP32, texts BYTES."""
    if datatype == "BF16":
        return Tensor.of(np.array(elements, np.uint16), "BF16")
    array = np.array(elements)
    if array.dtype == np.float64 and datatype != "FP64":
        array = array.astype(np.float32)
    if array.dtype.kind == "U":
        array = np.char.encode(array).astype(np.object_)
    if datatype and datatype not in ("FP64", "BYTES"):
        array = array.astype({"UINT8": np.uint8, "INT32": np.int32, "FP16": np.float16}[datatype])
    return Tensor.of(array)


def value(given):
    if isinstance(given, Tensor):
        return given
    return tuple(map(value, given)) if isinstance(given, tuple) else tensor(given)


def run(name, arguments=None, **inputs):
    """What the operation gives, as datatype and nested lists; by name where there are several."""
    operation = OPERATIONS[name]
    found = operation.bind(arguments or {})({each: value(it) for each, it in inputs.items()})
    plain = {output: said(it) for output, it in found.items()}
    return plain if len(plain) > 1 else next(iter(plain.values()))


def said(given):
    if isinstance(given, tuple):
        return tuple(map(said, given))
    return given if given is MISSING else (given.datatype, given.array.tolist())


X = [[1, 2, 3], [4, 5, 6]]
SCORES = [[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]


@pytest.mark.parametrize(
    ("name", "arguments", "inputs", "expected"),
    [
        # shapes
        ("reshape", {"shape": (3, -1)}, {"x": X}, ("INT64", [[1, 2], [3, 4], [5, 6]])),
        ("transpose", {}, {"x": X}, ("INT64", [[1, 4], [2, 5], [3, 6]])),
        ("transpose", {"axes": (0, -1)}, {"x": X}, ("INT64", X)),
        ("expand_dims", {"axis": 0}, {"x": [1]}, ("INT64", [[1]])),
        ("squeeze", {"axis": -1}, {"x": [[1], [2]]}, ("INT64", [1, 2])),
        ("slice", {"at": "0"}, {"x": X}, ("INT64", [1, 2, 3])),
        ("slice", {"at": "..., ::-2"}, {"x": X}, ("INT64", [[3, 1], [6, 4]])),
        ("slice", {"at": "1:, None, -1"}, {"x": X}, ("INT64", [[6]])),
        ("slice", {"at": "0"}, {"x": ["a", "b"]}, ("BYTES", b"a")),
        ("select", {"indices": (2, 0), "axis": 1}, {"x": X}, ("INT64", [[3, 1], [6, 4]])),
        ("select", {"indices": 1}, {"x": X}, ("INT64", [4, 5, 6])),
        ("select", {}, {"x": X, "indices": [[1], [-1]]}, ("INT64", [[X[1]], [X[1]]])),
        ("select", {"axis": 1}, {"x": X, "indices": [True, False, True]}, ("INT64", [[1, 3], [4, 6]])),
        ("crop", {}, {"x": X, "sizes": [1, 2]}, ("INT64", [[1, 2]])),
        ("crop", {}, {"x": X, "sizes": [1], "starts": [1]}, ("INT64", [[4, 5, 6]])),
        # lists
        ("stack", {"axis": 1}, {"values": ([1, 2], [3, 4])}, ("INT64", [[1, 3], [2, 4]])),
        ("unstack", {"axis": 1}, {"x": X}, tuple(("INT64", [n, n + 3]) for n in (1, 2, 3))),
        ("unstack", {}, {"x": ["a", "b"]}, (("BYTES", b"a"), ("BYTES", b"b"))),
        ("concat", {}, {"values": ([1, 2], [3])}, ("INT64", [1, 2, 3])),
        ("concat", {"axis": -1}, {"values": (X, X)}, ("INT64", [row * 2 for row in X])),
        ("pad", {"fill": -1}, {"values": ([[1, 2]], [[3], [4]])},
         {"value": ("INT64", [[[1, 2], [-1, -1]], [[3, -1], [4, -1]]]), "sizes": ("INT64", [[1, 2], [2, 1]])}),
        ("pad", {}, {"values": (["a"], ["b", "c"])},
         {"value": ("BYTES", [[b"a", b""], [b"b", b"c"]]), "sizes": ("INT64", [[1], [2]])}),
        ("unpad", {}, {"x": [[1, 0], [2, 3]], "sizes": [[1], [2]]}, (("INT64", [1]), ("INT64", [2, 3]))),
        ("size", {"axis": 1}, {"x": X}, ("INT64", 3)),
        ("size", {}, {"x": ([1], [2])}, ("INT64", 2)),
        ("size", {}, {"x": ()}, ("INT64", 0)),
        ("default", {}, {"values": ([1], [2])}, ("INT64", [1])),
        # elements
        ("add", {}, {"x": [1, 2], "y": [[1], [2]]}, ("INT64", [[2, 3], [3, 4]])),
        ("add", {"y": 1}, {"x": tensor([1, 2], "UINT8")}, ("UINT8", [2, 3])),
        ("subtract", {"x": 1}, {"y": [0.25]}, ("FP32", [0.75])),
        ("multiply", {"y": (1, 2.0)}, {"x": tensor([1, 2], "FP16")}, ("FP16", [1, 4])),
        ("divide", {"y": 2}, {"x": [1, 0]}, ("FP64", [0.5, 0])),
        ("divide", {"y": 0}, {"x": [1.0]}, ("FP32", [np.inf])),
        ("equal", {"y": "180"}, {"x": ["0", "180"]}, ("BOOL", [False, True])),
        ("not_equal", {"y": ("a", "b")}, {"x": ["a", "a"]}, ("BOOL", [False, True])),
        ("less", {"y": 300}, {"x": tensor([1], "UINT8")}, ("BOOL", [True])),
        ("less_equal", {}, {"x": ["a"], "y": ["b"]}, ("BOOL", [True])),
        ("greater", {"y": 0.5}, {"x": [0.5, 0.6]}, ("BOOL", [False, True])),
        ("greater_equal", {"y": 0.5}, {"x": [0.5]}, ("BOOL", [True])),
        ("logical_and", {}, {"x": [True, True], "y": [True, False]}, ("BOOL", [True, False])),
        ("logical_or", {}, {"x": [False, True], "y": False}, ("BOOL", [False, True])),
        ("logical_not", {}, {"x": [True]}, ("BOOL", [False])),
        # along dimensions
        ("sum", {}, {"x": X}, ("INT64", 21)),
        ("sum", {}, {"x": tensor([200, 100], "UINT8")}, ("UINT64", 300)),
        ("average", {"axis": 1}, {"x": X}, ("FP64", [2, 5])),
        ("max", {"axis": (0, 1), "keepdims": True}, {"x": X}, ("INT64", [[6]])),
        ("min", {"axis": -1}, {"x": X}, ("INT64", [1, 4])),
        ("any", {"axis": 0}, {"x": [[True, False], [False, False]]}, ("BOOL", [True, False])),
        ("all", {}, {"x": [True, False]}, ("BOOL", False)),
        ("argmax", {}, {"x": [[1, 3, 3]]}, ("INT64", [1])),
        ("topk", {"k": 3}, {"x": [2, 5, 2, 5]},
         {"values": ("INT64", [5, 5, 2]), "indices": ("INT64", [1, 3, 0])}),
        ("topk", {"k": 1, "axis": 0}, {"x": tensor(X, "UINT8")},
         {"values": ("UINT8", [[4, 5, 6]]), "indices": ("INT64", [[1, 1, 1]])}),
        ("threshold", {"least": 0.5}, {"x": [0.5, 0.25, 0.75]},
         {"values": ("FP32", [0.5, 0.75]), "indices": ("INT64", [0, 2])}),
        # datatypes
        ("cast", {"datatype": "INT32"}, {"x": [1.9, -1.9]}, ("INT32", [1, -1])),
        ("cast", {"datatype": "BYTES"}, {"x": [0.1, 2]}, ("BYTES", [b"0.1", b"2.0"])),
        ("cast", {"datatype": "BYTES"}, {"x": True}, ("BYTES", b"true")),
        ("cast", {"datatype": "INT64"}, {"x": ["9007199254740993"]}, ("INT64", [9007199254740993])),
        ("cast", {"datatype": "FP32"}, {"x": ["1.5"]}, ("FP32", [1.5])),
        ("cast", {"datatype": "BF16"}, {"x": [1.0, -2.0, np.nan]}, ("BF16", [0x3F80, 0xC000, 0x7FC0])),
        ("cast", {"datatype": "FP32"}, {"x": tensor([0x3F80, 0xC000], "BF16")}, ("FP32", [1, -2])),
        ("one_hot", {"depth": 3, "datatype": "UINT8"}, {"x": [2, 0]}, ("UINT8", [[0, 0, 1], [1, 0, 0]])),
        ("label", {"labels": ("cat", "dog")}, {"x": [[1, 0]]}, ("BYTES", [[b"dog", b"cat"]])),
        ("label", {"labels": ("cat", "dog")}, {"x": 1}, ("BYTES", b"dog")),
        # several answers
        ("mean", {}, {"values": ([1, 2], [2, 4])}, ("FP64", [1.5, 3])),
        ("mean", {}, {"values": ([1.0], [2.0])}, ("FP32", [1.5])),
        ("weighted_mean", {"weights": (3, 1)}, {"values": ([0.0], [4.0])}, ("FP32", [1])),
        ("vote", {}, {"values": ([3], [7], [7])}, ("INT64", [7])),
        ("vote", {}, {"values": (["a"], ["b"])}, ("BYTES", [b"a"])),
        ("best", {}, {"values": ([1], [2], [3]), "confidences": (0.5, [0.75], np.nan)}, ("INT64", [2])),
        ("confidence", {"measure": "entropy"}, {"x": [[0.5, 0.5]]}, ("FP64", 0)),
    ],
)  # fmt: skip
def test_an_operation_gives(name, arguments, inputs, expected):
    """What numpy gives, in datatypes of the protocol."""
    assert run(name, arguments, **inputs) == expected


def test_softmax_makes_probabilities_of_scores_however_large():
    """Each row sums to 1, in the datatype of the scores."""
    given = OPERATIONS["softmax"].bind({})({"x": tensor([[1000.0, 1000.0], [0.0, -np.inf]])})
    assert said(given["value"]) == ("FP32", [[0.5, 0.5], [1, 0]])


@pytest.mark.parametrize(("measure", "expected"), [("margin", 0.1), ("max", 0.5)])
def test_an_answer_is_as_sure_as_its_least_sure_row(measure, expected):
    """Its rows are given together."""
    assert run("confidence", {"measure": measure}, x=SCORES)[1] == pytest.approx(expected)


def test_a_vote_is_the_class_that_most_give_in_the_numbers_of_the_first_who_does():
    """For each row on its own."""
    first, second, third = (
        [[0.9, 0.1], [0.6, 0.4]],
        [[0.2, 0.8], [0.3, 0.7]],
        [[0.4, 0.6], [0.7, 0.3]],
    )
    found = OPERATIONS["vote"].bind({})({"values": tuple(map(tensor, (first, second, third)))})
    assert found["value"].array == pytest.approx(np.array([second[0], first[1]]))


@pytest.mark.parametrize("name", ["stack", "concat", "pad", "vote", "mean", "default"])
def test_what_is_made_of_an_empty_list_is_missing(name):
    """Nobody knows its shape."""
    found = OPERATIONS[name].bind({})({"values": ()})
    assert set(found) == set(OPERATIONS[name].outputs)
    assert all(each is MISSING for each in found.values())


def test_bf16_is_moved_and_not_computed_with():
    """It is carried as whole numbers, which are not what it means."""
    x = tensor([0x3F80, 0xC000], "BF16")
    assert run("slice", {"at": "::-1"}, x=x) == ("BF16", [0xC000, 0x3F80])
    assert run("stack", values=(x, x))[0] == "BF16"
    for name in ("add", "greater", "equal"):
        with pytest.raises(InvalidRequest, match="BF16: cast it to FP32 first"):
            run(name, {"y": 1}, x=x)
    for name in ("sum", "max", "argmax", "softmax"):
        with pytest.raises(InvalidRequest, match="BF16: cast it to FP32 first"):
            run(name, x=x)


def test_bf16_is_rounded_to_the_nearest_and_to_an_even_last_bit_between_two():
    """As hardware does."""
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF], np.uint32)
    found = OPERATIONS["cast"].bind({"datatype": "BF16"})({"x": Tensor.of(bits.view(np.float32))})
    assert found["value"].array.tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7F80]


def test_big_tensors_are_not_copied_where_a_view_will_do():
    """Nobody writes to a value."""
    x = tensor(np.zeros((4, 3)))
    for name, arguments in (
        ("reshape", {"shape": (-1,)}), ("transpose", {}), ("slice", {"at": "1:"}),
        ("expand_dims", {"axis": 0}), ("cast", {"datatype": "FP32"}),
    ):  # fmt: skip
        found = OPERATIONS[name].bind(arguments)({"x": x})["value"]
        assert np.shares_memory(found.array, x.array)


@pytest.mark.parametrize(
    ("name", "arguments", "inputs", "text"),
    [
        ("reshape", {"shape": (4,)}, {"x": X}, r"reshape: cannot reshape .* given x INT64\[2, 3\]"),
        ("stack", {}, {"values": ([1], [1, 2])}, r"stack: all input arrays .* values \(INT64\[1\], INT64\[2\]\)"),
        ("stack", {}, {"values": ([1], [1.0])}, "stack: values have different datatypes: cast them"),
        ("stack", {}, {"values": [1]}, r"stack: 'values' is a list of tensors, got INT64\[1\]"),
        ("argmax", {}, {"x": ([1],)}, r"argmax: 'x' is a tensor, got \(INT64\[1\]\)"),
        ("argmax", {}, {}, "argmax: 'x' is a tensor, got none"),
        ("argmax", {}, {"x": 1}, "argmax: there is no axis -1: it has 0 dimensions"),
        ("select", {}, {"x": X, "indices": [2]}, "select: index 2 is out of bounds"),
        ("select", {}, {"x": X, "indices": [0.0]}, "select: 'indices' is FP32, it must be whole"),
        ("select", {}, {"x": X, "indices": [True]}, "select: BOOL indices are one for each of 2"),
        ("crop", {}, {"x": X, "sizes": [3]}, "crop: 3 from 0 on is not within a dimension of size 2"),
        ("topk", {"k": 3}, {"x": [1]}, "topk: there are 1 elements, of which 3 are wanted"),
        ("label", {"labels": ("a",)}, {"x": [1]}, "label: numbers are from 0 to 0, and there are oth"),
        ("one_hot", {"depth": 1}, {"x": [-1]}, "one_hot: numbers are from 0 to 0"),
        ("unpad", {}, {"x": X, "sizes": [[1], [4]]}, "unpad: sizes are larger than what there is"),
        ("unpad", {}, {"x": X, "sizes": [1, 1]}, "unpad: sizes are a row for each"),
        ("cast", {"datatype": "INT64"}, {"x": ["one"]}, "cast: invalid literal for int"),
        ("cast", {"datatype": "BOOL"}, {"x": ["true"]}, "cast: texts are not true or false"),
        ("add", {"y": "1"}, {"x": [1]}, "add: texts and numbers do not go together"),
        ("add", {"y": "1"}, {"x": ["1"]}, "add: these are texts, and numbers are needed"),
        ("logical_not", {}, {"x": [1]}, "logical_not: BOOL is needed, and one is INT64: compare it"),
        ("softmax", {}, {"x": [1]}, "softmax: scores are FP16, FP32 or FP64, not INT64: cast them"),
        ("max", {}, {"x": []}, "max: there are no elements"),
        ("mean", {}, {"values": (["a"], ["b"])}, "mean: these are texts"),
        ("weighted_mean", {"weights": (1.0,)}, {"values": ([1], [2])}, "1 weights for 2 values"),
        ("best", {}, {"values": ([1],), "confidences": ([1, 2],)}, "best: a confidence is one number"),
        ("best", {}, {"values": ([1],), "confidences": (1, 2)}, "there are 1 values and 2 confidences"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_what_was_given(name, arguments, inputs, text):
    """The caller is told the operation, the reason and the shapes."""
    with pytest.raises(InvalidRequest, match=text):
        run(name, arguments, **inputs)


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("softmax", {"axes": 1}, "softmax has no argument 'axes': did you mean 'axis'?"),
        ("softmax", {"axis": 1.5}, "argument 'axis' is 1.5, it must be int"),
        ("softmax", {"axis": True}, "argument 'axis' is True, it must be int"),
        ("label", {"labels": ("a", 1)}, r"it must be tuple\[str, ...\]"),
        ("label", {"labels": ()}, "labels has none"),
        ("topk", {}, "topk needs argument 'k'"),
        ("topk", {"k": 0}, "k is 0, it is at least 1"),
        ("reshape", {"shape": (-1, -1)}, "one may be -1"),
        ("slice", {"at": "a"}, "at has 'a': write '3', '1:3', '::2', '...' or 'None'"),
        ("slice", {"at": "..., ..."}, "it may have one '...'"),
        ("slice", {"at": "::0"}, "at has '::0'"),
        ("cast", {"datatype": "FLOAT"}, "datatype is 'FLOAT'; use one of BOOL"),
        ("one_hot", {"depth": 2, "datatype": "BYTES"}, "no rows of 2 ones and zeros: BYTES"),
        ("weighted_mean", {"weights": (1, -1)}, "none is below 0, one is above"),
        ("confidence", {"measure": "best"}, "use margin, entropy or max"),
        ("add", {"x": 1, "y": 2}, "add has literals only: use a constant for one of them"),
    ],
)
def test_arguments_are_looked_at_before_anything_runs(name, arguments, text):
    """Once, when the operation is bound."""
    with pytest.raises(TypeProblem, match=text):
        OPERATIONS[name].bind(arguments)


def test_operations_say_what_they_take():
    """So that forms of pipelines, and editors, know it."""
    for operation in OPERATIONS.values():
        assert operation.doc.endswith(".")
        assert operation.outputs
        for parameter in operation.parameters.values():
            assert parameter.kind
    topk = OPERATIONS["topk"]
    assert [each.name for each in topk.inputs] == ["x"]
    assert {name: each.default for name, each in topk.parameters.items()} == {"k": None, "axis": -1}


def test_numbers_that_are_none_come_without_warnings():
    """They are what the caller gets."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(run("divide", x=[0.0], y=[0.0])[1][0])
        assert run("cast", {"datatype": "FP16"}, x=[1e6]) == ("FP16", [np.inf])
