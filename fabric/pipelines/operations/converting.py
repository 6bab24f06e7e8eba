"""Operations that say the same in another datatype."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.tensors import DTYPES
from fabric.pipelines.operations.registry import X, operation
from fabric.pipelines.operations.shaping import check_whole
from fabric.pipelines.types import TensorType, Type, Unknown, datatype_of, settled, sizes_of
from fabric.pipelines.values import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _check_datatype(name: str) -> None:
    if name not in DTYPES:
        raise ValueError(f"datatype is {name!r}; use one of {', '.join(DTYPES)}")


@operation("cast", X)
class Cast:
    """`x` as `datatype`. Texts are read as numbers, and numbers written as texts; BF16 is rounded
    to the nearest."""

    datatype: str

    def __post_init__(self) -> None:
        _check_datatype(self.datatype)

    def typed(self, x: TensorType) -> Type:
        self.check(datatype_of(x))
        return TensorType(self.datatype, x.shape)

    def run(self, x: Tensor) -> Tensor:
        self.check(x.datatype)
        if x.datatype == self.datatype:
            return x
        return Tensor(self.cast(x), self.datatype, x.shape)

    def check(self, datatype: str) -> None:
        if datatype == "BYTES" and self.datatype == "BOOL":
            raise TypeError("texts are not true or false: use equal with one")

    def cast(self, x: Tensor) -> NDArray[Any]:
        array = from_bf16(x.array) if x.datatype == "BF16" else x.array
        if x.datatype == "BYTES" and "INT" in self.datatype:
            numbers = [int(text) for text in array.flat]  # of which floats would lose digits
            return np.array(numbers, DTYPES[self.datatype]).reshape(x.shape)
        if self.datatype == "BYTES":
            return _texts(array)
        if self.datatype == "BF16":
            return to_bf16(array.astype(np.float32))
        return array.astype(DTYPES[self.datatype])


def _texts(array: NDArray[Any]) -> NDArray[Any]:
    texts = np.empty(array.size, np.object_)
    texts[:] = [str(each).encode() for each in array.flat]
    if array.dtype == np.bool_:
        texts[:] = [text.lower() for text in texts]
    return texts.reshape(array.shape)


def from_bf16(array: NDArray[np.uint16]) -> NDArray[np.float32]:
    """BF16 as single precision, of which it is the upper half."""
    return np.asarray(array.astype(np.uint32) << 16).view(np.float32)


def to_bf16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest in BF16; of two that are as near the one whose last bit is 0."""
    bits = np.asarray(array).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)


@operation("one_hot", X)
class OneHot:
    """For each number in `x` a row of `depth` elements of `datatype`, of which that one is 1."""

    depth: int
    datatype: str = "FP32"

    def __post_init__(self) -> None:
        _check_datatype(self.datatype)
        if self.depth < 1 or self.datatype in ("BYTES", "BF16"):
            raise ValueError(f"there are no rows of {self.depth} ones and zeros: {self.datatype}")

    def typed(self, x: TensorType) -> Type:
        check_whole("x", x)
        sizes = sizes_of(x)
        return TensorType(self.datatype, Unknown() if sizes is None else (*sizes, self.depth))

    def run(self, x: Tensor) -> Tensor:
        check_whole("x", x)
        rows = np.eye(self.depth, dtype=DTYPES[self.datatype])
        return Tensor.of(np.asarray(rows[_within(x, self.depth)]))


@operation("label", X)
class Label:
    """The text among `labels` that has each number in `x`, from 0 on."""

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels has none")

    @cached_property
    def texts(self) -> NDArray[Any]:
        return np.array([text.encode() for text in self.labels], np.object_)

    def typed(self, x: TensorType) -> Type:
        check_whole("x", x)
        return TensorType("BYTES", settled(x.shape))

    def run(self, x: Tensor) -> Tensor:
        check_whole("x", x)
        texts = np.asarray(self.texts[_within(x, len(self.labels))], np.object_)
        return Tensor(texts, "BYTES", x.shape)


def _within(x: Tensor, count: int) -> NDArray[Any]:
    """The numbers in *x*. Raises ValueError unless all are from 0 to *count* - 1."""
    if x.array.size and not (x.array.min() >= 0 and x.array.max() < count):
        raise ValueError(f"numbers are from 0 to {count - 1}, and there are others")
    return x.array
