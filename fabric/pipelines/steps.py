"""Calls and constants of a pipeline in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from fabric.core.tensors import DTYPES, TensorValue, datatype_of
from fabric.pipelines.symbols import (
    ONLY,
    Given,
    Options,
    Outputs,
    Result,
    Value,
    added,
    sources,
)
from fabric.pipelines.tracing import Scope, refuse

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import ArrayLike

    from fabric.core.routes import Requirements
    from fabric.pipelines.functions import Traced

Made: TypeAlias = Result | Callable[[], Result]
"""What a branch gives: a value from before it, or whatever a function does then."""
Returned = TypeVar("Returned", bound=Result)


def step(
    call: str | Traced,
    inputs: Mapping[str, Given] | None = None,
    /,
    *,
    name: str = "",
    when: Value | None = None,
    optional: bool = False,
    timeout: float | None = None,
    share: float = 1.0,
    tries: int = 1,
    fallback: str | Sequence[str] = (),
    cache: float | None = None,
    requirements: Requirements | None = None,
    **more: Given,
) -> Outputs:
    """Calls a specialist, a route or a pipeline, by its name or as `name:version`.

    Inputs are given by keyword; those that are called like something else here go into *inputs*.

    Args:
        name: Of the step, unique in the pipeline; made from that of whom it calls without.
        when: One BOOL element; false skips the step, and its outputs are missing.
        optional: If it fails its outputs are missing, and the pipeline goes on; nobody need be
            declared under the name that it calls.
        timeout: Seconds for all of the step.
        share: Of the time that is left, for all of the step.
        tries: Of each that is called.
        fallback: Who is called instead, in turn, where the call fails.
        cache: Seconds for which an answer is given again, to equal inputs of the same tenant.
        requirements: What an answer must come from, beyond those of the route.
    """
    scope = Scope.now("step(…)")
    called = call if isinstance(call, str) else call.graph.name
    options = Options(
        name=name, when=when, optional=optional, timeout=timeout, share=share, tries=tries
    )
    parts = {
        "call": called,
        "inputs": sources({**(inputs or {}), **more}, called),
        "fallback": (fallback,) if isinstance(fallback, str) else tuple(fallback),
        "cache": cache,
        "requirements": requirements,
    }
    return added(scope, called.partition(":")[0], options, parts)


def constant(
    value: ArrayLike,
    datatype: str = "",
    *,
    shape: Sequence[int] | None = None,
    **options: Unpack[Options],
) -> Outputs:
    """A tensor that is always the same.

    Args:
        value: An array; or numbers and lists of them, whose *datatype* has to be said; or texts.
        datatype: By the Open Inference Protocol's name.
        shape: Sizes of all dimensions, if they are not those of *value*.
    """
    scope = Scope.now("constant(…)")
    array = np.asarray(value)
    if not datatype:
        if array.dtype.kind in "iufc" and not isinstance(value, np.ndarray | np.generic):
            refuse(f"a constant of numbers needs a datatype: constant({value!r}, 'FP32')")
        try:
            datatype = datatype_of(array)
        except TypeError as error:
            refuse(f"constant: {error}")
    parts = {"constant": _tensor(array, datatype, shape)}
    return added(scope, "constant", options, parts, (ONLY,))


def _tensor(array: np.ndarray[Any, Any], datatype: str, shape: Sequence[int] | None) -> TensorValue:
    elements = array.ravel().tolist()
    sizes = tuple(array.shape if shape is None else shape)
    try:
        if datatype == "BYTES":
            texts = tuple(e.decode() if isinstance(e, bytes) else str(e) for e in elements)
            return TensorValue(name=ONLY, datatype=datatype, shape=sizes, texts=texts)
        numbers = tuple(int(e) if isinstance(e, bool) else e for e in elements)
        made = TensorValue(name=ONLY, datatype=datatype, shape=sizes, numbers=numbers)
    except (TypeError, ValueError) as error:
        refuse(f"constant: {error}")
    if DTYPES[datatype].kind in "iu" and datatype != "BF16":
        limits = np.iinfo(DTYPES[datatype])
        if any(
            number != int(number) or not limits.min <= number <= limits.max for number in numbers
        ):
            refuse(f"constant: {datatype} holds whole numbers from {limits.min} to {limits.max}")
    return made
