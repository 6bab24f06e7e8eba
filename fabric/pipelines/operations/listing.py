"""Operations between tensors and lists of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.tensors import DTYPES
from fabric.pipelines.operations.registry import VALUES, Input, Takes, X, operation
from fabric.pipelines.operations.shaping import check_whole, like, place_of
from fabric.pipelines.types import (
    ListType,
    Size,
    Sizes,
    TensorType,
    Type,
    Unknown,
    datatype_of,
    settled,
    sizes_of,
    tensor_of,
)
from fabric.pipelines.values import Tensor, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def arrays_of(values: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Their arrays. Raises TypeError unless all have the same datatype."""
    if len({each.datatype for each in values}) > 1:
        raise TypeError("values have different datatypes: cast them")
    return [each.array for each in values]


@operation("stack", VALUES)
class Stack:
    """`values`, all of one shape, along a new dimension at the place `axis`."""

    axis: int = 0

    def typed(self, values: ListType) -> Type:
        item = tensor_of(values.item)
        sizes = sizes_of(item)
        if sizes is None:
            return TensorType(item.datatype)
        place = place_of(self.axis, len(sizes) + 1)
        return TensorType(item.datatype, (*sizes[:place], values.length, *sizes[place:]))

    def run(self, values: tuple[Tensor, ...]) -> Tensor:
        return like(values[0], np.stack(arrays_of(values), self.axis))


@operation("unstack", X)
class Unstack:
    """The list of what `x` has along `axis`."""

    axis: int = 0

    def typed(self, x: TensorType) -> Type:
        sizes = sizes_of(x)
        if sizes is None:
            return ListType(TensorType(x.datatype))
        place = place_of(self.axis, len(sizes))
        return ListType(TensorType(x.datatype, sizes[:place] + sizes[place + 1 :]), sizes[place])

    def run(self, x: Tensor) -> Value:
        place_of(self.axis, len(x.shape))
        return tuple(like(x, each) for each in np.moveaxis(x.array, self.axis, 0))


@operation("concat", VALUES)
class Concat:
    """`values` one after another along `axis`; their other sizes are the same."""

    axis: int = 0

    def typed(self, values: ListType) -> Type:
        item = tensor_of(values.item)
        sizes = sizes_of(item)
        if sizes is None:
            return TensorType(item.datatype)
        place = place_of(self.axis, len(sizes))
        size, length = sizes[place], settled(values.length)
        together: Size = Unknown()
        if isinstance(size, int) and isinstance(length, int):
            together = size * length
        elif length == 1:
            together = size
        return TensorType(item.datatype, (*sizes[:place], together, *sizes[place + 1 :]))

    def run(self, values: tuple[Tensor, ...]) -> Tensor:
        return like(values[0], np.concatenate(arrays_of(values), self.axis))


@operation("pad", VALUES, outputs=("value", "sizes"))
class Pad:
    """`values` of different sizes in one tensor, filled up with `fill` at their ends, and the
    sizes that each has (INT64)."""

    fill: bool | int | float | str = 0

    def typed(self, values: ListType) -> tuple[Type, Type]:
        item = tensor_of(values.item)
        if datatype := datatype_of(item):
            self.filled((0,), datatype)
        sizes = sizes_of(item)
        if sizes is None:
            return TensorType(item.datatype), TensorType("INT64", (values.length, Unknown()))
        # Of sizes that differ, or that nobody knows, the largest is another one.
        largest = (size if isinstance(size, int) else Unknown[int]() for size in sizes)
        padded = TensorType(item.datatype, (values.length, *largest))
        return padded, TensorType("INT64", (values.length, len(sizes)))

    def run(self, values: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        arrays = arrays_of(values)
        if len({array.ndim for array in arrays}) > 1:
            raise ValueError("values have different numbers of dimensions")
        sizes = np.array([array.shape for array in arrays], np.int64)
        shape = (len(arrays), *map(int, sizes.max(axis=0)))
        padded = self.filled(shape, values[0].datatype)
        for place, array in enumerate(arrays):
            padded[place][tuple(slice(size) for size in array.shape)] = array
        return like(values[0], padded), Tensor.of(sizes)

    def filled(self, shape: tuple[int, ...], datatype: str) -> NDArray[Any]:
        if datatype == "BYTES":
            text = self.fill if isinstance(self.fill, str) else ""
            return np.full(shape, text.encode(), np.object_)
        if isinstance(self.fill, str) or (datatype == "BF16" and self.fill):
            raise TypeError(f"fill is {self.fill!r}, and values are {datatype}")
        return np.full(shape, self.fill, DTYPES[datatype])


@operation("unpad", X, Input("sizes"))
class Unpad:
    """The list of what `x` has along its first dimension, cut down to the `sizes` of each."""

    def typed(self, x: TensorType, sizes: TensorType) -> Type:
        check_whole("sizes", sizes)
        had, counts = sizes_of(x), sizes_of(sizes)
        if counts is not None and len(counts) != 2:
            raise ValueError("sizes are a row for each")
        if had is None:
            return ListType(TensorType(x.datatype), Unknown() if counts is None else counts[0])
        place_of(0, len(had))
        cut = len(had) - 1
        if counts is not None and isinstance(counts[1], int):
            if counts[1] > cut:
                raise ValueError(f"there are {counts[1]} sizes for {cut} dimensions")
            cut = counts[1]
        left: Sizes = (*(Unknown[int]() for _ in range(cut)), *had[cut + 1 :])
        return ListType(TensorType(x.datatype, left), had[0])

    def run(self, x: Tensor, sizes: Tensor) -> Value:
        check_whole("sizes", sizes)
        place_of(0, len(x.shape))
        cut = sizes.shape[1] if len(sizes.shape) == 2 else len(x.shape)
        if cut > len(x.shape) - 1 or sizes.shape[0] != x.shape[0]:
            raise ValueError("sizes are a row for each, one number for each of its dimensions")
        if not np.all((sizes.array >= 0) & (sizes.array <= np.array(x.shape[1 : cut + 1]))):
            raise ValueError("sizes are larger than what there is")
        rows = sizes.array.tolist()
        return tuple(like(x, x.array[(place, *map(slice, row))]) for place, row in enumerate(rows))


@operation("size", Input("x", Takes.ANYTHING))
class SizeOf:
    """How long a list is, or the dimension `axis` of a tensor (INT64)."""

    axis: int = 0

    def typed(self, x: Type) -> Type:
        x = settled(x)
        sizes = sizes_of(x) if isinstance(x, TensorType) else None
        if sizes is not None:
            place_of(self.axis, len(sizes))
        elif isinstance(x, ListType):
            self.check()
        return TensorType("INT64", ())

    def run(self, x: Value) -> Tensor:
        if isinstance(x, Tensor):
            return Tensor.of(np.asarray(x.shape[self.axis], np.int64))
        self.check()
        return Tensor.of(np.asarray(len(x) if isinstance(x, tuple) else 0, np.int64))

    def check(self) -> None:
        if self.axis not in (0, -1):
            raise ValueError(f"a list has one dimension, and no axis {self.axis}")


@operation("default", Input("values", Takes.LIST))
class Default:
    """The first of `values` that is there."""

    def typed(self, values: ListType) -> Type:
        return values.item

    def run(self, values: tuple[Value, ...]) -> Value:
        return values[0]
