"""Pipelines: typed graphs of steps, as data. Called by name like any model.

A step takes values and gives values, all of them tensors or lists of tensors. A *reference* names a
value: `image`, an input or an item; `detect.boxes`, an output of a step; `detect`, its only output.
Steps run as soon as what they refer to is there, whatever the order they are written in.

A value may be *missing*: the outputs of a step that was skipped, or that failed and is `optional`.
Who takes a missing value is skipped as well, but lists go without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fabric.core.cards import check_name
from fabric.core.routes import Requirements
from fabric.core.tensors import DTYPES, TensorValue

Scalar = bool | int | float | str
Argument = Scalar | tuple[Scalar, ...]
"""Of a tensor operation: what is known when the pipeline is written."""

_STEP = re.compile(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?")
_SIZE = re.compile(r"-1|\d{1,18}|[A-Za-z_][A-Za-z0-9_]{0,62}")


def _check_step_name(name: str) -> None:
    if not _STEP.fullmatch(name):
        raise ValueError(
            f"{name!r} is no valid name of a step: use 1 to 64 lower-case letters, digits, "
            "'-' or '_', with a letter or digit at both ends"
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """A value, by who gives it."""

    giver: str
    """Name of a step, an input or an item."""
    output: str = ""
    """Name of an output of a step; empty for its only one."""

    @classmethod
    def of(cls, text: str) -> Reference:
        giver, _, output = text.partition(".")
        return cls(giver, output)

    def __str__(self) -> str:
        return f"{self.giver}.{self.output}" if self.output else self.giver


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an input of a step is given: one value, or a list made of several."""

    values: tuple[str, ...]
    """References."""
    is_list: bool = False

    def __post_init__(self) -> None:
        if not self.is_list and len(self.values) != 1:
            raise ValueError(f"a source has one value, or is a list; got {len(self.values)}")


@dataclass(frozen=True, kw_only=True)
class Body:
    """A graph within a step. It sees everything that the step could refer to."""

    steps: tuple[Step, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    """References to what it gives, by name."""

    def __post_init__(self) -> None:
        if not self.outputs:
            raise ValueError("outputs has no value: name at least one that the body gives")


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One of several bodies, by a value; with none for it, the outputs are missing."""

    on: str
    """Reference to the value, which has one element."""
    cases: Mapping[str, Body]
    """By the element as a text: `true` or `false`, a whole number, or what a BYTES tensor holds."""
    otherwise: Body | None = None

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError("cases has none: name at least one value")


@dataclass(frozen=True, kw_only=True)
class Each:
    """A body for each row of tensors, or each element of lists. What it gives are lists."""

    over: Mapping[str, str]
    """References to what is gone over in step, by the name of the item that the body sees. Of a
    tensor items are its rows: slices of length 1 along the first dimension, which they keep."""
    body: Body
    parallel: int = 16
    """Items under way at the same time, at most."""
    batch: bool = False
    """Calls of the body are asked once for all items whose inputs are alike but for their rows,
    these one behind another along the first dimension, and not once for each."""

    def __post_init__(self) -> None:
        if not self.over:
            raise ValueError("over has nothing to go over")
        if self.parallel < 1:
            raise ValueError(f"parallel is {self.parallel}, it is at least 1")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A body again and again; its outputs are its inputs the next time."""

    state: Mapping[str, str]
    """References to what it starts with, by the name that the body sees and gives."""
    body: Body
    """Has an output of each name of the state."""
    until: str
    """Name of an output of the body: one BOOL element, true for the last time."""
    most: int
    """Times, at most."""

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most is {self.most}, it is at least 1")
        if absent := sorted({*self.state, self.until} - self.body.outputs.keys()):
            raise ValueError(f"body gives no output {absent[0]!r}, which the loop needs")


@dataclass(frozen=True, kw_only=True)
class First:
    """Bodies one after another, until one has succeeded and is sure; then the last that did."""

    bodies: tuple[Body, ...]
    """All have the same outputs."""
    sure: str = ""
    """Name of an output: one BOOL element, true where the answer is good enough. Empty where each
    answer is."""

    def __post_init__(self) -> None:
        if not self.bodies:
            raise ValueError("bodies has none")
        names = self.bodies[0].outputs.keys()
        if any(body.outputs.keys() != names for body in self.bodies):
            raise ValueError("bodies have different outputs: all need the same names")
        if self.sure and self.sure not in names:
            raise ValueError(f"sure is {self.sure!r}, which the bodies do not give")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node of the graph. Exactly one of call, operation, constant, branch, each, loop and
    first is given."""

    name: str
    """Unique in the pipeline, the steps of bodies included."""
    call: str = ""
    """A specialist, a route or a pipeline: its name, or `name:version`."""
    operation: str = ""
    """A tensor operation."""
    constant: TensorValue | None = None
    branch: Branch | None = None
    each: Each | None = None
    loop: Loop | None = None
    first: First | None = None
    inputs: Mapping[str, Source] = field(default_factory=dict)
    """Of a call or an operation, by the name that it has there."""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    """Of an operation."""
    requirements: Requirements | None = None
    """Of a call, beyond those of the route."""
    fallback: tuple[str, ...] = ()
    """Who is called instead, in turn, where the call fails."""
    tries: int = 1
    """Of each that is called. A try that others follow has half of the time that is left."""
    timeout: float | None = None
    """Seconds for all of the step."""
    share: float = 1.0
    """Of the time that is left, for all of the step."""
    cache: float | None = None
    """Seconds for which an answer to a call is given again, to equal inputs of the same tenant."""
    when: str = ""
    """Reference to one BOOL element; false skips the step."""
    optional: bool = False
    """If it fails its outputs are missing, and the pipeline goes on; nobody need be declared under
    the name that it calls."""

    def __post_init__(self) -> None:
        _check_step_name(self.name)
        if len(kinds := self.kinds) != 1:
            given = " and ".join(kinds) or "none"
            raise ValueError(
                f"give exactly one of {', '.join(KINDS)}; step {self.name!r} has {given}"
            )
        if not self.call:
            for name in ("requirements", "fallback", "cache"):
                if getattr(self, name):
                    raise ValueError(f"{name} is for calls")
        if self.arguments and not self.operation:
            raise ValueError("arguments are for operations")
        if self.inputs and not (self.call or self.operation):
            raise ValueError(f"inputs are for calls and operations, not for {kinds[0]}")
        if self.tries < 1:
            raise ValueError(f"tries is {self.tries}, it is at least 1")
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"timeout is {self.timeout}, it is above zero seconds")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, it must be above 0 and at most 1")
        if self.cache is not None and self.cache <= 0:
            raise ValueError(f"cache is {self.cache}, it is above zero seconds")

    @property
    def kinds(self) -> list[str]:
        """What is given of `KINDS`."""
        return [kind for kind in KINDS if getattr(self, kind) not in ("", None)]

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.kinds[0]

    @property
    def calls(self) -> tuple[str, ...]:
        """Whom it calls, in turn, as `name` or `name:version`."""
        return (self.call, *self.fallback) if self.call else ()

    @property
    def bodies(self) -> Mapping[str, Body]:
        """The graphs within it, by what leads to each."""
        if self.branch is not None:
            otherwise = (
                {} if self.branch.otherwise is None else {"otherwise": self.branch.otherwise}
            )
            return {**self.branch.cases, **otherwise}
        if self.first is not None:
            return {str(place): body for place, body in enumerate(self.first.bodies)}
        inner = self.each or self.loop
        return {} if inner is None else {"body": inner.body}


KINDS = ("call", "operation", "constant", "branch", "each", "loop", "first")
"""What a step may be."""


DEEPEST = 16
"""Bodies within bodies; Protobuf reads messages that are a hundred deep, and a body is four."""
MOST_STEPS = 10_000
"""Of one pipeline, those of bodies included: all that calls it waits while they are checked."""


@dataclass(frozen=True, kw_only=True)
class PipelineInput:
    """An input of a pipeline. Without a datatype it takes what those take that it is given to."""

    name: str
    datatype: str = ""
    """A name of `DTYPES`."""
    shape: tuple[str, ...] = ()
    """Sizes of the dimensions: numbers, -1 for any, or names; equal names are equal sizes."""
    optional: bool = False
    """Requests may leave it out; then it is missing."""

    def __post_init__(self) -> None:
        if self.datatype and self.datatype not in DTYPES:
            known = ", ".join(DTYPES)
            raise ValueError(f"datatype is {self.datatype!r}; use one of {known}")
        if self.shape and not self.datatype:
            raise ValueError("shape needs a datatype beside it")
        for size in self.shape:
            if not _SIZE.fullmatch(size):
                raise ValueError(f"shape has {size!r}; sizes are numbers, -1 for any, or names")


@dataclass(frozen=True, kw_only=True)
class PipelineOutput:
    """An output of a pipeline."""

    name: str
    source: str
    """Reference to the value."""
    optional: bool = False
    """Answers may lack it, where the value is missing."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A typed graph of steps, called by name like any model."""

    name: str
    description: str = ""
    inputs: tuple[PipelineInput, ...] = ()
    steps: tuple[Step, ...] = ()
    outputs: tuple[PipelineOutput, ...] = ()
    timeout: float = 30.0
    """Seconds for all of it where the caller sets none, and at most."""
    parallel: int = 64
    """Calls under way for one request, at most."""
    max_bytes: int = 1 << 28
    """Of values of one request that are held at the same time, at most."""
    streams: bool = False
    """A stream (`ModelStreamInfer`) is given each output as soon as it is there, in answers of its
    own, and then an empty last one."""
    loaded: bool = True
    """False keeps it declared, and unanswered until it is loaded."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.outputs:
            raise ValueError(f"outputs of pipeline {self.name!r} has none: name what it gives")
        if self.timeout <= 0:
            raise ValueError(f"timeout is {self.timeout}, it is above zero seconds")
        if min(self.parallel, self.max_bytes) < 1:
            raise ValueError("parallel and max_bytes are at least 1")
        within, count = self.steps, len(self.steps)
        for _ in range(DEEPEST + 1):
            within = tuple(s for each in within for b in each.bodies.values() for s in b.steps)
            count += len(within)
        if within:
            raise ValueError(
                f"steps of pipeline {self.name!r} are more than {DEEPEST} bodies deep: make "
                "pipelines of the inner ones, and call them"
            )
        if count > MOST_STEPS:
            raise ValueError(
                f"pipeline {self.name!r} has {count} steps, of {MOST_STEPS} at most: make several, "
                "which call each other"
            )

    @property
    def all_steps(self) -> Iterator[Step]:
        """Its steps, and those of bodies within them."""
        return _within(self.steps)

    @property
    def calls(self) -> Mapping[str, bool]:
        """Whom it calls, as `name` or `name:version`, and whether it cannot do without."""
        called: dict[str, bool] = {}
        for step in self.all_steps:
            for name in step.calls:
                called[name] = called.get(name, False) or not step.optional
        return called


def _within(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        for body in step.bodies.values():
            yield from _within(body.steps)
