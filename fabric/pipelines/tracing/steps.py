"""Calls and constants of a pipeline in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.tensors import DTYPES, TensorValue, datatype_of
from fabric.pipelines.tracing.graphs import Scope, refuse
from fabric.pipelines.tracing.symbols import (
    ONLY,
    Given,
    Options,
    Outputs,
    Value,
    added,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from numpy.typing import ArrayLike, NDArray

    from fabric.core.routes import Requirements
    from fabric.pipelines.tracing.functions import Traced


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
    output: str = ONLY,
    **options: Unpack[Options],
) -> Outputs:
    """A tensor that is always the same.

    Args:
        value: An array; or numbers and lists of them, whose *datatype* has to be said; or texts.
        datatype: By the Open Inference Protocol's name.
        shape: Sizes of all dimensions, if they are not those of *value*.
        output: What it is called as an output of the step.
    """
    scope = Scope.now("constant(…)")
    array = np.asarray(value)
    if array.dtype.kind in "SU":
        array = np.asarray(value, np.object_)  # numpy's own texts lose zeros at their ends
    if (
        not datatype
        and array.dtype.kind in "iuf"
        and not isinstance(value, np.ndarray | np.generic)
    ):
        refuse(f"a constant of numbers needs a datatype, such as constant({value!r}, 'FP32')")
    try:
        made = _tensor(output, array, datatype or datatype_of(array), shape)
    except (TypeError, ValueError) as error:
        refuse(f"constant: {error}")
    return added(scope, "constant", options, {"constant": made}, (output,))


def _tensor(
    name: str, array: NDArray[Any], datatype: str, shape: Sequence[int] | None
) -> TensorValue:
    elements = array.ravel().tolist()
    sizes = tuple(array.shape if shape is None else shape)
    if datatype == "BYTES":
        texts = (each.decode() if isinstance(each, bytes) else str(each) for each in elements)
        return TensorValue(name=name, datatype=datatype, shape=sizes, texts=tuple(texts))
    numbers = tuple(each + 0 for each in elements)  # truth is 0 or 1
    made = TensorValue(name=name, datatype=datatype, shape=sizes, numbers=numbers)
    is_whole = DTYPES[datatype].kind in "iub" and datatype != "BF16"
    if is_whole and made.array.ravel().tolist() != list(numbers):
        raise ValueError(f"{datatype} does not hold {list(numbers)}")
    return made
