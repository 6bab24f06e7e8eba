"""Datatypes of the Open Inference Protocol, tensor specifications and signatures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Open Inference Protocol v2, "Tensor Data Types". BF16 has no numpy dtype: it is carried as uint16.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(np.uint16),
    "BYTES": np.dtype(np.object_),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}

Tensors = dict[str, "NDArray[Any]"]
"""Named arrays. BYTES tensors are object arrays of `bytes`."""


def datatype_of(array: NDArray[Any]) -> str:
    """The protocol's name for the dtype of *array*; strings and bytes of any length are BYTES.

    Raises:
        TypeError: the protocol has no such datatype.
    """
    if array.dtype.kind in "SUO":
        return "BYTES"
    name = _NAMES.get(array.dtype.newbyteorder("="))
    if name is None:
        raise TypeError(f"no datatype for numpy dtype {array.dtype}; use one of {sorted(DTYPES)}")
    return name


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    name: str
    datatype: str
    """A name of `DTYPES`."""
    shape: tuple[int, ...]
    """Sizes of the dimensions; -1 where any size is accepted."""
    optional: bool = False
    """Requests may leave it out."""
    symbols: tuple[str, ...] = ()
    """Names of the dimensions, of all or none: those of one name have one size in a request and
    its answer. Empty for a dimension without one."""

    def __post_init__(self) -> None:
        if self.datatype not in DTYPES:
            raise ValueError(f"unknown datatype {self.datatype!r}; use one of {', '.join(DTYPES)}")
        if any(size < -1 for size in self.shape):
            raise ValueError(f"sizes are -1 (any) or more, got {list(self.shape)}")
        if len(self.symbols) not in (0, len(self.shape)):
            raise ValueError(
                f"'{self.name}' has {len(self.symbols)} symbols for {len(self.shape)} dimensions: "
                "name all of them, an empty text for those without a name"
            )


@dataclass(frozen=True, kw_only=True)
class TensorValue:
    """A tensor with its elements, as files say it."""

    name: str
    datatype: str
    """By the Open Inference Protocol's name."""
    shape: tuple[int, ...]
    """Sizes of all dimensions."""
    numbers: tuple[float, ...] = ()
    """The elements in row-major order; of BOOL 0 and 1."""
    texts: tuple[str, ...] = ()
    """The elements of BYTES."""

    def __post_init__(self) -> None:
        if self.datatype not in DTYPES:
            known = ", ".join(DTYPES)
            raise ValueError(f"unknown datatype {self.datatype!r}; use one of {known}")
        if any(size < 0 for size in self.shape):
            raise ValueError(f"shape is {list(self.shape)}, its sizes cannot be negative")
        wanted, is_text = math.prod(self.shape), self.datatype == "BYTES"
        given, other = (self.texts, self.numbers) if is_text else (self.numbers, self.texts)
        if len(given) != wanted or other:
            kind = "texts" if is_text else "numbers"
            raise ValueError(
                f"a tensor of {self.datatype} and shape {list(self.shape)} has {wanted} {kind}, "
                f"got {len(given)} and {len(other)} {'numbers' if is_text else 'texts'}"
            )

    @property
    def array(self) -> NDArray[Any]:
        """It as an array; of BF16 as the upper halves of the numbers in single precision."""
        if self.datatype == "BYTES":
            texts = np.array([text.encode() for text in self.texts], np.object_)
            return texts.reshape(self.shape)
        numbers = np.array(self.numbers, np.float64).reshape(self.shape)
        if self.datatype == "BF16":
            return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return numbers.astype(DTYPES[self.datatype])


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What goes in and what comes out, the batch dimension included."""

    inputs: tuple[TensorSpec, ...] = field(default=())
    outputs: tuple[TensorSpec, ...] = field(default=())
    decoupled: bool = False
    """A request has any number of responses, also none."""
    random: bool = False
    """Equal requests have different answers, which are never kept."""
