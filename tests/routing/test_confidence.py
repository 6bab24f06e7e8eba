"""How sure an answer is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.cards import Card
from fabric.core.routes import Calibration, Cascade
from fabric.core.scores import classes, entropy, margin, probabilities
from fabric.routing.confidence import confidence, unusable

CARD = Card(name="a")
NUMBERS = st.floats(-50, 50, width=32)


def rows(*numbers, dtype=np.float32):
    return np.array(numbers, dtype)


def sure(outputs, before=None, **said):
    return confidence(Cascade(**said), CARD, outputs, before)


def test_one_score_alone_says_yes_or_no():
    """By whether its probability is above a half."""
    assert list(classes(rows([0.9], [0.2]))) == [1, 0]


@given(st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=5))
def test_measures_lie_from_zero_to_one(scores):
    """Whatever the scores are."""
    given = probabilities(np.array(scores, np.float32))
    assert given.sum(axis=1) == pytest.approx(np.ones(len(scores)))
    for measure in (margin, entropy):
        assert np.all((measure(given) >= 0) & (measure(given) <= 1))


def test_margin_and_entropy():
    """Of the two likeliest classes, and of all of them: by hand."""
    outputs = {"y": rows([0.5, 0.25, 0.25, 0.0])}
    assert sure(outputs).value == pytest.approx(0.25)
    assert sure(outputs, confidence="entropy").value == pytest.approx(1 - 1.5 / 2)
    even = {"y": np.full((1, 4), 0.25, np.float32)}
    assert sure(even, confidence="entropy").value == pytest.approx(0.0)
    assert sure({"y": rows([0, 0, 1, 0])}, confidence="entropy").value == pytest.approx(1.0)


def test_the_least_sure_row_decides():
    """For all that came in one request."""
    outputs = {"y": rows([1.0, 0.0], [0.6, 0.4])}
    assert sure(outputs).value == pytest.approx(0.2)


def test_no_row_is_sure():
    """There is nothing to be unsure of."""
    assert sure({"y": np.zeros((0, 3), np.float32)}) == (1.0, "")


def test_an_output_of_the_model():
    """By its name, or the first; the least of its numbers."""
    outputs = {"y": rows([0.1, 0.9]), "sure": rows(0.75, 0.5)}
    assert sure(outputs, confidence="output", output="sure").value == 0.5
    assert sure(outputs, confidence="output").value == pytest.approx(0.1)


def test_agreement_with_the_candidate_before():
    """On all rows; who is asked first agrees with nobody."""
    one = {"y": rows([0.6, 0.4], [0.1, 0.9])}
    same = {"y": rows([3.0, 1.0], [0.0, 1.0])}
    other = {"y": rows([3.0, 1.0], [1.0, 0.0])}
    assert sure(one, confidence="agreement").value == 0.0
    assert sure(one, same, confidence="agreement").value == 1.0
    assert sure(one, other, confidence="agreement").value == 0.0
    labels = {"y": np.array([[b"cat"]], object)}
    assert sure(labels, dict(labels), confidence="agreement").value == 1.0


def test_what_cannot_be_read_is_unsure_and_says_why():
    """An answer comes all the same."""
    for outputs, said, why in (
        ({"y": rows([1.0, 0.0])}, {"output": "z"}, "no output 'z', only y"),
        ({}, {}, "no output '', only none"),
        ({"y": np.array([[3]], np.int64)}, {}, "int64 are no scores of classes"),
        ({"y": rows([np.nan, 0.0])}, {}, "its confidence is nan"),
        ({"y": rows([np.inf, np.inf])}, {}, "its confidence is nan"),
        ({"y": rows(7.0)}, {"confidence": "output"}, "its confidence is 7, it must be from 0 to 1"),
        ({"y": np.array([b"x"], object)}, {"confidence": "output"}, "could not convert"),
    ):
        value, doubt = sure(outputs, **said)
        assert value == 0.0
        assert why in doubt


def test_calibration_reads_confidence_as_accuracy():
    """By name or by version; linear between the points, level outside; unknown ones as they are."""
    points = {"confidence": (0.2, 0.8), "accuracy": (0.5, 0.9)}
    for specialist, value, expected in (
        ("a", 0.5, 0.7),
        ("a:1", 0.5, 0.7),
        ("a", 0.1, 0.5),
        ("a", 0.9, 0.9),
        ("b", 0.5, 0.5),
        ("a:2", 0.5, 0.5),
    ):
        calibrations = (Calibration(specialist=specialist, **points),)
        found = sure({"y": rows(value)}, confidence="output", calibrations=calibrations)
        assert found.value == pytest.approx(expected)


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    """Gets the outputs by name; where it fails nobody is sure, and the answer says why."""
    (tmp_path / "how_sure.py").write_text(
        "def half(outputs):\n    return outputs['y'].max() / 2\n"
        "def bad(outputs):\n    raise KeyError('no')\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def asked(name):
        return sure({"y": rows([0.5, 1.0])}, confidence="python", python=f"how_sure:{name}")

    assert asked("half") == (0.5, "")
    assert asked("bad") == (
        0.0,
        "its confidence cannot be read: how_sure:bad raised KeyError: 'no'",
    )
    assert "how_sure:number is no function" in asked("number").doubt


def test_a_function_that_is_not_there_is_told_of():
    """With what Python says of it."""
    assert unusable(Cascade()) == ""
    gone = Cascade(confidence="python", python="nowhere.at_all:f")
    assert unusable(gone) == (
        "nowhere.at_all:f cannot be imported: ModuleNotFoundError: No module named 'nowhere'"
    )
