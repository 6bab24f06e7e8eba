"""Graphs while they are traced, and where in the Python of the user that happens."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

_INNER = (str(Path(__file__).parent) + os.sep, str(Path(np.__file__).parent) + os.sep)
"""Where frames are that say nothing to the user."""


class TracingError(InvalidRequest):
    """What is wrong with a pipeline in Python, behind the file and line that say it."""


def refuse(text: str, where: str = "") -> NoReturn:
    """Raises TracingError for *where*, as `file:line`; for the user's line that runs without."""
    raise TracingError(f"{where or line_of(user_frame())}: {text}")


def user_frame() -> FrameType:
    """The frame of whoever uses this package."""
    frame = sys._getframe()  # noqa: SLF001 - inspect.stack() reads every file on the way
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INNER):
        frame = frame.f_back
    return frame


def line_of(frame: FrameType) -> str:
    """What *frame* runs, as `file:line`."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def start_of(function: Any) -> str:
    """Where *function* begins, as `file:line`; the user's line that runs if it is not in Python."""
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else line_of(user_frame())


class Names:
    """The names that a pipeline has given, and what it makes of those that nobody chose."""

    def __init__(self, inputs: Iterable[str]) -> None:
        self.givers = set(inputs)
        """Of inputs and steps."""
        self.items: set[str] = set()
        """Of all bodies, which several may have alike."""

    def derived(self, wanted: str) -> str:
        """*wanted* as the name of a step, with a number behind it if that is taken."""
        base = re.sub(r"[^a-z0-9_-]+", "-", wanted.lower())[:60].strip("-_") or "step"
        numbered = (f"{base}-{number}" for number in count(2))
        taken = self.givers | self.items
        return base if base not in taken else next(name for name in numbered if name not in taken)


class Scope:
    """A graph while it is traced: that of the pipeline, or of a body within *outer*."""

    def __init__(self, names: Names, lines: dict[str, str], outer: Scope | None = None) -> None:
        self.names = names
        self.lines = lines
        """Of the steps of the pipeline, by name."""
        self.outer = outer
        self.items: tuple[str, ...] = ()
        """Of its body."""
        self.steps: list[Step] = []

    @classmethod
    def now(cls, what: str) -> Scope:
        """The one that is traced.

        Raises:
            TracingError: none is, and *what* has no place.
        """
        return _TRACED.get() or refuse(f"{what} has its place in a function under @pipeline")

    @property
    def around(self) -> Iterator[Scope]:
        """It, and those that it is within, from the inside."""
        yield self
        if self.outer is not None:
            yield from self.outer.around

    def inner(self, items: Iterable[str] = ()) -> Scope:
        """That of a body with *items*."""
        made = Scope(self.names, self.lines, self)
        made.items = tuple(items)
        self.names.items.update(made.items)
        return made

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Steps are its own inside."""
        token = _TRACED.set(self)
        try:
            yield
        finally:
            _TRACED.reset(token)

    def add(self, name: str, derived: str, parts: dict[str, Any]) -> str:
        """The name of a new step that has *parts*: *name*, or one *derived*."""
        name = name or self.names.derived(derived)
        if name in self.names.givers or any(name in each.items for each in self.around):
            there = f", at {self.lines[name]}" if name in self.lines else ""
            refuse(f"the name '{name}' is given already{there}: say another, as `name=`")
        try:
            step = Step(name=name, **parts)
        except (TypeError, ValueError) as error:
            refuse(f"step '{name}': {error}")
        self.names.givers.add(name)
        self.lines[name] = line_of(user_frame())
        self.steps.append(step)
        return name


_TRACED: ContextVar[Scope | None] = ContextVar("traced", default=None)
