"""What a pipeline takes and gives: as types while it is checked, and as a signature."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fabric.core.tensors import Signature, TensorSpec
from fabric.pipelines.types import Size, TensorType, Unknown, datatype_of, sizes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabric.core.pipelines import PipelineInput

    Typed = tuple[str, TensorType, bool]
    """Name, type, and whether it may be left out."""


def given_types(inputs: Iterable[PipelineInput]) -> dict[str, TensorType]:
    """What *inputs* are said to be, by their names; equal names of sizes are one size."""
    named: dict[str, Unknown[int]] = {}
    return {
        each.name: TensorType(each.datatype, tuple(_said_size(size, named) for size in each.shape))
        if each.datatype
        else TensorType()
        for each in inputs
    }


def _said_size(text: str, named: dict[str, Unknown[int]]) -> Size:
    if text == "-1":
        return Unknown()
    return int(text) if text.isdecimal() else named.setdefault(text, Unknown(text))


def signature_of(inputs: Sequence[Typed], outputs: Sequence[Typed]) -> Signature | None:
    """What a pipeline with such inputs and outputs takes and gives.

    None where nobody knows the datatype of one, or how many dimensions it has.
    """
    for _, each, _ in (*inputs, *outputs):
        if not datatype_of(each) or sizes_of(each) is None:
            return None
    symbols = _symbols([each for _, each, _ in (*inputs, *outputs)])
    return Signature(inputs=_specs(inputs, symbols), outputs=_specs(outputs, symbols))


def _specs(typed: Iterable[Typed], symbols: dict[Size, str]) -> tuple[TensorSpec, ...]:
    specs = []
    for name, each, optional in typed:
        sizes = sizes_of(each) or ()
        names = tuple(symbols.get(size, "") for size in sizes)
        specs.append(
            TensorSpec(
                name=name,
                datatype=datatype_of(each),
                shape=tuple(size if isinstance(size, int) else -1 for size in sizes),
                optional=optional,
                symbols=names if any(names) else (),
            )
        )
    return tuple(specs)


def _symbols(types: Iterable[TensorType]) -> dict[Size, str]:
    """Names of unknown sizes: their own, and new ones for those that are there several times."""
    sizes = Counter(size for each in types for size in sizes_of(each) or ())
    names: dict[Size, str] = {}
    for size, count in sizes.items():
        if isinstance(size, Unknown) and (size.name or count > 1):
            name, number = size.name or "n", 1
            while name in names.values():
                number += 1
                name = f"{size.name or 'n'}{number}"
            names[size] = name
    return names
