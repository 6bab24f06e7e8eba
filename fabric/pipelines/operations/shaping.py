"""Operations that move elements and keep them as they are, whatever their datatype."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.tensors import DTYPES
from fabric.pipelines.operations.registry import Input, X, operation
from fabric.pipelines.types import (
    Size,
    Sizes,
    TensorType,
    Type,
    Unknown,
    datatype_of,
    sizes_of,
)
from fabric.pipelines.values import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def like(x: Tensor, array: Any) -> Tensor:
    """*array*, or one element, with the datatype of *x*."""
    array = np.asarray(array, DTYPES[x.datatype])  # of BYTES one element is no array
    return Tensor(array, x.datatype, array.shape)


def place_of(axis: int, rank: int) -> int:
    """The place of *axis* among *rank* dimensions. Raises ValueError if there is none."""
    if not -rank <= axis < rank:
        raise ValueError(f"there is no axis {axis}: it has {rank} dimensions")
    return axis % rank


def known(sizes: Sequence[Size]) -> list[int]:
    """Those of *sizes* that are known."""
    return [each for each in sizes if isinstance(each, int)]


def check_whole(name: str, tensor: TensorType | Tensor) -> None:
    """Raises TypeError unless *tensor* holds whole numbers, or nobody knows what it holds."""
    datatype = tensor.datatype if isinstance(tensor, Tensor) else datatype_of(tensor)
    if datatype and "INT" not in str(datatype):
        raise TypeError(f"'{name}' is {datatype}, it must be whole numbers")


@operation("reshape", X)
class Reshape:
    """The elements of `x` in another `shape`; one size may be -1, which is what is left."""

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < -1 or self.shape.count(-1) > 1:
            raise ValueError(f"shape is {list(self.shape)}: sizes are 0 or more, one may be -1")

    def typed(self, x: TensorType) -> Type:
        sizes = sizes_of(x)
        if sizes is None or len(known(sizes)) < len(sizes):
            return TensorType(x.datatype, tuple(Unknown() if s == -1 else s for s in self.shape))
        elements = np.broadcast_to(np.False_, math.prod(known(sizes)))  # which take no memory
        return TensorType(x.datatype, elements.reshape(self.shape).shape)

    def run(self, x: Tensor) -> Tensor:
        return like(x, x.array.reshape(self.shape))


@operation("transpose", X)
class Transpose:
    """`x` with its dimensions in the order `axes`; the other way round where there are none."""

    axes: tuple[int, ...] = ()

    def typed(self, x: TensorType) -> Type:
        sizes = sizes_of(x)
        if sizes is None:
            return TensorType(x.datatype, tuple(Unknown() for _ in self.axes) or Unknown())
        axes = [place_of(axis, len(sizes)) for axis in self.axes] or range(len(sizes))[::-1]
        if sorted(axes) != list(range(len(sizes))):
            raise ValueError(f"axes is {list(self.axes)}, it names each of {len(sizes)} axes once")
        return TensorType(x.datatype, tuple(sizes[axis] for axis in axes))

    def run(self, x: Tensor) -> Tensor:
        return like(x, x.array.transpose(self.axes or None))


@operation("expand_dims", X)
class ExpandDims:
    """`x` with a dimension of size 1 at the place `axis`."""

    axis: int

    def typed(self, x: TensorType) -> Type:
        sizes = sizes_of(x)
        if sizes is None:
            return TensorType(x.datatype)
        place = place_of(self.axis, len(sizes) + 1)
        return TensorType(x.datatype, (*sizes[:place], 1, *sizes[place:]))

    def run(self, x: Tensor) -> Tensor:
        return like(x, np.expand_dims(x.array, self.axis))


@operation("squeeze", X)
class Squeeze:
    """`x` without the dimension `axis`, whose size is 1."""

    axis: int

    def typed(self, x: TensorType) -> Type:
        sizes = sizes_of(x)
        if sizes is None:
            return TensorType(x.datatype)
        place = place_of(self.axis, len(sizes))
        if known(sizes[place : place + 1]) not in ([], [1]):
            raise ValueError(f"axis {self.axis} has size {sizes[place]}, only 1 can be left out")
        return TensorType(x.datatype, (*sizes[:place], *sizes[place + 1 :]))

    def run(self, x: Tensor) -> Tensor:
        return like(x, np.squeeze(x.array, place_of(self.axis, len(x.shape))))


@operation("slice", X)
class Slice:
    """`x[at]`, written as in numpy: `0`, `:, 1:3`, `..., ::-1`."""

    at: str

    def __post_init__(self) -> None:
        if self.index.count(...) > 1:
            raise ValueError(f"at is {self.at!r}, it may have one '...'")

    @cached_property
    def index(self) -> tuple[Any, ...]:
        return tuple(map(_place, self.at.split(",")))

    def typed(self, x: TensorType) -> Type:
        sizes = sizes_of(x)
        if sizes is None:
            return TensorType(x.datatype)
        taken = sum(each is not ... and each is not None for each in self.index)
        if taken > len(sizes):
            raise IndexError(f"at is '{self.at}', and it has {len(sizes)} dimensions")
        rest = [slice(None)] * (len(sizes) - taken)
        left, shape = list(sizes), list[Size]()
        index = self.index if ... in self.index else (*self.index, ...)
        for each in index:
            for place in rest if each is ... else [each]:
                shape += [1] if place is None else _sliced(left.pop(0), place)
        return TensorType(x.datatype, tuple(shape))

    def run(self, x: Tensor) -> Tensor:
        return like(x, x.array[self.index])


def _place(text: str) -> Any:
    text = text.strip()
    if text == "...":
        return ...
    if text == "None":
        return None
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) == 1 and parts[0] is not None:
        return parts[0]
    if len(parts) not in (2, 3) or parts[2:] == [0]:
        raise ValueError(f"at has {text!r}: write '3', '1:3', '::2', '...' or 'None'")
    return slice(*parts)


def _sliced(size: Size, place: int | slice) -> list[Size]:
    """The size that is left of a dimension; none where one of its elements is taken."""
    if isinstance(place, int):
        if isinstance(size, int):
            place_of(place, size) if -size <= place < size else _beyond(place, size)
        return []
    if place == slice(None):
        return [size]
    if isinstance(size, int):
        return [len(range(*place.indices(size)))]
    return [Unknown()]


def _beyond(place: int, size: int) -> None:
    raise IndexError(f"there is no {place} in a dimension of size {size}")


@operation("select", X, Input("indices", literal=True))
class Select:
    """What `indices` name along `axis` of `x`: numbers, or BOOL for each whether it is wanted."""

    axis: int = 0
    indices: int | tuple[int, ...] | None = None

    def typed(self, x: TensorType, indices: TensorType | int | tuple[int, ...]) -> Type:
        sizes = sizes_of(x)
        if isinstance(indices, TensorType):
            if datatype_of(indices) == "BOOL":
                wanted: Sizes | None = (Unknown(),)
            else:
                check_whole("indices", indices)
                wanted = sizes_of(indices) if datatype_of(indices) else None
        else:
            wanted = np.shape(indices)
        if sizes is None:
            return TensorType(x.datatype)
        place = place_of(self.axis, len(sizes))
        if not isinstance(indices, TensorType) and isinstance(size := sizes[place], int):
            np.empty(size, np.bool_)[np.asarray(indices, np.int64)]
        if wanted is None:
            return TensorType(x.datatype)
        return TensorType(x.datatype, (*sizes[:place], *wanted, *sizes[place + 1 :]))

    def run(self, x: Tensor, indices: Tensor | int | tuple[int, ...]) -> Tensor:
        place = place_of(self.axis, len(x.shape))
        if not isinstance(indices, Tensor):
            return like(x, np.take(x.array, np.asarray(indices, np.int64), place))
        if indices.datatype != "BOOL":
            check_whole("indices", indices)
            return like(x, np.take(x.array, indices.array, place))
        if indices.shape != (size := x.shape[place],):
            raise ValueError(f"BOOL indices are one for each of {size}")
        return like(x, np.compress(indices.array, x.array, place))


@operation("crop", X, Input("sizes"), Input("starts", optional=True))
class Crop:
    """The part of `x` that has `sizes` in its first dimensions, from `starts` or the beginning."""

    def typed(self, x: TensorType, sizes: TensorType, starts: TensorType | None) -> Type:
        had = sizes_of(x)
        counts = [_count("sizes", sizes), None if starts is None else _count("starts", starts)]
        cut = next((count for count in counts if count is not None), None)
        if had is None:
            return TensorType(x.datatype)
        if cut is None:
            return TensorType(x.datatype, tuple(Unknown() for _ in had))
        if cut > len(had):
            raise ValueError(f"there are {cut} sizes for {len(had)} dimensions")
        return TensorType(x.datatype, (*(Unknown[int]() for _ in range(cut)), *had[cut:]))

    def run(self, x: Tensor, sizes: Tensor, starts: Tensor | None) -> Tensor:
        check_whole("sizes", sizes)
        ends = sizes.array
        begins = np.zeros_like(ends) if starts is None else starts.array
        if starts is not None:
            check_whole("starts", starts)
        if ends.ndim != 1 or ends.shape != begins.shape or len(ends) > len(x.shape):
            raise ValueError("sizes and starts are one number for each of the first dimensions")
        parts = []
        for begin, size, had in zip(begins.tolist(), ends.tolist(), x.shape, strict=False):
            if not (begin >= 0 and size >= 0 and begin + size <= had):
                raise ValueError(f"{size} from {begin} on is not within a dimension of size {had}")
            parts.append(slice(begin, begin + size))
        return like(x, x.array[tuple(parts)])


def _count(name: str, tensor: TensorType) -> int | None:
    check_whole(name, tensor)
    sizes = sizes_of(tensor)
    if sizes is None:
        return None
    if len(sizes) != 1:
        raise ValueError(f"'{name}' is {tensor}, it must be one number for each dimension")
    return sizes[0] if isinstance(sizes[0], int) else None
