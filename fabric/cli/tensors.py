"""Tensors to and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.errors import InvalidRequest
from fabric.core.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from fabric.core.tensors import TensorSpec


def read(
    given: Mapping[str, str], inputs: Callable[[], Iterable[TensorSpec]]
) -> dict[str, NDArray[Any]]:
    """The arrays that are *given* as .npy files or as JSON.

    JSON does not say which datatype it is in, so it is that of the model's *inputs*, which are
    only asked for if there is any.

    Raises:
        InvalidRequest: a file cannot be read, or a text is not JSON.
    """
    files = {name: text for name, text in given.items() if text.endswith(".npy")}
    arrays = {name: _loaded(name, Path(text)) for name, text in files.items()}
    if len(files) < len(given):
        datatypes = {spec.name: spec.datatype for spec in inputs()}
        for name in given.keys() - files.keys():
            arrays[name] = _parsed(name, given[name], datatypes.get(name))
    return {name: arrays[name] for name in given}


def _loaded(name: str, file: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"input '{name}': {file} cannot be read: {error}") from error
    return array


def _parsed(name: str, text: str, datatype: str | None) -> NDArray[Any]:
    try:
        return np.array(json.loads(text), DTYPES[datatype] if datatype else None)
    except (ValueError, TypeError) as error:
        kind = f" of {datatype}" if datatype else ""
        raise InvalidRequest(
            f"input '{name}': {text!r} is neither a .npy file nor JSON{kind}: {error}"
        ) from error


def make_folder(folder: Path) -> None:
    """Makes sure that *folder* is there.

    Raises:
        InvalidRequest: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be written: {error.strerror}") from error


def save(outputs: Mapping[str, NDArray[Any]], folder: Path) -> None:
    """Writes each output to `<name>.npy`; texts as fixed-width strings, which need no pickle.

    Raises:
        InvalidRequest: the folder cannot be written.
    """
    try:
        for name, array in outputs.items():
            flat = array.astype(np.bytes_) if array.dtype == object else array
            np.save(folder / f"{name.replace('/', '_')}.npy", flat, allow_pickle=False)
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be written: {error.strerror}") from error
