"""Dataclasses of `core` to and from the messages of `fabric.api`, by field name.

A message and its dataclass have the same fields, which `tests/wire` checks, so that one pair of
functions serves all of them. Used where the catalog travels, never on the path of an inference.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from fabric.api.pipelines.v1.pipeline_pb2 import Argument

T = TypeVar("T")
M = TypeVar("M", bound=Message)

_ARGUMENTS = {bool: "truth", int: "whole", float: "number", str: "text"}
"""Fields of `Argument`."""


def to_message(value: Any, message: type[M]) -> M:
    """The *message* that says what the dataclass *value* says."""
    made = message()
    _fill(made, value)
    return made


def from_message(message: Message, cls: type[T]) -> T:
    """The dataclass that says what *message* says.

    Fields that the message leaves unset keep the dataclass's own default, so a client that says
    little gets what a portfolio file that says little gets; a list without a default is empty, and
    a number 0.

    Raises:
        ValueError: the dataclass refuses a value, or lacks one that it needs.
    """
    hints = _hints(cls)  # type: ignore[arg-type]
    set_fields = {descriptor.name: value for descriptor, value in message.ListFields()}
    values = {
        field.name: _read(set_fields.get(field.name, _empty(hints[field.name])), hints[field.name])
        for field in fields(cls)  # type: ignore[arg-type]
        if field.name in set_fields or _is_empty_without_default(field, hints[field.name])
    }
    try:
        return cls(**values)
    except TypeError as error:  # a field that has no default
        raise ValueError(f"{message.DESCRIPTOR.name}: {error}") from error


def _is_empty_without_default(field: Field[Any], hint: Any) -> bool:
    """The shape of a scalar is such a field, and a value of 0: nothing of them travels."""
    is_required = field.default is MISSING and field.default_factory is MISSING
    return is_required and _empty(hint) is not None


def _empty(hint: Any) -> Any:
    """What a field that does not travel holds; None where it has to."""
    if (origin := typing.get_origin(hint)) is tuple:
        return ()
    if origin is Mapping:
        return {}
    return hint() if hint in (int, float) else None


def as_dict(message: Message) -> dict[str, Any]:
    """*message* with the field names of its proto, for people and files."""
    return MessageToDict(message, preserving_proto_field_name=True)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _fill(message: Message, value: Any) -> None:
    for field in fields(value):
        item = getattr(value, field.name)
        if item is None:
            continue
        if is_dataclass(item):
            target = getattr(message, field.name)
            target.SetInParent()
            _fill(target, item)
        elif isinstance(item, Mapping):
            _fill_map(getattr(message, field.name), item)
        elif isinstance(item, tuple):
            repeated = getattr(message, field.name)
            for element in item:
                if is_dataclass(element):
                    _fill(repeated.add(), element)
                else:
                    repeated.append(element)
        else:
            setattr(message, field.name, item.value if isinstance(item, Enum) else item)


def _fill_map(made: Any, values: Mapping[Any, Any]) -> None:
    of_messages = made.GetEntryClass().DESCRIPTOR.fields_by_name["value"].message_type is not None
    for key, value in values.items():
        if is_dataclass(value):
            _fill(made[key], value)
        elif of_messages:
            _fill_argument(made[key], value)
        else:
            made[key] = value


def _fill_argument(message: Argument, value: Any) -> None:
    if isinstance(value, tuple):
        message.list.SetInParent()
        for each in value:
            _fill_argument(message.list.arguments.add(), each)
    else:
        setattr(message, _ARGUMENTS[type(value)], value)


def _argument(message: Argument) -> Any:
    """Raises ValueError when it holds none."""
    which = message.WhichOneof("argument")
    if which is None:
        raise ValueError("an argument is empty")
    if which == "list":
        return tuple(map(_argument, message.list.arguments))
    return getattr(message, which)


def _read(value: Any, hint: Any) -> Any:
    if isinstance(value, Argument):
        return _argument(value)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
        origin = typing.get_origin(hint)
    if origin is tuple:
        element = typing.get_args(hint)[0]
        return tuple(_read(item, element) for item in value)
    if isinstance(value, Message):
        return from_message(value, hint)
    if origin is not None:
        of = typing.get_args(hint)[1]
        return {key: _read(each, of) for key, each in value.items()}
    return hint(value) if isinstance(hint, type) and issubclass(hint, Enum) else value
