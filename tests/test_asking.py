"""A labelled data set, row by row: what is read, what is sent, and what counts as right."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from fabric.cli.asking import _rows, _Sheet, is_right, labelled
from fabric.core.cards import Card
from fabric.core.decisions import Query
from fabric.core.errors import InvalidRequest, NotFound, Unavailable
from fabric.core.routes import Calibration, Cascade
from fabric.core.tensors import TensorSpec


@pytest.mark.parametrize(
    ("output", "label", "right"),
    [
        (np.array([[0.1, 0.9]], np.float32), 1, True),
        (np.array([[0.1, 0.9]], np.float32), "1", True),
        (np.array([[0.1, 0.9]], np.float32), 0, False),
        (np.array([[7]]), 7, True),
        (np.array([[7.5]]), 7, False),
        (np.array([b"yes "], object), "yes", True),
        (np.array(["no"]), "yes", False),
        (np.array([], np.float32), 0, False),
    ],
)
def test_an_answer_is_right_by_its_largest_score_or_its_value(output, label, right):
    """Several floating-point numbers are scores of classes."""
    assert is_right({"y": output}, "", np.asarray(label)[()]) is right
    assert is_right({"z": np.ones(3), "y": output}, "y", np.asarray(label)[()]) is right


def test_scores_and_words_cannot_be_compared():
    """The message says what to give."""
    with pytest.raises(InvalidRequest, match="label 'cat' is no number of a class"):
        is_right({"y": np.ones((1, 3))}, "", "cat")
    with pytest.raises(NotFound, match="no output 'x'"):
        is_right({"y": np.ones(1)}, "x", 1)


@pytest.mark.parametrize(
    ("shape", "of", "row"),
    [
        ((5, 64), (-1, 64), (1, 64)),
        ((5, 64), (64,), (64,)),
        ((5,), (-1,), (1,)),
        ((5,), (-1, 1), (1, 1)),
        ((5, 8, 8), (-1, 8, 8), (1, 8, 8)),
    ],
)
def test_each_row_is_sent_as_the_model_takes_it(shape, of, row):
    """As a batch of one, unless the model takes rows alone."""
    spec = TensorSpec(name="x", datatype="FP32", shape=of)
    sent = _rows(np.zeros(shape), spec)[0]
    assert (sent.shape, sent.dtype) == (row, np.float32)


def test_a_table_is_a_data_set_too(tmp_path):
    """Texts are what routers read, and several columns of numbers are one input."""
    file = tmp_path / "d.csv"
    columns = {"p0": [1.0, 2.0], "p1": [3.0, 4.0], "text": ["one", "two"], "label": [0, 1]}
    pl.DataFrame({**columns, "domain": ["a", "b"]}).write_csv(file)
    words = {"domain": "domain", "task": "task"}
    texts = labelled(str(file), {"t": "text"}, "label", words)
    assert texts.queries == (Query(text="one", domain="a"), Query(text="two", domain="b"))
    numbers = labelled(str(file), {"x": "p*"}, "label", {})
    assert numbers.inputs["x"].tolist() == [[1, 3], [2, 4]]
    assert numbers.queries[1].numbers == (2.0, 4.0)


def test_columns_of_a_data_set_are_of_one_length(tmp_path):
    """A request needs its label."""
    np.savez(tmp_path / "d.npz", x=np.ones((3, 2)), label=np.ones(2))
    with pytest.raises(InvalidRequest, match="'x' has 3 rows, the label 2"):
        labelled(str(tmp_path / "d.npz"), {"x": "x"}, "label", {})


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    """Or with the one that was meant."""
    np.savez(tmp_path / "d.npz", pixels=np.ones((3, 2)), label=np.ones(3))
    for column, way_out in (("image", "use one of pixels, label"), ("pixel", "mean 'pixels'")):
        with pytest.raises(NotFound, match=f"--input: no column '{column}'; .*{way_out}"):
            labelled(str(tmp_path / "d.npz"), {"image": column}, "label", {})


class Away:
    async def infer(self, *_, **__):
        raise Unavailable("nobody is there")


async def test_who_cannot_answer_has_no_outcome():
    """That is no wrong answer; it is counted, and the rest goes on."""
    told = []
    sheet = _Sheet(("a:1",), 4, lambda part, what: told.append(part))
    for row in range(2):
        await sheet.fill(Away(), Card(name="a"), row, 0, {}, "", 1)
    assert np.isnan(sheet.quality).all()
    assert sheet.failed == {"a:1: nobody is there": 2}
    assert told == [0.25, 0.5]


class Says:
    """Each answer in turn."""

    def __init__(self, *answers):
        self._answers = iter(answers)

    async def infer(self, *_, **__):
        return SimpleNamespace(outputs={"y": np.array([next(self._answers)])})


async def test_how_sure_answers_are_is_noted_as_it_is_read():
    """Before calibration, and those that cannot be read are counted."""
    calibrated = Calibration(specialist="a", confidence=(0.0, 1.0), accuracy=(0.0, 0.1))
    cascade = Cascade(confidence="margin", output="y", calibrations=(calibrated,))
    sheet = _Sheet(("a:1",), 3, lambda part, what: None, cascade)
    client = Says([0.25, 0.75], [1.0, 0.0], [3, 4])
    for row in range(3):
        await sheet.fill(client, Card(name="a"), row, 0, {}, "y", 1)
    np.testing.assert_array_equal(sheet.confidence[:, 0], [0.5, 1.0, np.nan])
    assert sheet.doubts == {"a:1: its confidence cannot be read: int64 are no scores of classes": 1}


async def test_answers_agree_with_those_of_the_one_before():
    """Who is asked first agrees with nobody."""
    sheet = _Sheet(("a:1", "b:1"), 1, lambda part, what: None, Cascade(confidence="agreement"))
    client = Says([0.2, 0.8], [0.4, 0.6])
    before = await sheet.fill(client, Card(name="a"), 0, 0, {}, "", 1)
    await sheet.fill(client, Card(name="b"), 0, 1, {}, "", 1, before)
    np.testing.assert_array_equal(sheet.confidence, [[0, 1]])


async def test_without_a_cascade_nobody_asks_how_sure_an_answer_is():
    """The table then has no confidence."""
    sheet = _Sheet(("a:1",), 1, lambda part, what: None)
    await sheet.fill(Says([0.2, 0.8]), Card(name="a"), 0, 0, {}, "", 1)
    assert sheet.confidence is None
