"""What steps give that call somebody, by the signatures of those whom they call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.core.tensors import Signature
from fabric.pipelines.givers import Given, Outputs
from fabric.pipelines.types import Size, TensorType, TypeProblem, Unknown, same_size, unify
from fabric.pipelines.wiring import instead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.core.pipelines import Step
    from fabric.core.tensors import TensorSpec
    from fabric.pipelines.checking import Checking


@dataclass(frozen=True, slots=True)
class Callee:
    """Who is called."""

    signature: Signature | None
    """None where nobody knows it yet: what is given and taken is any tensor."""
    batched: bool = False
    """Requests are stacked, so that all inputs and outputs of one have as many rows."""


class Call:
    """The types of the tensors in one call.

    Dimensions of one symbol have one size; so have the first ones, where it goes *by_rows*.
    """

    def __init__(self, *, by_rows: bool) -> None:
        self._symbols: dict[str, Unknown[int]] = {}
        self._rows = Unknown[int]() if by_rows else None

    def typed(self, spec: TensorSpec) -> TensorType:
        if spec.symbols:
            pairs = zip(spec.shape, spec.symbols, strict=True)
            sizes = [self._size(size, symbol) for size, symbol in pairs]
        else:
            sizes = [Unknown() if size == -1 else size for size in spec.shape]
        if self._rows is not None and spec.shape[:1] == (-1,):
            same_size(sizes[0], self._rows)
        return TensorType(spec.datatype, tuple(sizes))

    def _size(self, size: int, symbol: str) -> Size:
        if not symbol:
            return Unknown() if size == -1 else size
        known = self._symbols.setdefault(symbol, Unknown(symbol))
        if size != -1:
            same_size(known, size)
        return known


def called(check: Checking, step: Step, inputs: Mapping[str, Given], *, together: bool) -> Outputs:
    """What each of those gives whom *step* may call, for several items *together* or for one."""
    known: list[dict[str, Given]] = []
    for name in (step.call, *step.fallback):
        key = "call" if name == step.call else "fallback"
        callee = check.callee(name)
        if callee is None and not step.optional:
            text = f"nobody is declared as '{name}': declare it, or make the step optional"
            check.problem(step.name, key, text)
        if callee is None or callee.signature is None:
            continue
        if together:
            _check_rows(check, step.name, key, name, callee.signature)
        if callee.signature.decoupled:
            text = f"'{name}' answers any number of times, and a step has one answer"
            check.problem(step.name, key, text)
        call = Call(by_rows=callee.batched or together)
        _give(check, step.name, name, callee.signature, call, inputs)
        known.append({spec.name: _answered(name, spec, call) for spec in callee.signature.outputs})
    if not known:
        for name, given in inputs.items():
            check.tensor(given.type, step.name, f"inputs.{name}")
        return Outputs(others=TensorType)
    names = [name for name in known[0] if all(name in each for each in known)]
    return Outputs(
        {
            name: check.joined([each[name] for each in known], step.name, "fallback")
            for name in names
        }
    )


def _give(
    check: Checking,
    step: str,
    name: str,
    signature: Signature,
    call: Call,
    inputs: Mapping[str, Given],
) -> None:
    """Gives *inputs* to *name* in *call*."""
    taken = {spec.name: spec for spec in signature.inputs}
    for input_, given in inputs.items():
        key = f"inputs.{input_}"
        if input_ not in taken:
            check.problem(step, key, f"'{name}' takes no '{input_}'{instead(input_, taken)}")
            continue
        try:
            unify(given.type, call.typed(taken[input_]))
        except TypeProblem as problem:
            check.problem(step, key, f"{problem.message} ('{name}')")
    for spec in signature.inputs:
        if spec.name not in inputs and not spec.optional:
            check.problem(step, "inputs", f"'{name}' needs '{spec.name}', {call.typed(spec)}")


def _check_rows(check: Checking, step: str, key: str, name: str, signature: Signature) -> None:
    """That several items can be given one behind another."""
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if spec.shape[:1] != (-1,):
                type_ = Call(by_rows=False).typed(spec)
                text = (
                    f"'{name}' is called for several items together, and its {kind} '{spec.name}' "
                    f"is {type_}: call it for each, without batch"
                )
                check.problem(step, key, text)


def _answered(name: str, spec: TensorSpec, call: Call) -> Given:
    missing = f"'{name}' may answer without '{spec.name}'" if spec.optional else ""
    return Given(call.typed(spec), missing)
