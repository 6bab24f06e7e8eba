"""What a model takes and gives, and what its card may make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.errors import Conflict
from fabric.core.tensors import DTYPES, Signature, TensorSpec
from fabric.wire.classes import UNRANKED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from fabric.core.cards import Batching, Sequences


def narrowed(model: Signature, declared: Signature) -> Signature:
    """The signature of *model* with the sizes, and only the outputs, that the card declares.

    What the model can do without, because its graph has a value for it, is an optional input
    where the card declares it, and none where it does not.

    Raises:
        Conflict: the card declares something that the model does not take or give.
    """
    inputs = _optional(model.inputs, _narrowed("input", model.inputs, declared.inputs))
    taken = {spec.name for spec in inputs}
    needed = [spec.name for spec in model.inputs if not spec.optional]
    if missing := [name for name in needed if name not in taken]:
        raise Conflict(f"the card declares no input {missing}, which the model needs")
    outputs = _narrowed("output", model.outputs, declared.outputs)
    return Signature(inputs=inputs, outputs=outputs, random=declared.random)


def kept(model: Signature, sequences: Sequences | None) -> Signature:
    """The tensors of *model* that are not for callers: its states and controls.

    Raises:
        Conflict: *sequences* names a tensor that the model lacks, or one twice.
    """
    if sequences is None:
        return Signature()
    states = sequences.states
    inputs = [*(state.input for state in states), *(c.input for c in sequences.controls)]
    return Signature(
        inputs=_named("input", inputs, model.inputs),
        outputs=_named("output", [state.output for state in states], model.outputs),
    )


def without(model: Signature, those: Signature) -> Signature:
    """*model* without the inputs and outputs of *those*."""
    return replace(
        model,
        inputs=tuple(spec for spec in model.inputs if spec not in those.inputs),
        outputs=tuple(spec for spec in model.outputs if spec not in those.outputs),
    )


def check_batching(signature: Signature, batching: Batching) -> None:
    """Raises Conflict unless requests of *signature* can be stacked as *batching* says."""
    if batching.max_size == 1:
        return
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if not spec.shape or spec.shape[0] != -1:
                raise Conflict(
                    f"batching.max_size is {batching.max_size}, but {kind} '{spec.name}' is "
                    f"{text(spec)}: its first dimension must be -1. Export the model with a free "
                    "batch dimension, or set max_size to 1"
                )


def check_classes(signature: Signature, outputs: Iterable[str]) -> None:
    """Raises Conflict unless all of *outputs* are outputs whose elements can be classes."""
    known = {spec.name: spec.datatype for spec in signature.outputs}
    for name in outputs:
        if name not in known:
            names = ", ".join(known) or "none"
            raise Conflict(f"hosting.classes names the output '{name}', the model has {names}")
        if known[name] in UNRANKED:
            raise Conflict(f"hosting.classes names the output '{name}', which is {known[name]}")


def zeros(spec: TensorSpec) -> NDArray[Any]:
    """An array for *spec*; sizes that it leaves open are 1."""
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    if spec.datatype == "BYTES":
        return np.full(shape, b"", np.object_)
    return np.zeros(shape, DTYPES[spec.datatype])


def _named(kind: str, names: list[str], model: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    known = {spec.name: spec for spec in model}
    for place, name in enumerate(names):
        if name not in known:
            raise Conflict(
                f"sequences names {kind} '{name}', the model has {', '.join(known) or 'none'}"
            )
        if name in names[:place]:
            raise Conflict(f"sequences names {kind} '{name}' twice")
    return tuple(known[name] for name in names)


def _narrowed(
    kind: str, model: tuple[TensorSpec, ...], declared: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    if not declared:
        return tuple(spec for spec in model if not spec.optional)
    known = {spec.name: spec for spec in model}
    for spec in declared:
        if spec.name not in known:
            names = ", ".join(known) or "none"
            raise Conflict(f"the card declares {kind} '{spec.name}', the model has {names}")
        if not _is_within(spec, known[spec.name]):
            raise Conflict(
                f"the card declares {kind} '{spec.name}' as {text(spec)}, "
                f"the model has {text(known[spec.name])}"
            )
    return tuple(_sized(spec, known[spec.name]) for spec in declared)


def _optional(
    model: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    needed = {spec.name for spec in model if not spec.optional}
    for spec in inputs:
        if spec.optional and spec.name in needed:
            raise Conflict(
                f"the card declares input '{spec.name}' optional, the model needs it: give it an "
                "initializer in the model's graph, or declare it without 'optional'"
            )
    return tuple(replace(spec, optional=spec.name not in needed) for spec in inputs)


def _is_within(declared: TensorSpec, model: TensorSpec) -> bool:
    return (
        declared.datatype == model.datatype
        and len(declared.shape) == len(model.shape)
        and all(-1 in (a, b) or a == b for a, b in zip(model.shape, declared.shape, strict=True))
    )


def _sized(declared: TensorSpec, model: TensorSpec) -> TensorSpec:
    """*declared* with the model's sizes where it leaves them open, and its symbols."""
    sizes = zip(declared.shape, model.shape, strict=True)
    shape = tuple(b if a == -1 else a for a, b in sizes)
    return replace(declared, shape=shape, symbols=declared.symbols or model.symbols)


def text(spec: TensorSpec) -> str:
    """For messages."""
    return f"{spec.datatype} [{','.join(map(str, spec.shape))}]"
