"""What operations say of types is what they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabric.core.errors import InvalidRequest
from fabric.core.tensors import DTYPES
from fabric.pipelines.operations import OPERATIONS, Takes
from fabric.pipelines.types import (
    ListType,
    TensorType,
    TypeProblem,
    Unknown,
    joined,
    settled,
    sizes_of,
)
from fabric.pipelines.values import MISSING, Tensor

BY_CONTENT = {"select", "crop", "unpad", "label", "one_hot", "cast", "stack", "concat", "vote"} | {
    "mean",
    "weighted_mean",
    "pad",
}
"""Operations that refuse inputs for what is in them, or for sizes that lists do not say."""

sizes = st.integers(0, 3)
shapes = st.lists(sizes, max_size=3).map(tuple)
datatypes = st.sampled_from(sorted(DTYPES))
axes = st.integers(-3, 3)
numbers = st.integers(-2, 300) | st.floats(-3, 3)
literals = numbers | st.booleans() | st.sampled_from(["", "1"])
literals |= st.lists(numbers, min_size=1, max_size=3).map(tuple)
indices = st.integers(-3, 2) | st.lists(st.integers(-3, 2), max_size=3).map(tuple)
ARGUMENTS = {
    "shape": st.lists(st.integers(-1, 4), max_size=3).map(tuple),
    "axes": st.permutations(range(3)).map(tuple) | st.just(()) | st.lists(axes).map(tuple),
    "axis": axes,
    "keepdims": st.booleans(),
    "at": st.lists(
        st.sampled_from(["0", "-1", ":", "1:", ":2", "::-1", "...", "None", "-2::2"]),
        min_size=1,
        max_size=4,
    ).map(", ".join),
    "indices": indices,
    "x": literals,
    "y": literals,
    "k": st.integers(1, 3),
    "least": st.floats(-1, 2),
    "datatype": datatypes,
    "depth": st.integers(1, 4),
    "labels": st.just(("a", "b", "c")),
    "weights": st.lists(st.floats(0, 2), min_size=1, max_size=3).map(tuple),
    "fill": st.sampled_from([0, 1, -1, 0.5, "", "x"]),
    "measure": st.sampled_from(["margin", "entropy", "max"]),
}


@st.composite
def tensors(draw, shapes=shapes, datatypes=datatypes):
    datatype, shape = draw(datatypes), draw(shapes)
    random = np.random.default_rng(draw(st.integers(0, 9)))
    elements = random.integers(0, 3, shape)
    if datatype == "BYTES":
        texts = [str(each).encode() for each in elements.flat]
        array = np.array([*texts, None], np.object_)[:-1].reshape(shape)
    elif datatype in ("FP16", "FP32", "FP64"):
        array = random.random(shape).astype(DTYPES[datatype])
    else:
        array = elements.astype(DTYPES[datatype])
    return Tensor(array, datatype, shape)


@st.composite
def inputs_of(draw, operation, arguments):
    """Inputs that are mostly of the same datatype and of shapes that have to do with each other."""
    datatype, shape = draw(datatypes), draw(shapes)
    near = st.just(shape) | st.just(shape[1:]) | st.just((1,) * len(shape)) | shapes
    alike = tensors(near, st.just(datatype) | datatypes)
    numbers = tensors(
        st.just((len(shape),)) | st.tuples(sizes, sizes) | shapes,
        st.sampled_from(["INT64", "UINT8", "BOOL"]) | datatypes,
    )
    inputs = {}
    for each in operation.inputs:
        if each.name in arguments or (each.optional and draw(st.booleans())):
            continue
        if each.name == "confidences":
            sure_shape = st.just(draw(st.sampled_from([(), (1,), (1, 1)]) | shapes))
            one = tensors(sure_shape, st.just(draw(st.just("FP32") | datatypes)))
            inputs[each.name] = tuple(draw(st.lists(one, max_size=3)))
        elif each.takes in (Takes.TENSORS, Takes.LIST):
            ragged = st.tuples(*(sizes for _ in shape))
            same = tensors(draw(st.just(st.just(shape)) | st.just(ragged)), st.just(datatype))
            inputs[each.name] = tuple(draw(st.lists(same, max_size=3)))
        elif each.name in ("sizes", "starts", "indices"):
            inputs[each.name] = draw(numbers)
        else:
            inputs[each.name] = draw(alike)
    return inputs


@st.composite
def calls(draw, name):
    operation = OPERATIONS[name]
    arguments = {}
    for each in operation.parameters.values():
        may_be_input = any(each.name == taken.name for taken in operation.inputs)
        is_needed = each.default is None and not may_be_input
        if is_needed or draw(st.booleans()):
            arguments[each.name] = draw(ARGUMENTS[each.name])
    return arguments, draw(inputs_of(operation, arguments))


def type_of(value, hidden, sizes):
    """The type of *value*, of which some is hidden; *sizes* are what its unknown sizes are."""
    if isinstance(value, tuple):
        length = Unknown() if hidden() else len(value)
        if isinstance(length, Unknown):
            sizes[length] = len(value)
        return ListType(joined([type_of(each, hidden, {}) for each in value]), length)
    shape = tuple(Unknown() if hidden() else size for size in value.shape)
    sizes |= {u: size for u, size in zip(shape, value.shape, strict=True) if type(u) is Unknown}
    datatype = Unknown() if hidden() else value.datatype
    return TensorType(datatype, Unknown() if hidden() else shape)


def check_is(value, said, sizes, is_item=False):
    """Asserts that *value* is as was *said*, where unknown sizes are those in *sizes*."""
    said = settled(said)
    if isinstance(said, Unknown):
        return
    if isinstance(value, tuple):
        assert isinstance(said, ListType)
        check_size(len(value), said.length, sizes, is_item)
        for each in value:
            check_is(each, said.item, sizes, is_item=True)
        return
    assert isinstance(said, TensorType)
    assert value.shape == value.array.shape
    assert value.array.dtype == DTYPES[value.datatype]
    assert settled(said.datatype) == value.datatype or isinstance(settled(said.datatype), Unknown)
    if (shape := sizes_of(said)) is not None:
        assert len(shape) == len(value.shape)
        for size, expected in zip(value.shape, shape, strict=True):
            check_size(size, expected, sizes, is_item)


def check_size(size, said, sizes, is_item):
    said = settled(said)
    if not isinstance(said, Unknown):
        assert size == said
    elif not is_item or said in sizes:
        assert sizes.setdefault(said, size) == size


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=HealthCheck)
@given(st.data())
def test_what_an_operation_gives_is_of_the_type_that_it_says(name, data):
    """Whatever of its inputs is known: nothing is refused that runs, and what is known of all
    inputs is enough to refuse what does not, but for their content."""
    operation = OPERATIONS[name]
    arguments, inputs = data.draw(calls(name))
    knows_all, sizes = data.draw(st.booleans()), {}

    def hidden():
        return not knows_all and data.draw(st.booleans())

    types = {each: type_of(value, hidden, sizes) for each, value in inputs.items()}
    found = outcome(lambda: operation.bind(arguments)(inputs))
    said = outcome(lambda: operation.typed(types, arguments))
    if isinstance(said, InvalidRequest):
        assert isinstance(said, TypeProblem)
        assert isinstance(found, InvalidRequest) or MISSING in found.values(), said
    elif isinstance(found, InvalidRequest):
        assert not knows_all or name in BY_CONTENT, found
    else:
        assert list(found) == list(said) == list(operation.outputs)
        for output, value in found.items():
            if value is not MISSING:
                check_is(value, said[output], sizes)


def outcome(called):
    try:
        return called()
    except InvalidRequest as error:
        return error
