"""What flows through a pipeline: tensors, lists, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fabric.core.tensors import datatype_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fabric.core.tensors import Tensors


class Tensor:
    """A tensor that nobody writes to. A subclass may make its array when it is asked for."""

    __slots__ = ("_array", "datatype", "shape")

    def __init__(self, array: NDArray[Any] | None, datatype: str, shape: tuple[int, ...]) -> None:
        self._array = array
        self.datatype = datatype
        """By the Open Inference Protocol's name; BF16 is carried as uint16."""
        self.shape = shape

    @classmethod
    def of(cls, array: NDArray[Any], datatype: str = "") -> Tensor:
        """*array*, whose datatype needs to be said only of BF16.

        Raises:
            TypeError: the protocol has no datatype for it.
        """
        return cls(array, datatype or datatype_of(array), array.shape)

    @property
    def array(self) -> NDArray[Any]:
        """Its elements; of BYTES objects that are `bytes`."""
        if self._array is None:
            self._array = self._made()
        return self._array

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        if self.datatype == "BYTES":
            return sum(map(len, self.array.flat)) + 4 * self.array.size
        return self.array.nbytes

    def _made(self) -> NDArray[Any]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.datatype}{list(self.shape)}"


class Missing:
    """The outputs of a step that was skipped, or that failed and is optional."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "missing"


MISSING: Final = Missing()

Value = Tensor | tuple["Value", ...] | Missing
"""A tensor, a list of values (of which none is missing), or nothing."""
Values = dict[str, "Value"]


def nbytes(value: Value) -> int:
    """Bytes of all its elements."""
    if isinstance(value, tuple):
        return sum(map(nbytes, value))
    return 0 if isinstance(value, Missing) else value.nbytes


def tensors(given: Mapping[str, Any]) -> Values:
    """Arrays as values, and whatever numpy can make an array of."""
    return {name: Tensor.of(np.asarray(array)) for name, array in given.items()}


def arrays(values: Mapping[str, Value]) -> Tensors:
    """The tensors among *values* as arrays."""
    return {name: each.array for name, each in values.items() if isinstance(each, Tensor)}
