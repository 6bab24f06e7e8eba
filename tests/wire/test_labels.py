"""The class that an answer names."""

from __future__ import annotations

import numpy as np
import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.scores import probabilities
from fabric.wire.labels import label_of
from fabric.wire.tensors import to_raw

PROBABILITIES = np.array([[0.1, 0.7, 0.2]], np.float32)


def answer(*tensors):
    """An answer with outputs of these (datatype, array)."""
    message = ModelInferResponse()
    for place, (datatype, array) in enumerate(tensors):
        message.outputs.add(name=f"y{place}", datatype=datatype, shape=array.shape)
        message.raw_output_contents.append(to_raw(array, datatype))
    return message.SerializeToString()


def test_the_largest_of_the_scores_is_the_class():
    """And of probabilities its own is the confidence."""
    label, confidence = label_of(answer(("FP32", PROBABILITIES)))

    assert label == "1"
    assert confidence == pytest.approx(0.7)


def test_other_scores_become_probabilities():
    """By softmax, whatever their size."""
    label, confidence = label_of(answer(("FP64", np.array([1000.0, 1000.0 + np.log(3)]))))

    assert label == "1"
    assert confidence == pytest.approx(0.75)


def test_an_answer_is_as_sure_as_the_router_takes_it_to_be():
    """Also where probabilities are a little off, as they are in half precision."""
    for scores in ([0.3, 0.705], [0.2, 0.9], [-0.001, 1.0]):
        _, confidence = label_of(answer(("FP64", np.array(scores))))

        assert confidence == probabilities(np.array(scores)).max()


@pytest.mark.parametrize(
    ("datatype", "array", "label"),
    [
        ("INT64", np.array([7]), "7"),
        ("UINT8", np.array([[3]], np.uint8), "3"),
        ("BYTES", np.array([b"cat"], np.object_), "cat"),
    ],
)
def test_an_output_of_one_label_is_the_class(datatype, array, label):
    """Before any scores, which say how sure it is, in whatever order they come."""
    scores, named = ("FP32", PROBABILITIES), (datatype, array)
    for tensors in ((named, scores), (scores, named)):
        assert label_of(answer(*tensors)) == (label, pytest.approx(0.7))
    assert label_of(answer((datatype, array))) == (label, None)


def test_half_floats_are_scores():
    """BF16 as well, which numpy lacks."""
    halves = (np.array([[0.25, 0.75]], np.float32).view(np.uint32) >> 16).astype(np.uint16)

    assert label_of(answer(("BF16", halves))) == ("1", 0.75)
    assert label_of(answer(("FP16", np.array([0.25, 0.75], np.float16)))) == ("1", 0.75)


@pytest.mark.parametrize(
    "made",
    [
        answer(("FP32", np.zeros((2, 3), np.float32))),
        answer(("INT64", np.array([1, 2]))),
        answer(("FP32", np.array([0.5], np.float32))),
        answer(("FP32", np.array([0.5, np.nan], np.float32))),
        answer(("FP32", np.zeros(1 << 16, np.float32))),
        answer(),
        ModelInferResponse(outputs=[{"name": "y", "datatype": "FP32"}]).SerializeToString(),
        b"\xff",
    ],
    ids=["rows", "labels", "one number", "nan", "large", "nothing", "no elements", "no answer"],
)
def test_what_is_no_classification_has_no_class(made):
    """It is an answer all the same."""
    assert label_of(made) == ("", None)
