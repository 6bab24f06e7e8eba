"""Operations on elements: numbers, texts and truth, with numpy's broadcasting and datatypes.

A literal takes the datatype of what it meets, as numpy's weak scalars do
(https://numpy.org/neps/nep-0050-scalar-promotion.html).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
    tensor_type,
)
from fabric.pipelines.values import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Literal = bool | int | float | str | tuple[bool | int | float | str, ...]
Operand = TensorType | Tensor | Literal

BINARY = (Input("x", literal=True), Input("y", literal=True))


def name_of(operand: Operand) -> str:
    """Its datatype; empty where nobody knows it. Literals are `BYTES` or `a number`."""
    if isinstance(operand, TensorType):
        return datatype_of(operand)
    if isinstance(operand, Tensor):
        return operand.datatype
    kinds = {isinstance(each, str) for each in _flat(operand)}
    if len(kinds) > 1:
        raise TypeError(f"{operand!r} has texts and numbers, it must be of one kind")
    return "BYTES" if True in kinds else "a number"


def check_computes(*operands: Operand) -> None:
    """Raises TypeError unless one can compute with them."""
    names = set(map(name_of, operands))
    if "BF16" in names:
        raise TypeError("nobody computes in BF16: cast it to FP32 first")
    if "BYTES" in names and names - {"BYTES", ""}:
        raise TypeError("texts and numbers do not go together: cast one of them")


def check_numbers(*operands: Operand) -> None:
    """Raises TypeError unless they are numbers that one can compute with."""
    check_computes(*operands)
    if "BYTES" in set(map(name_of, operands)):
        raise TypeError("these are texts, and numbers are needed: cast them")


def ones(datatype: str) -> NDArray[Any]:
    """One element of *datatype*, to see what becomes of it."""
    return np.array([b"" if datatype == "BYTES" else 1]).astype(DTYPES[datatype])


def broadcast(one: Sizes | None, other: Sizes | None) -> Sizes | None:
    """The sizes of both together, by numpy's rules. Raises ValueError if they do not fit."""
    if one is None or other is None:
        return None
    rank = max(len(one), len(other))
    pairs = zip((1,) * (rank - len(one)) + one, (1,) * (rank - len(other)) + other, strict=True)
    return tuple(_together(*pair) for pair in pairs)


def _together(one: Size, other: Size) -> Size:
    if one == 1 or one == other:
        return other
    if other == 1:
        return one
    sizes = [size for size in (one, other) if isinstance(size, int)]
    if len(sizes) == 2:
        raise ValueError(f"sizes {one} and {other} do not go together")
    return sizes[0] if sizes else Unknown()


def _flat(literal: Literal) -> tuple[bool | int | float | str, ...]:
    return literal if isinstance(literal, tuple) else (literal,)


@dataclass(frozen=True, kw_only=True)
class _Binary:
    ufunc: ClassVar[np.ufunc]
    gives: ClassVar[str] = ""
    """The datatype, where it is always the same."""
    check: ClassVar[Callable[..., None]]

    x: Literal | None = None
    y: Literal | None = None

    def typed(self, x: Operand, y: Operand) -> Type:
        type(self).check(x, y)
        shapes = [sizes_of(e) if isinstance(e, TensorType) else _shape(e) for e in (x, y)]
        samples = [_sample(each) for each in (x, y)]
        datatype = self.gives
        if not any(isinstance(each, TensorType) for each in samples):
            datatype = Tensor.of(self.array(*samples)).datatype
        return tensor_type(datatype, broadcast(*shapes))

    def run(self, x: Tensor | Literal, y: Tensor | Literal) -> Tensor:
        type(self).check(x, y)
        operands = (each.array if isinstance(each, Tensor) else each for each in (x, y))
        return Tensor.of(self.array(*operands))

    def array(self, x: Any, y: Any) -> NDArray[Any]:
        if not isinstance(x, np.ndarray):
            x = _met(x, y.dtype)
        elif not isinstance(y, np.ndarray):
            y = _met(y, x.dtype)
        return np.asarray(self.ufunc(x, y))


def _shape(operand: Operand) -> Sizes | None:
    return (len(operand),) if isinstance(operand, tuple) else ()


def _sample(operand: Operand) -> Any:
    known = isinstance(operand, TensorType) and datatype_of(operand)
    return ones(known) if known else operand


def _met(literal: Literal, dtype: np.dtype[Any]) -> Any:
    """*literal* for an operand of *dtype*."""
    if name_of(literal) == "BYTES":
        texts = np.array([str(text).encode() for text in _flat(literal)], np.object_)
        return texts if isinstance(literal, tuple) else texts.reshape(())
    if not isinstance(literal, tuple):
        return literal
    return np.array(literal, np.result_type(dtype, *literal))


def check_truth(*operands: Operand) -> None:
    """Raises TypeError unless they are BOOL."""
    for each in operands:
        if name_of(each) not in ("BOOL", "") and not isinstance(each, bool):
            raise TypeError(f"BOOL is needed, and one is {name_of(each)}: compare it")


_Table = dict[str, tuple[np.ufunc, str]]
_COMPARISONS: _Table = {
    "equal": (np.equal, "Whether each element of `x` is that of `y`."),
    "not_equal": (np.not_equal, "Whether each element of `x` is another than that of `y`."),
    "less": (np.less, "Whether each element of `x` is below that of `y`."),
    "less_equal": (np.less_equal, "Whether each element of `x` is at most that of `y`."),
    "greater": (np.greater, "Whether each element of `x` is above that of `y`."),
    "greater_equal": (np.greater_equal, "Whether each element of `x` is at least that of `y`."),
}
_TRUTH: _Table = {
    "logical_and": (np.logical_and, "Whether `x` and `y` are true, element by element."),
    "logical_or": (np.logical_or, "Whether `x` or `y` or both are true, element by element."),
}
_SUMS: _Table = {
    "add": (np.add, "Each element of `x` plus that of `y`."),
    "subtract": (np.subtract, "Each element of `x` less that of `y`."),
    "multiply": (np.multiply, "Each element of `x` times that of `y`."),
    "divide": (np.divide, "Each element of `x` over that of `y`; of whole numbers as FP64."),
}


def _register(table: _Table, **members: Any) -> None:
    for name, (ufunc, doc) in table.items():
        members |= {"__doc__": doc, "ufunc": ufunc}
        operation(name, *BINARY)(type(name, (_Binary,), dict(members)))


_register(_COMPARISONS, check=check_computes, gives="BOOL")
_register(_TRUTH, check=check_truth, gives="BOOL")
_register(_SUMS, check=check_numbers)


@operation("logical_not", X)
class LogicalNot:
    """Whether each element of `x` is false."""

    def typed(self, x: TensorType) -> Type:
        check_truth(x)
        return TensorType("BOOL", x.shape)

    def run(self, x: Tensor) -> Tensor:
        check_truth(x)
        return Tensor.of(np.asarray(np.logical_not(x.array)))
