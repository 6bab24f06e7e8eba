"""What a check is: one rule of the protocol by name, the clause it tests, and how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabric.conformance.server import Server

Test = Callable[["Server"], Awaitable[None]]
"""Returns where the server keeps the rule; raises `Broken`, `Refused` or `NotOffered` else."""


class Broken(Exception):
    """The server did something else than the rule says."""

    def __init__(self, expected: object, got: object) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = str(expected)
        self.got = str(got)


class NotOffered(Exception):
    """The server does not say that it has what the rule is about."""


def expect(holds: object, expected: object, got: object) -> None:
    """Raises Broken unless *holds*."""
    if not holds:
        raise Broken(expected, got)


def expect_equal(got: object, expected: object, what: str = "") -> None:
    """Raises Broken unless *got* equals *expected*; *what* says of what they are values."""
    if got != expected:
        lead = f"{what} " if what else ""
        raise Broken(f"{lead}{expected!r}", f"{got!r}")


class Status(StrEnum):
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_OFFERED = "not offered"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule."""

    name: str
    """The area and the rule: `data.raw.bytes-incomplete-length`."""
    clause: str
    """What must be true of a server."""
    source: str
    """Where that is said."""
    test: Test = field(repr=False)
    models: tuple[str, ...] = ()
    """Models that the server must have."""
    extension: str = ""
    """The extension of the protocol that the rule belongs to."""
    dialect: str = ""
    """The dialect that has the rule; empty for a rule of the protocol itself."""

    @property
    def area(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one check ended."""

    name: str
    clause: str
    source: str
    status: Status
    expected: str = ""
    got: str = ""
    seconds: float = 0.0

    @property
    def area(self) -> str:
        return self.name.partition(".")[0]


class Rules:
    """The checks of a part of an area; used as a decorator, it adds the function it decorates.

    The name of the check is that of the function, its clause the function's docstring.
    """

    def __init__(
        self, prefix: str, source: str, *models: str, extension: str = "", dialect: str = ""
    ) -> None:
        self._prefix = prefix
        self._source = source
        self._models = models
        self._extension = extension
        self._dialect = dialect
        self.checks: list[Check] = []

    def __call__(self, *models: str, source: str = "") -> Callable[[Test], Test]:
        def add(test: Test) -> Test:
            clause = " ".join((test.__doc__ or "").split())
            self.add(test.__name__, clause, test, *models, source=source)
            return test

        return add

    def add(self, name: str, clause: str, test: Test, *models: str, source: str = "") -> None:
        """Adds one rule; without *models* it needs those that all rules of this part need."""
        self.checks.append(
            Check(
                name=f"{self._prefix}.{name.replace('_', '-')}",
                clause=clause,
                source=source or self._source,
                test=test,
                models=models or self._models,
                extension=self._extension,
                dialect=self._dialect,
            )
        )


def gathered(parts: Iterable[Rules]) -> tuple[Check, ...]:
    """The checks of all *parts*, in order."""
    return tuple(check for part in parts for check in part.checks)
