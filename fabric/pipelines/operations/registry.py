"""What a tensor operation is: a frozen dataclass of its arguments that can type and run its inputs.

    @operation("argmax", X)
    class ArgMax:
        \"""Where the largest element along `axis` is.\"""

        axis: int = -1

        def typed(self, x: TensorType) -> Type: ...
        def run(self, x: Tensor) -> Tensor: ...

Both are given the inputs in the order they are named in. What raises ValueError, TypeError or
IndexError there becomes an error that names the operation and what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, fields
from enum import Enum
from types import MappingProxyType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import numpy as np

from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import Argument
from fabric.pipelines.types import ListType, Type, TypeProblem, list_of, tensor_of
from fabric.pipelines.values import MISSING, Tensor, Value, Values
from fabric.pipelines.wiring import instead

Run = Callable[[Mapping[str, Value]], Values]
"""Gives the outputs for inputs of which none is missing.

Raises:
    InvalidRequest: they are not what the operation takes; says which shapes they have.
"""


class Takes(Enum):
    TENSOR = "a tensor"
    TENSORS = "a list of tensors"
    LIST = "a list"
    ANYTHING = "a value"


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    takes: Takes = Takes.TENSOR
    optional: bool = False
    """It may be left out."""
    literal: bool = False
    """An argument of the same name may be given instead of it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument that an operation takes."""

    name: str
    kind: str
    """As in Python: `int`, `tuple[str, ...]`."""
    default: Argument | None
    """None where the argument must be given, or an input of the same name."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    name: str
    doc: str
    """What it gives, in a sentence or two."""
    inputs: tuple[Input, ...]
    parameters: Mapping[str, Parameter]
    outputs: tuple[str, ...]
    made: Callable[..., Any]
    """The class, which is called with arguments by name."""
    kinds: Mapping[str, Any]
    """Of the arguments, as annotations."""

    def typed(
        self, inputs: Mapping[str, Type], arguments: Mapping[str, Argument]
    ) -> dict[str, Type]:
        """Types of the outputs.

        Raises:
            TypeProblem: inputs or arguments are not what it takes.
        """
        self._check_names(inputs, arguments)
        made = self._made(arguments)
        given = [self._typed_input(each, inputs, made) for each in self.inputs]
        try:
            with _quietly():
                return self._named(made.typed(*given))
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise TypeProblem(f"{error}; it is given {_said(inputs)}") from error

    def bind(self, arguments: Mapping[str, Argument]) -> Run:
        """The operation with *arguments*, which are looked at here and never again.

        What is made of an empty list is missing, but for its size.

        Raises:
            TypeProblem: the arguments are not what it takes.
        """
        made = self._made(arguments)
        readers = [(each, getattr(made, each.name, None)) for each in self.inputs]
        method = made.run

        def run(inputs: Mapping[str, Value]) -> Values:
            values = []
            for each, literal in readers:
                value = inputs.get(each.name)
                if value == () and each.takes is not Takes.ANYTHING:
                    return dict.fromkeys(self.outputs, MISSING)
                _check(self.name, each, value, literal)
                values.append(literal if value is None else value)
            try:
                with _quietly():
                    return self._named(method(*values))
            except (ValueError, TypeError, IndexError, OverflowError) as error:
                raise InvalidRequest(
                    f"{self.name}: {error}; it is given {_said(inputs)}"
                ) from error

        return run

    def _named(self, given: Any) -> dict[str, Any]:
        outputs = given if len(self.outputs) > 1 else (given,)
        return dict(zip(self.outputs, outputs, strict=True))

    def _check_names(self, inputs: Mapping[str, object], arguments: Mapping[str, Argument]) -> None:
        taken = {each.name for each in self.inputs}
        for name in inputs:
            if name not in taken:
                raise TypeProblem(
                    f"{self.name} has no input '{name}'{instead(name, taken)}", f"inputs.{name}"
                )
        for each in self.inputs:
            if each.name in inputs and each.name in arguments:
                said = f"'{each.name}' is given twice: as an input and as an argument"
                raise TypeProblem(said, f"arguments.{each.name}")
            given = each.name in inputs or (each.literal and each.name in arguments)
            if not (given or each.optional):
                way = "an input or an argument" if each.literal else "an input"
                raise TypeProblem(f"{self.name} needs '{each.name}': give it as {way}", "inputs")

    def _made(self, arguments: Mapping[str, Argument]) -> Any:
        for name, value in arguments.items():
            kind = self.kinds.get(name)
            if kind is None:
                said = f"{self.name} has no argument '{name}'{instead(name, self.kinds)}"
                raise TypeProblem(said, f"arguments.{name}")
            if not _is(value, kind):
                said = f"argument '{name}' is {value!r}, it must be {self.parameters[name].kind}"
                raise TypeProblem(said, f"arguments.{name}")
        if all(each.literal and each.name in arguments for each in self.inputs):
            raise TypeProblem(
                f"{self.name} has literals only: use a constant for one of them", "arguments"
            )
        try:
            return self.made(**arguments)
        except (ValueError, TypeError) as error:
            needed = [name for name, each in self.parameters.items() if each.default is None]
            absent = [n for n in needed if n not in arguments and not self._may_be_input(n)]
            problem = f"{self.name} needs argument '{absent[0]}'" if absent else str(error)
            raise TypeProblem(problem, "arguments") from error

    def _may_be_input(self, name: str) -> bool:
        return any(each.name == name for each in self.inputs)

    def _typed_input(self, each: Input, inputs: Mapping[str, Type], made: Any) -> Any:
        if each.name not in inputs:
            return getattr(made, each.name, None)
        given = inputs[each.name]
        try:
            if each.takes is Takes.TENSOR:
                return tensor_of(given)
            if each.takes is Takes.ANYTHING:
                return given
            found = list_of(given)
            if each.takes is Takes.TENSORS:
                return ListType(tensor_of(found.item), found.length)
        except TypeProblem as problem:
            raise TypeProblem(problem.message, f"inputs.{each.name}") from problem
        return found


def _quietly() -> np.errstate:
    """Numbers overflow, and are divided by zero, without a warning: what is no number is none."""
    return np.errstate(all="ignore")


def _check(name: str, taken: Input, value: Value | None, literal: object) -> None:
    """Raises InvalidRequest unless *value* is what the input takes."""
    if value is None:
        fits = taken.optional or literal is not None
    elif taken.takes is Takes.TENSOR:
        fits = isinstance(value, Tensor)
    elif taken.takes is Takes.TENSORS:
        fits = isinstance(value, tuple) and all(isinstance(each, Tensor) for each in value)
    else:
        fits = taken.takes is Takes.ANYTHING or isinstance(value, tuple)
    if not fits:
        got = "none" if value is None else _text(value)
        raise InvalidRequest(f"{name}: '{taken.name}' is {taken.takes.value}, got {got}")


def _said(inputs: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in inputs.items()) or "nothing"


def _text(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    shown = ", ".join(map(_text, value[:3]))
    return f"({shown}{', …' if len(value) > 3 else ''})"


def _is(value: object, kind: Any) -> bool:
    """Whether *value* is of the annotation *kind*; whole numbers are floats as well."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_is(value, each) for each in get_args(kind))
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(each, get_args(kind)[0]) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


_operations: Final[dict[str, Operation]] = {}
OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(_operations)
"""All operations by name, once their modules are imported."""


def operation(
    name: str, *inputs: Input, outputs: tuple[str, ...] = ("value",)
) -> Callable[[type[Any]], type[Any]]:
    """Makes a class of arguments with `typed` and `run` the operation *name*."""

    def registered(cls: type[Any]) -> type[Any]:
        made = dataclass(frozen=True, kw_only=True)(cls)
        hints = get_type_hints(made)
        parameters = {
            each.name: Parameter(
                each.name,
                str(each.type).removesuffix(" | None"),
                None if each.default is REQUIRED else each.default,
            )
            for each in fields(made)
        }
        _operations[name] = Operation(
            name=name,
            doc=" ".join((made.__doc__ or "").split()),
            inputs=inputs,
            parameters=parameters,
            outputs=outputs,
            made=made,
            kinds={each: hints[each] for each in parameters},
        )
        return made

    return registered


X: Final = Input("x")
VALUES: Final = Input("values", Takes.TENSORS)
