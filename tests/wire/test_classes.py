"""Classes are the largest elements, as texts that clients of Triton read."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from fabric.core.tensors import DTYPES
from fabric.wire.classes import UNRANKED, classified


def of(values, datatype="FP32", count=9, labels=(), batched=False):
    array = np.array(values).astype(DTYPES[datatype])
    return classified(array, datatype, count, labels, batched=batched).tolist()


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - UNRANKED - {"BF16"}))
def test_every_number_is_ranked(datatype):
    """Whole ones are written plainly, others with six digits."""
    one, two = ("1.000000", "2.000000") if datatype.startswith("FP") else ("1", "2")
    assert of([1, 2, 1], datatype, 2) == [f"{two}:1".encode(), f"{one}:0".encode()]


def test_bf16_is_ranked_by_its_values():
    """Not by its bits, of which negative numbers have the larger."""
    bits = np.array([-2, 0.5], ml_dtypes.bfloat16).view(np.uint16)
    assert classified(bits, "BF16", 2, (), batched=False).tolist() == [
        b"0.500000:1",
        b"-2.000000:0",
    ]


def test_labels_follow_where_there_are_some():
    """One more or one less than there are classes is no error, nor is an empty one."""
    assert of([3, 2, 1], labels=["a", "", "c", "d"]) == [
        b"3.000000:0:a",
        b"2.000000:1",
        b"1.000000:2:c",
    ]
    assert of([3, 2, 1], labels=["a"], count=2) == [b"3.000000:0:a", b"2.000000:1"]


def test_equal_elements_keep_their_order_and_no_numbers_come_last():
    """The answer does not depend on how it was sorted."""
    assert of([1, np.nan, 1, np.inf]) == [b"inf:3", b"1.000000:0", b"1.000000:2", b"nan:1"]
    assert of([np.nan, -np.inf, 1]) == [b"1.000000:2", b"-inf:1", b"nan:0"]


def test_rows_are_ranked_apart():
    """All that is behind the first dimension is one row."""
    values = [[[1, 2], [4, 3]], [[9, 6], [7, 8]]]
    assert of(values, "INT32", 2, batched=True) == [[b"4:2", b"3:3"], [b"9:0", b"8:3"]]
    assert of(values, "INT32", 2) == [b"9:4", b"8:7"]


def test_nothing_has_no_classes():
    """An empty output, or an empty row, is no error."""
    assert of([]) == []
    assert of(np.zeros((2, 0)), batched=True) == [[], []]
    assert of(np.zeros((0, 3)), batched=True) == []
    assert of(3.0) == [b"3.000000:0"]
