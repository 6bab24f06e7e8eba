"""Operations along dimensions: what is left of many elements, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fabric.pipelines.operations.arithmetic import check_numbers, check_truth, ones
from fabric.pipelines.operations.registry import X, operation
from fabric.pipelines.operations.shaping import like, place_of
from fabric.pipelines.types import (
    Sizes,
    TensorType,
    Type,
    Unknown,
    datatype_of,
    sizes_of,
    tensor_type,
)
from fabric.pipelines.values import Tensor

_FLOATS = ("FP16", "FP32", "FP64", "")


@dataclass(frozen=True, kw_only=True)
class _Reduction:
    function: ClassVar[Callable[..., Any]]
    check: ClassVar[Callable[..., None]]
    of_none: ClassVar[bool] = True
    """Whether no elements have one, too."""

    axis: int | tuple[int, ...] = ()
    keepdims: bool = False

    def typed(self, x: TensorType) -> Type:
        type(self).check(x)
        datatype, sizes = datatype_of(x), sizes_of(x)
        if datatype:
            datatype = Tensor.of(np.asarray(type(self).function(ones(datatype)))).datatype
        if sizes is None:
            return tensor_type(datatype, None)
        axes = self.axes(len(sizes))
        if not self.of_none:
            _check_some(*(sizes[place] for place in axes))
        kept = (1 if at in axes else size for at, size in enumerate(sizes))
        left = (size for at, size in enumerate(sizes) if at not in axes)
        return tensor_type(datatype, tuple(kept if self.keepdims else left))

    def run(self, x: Tensor) -> Tensor:
        type(self).check(x)
        axes = self.axes(len(x.shape))
        if not self.of_none:
            _check_some(*(x.shape[place] for place in axes))
        found = type(self).function(x.array, axis=axes, keepdims=self.keepdims)
        return Tensor.of(np.asarray(found))

    def axes(self, rank: int) -> tuple[int, ...]:
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis or range(rank)
        places = tuple(place_of(axis, rank) for axis in axes)
        if len(set(places)) < len(places):
            raise ValueError(f"axis is {list(axes)}, which names one twice")
        return places


def _check_some(*sizes: object) -> None:
    if 0 in sizes:
        raise ValueError("there are no elements")


def _register(name: str, function: Callable[..., Any], doc: str, **members: Any) -> None:
    members |= {
        "__doc__": f"{doc}, along `axis`: one, several, or all where there are none.",
        "function": function,
    }
    operation(name, X)(type(name, (_Reduction,), members))


_register("sum", np.sum, "What the elements of `x` add up to", check=check_numbers)
_register("average", np.mean, "The mean of the elements of `x`", check=check_numbers, of_none=False)
_register("max", np.max, "The largest of the elements of `x`", check=check_numbers, of_none=False)
_register("min", np.min, "The smallest of the elements of `x`", check=check_numbers, of_none=False)
_register("any", np.any, "Whether any of the elements of `x` is true", check=check_truth)
_register("all", np.all, "Whether all of the elements of `x` are true", check=check_truth)


@operation("argmax", X)
class ArgMax:
    """Where the largest element along `axis` of `x` is, as INT64; the first of equal ones."""

    axis: int = -1

    def typed(self, x: TensorType) -> Type:
        check_numbers(x)
        sizes = sizes_of(x)
        if sizes is None:
            return TensorType("INT64")
        place = place_of(self.axis, len(sizes))
        _check_some(sizes[place])
        return TensorType("INT64", (*sizes[:place], *sizes[place + 1 :]))

    def run(self, x: Tensor) -> Tensor:
        check_numbers(x)
        axis = place_of(self.axis, len(x.shape))
        return Tensor.of(np.asarray(np.argmax(x.array, axis)).astype(np.int64))


@operation("softmax", X)
class Softmax:
    """Powers of e by `x`, over their sum along `axis`: scores as probabilities."""

    axis: int = -1

    def typed(self, x: TensorType) -> Type:
        check_floats(x)
        sizes = sizes_of(x)
        if sizes is not None:
            _check_some(sizes[place_of(self.axis, len(sizes))])
        return x

    def run(self, x: Tensor) -> Tensor:
        check_floats(x)
        place_of(self.axis, len(x.shape))
        powers = np.exp(x.array - np.max(x.array, self.axis, keepdims=True))
        return like(x, powers / np.sum(powers, self.axis, keepdims=True))


def check_floats(x: TensorType | Tensor) -> None:
    """Raises TypeError unless *x* are floating-point numbers."""
    check_numbers(x)
    name = x.datatype if isinstance(x, Tensor) else datatype_of(x)
    if name not in _FLOATS:
        raise TypeError(f"scores are FP16, FP32 or FP64, not {name}: cast them")


@operation("topk", X, outputs=("values", "indices"))
class TopK:
    """The `k` largest elements along `axis` of `x`, largest first, and where they are (INT64)."""

    k: int
    axis: int = -1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}, it is at least 1")

    def typed(self, x: TensorType) -> tuple[Type, Type]:
        check_numbers(x)
        sizes = sizes_of(x)
        if sizes is None:
            return TensorType(x.datatype, shape := Unknown[Sizes]()), TensorType("INT64", shape)
        place = place_of(self.axis, len(sizes))
        if isinstance(size := sizes[place], int):
            self.check(size)
        left = (*sizes[:place], self.k, *sizes[place + 1 :])
        return TensorType(x.datatype, left), TensorType("INT64", left)

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_numbers(x)
        place = place_of(self.axis, len(x.shape))
        self.check(size := x.shape[place])
        # Stable from the other end, so that of equal elements the first comes first.
        order = np.argsort(np.flip(x.array, place), place, kind="stable")
        last = np.arange(size - 1, size - 1 - self.k, -1)
        indices = size - 1 - np.take(order, last, place).astype(np.int64)
        return like(x, np.take_along_axis(x.array, indices, place)), Tensor.of(indices)

    def check(self, size: int) -> None:
        if size < self.k:
            raise ValueError(f"there are {size} elements, of which {self.k} are wanted")


@operation("threshold", X, outputs=("values", "indices"))
class Threshold:
    """Elements of `x`, which has one dimension, that are at least `least`, and where they are."""

    least: float

    def typed(self, x: TensorType) -> tuple[Type, Type]:
        check_numbers(x)
        sizes = sizes_of(x)
        self.check(1 if sizes is None else len(sizes))
        left = (Unknown[int](),)
        return TensorType(x.datatype, left), TensorType("INT64", left)

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_numbers(x)
        self.check(len(x.shape))
        indices = np.flatnonzero(x.array >= self.least).astype(np.int64)
        return like(x, x.array[indices]), Tensor.of(indices)

    def check(self, rank: int) -> None:
        if rank != 1:
            raise ValueError(f"it has {rank} dimensions, it must have one")
