"""Types of values, as far as they are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.pipelines.types import (
    ListType,
    TensorType,
    TypeProblem,
    Unknown,
    joined,
    list_of,
    loosened,
    settled,
    sizes_of,
    tensor_of,
    unify,
)


def test_sizes_that_are_the_same_become_known_together():
    """Whichever of them is learnt, and in whatever order."""
    one, two, three = Unknown("one"), Unknown(), Unknown()
    unify(TensorType("FP32", (one, 3)), TensorType("FP32", (two, 3)))
    unify(TensorType("FP32", (three,)), TensorType("FP32", (two,)))
    assert settled(one) is settled(two) is settled(three)
    assert str(TensorType("FP32", (three,))) == "FP32[one]"
    unify(TensorType("FP32", (7,)), TensorType("FP32", (one,)))
    assert settled(three) == 7


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12), st.integers(0, 9))
def test_sizes_are_known_to_all_that_are_connected_and_to_nobody_else(pairs, learnt):
    """However long the ways between them are."""
    sizes = [Unknown() for _ in range(10)]
    groups = [{place} for place in range(10)]
    for one, other in pairs:
        unify(TensorType("FP32", (sizes[one],)), TensorType("FP32", (sizes[other],)))
        together = groups[one] | groups[other]
        for place in together:
            groups[place] = together
    unify(TensorType("FP32", (sizes[learnt],)), TensorType("FP32", (5,)))
    assert {place for place in range(10) if settled(sizes[place]) == 5} == groups[learnt]


def test_what_is_not_known_is_whatever_it_is_given_to():
    """Datatypes, shapes and types alike."""
    anything = Unknown()
    unify(anything, TensorType("FP32", (2,)))
    assert str(tensor_of(anything)) == "FP32[2]"
    tensor = TensorType()
    assert str(tensor) == "a tensor of any datatype"
    unify(tensor, TensorType("UINT8"))
    assert str(tensor) == "UINT8 of any shape"
    unify(TensorType("UINT8", (1, Unknown())), tensor)
    assert str(tensor) == "UINT8[1, ?]"
    assert str(TensorType(shape=(2,))) == "a tensor of any datatype [2]"
    values = Unknown()
    unify(values, ListType(TensorType("BOOL", ()), 3))
    assert str(list_of(values)) == "a list of BOOL[]"
    assert str(list_of(Unknown())) == "a list"


@pytest.mark.parametrize(
    ("given_", "taken", "text"),
    [
        (TensorType("FP32", (2,)), TensorType("FP64", (2,)), "FP64 is needed: cast it"),
        (TensorType("FP32", (2,)), TensorType("FP32", (3,)), r"FP32\[2\], and FP32\[3\] is needed"),
        (TensorType("FP32", (2,)), TensorType("FP32", (2, 2)), r"and FP32\[2, 2\] is needed"),
        (ListType(), TensorType(), "a list, and a tensor is needed: stack or concat"),
        (TensorType(), ListType(), "and a list is needed: unstack"),
        (ListType(TensorType("FP32", ()), 2), ListType(Unknown(), 3), "has 2 values, and 3 are"),
    ],
)
def test_types_that_differ_are_told_with_the_way_out(given_, taken, text):
    """What it is, and what is needed."""
    with pytest.raises(TypeProblem, match=text):
        unify(given_, taken)


def test_a_list_is_no_list_of_itself():
    """Nothing could be said of it."""
    values = Unknown()
    with pytest.raises(TypeProblem, match="a list of itself"):
        unify(ListType(ListType(values)), values)


def test_a_value_that_is_one_of_several_has_sizes_that_they_agree_on():
    """Those that are not known yet stay apart, for they need not be the same."""
    rows = Unknown()
    one = TensorType("FP32", (rows, 2, 3))
    found = tensor_of(
        joined([one, TensorType("FP32", (rows, 2, 4)), TensorType("FP32", (rows, 2, 3))])
    )
    assert sizes_of(found)[:2] == (rows, 2)
    assert isinstance(sizes_of(found)[2], Unknown)
    found = tensor_of(joined([TensorType("FP32", (5,)), TensorType("FP32", (other := Unknown(),))]))
    assert isinstance(sizes_of(found)[0], Unknown)
    assert isinstance(settled(other), Unknown)
    lists = joined([ListType(TensorType("FP32", (5,)), 2), ListType(TensorType("FP32", (6,)), 2)])
    assert (str(lists), settled(list_of(lists).length)) == ("a list of FP32[?]", 2)


def test_what_is_not_known_among_several_is_as_the_others_are():
    """But for its sizes."""
    unknown, shapeless = Unknown(), TensorType()
    found = joined([TensorType("FP32", (5,)), unknown, shapeless])
    assert str(found) == str(tensor_of(unknown)) == str(shapeless) == "FP32[?]"
    assert joined([]) is not joined([])
    one, other = Unknown(), Unknown()
    joined([one, other])
    unify(one, ListType())
    assert isinstance(settled(other), ListType)


@pytest.mark.parametrize(
    ("types", "text"),
    [
        ((TensorType("FP32", ()), TensorType("FP64", ())), r"FP32\[\] or FP64\[\]: cast one"),
        ((TensorType("FP32", ()), TensorType("FP32", (1,))), "the same number of dimensions"),
        ((ListType(), TensorType("FP32", ())), r"FP32\[\] or a list: stack or concat"),
    ],
)
def test_values_that_differ_in_more_than_sizes_are_not_one_value(types, text):
    """Whoever takes it could not tell."""
    with pytest.raises(TypeProblem, match=text):
        joined(types)


def test_loosened_types_keep_all_but_their_sizes():
    """In lists as well."""
    value = loosened(ListType(TensorType("FP32", (2, 3)), 4))
    assert (str(value), isinstance(list_of(value).length, Unknown)) == (
        "a list of FP32[?, ?]",
        True,
    )
