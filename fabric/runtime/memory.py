"""What an ONNX model remembers of a sequence, and what it is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.errors import Conflict, InvalidRequest
from fabric.core.tensors import DTYPES
from fabric.runtime.signatures import text, zeros
from fabric.wire.kinds import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.core.cards import Control, Sequences
    from fabric.core.tensors import Signature, Tensors, TensorSpec
    from fabric.wire.kinds import Inputs


@dataclass(frozen=True, slots=True)
class Turn(Step):
    """One request of a sequence, as the specialist sees it."""

    slot: int
    """From 0 on; no other sequence has it while this one lives."""
    state: dict[str, Any] = field(default_factory=dict)
    """What the sequence remembers; what a request leaves in it is kept if the request succeeds."""


class Memory:
    """Fills the inputs that *sequences* names, and keeps its outputs, for a model of *signature*.

    Raises:
        Conflict: a tensor that *sequences* names cannot be used for what it says.
    """

    def __init__(self, signature: Signature, sequences: Sequences, model: str) -> None:
        inputs = {spec.name: spec for spec in signature.inputs}
        outputs = {spec.name: spec for spec in signature.outputs}
        for state in sequences.states:
            _check_state(inputs[state.input], outputs[state.output])
        self._model = model
        self._states = [(state.input, state.output) for state in sequences.states]
        self.start: Tensors = {name: zeros(inputs[name]) for name, _ in self._states}
        """The state of a sequence that begins."""
        self._ids = [_id_spec(inputs[c.input]) for c in sequences.controls if c.kind == "id"]
        self._flags = [
            (control.input, control.kind, *_values(inputs[control.input], control))
            for control in sequences.controls
            if control.kind != "id"
        ]

    def check(self, step: Step) -> None:
        """Raises InvalidRequest if the model cannot be told the id of *step*."""
        for spec in self._ids:
            self._id(spec, step.id)

    def filled(self, inputs: Inputs, turn: Turn) -> Inputs:
        """*inputs* with all that the model takes beside what the caller sent."""
        said = {"start": turn.starts, "end": turn.ends, "ready": True}
        flags = {name: yes if said[kind] else no for name, kind, no, yes in self._flags}
        ids = {spec.name: self._id(spec, turn.id) for spec in self._ids}
        shapes = tuple(state.shape[1:] for state in turn.state.values())
        tensors = {**inputs.tensors, **turn.state, **flags, **ids}
        return replace(inputs, tensors=tensors, shapes=inputs.shapes + shapes, sequence=turn)

    def kept(self, outputs: Tensors) -> Tensors:
        """The state after a run that gave *outputs*, in memory of its own."""
        return {input_: _owned(outputs[output]) for input_, output in self._states}

    def _id(self, spec: TensorSpec, number: int | str) -> NDArray[Any]:
        shape = _one(spec)
        if spec.datatype == "BYTES":
            return np.full(shape, str(number).encode(), np.object_)
        try:
            if isinstance(number, str):
                raise OverflowError
            return np.full(shape, number, DTYPES[spec.datatype])
        except OverflowError:
            raise InvalidRequest(
                f"sequence id {number!r} does not fit model '{self._model}', "
                f"which takes it as {spec.datatype}"
            ) from None


def _check_state(taken: TensorSpec, given: TensorSpec) -> None:
    same = taken.datatype == given.datatype and len(taken.shape) == len(given.shape)
    pairs = zip(taken.shape, given.shape, strict=False)
    if not same or any(-1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise Conflict(
            f"sequences.states feeds output '{given.name}', {text(given)}, to input "
            f"'{taken.name}', {text(taken)}: both must be of one datatype and shape"
        )


def _values(spec: TensorSpec, control: Control) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the input is given for no and for yes."""
    if spec.datatype == "BYTES":
        raise Conflict(f"control '{control.kind}' is a number, but input '{spec.name}' is BYTES")
    shape, dtype = _one(spec), DTYPES[spec.datatype]
    return np.full(shape, control.no, dtype), np.full(shape, control.yes, dtype)


def _id_spec(spec: TensorSpec) -> TensorSpec:
    if DTYPES[spec.datatype].kind not in "iuO":
        raise Conflict(
            f"control 'id' is a whole number or BYTES, but input '{spec.name}' is {spec.datatype}"
        )
    _one(spec)
    return spec


def _one(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of one element for the input *spec*."""
    if any(size not in (-1, 1) for size in spec.shape):
        raise Conflict(f"a control is one element a row, but input '{spec.name}' is {text(spec)}")
    return (1,) * len(spec.shape)


def _owned(array: NDArray[Any]) -> NDArray[Any]:
    """A row of a batch would keep the whole batch."""
    return array if array.base is None else array.copy()
