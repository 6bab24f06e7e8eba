"""Operations that make one answer of several, and say how sure one is."""

from __future__ import annotations

import math

import numpy as np

from fabric.core.scores import entropy, margin, probabilities, voted
from fabric.pipelines.operations.arithmetic import check_numbers, ones
from fabric.pipelines.operations.listing import arrays_of
from fabric.pipelines.operations.reducing import check_floats
from fabric.pipelines.operations.registry import VALUES, Input, Takes, X, operation
from fabric.pipelines.types import (
    ListType,
    TensorType,
    Type,
    TypeProblem,
    datatype_of,
    same_size,
    settled,
    sizes_of,
    tensor_of,
    tensor_type,
)
from fabric.pipelines.values import Tensor, Value


@operation("vote", VALUES)
class Vote:
    """For each row the class that most of `values` give, in the numbers of the first that does;
    of as many the one that comes first. A class is where the largest score is, or what is given
    if that is no floating-point number."""

    def typed(self, values: ListType) -> Type:
        item = tensor_of(values.item)
        if datatype_of(item) == "BF16":
            check_numbers(item)
        return item

    def run(self, values: tuple[Tensor, ...]) -> Tensor:
        if values[0].datatype == "BF16":
            check_numbers(*values)
        arrays = arrays_of(values)
        if len({array.shape for array in arrays}) > 1:
            raise ValueError("values have different shapes")
        return Tensor.of(voted(arrays, np.full(len(arrays), 1 / len(arrays))))


@operation("mean", VALUES)
class Mean:
    """The mean of `values`, all of one shape, element by element; of whole numbers as FP64."""

    def typed(self, values: ListType) -> Type:
        return _mean_type(values)

    def run(self, values: tuple[Tensor, ...]) -> Tensor:
        check_numbers(*values)
        return Tensor.of(np.asarray(np.mean(np.stack(arrays_of(values)), 0)))


def _mean_type(values: ListType) -> Type:
    item = tensor_of(values.item)
    check_numbers(item)
    datatype = datatype_of(item)
    if datatype:
        datatype = Tensor.of(np.mean([ones(datatype)], 0)).datatype
    return tensor_type(datatype, sizes_of(item))


@operation("weighted_mean", VALUES)
class WeightedMean:
    """The mean of `values`, all of one shape, element by element, each with its share of
    `weights`; of whole numbers as FP64."""

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights) < 0 or not 0 < sum(self.weights) < math.inf:
            raise ValueError(f"weights is {list(self.weights)}: none is below 0, one is above")

    def typed(self, values: ListType) -> Type:
        if not same_size(values.length, len(self.weights)):
            self.check(values.length)
        return _mean_type(values)

    def run(self, values: tuple[Tensor, ...]) -> Tensor:
        check_numbers(*values)
        self.check(len(values))
        stacked = np.stack(arrays_of(values))
        found = np.asarray(np.average(stacked.astype(np.float64), 0, self.weights))
        whole = not np.issubdtype(stacked.dtype, np.floating)
        return Tensor.of(found if whole else found.astype(stacked.dtype))

    def check(self, length: object) -> None:
        if length != len(self.weights):
            raise ValueError(f"there are {len(self.weights)} weights for {length} values")


@operation("best", Input("values", Takes.LIST), Input("confidences", Takes.TENSORS))
class Best:
    """The one of `values` whose confidence, one number, is the largest; the first of equal ones."""

    def typed(self, values: ListType, confidences: ListType) -> Type:
        number = tensor_of(confidences.item)
        check_numbers(number)
        if any(size != 1 for size in sizes_of(number) or () if isinstance(size, int)):
            raise ValueError(f"a confidence is {number}, it must be one number")
        if not same_size(values.length, confidences.length):
            lengths = settled(values.length), settled(confidences.length)
            raise TypeProblem("there are {} values and {} confidences".format(*lengths))
        return values.item

    def run(self, values: tuple[Value, ...], confidences: tuple[Tensor, ...]) -> Value:
        check_numbers(*confidences)
        if any(each.array.size != 1 for each in confidences):
            raise ValueError("a confidence is one number")
        if len(values) != len(confidences):
            raise ValueError(f"there are {len(values)} values and {len(confidences)} confidences")
        sure = [float(each.array.item()) for each in confidences]
        return values[max(range(len(sure)), key=lambda place: _ranked(sure[place]))]


def _ranked(number: float) -> float:
    return -math.inf if math.isnan(number) else number


@operation("confidence", X)
class Confidence:
    """How sure `x` is, scores whose last dimension are the classes, from 0 to 1 (FP64): that of
    the least sure row. `margin` is by how much the likeliest class is ahead, `entropy` how far
    from all being alike, and `max` how likely the likeliest is."""

    measure: str = "margin"

    def __post_init__(self) -> None:
        if self.measure not in ("margin", "entropy", "max"):
            raise ValueError(f"measure is {self.measure!r}, use margin, entropy or max")

    def typed(self, x: TensorType) -> Type:
        check_floats(x)
        return TensorType("FP64", ())

    def run(self, x: Tensor) -> Tensor:
        check_floats(x)
        rows = probabilities(x.array)
        if self.measure == "max":
            sure = rows.max(axis=1)
        else:
            sure = margin(rows) if self.measure == "margin" else entropy(rows)
        return Tensor.of(np.asarray(np.min(sure, initial=1.0)))
