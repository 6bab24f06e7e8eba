"""What a declaration may not say, found all at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class WrongValues(ValueError):
    """All that is wrong with one object."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class Checked:
    """A dataclass that is not made where something is wrong with it."""

    def mistakes(self) -> Iterator[str]:
        """Each begins with the field that is wrong, where it is one."""
        yield from ()

    def __post_init__(self) -> None:
        if found := tuple(_infinite(self)) or tuple(self.mistakes()):
            raise WrongValues(found)


def _infinite(owner: object) -> Iterator[str]:
    for name, value in vars(owner).items():
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{name} is {value}, it must be a finite number"


def at_least(owner: object, least: float, *names: str) -> Iterator[str]:
    """Which fields *names* of *owner* are less; None is not."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and value < least:
            wanted = f"is at least {least}" if least else "cannot be negative"
            yield f"{name} is {value}, it {wanted}"


def above_zero(owner: object, *names: str) -> Iterator[str]:
    """Which fields *names* of *owner* are not; None is nothing."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and value <= 0:
            yield f"{name} is {value}, it must be above zero"


def shares(owner: object, *names: str) -> Iterator[str]:
    """Which fields *names* of *owner* are not from 0 to 1; None is nothing."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and not 0 <= value <= 1:
            yield f"{name} is {value}, it must be from 0 to 1"


def one_of(name: str, value: str, *allowed: str) -> Iterator[str]:
    """Whether *value* of the field *name* is none of those that are *allowed*."""
    if value not in allowed:
        yield f"{name} is {value!r}; use {', '.join(allowed[:-1])} or {allowed[-1]}"
