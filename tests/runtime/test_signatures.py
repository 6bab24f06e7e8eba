"""What a card may make of a model's signature."""

# ruff: noqa: E501 - texts are kept whole
from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.cards import Batching, Control, Sequences, StateTensor
from fabric.core.errors import Conflict
from fabric.core.tensors import Signature, TensorSpec
from fabric.runtime.signatures import check_batching, check_classes, kept, narrowed, without


def spec(name, *shape, datatype="FP32"):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


MODEL = Signature(inputs=(spec("x", -1, 64),), outputs=(spec("y", -1, 10), spec("z", -1)))


def test_a_card_that_declares_nothing_takes_the_models_signature():
    """The model knows what it takes."""
    assert narrowed(MODEL, Signature()) == MODEL


def test_a_card_may_fix_sizes_and_leave_outputs_out():
    """What it declares is what is served."""
    declared = Signature(inputs=(spec("x", 8, 64),), outputs=(spec("z", -1),))
    assert narrowed(MODEL, declared) == declared


def test_sizes_that_a_card_leaves_open_are_the_models_own():
    """A configuration of Triton may say less than its model."""
    declared = Signature(inputs=(spec("x", -1, -1),), outputs=(spec("y", 3, -1),))
    assert narrowed(MODEL, declared) == Signature(
        inputs=(spec("x", -1, 64),), outputs=(spec("y", 3, 10),)
    )


def test_names_of_dimensions_are_the_models_unless_the_card_has_others():
    """Sizes of one name are one size."""
    x, y = (replace(each, symbols=("N", "")) for each in (spec("x", -1, 64), spec("y", -1, 10)))
    mine = replace(spec("y", -1, 10), symbols=("rows", "classes"))
    declared = Signature(inputs=(spec("x", 8, 64),), outputs=(mine,))
    assert narrowed(Signature(inputs=(x,), outputs=(y,)), declared) == Signature(
        inputs=(replace(x, shape=(8, 64)),), outputs=(mine,)
    )
    with pytest.raises(ValueError, match="symbols has 1 for 2 dimensions of 'x'"):
        replace(x, symbols=("N",))


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ((spec("x", -1, 32),), r"the card declares input 'x' as FP32 \[-1,32\], the model has FP32 \[-1,64\]"),
        ((spec("x", 64),), r"FP32 \[64\], the model has FP32 \[-1,64\]"),
        ((spec("x", -1, 64, datatype="FP64"),), r"FP64 \[-1,64\], the model has FP32 \[-1,64\]"),
        ((spec("q", -1, 64),), "the card declares input 'q', the model has x"),
    ],
)  # fmt: skip
def test_a_card_that_does_not_fit_the_model_is_refused(inputs, text):
    """Both are named."""
    with pytest.raises(Conflict, match=text):
        narrowed(MODEL, Signature(inputs=inputs))


def test_every_input_of_the_model_is_needed():
    """A card cannot leave an input out."""
    model = Signature(inputs=(spec("a", 1), spec("b", 1)))
    with pytest.raises(Conflict, match=r"declares no input \['b'\], which the model needs"):
        narrowed(model, Signature(inputs=(spec("a", 1),)))


def test_what_the_model_has_a_value_for_is_optional():
    """Where the card declares it; it may say so, but not of what the model needs."""
    by = replace(spec("by", 1), optional=True)
    model = Signature(inputs=(spec("x", 1), by))
    assert narrowed(model, Signature()).inputs == (spec("x", 1),)
    assert narrowed(model, Signature(inputs=(spec("x", 1),))).inputs == (spec("x", 1),)
    for declared in (by, spec("by", 1)):
        inputs = (spec("x", 1), declared)
        assert narrowed(model, Signature(inputs=inputs)).inputs == (spec("x", 1), by)
    wrong = Signature(inputs=(replace(spec("x", 1), optional=True), by))
    with pytest.raises(Conflict, match="declares input 'x' optional, the model needs it"):
        narrowed(model, wrong)


def test_classes_are_those_of_outputs_with_scores():
    """What names another one is a mistake in the portfolio."""
    model = Signature(outputs=(spec("y", 2), spec("t", 2, datatype="BYTES")))
    check_classes(model, ["y"])
    with pytest.raises(Conflict, match="names the output 'z', the model has y, t"):
        check_classes(model, ["z"])
    with pytest.raises(Conflict, match="names the output 't', which is BYTES"):
        check_classes(model, ["t"])


def test_batching_needs_a_free_first_dimension():
    """The way out is named."""
    check_batching(MODEL, Batching(max_size=8))
    fixed = Signature(inputs=(spec("x", 1, 64),), outputs=(spec("y", 1, 10),))
    check_batching(fixed, Batching(max_size=1))
    with pytest.raises(Conflict, match=r"input 'x' is FP32 \[1,64\].*or set max_size to 1"):
        check_batching(fixed, Batching(max_size=8))


# ------------------------------------------------------------------ sequences
STATEFUL = Signature(
    inputs=(spec("x", -1), spec("h", -1), spec("go", -1)), outputs=(spec("y", -1), spec("h2", -1))
)


def test_states_and_controls_are_not_for_callers():
    """What is left is what the card shows."""
    sequences = Sequences(
        states=(StateTensor(input="h", output="h2"),), controls=(Control(input="go", kind="start"),)
    )
    own = kept(STATEFUL, sequences)
    assert own == Signature(inputs=(spec("h", -1), spec("go", -1)), outputs=(spec("h2", -1),))
    assert without(STATEFUL, own) == Signature(inputs=(spec("x", -1),), outputs=(spec("y", -1),))
    assert without(STATEFUL, kept(STATEFUL, None)) == STATEFUL


@pytest.mark.parametrize(
    ("sequences", "text"),
    [
        (Sequences(states=(StateTensor(input="q", output="h2"),)), "sequences names input 'q', the model has x, h, go"),
        (Sequences(states=(StateTensor(input="h", output="q"),)), "sequences names output 'q', the model has y, h2"),
        (Sequences(controls=(Control(input="q", kind="end"),)), "sequences names input 'q'"),
        (Sequences(controls=(Control(input="go", kind="end"),) * 2), "sequences names input 'go' twice"),
    ],
)  # fmt: skip
def test_what_sequences_names_is_in_the_model_once(sequences, text):
    """With what there is instead."""
    with pytest.raises(Conflict, match=text):
        kept(STATEFUL, sequences)
