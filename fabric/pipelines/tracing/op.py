"""Tensor operations, as functions of values; what each is `fabric.pipelines.operations` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.pipelines.tracing.symbols import Given, Literal, Options, Outputs, Value, operation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    Operand = Value | Literal | Sequence[Literal]


def equal(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether each element of `x` is that of `y`."""
    return operation("equal", {"x": x, "y": y}, {}, options)


def not_equal(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether each element of `x` is another than that of `y`."""
    return operation("not_equal", {"x": x, "y": y}, {}, options)


def less(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether each element of `x` is below that of `y`."""
    return operation("less", {"x": x, "y": y}, {}, options)


def less_equal(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether each element of `x` is at most that of `y`."""
    return operation("less_equal", {"x": x, "y": y}, {}, options)


def greater(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether each element of `x` is above that of `y`."""
    return operation("greater", {"x": x, "y": y}, {}, options)


def greater_equal(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether each element of `x` is at least that of `y`."""
    return operation("greater_equal", {"x": x, "y": y}, {}, options)


def logical_and(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether `x` and `y` are true, element by element."""
    return operation("logical_and", {"x": x, "y": y}, {}, options)


def logical_or(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Whether `x` or `y` or both are true, element by element."""
    return operation("logical_or", {"x": x, "y": y}, {}, options)


def add(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Each element of `x` plus that of `y`."""
    return operation("add", {"x": x, "y": y}, {}, options)


def subtract(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Each element of `x` less that of `y`."""
    return operation("subtract", {"x": x, "y": y}, {}, options)


def multiply(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Each element of `x` times that of `y`."""
    return operation("multiply", {"x": x, "y": y}, {}, options)


def divide(x: Operand, y: Operand, **options: Unpack[Options]) -> Outputs:
    """Each element of `x` over that of `y`; of whole numbers as FP64."""
    return operation("divide", {"x": x, "y": y}, {}, options)


def logical_not(x: Value, **options: Unpack[Options]) -> Outputs:
    """Whether each element of `x` is false."""
    return operation("logical_not", {"x": x}, {}, options)


def reshape(x: Value, shape: Sequence[int], **options: Unpack[Options]) -> Outputs:
    """The elements of `x` in another `shape`; one size may be -1, which is what is left."""
    return operation("reshape", {"x": x}, {"shape": shape}, options)


def transpose(x: Value, axes: Sequence[int] = (), **options: Unpack[Options]) -> Outputs:
    """`x` with its dimensions in the order `axes`; the other way round where there are none."""
    return operation("transpose", {"x": x}, {"axes": axes}, options)


def expand_dims(x: Value, axis: int, **options: Unpack[Options]) -> Outputs:
    """`x` with a dimension of size 1 at the place `axis`."""
    return operation("expand_dims", {"x": x}, {"axis": axis}, options)


def squeeze(x: Value, axis: int, **options: Unpack[Options]) -> Outputs:
    """`x` without the dimension `axis`, whose size is 1."""
    return operation("squeeze", {"x": x}, {"axis": axis}, options)


def slice(x: Value, at: str, **options: Unpack[Options]) -> Outputs:
    """`x[at]`, written as in numpy: `0`, `:, 1:3`, `..., ::-1`."""
    return operation("slice", {"x": x}, {"at": at}, options)


def select(
    x: Value, indices: Value | int | Sequence[int], axis: int = 0, **options: Unpack[Options]
) -> Outputs:
    """What `indices` name along `axis` of `x`: numbers, or BOOL for each whether it is wanted."""
    return operation("select", {"x": x, "indices": indices}, {"axis": axis}, options)


def crop(
    x: Value, sizes: Value, starts: Value | None = None, **options: Unpack[Options]
) -> Outputs:
    """The part of `x` that has `sizes` in its first dimensions, from `starts` or the
    beginning."""
    return operation("crop", {"x": x, "sizes": sizes, "starts": starts}, {}, options)


def stack(values: Given, axis: int = 0, **options: Unpack[Options]) -> Outputs:
    """`values`, all of one shape, along a new dimension at the place `axis`."""
    return operation("stack", {"values": values}, {"axis": axis}, options)


def unstack(x: Value, axis: int = 0, **options: Unpack[Options]) -> Outputs:
    """The list of what `x` has along `axis`."""
    return operation("unstack", {"x": x}, {"axis": axis}, options)


def concat(values: Given, axis: int = 0, **options: Unpack[Options]) -> Outputs:
    """`values` one after another along `axis`; their other sizes are the same."""
    return operation("concat", {"values": values}, {"axis": axis}, options)


def pad(values: Given, fill: Literal = 0, **options: Unpack[Options]) -> Outputs:
    """`values` of different sizes in one tensor, filled up with `fill` at their ends, and the
    sizes that each has (INT64)."""
    return operation("pad", {"values": values}, {"fill": fill}, options)


def unpad(x: Value, sizes: Value, **options: Unpack[Options]) -> Outputs:
    """The list of what `x` has along its first dimension, cut down to the `sizes` of each."""
    return operation("unpad", {"x": x, "sizes": sizes}, {}, options)


def size(x: Given, axis: int = 0, **options: Unpack[Options]) -> Outputs:
    """How long a list is, or the dimension `axis` of a tensor (INT64)."""
    return operation("size", {"x": x}, {"axis": axis}, options)


def default(values: Given, **options: Unpack[Options]) -> Outputs:
    """The first of `values` that is there."""
    return operation("default", {"values": values}, {}, options)


def sum(
    x: Value, axis: int | Sequence[int] = (), keepdims: bool = False, **options: Unpack[Options]
) -> Outputs:
    """What the elements of `x` add up to, along `axis`: one, several, or all where there are
    none."""
    return operation("sum", {"x": x}, {"axis": axis, "keepdims": keepdims}, options)


def average(
    x: Value, axis: int | Sequence[int] = (), keepdims: bool = False, **options: Unpack[Options]
) -> Outputs:
    """The mean of the elements of `x`, along `axis`: one, several, or all where there are
    none."""
    return operation("average", {"x": x}, {"axis": axis, "keepdims": keepdims}, options)


def max(
    x: Value, axis: int | Sequence[int] = (), keepdims: bool = False, **options: Unpack[Options]
) -> Outputs:
    """The largest of the elements of `x`, along `axis`: one, several, or all where there are
    none."""
    return operation("max", {"x": x}, {"axis": axis, "keepdims": keepdims}, options)


def min(
    x: Value, axis: int | Sequence[int] = (), keepdims: bool = False, **options: Unpack[Options]
) -> Outputs:
    """The smallest of the elements of `x`, along `axis`: one, several, or all where there are
    none."""
    return operation("min", {"x": x}, {"axis": axis, "keepdims": keepdims}, options)


def any(
    x: Value, axis: int | Sequence[int] = (), keepdims: bool = False, **options: Unpack[Options]
) -> Outputs:
    """Whether any of the elements of `x` is true, along `axis`: one, several, or all where there
    are none."""
    return operation("any", {"x": x}, {"axis": axis, "keepdims": keepdims}, options)


def all(
    x: Value, axis: int | Sequence[int] = (), keepdims: bool = False, **options: Unpack[Options]
) -> Outputs:
    """Whether all of the elements of `x` are true, along `axis`: one, several, or all where there
    are none."""
    return operation("all", {"x": x}, {"axis": axis, "keepdims": keepdims}, options)


def argmax(x: Value, axis: int = -1, **options: Unpack[Options]) -> Outputs:
    """Where the largest element along `axis` of `x` is, as INT64; the first of equal ones."""
    return operation("argmax", {"x": x}, {"axis": axis}, options)


def softmax(x: Value, axis: int = -1, **options: Unpack[Options]) -> Outputs:
    """Powers of e by `x`, over their sum along `axis`: scores as probabilities."""
    return operation("softmax", {"x": x}, {"axis": axis}, options)


def topk(x: Value, k: int, axis: int = -1, **options: Unpack[Options]) -> Outputs:
    """The `k` largest elements along `axis` of `x`, largest first, and where they are (INT64)."""
    return operation("topk", {"x": x}, {"k": k, "axis": axis}, options)


def threshold(x: Value, least: float, **options: Unpack[Options]) -> Outputs:
    """Elements of `x`, which has one dimension, that are at least `least`, and where they are."""
    return operation("threshold", {"x": x}, {"least": least}, options)


def vote(values: Given, **options: Unpack[Options]) -> Outputs:
    """For each row the class that most of `values` give, in the numbers of the first that does;
    of as many the one that comes first. A class is where the largest score is, or what is given
    if that is no floating-point number."""
    return operation("vote", {"values": values}, {}, options)


def mean(values: Given, **options: Unpack[Options]) -> Outputs:
    """The mean of `values`, all of one shape, element by element; of whole numbers as FP64."""
    return operation("mean", {"values": values}, {}, options)


def weighted_mean(values: Given, weights: Sequence[float], **options: Unpack[Options]) -> Outputs:
    """The mean of `values`, all of one shape, element by element, each with its share of
    `weights`; of whole numbers as FP64."""
    return operation("weighted_mean", {"values": values}, {"weights": weights}, options)


def best(values: Given, confidences: Given, **options: Unpack[Options]) -> Outputs:
    """The one of `values` whose confidence, one number, is the largest; the first of equal
    ones."""
    return operation("best", {"values": values, "confidences": confidences}, {}, options)


def confidence(x: Value, measure: str = "margin", **options: Unpack[Options]) -> Outputs:
    """How sure `x` is, scores whose last dimension are the classes, from 0 to 1 (FP64): that of
    the least sure row. `margin` is by how much the likeliest class is ahead, `entropy` how far
    from all being alike, and `max` how likely the likeliest is."""
    return operation("confidence", {"x": x}, {"measure": measure}, options)


def cast(x: Value, datatype: str, **options: Unpack[Options]) -> Outputs:
    """`x` as `datatype`. Texts are read as numbers, and numbers written as texts; BF16 is rounded
    to the nearest."""
    return operation("cast", {"x": x}, {"datatype": datatype}, options)


def one_hot(x: Value, depth: int, datatype: str = "FP32", **options: Unpack[Options]) -> Outputs:
    """For each number in `x` a row of `depth` elements of `datatype`, of which that one is 1."""
    return operation("one_hot", {"x": x}, {"depth": depth, "datatype": datatype}, options)


def label(x: Value, labels: Sequence[str], **options: Unpack[Options]) -> Outputs:
    """The text among `labels` that has each number in `x`, from 0 on."""
    return operation("label", {"x": x}, {"labels": labels}, options)
