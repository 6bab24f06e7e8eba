"""The classification extension: the largest elements of an output, with their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

UNRANKED = frozenset(("BOOL", "BYTES"))
"""Datatypes whose elements are no scores."""


def classified(
    array: NDArray[Any], datatype: str, count: int, labels: Sequence[str], *, batched: bool
) -> NDArray[Any]:
    """The *count* largest elements as BYTES `value:index[:label]`, the largest first.

    Of every row where requests are *batched*, [rows, count], else of all elements, [count]; fewer
    where there are fewer. Equal elements keep their order, and what is no number comes last.
    """
    number = array.shape[0] if batched and array.shape else 1
    rows = array.reshape(number, array.size // (number or 1))
    if datatype == "BF16":
        rows = (rows.astype(np.uint32) << 16).view(np.float32)
    count = min(count, rows.shape[1])
    made = np.empty((len(rows), count), np.object_)
    for at, row in enumerate(rows):
        for place, index in enumerate(_largest(row, count)):
            made[at, place] = _text(row[index], int(index), labels)
    return made if batched else made[0]


def _largest(row: NDArray[Any], count: int) -> NDArray[Any]:
    """The indices of the *count* largest elements of *row*."""
    if row.dtype.kind == "f":
        return np.argsort(-row, kind="stable")[:count]  # NaN sorts last
    last_first = np.argsort(row[::-1], kind="stable")[::-1]  # the least integer has no negative
    return len(row) - 1 - last_first[:count]


def _text(value: Any, index: int, labels: Sequence[str]) -> bytes:
    number = f"{value:f}" if isinstance(value, np.floating) else str(int(value))
    label = labels[index] if index < len(labels) else ""
    return f"{number}:{index}:{label}".encode() if label else f"{number}:{index}".encode()
