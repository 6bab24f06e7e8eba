"""Triton's `config.pbtxt`: protobuf's text format, and every mistake with its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from fabric.api.inference.v2 import model_config_pb2
from fabric.api.inference.v2.model_config_pb2 import ModelConfig
from fabric.core.errors import InvalidRequest
from fabric.wire.model_config import nearest

if TYPE_CHECKING:
    from pathlib import Path

_UNKNOWN = re.compile(r'type "([\w.]+)" has no (?:field|value) named "?(\w+)')


def read_config(file: Path) -> ModelConfig:
    """The configuration that *file* holds.

    Raises:
        InvalidRequest: it cannot be read; says line, column and what may have been meant.
    """
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), ModelConfig())
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(f"{file} cannot be read: {what}") from error
    except text_format.ParseError as error:
        place = f"{file}:{error.GetLine()}:{error.GetColumn()}"
        raise InvalidRequest(f"{place}: {_explained(str(error))}") from error


def _explained(text: str) -> str:
    """What the parser says, without its place and the names of our own package."""
    text = re.sub(r"^\d+:\d+ : ", "", text)
    if found := _UNKNOWN.search(text):
        text = text.rstrip(".") + nearest(found[2], _names(found[1]))
    return text.replace(f"{model_config_pb2.DESCRIPTOR.package}.", "")


def _names(full_name: str) -> list[str]:
    """The fields of a message, or the values of an enum."""
    pool: Any = model_config_pb2.DESCRIPTOR.pool
    try:
        return list(pool.FindMessageTypeByName(full_name).fields_by_name)
    except KeyError:
        return list(pool.FindEnumTypeByName(full_name).values_by_name)
