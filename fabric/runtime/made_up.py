"""Requests for a model that is measured: made up from its signature, or read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.errors import InvalidRequest
from fabric.core.tensors import DTYPES, Tensors, datatype_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fabric.core.tensors import Signature, TensorSpec

_DIFFERENT = 16
"""Requests that are made up; larger batches repeat them."""


@dataclass(frozen=True)
class OpenSizes:
    """The sizes that a model leaves open to its callers, and what they are taken as."""

    names: Mapping[tuple[str, int], str]
    """By input and axis: the model's name of the size, or `<input>.<axis>`."""
    given: Mapping[str, int]

    @property
    def assumed(self) -> list[str]:
        """The names of those that nothing is given for: they are 1."""
        return sorted({name for name in self.names.values() if name not in self.given})

    def check(self) -> None:
        """Raises InvalidRequest if a size is given that the model does not leave open."""
        known = sorted(set(self.names.values()))
        for name in self.given:
            if name not in known:
                said = ", ".join(known) or "none"
                raise InvalidRequest(
                    f"--size {name}: the model leaves open {said}, the batch aside"
                )

    def shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """Of one request: the batch dimension is 1."""
        names = (self.names.get((spec.name, axis), "") for axis in range(len(spec.shape)))
        sizes = zip(spec.shape, names, strict=True)
        return tuple(self.given.get(name, 1) if size == -1 else size for size, name in sizes)


def open_sizes(
    signature: Signature,
    dimensions: Mapping[str, tuple[str, ...]],
    given: Mapping[str, int],
    *,
    is_stacked: bool,
) -> OpenSizes:
    """Those of the inputs of *signature*, whose *dimensions* the model names.

    Where requests are stacked, the first dimension is the batch and not among them.
    """
    names = {
        (spec.name, axis): dimensions[spec.name][axis] or f"{spec.name}.{axis}"
        for spec in signature.inputs
        if not spec.optional
        for axis, size in enumerate(spec.shape)
        if size == -1 and not (is_stacked and axis == 0)
    }
    return OpenSizes(names, given)


def made_up(signature: Signature, sizes: OpenSizes) -> list[Tensors]:
    """Requests of one row: small random numbers where fractions are taken, else ones.

    Ones are within every vocabulary and every mask.
    """
    random = np.random.default_rng(0)
    needed = [spec for spec in signature.inputs if not spec.optional]
    return [
        {spec.name: _array(spec, sizes.shape(spec), random) for spec in needed}
        for _ in range(_DIFFERENT)
    ]


def _array(spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
    if spec.datatype == "BYTES":
        return np.full(shape, b"text", np.object_)
    dtype = DTYPES[spec.datatype]
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    one = 0x3F80 if spec.datatype == "BF16" else 1
    return np.full(shape, one, dtype)


def read(file: Path, signature: Signature, *, is_stacked: bool) -> list[Tensors]:
    """The requests in the .npz *file*, which has an array for each input.

    Where requests are stacked, each row is one; else all of it is.

    Raises:
        InvalidRequest: it cannot be read, or does not have what the model takes.
    """
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = dict(loaded)
    except (OSError, ValueError, TypeError) as error:  # TypeError: a lone array has no `with`
        raise InvalidRequest(f"{file} cannot be read as .npz: {error}") from error
    specs = {spec.name: spec for spec in signature.inputs}
    for name, array in arrays.items():
        if name not in specs:
            raise InvalidRequest(f"{file} has '{name}', the model takes {', '.join(specs)}")
        _check(file, specs[name], array)
    if missing := [s.name for s in specs.values() if not s.optional and s.name not in arrays]:
        raise InvalidRequest(f"{file} has no {', '.join(missing)}, which the model needs")
    if not is_stacked:
        return [arrays]
    rows = min((len(array) for array in arrays.values()), default=0)
    if rows == 0:
        raise InvalidRequest(f"{file} has no rows")
    return [{name: a[i : i + 1] for name, a in arrays.items()} for i in range(rows)]


def _check(file: Path, spec: TensorSpec, array: NDArray[Any]) -> None:
    carried = "UINT16" if spec.datatype == "BF16" else spec.datatype
    try:
        datatype = datatype_of(array)
    except TypeError:
        datatype = str(array.dtype)
    if datatype != carried:
        raise InvalidRequest(
            f"'{spec.name}' in {file} is {datatype}, the model takes {spec.datatype}: "
            f"save it as numpy's {DTYPES[spec.datatype]}"
        )
    fits = len(array.shape) == len(spec.shape) and all(
        -1 in (want, size) or want == size
        for want, size in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise InvalidRequest(
            f"'{spec.name}' in {file} is {list(array.shape)}, the model takes {list(spec.shape)}"
        )
