"""Specialists as they are declared: the card says what one is good at, hosting how it runs.

The portfolio file, the protos under `fabric.api.catalog.v1` and these classes have the same field
names, so that `fabric.wire.cards` and `fabric.config` convert by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.tensors import Signature

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")
"""Names are used in URLs, application names and metric labels."""


def check_name(name: str) -> None:
    """Raises ValueError unless *name* may name a specialist or a route."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no valid name: use 1 to 128 lower-case letters, digits, '-', '_' or '.', "
            "with a letter or digit at both ends"
        )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One measured quality: *metric* was *value* on *dataset*, for one domain or for all."""

    metric: str
    value: float
    dataset: str = ""
    domain: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The capability card: everything that routing may know of a specialist."""

    name: str
    version: str = "1"
    description: str = ""
    task: str = ""
    domains: tuple[str, ...] = ()
    """What the specialist is good at; none stated means that it is not limited to any."""
    languages: tuple[str, ...] = ()
    modality: str = ""
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cost: float = 0.0
    """Per call, in a unit of the portfolio's own choice."""
    evidence: tuple[Evidence, ...] = ()
    signature: Signature | None = None
    """Read from the model when it opens; declared, it narrows what the model accepts."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.version or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.version):
            raise ValueError(f"version {self.version!r} is not 1 to 64 letters, digits, '.-_'")
        if self.cost < 0:
            raise ValueError(f"cost is {self.cost}, it cannot be negative")

    @property
    def key(self) -> str:
        """`name:version`, unique in a fabric."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, kw_only=True)
class Model:
    uri: str
    """Any fsspec URI: a path, file://, s3://, gs://, https://."""
    sha256: str = ""
    """Of the file, in hex; checked before the model is opened."""

    def __post_init__(self) -> None:
        if self.sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise ValueError("sha256 is not 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one replica reserves."""

    cpus: float = 0.5
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0:
            raise ValueError("resources cannot be negative")


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """How many replicas there are, and the load each is meant to carry."""

    min: int = 1
    max: int = 1
    target_load: float = 16.0
    """Requests running or queued per replica that autoscaling aims at."""

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise ValueError(f"replicas need 1 <= min <= max, got min {self.min}, max {self.max}")
        if self.target_load <= 0:
            raise ValueError("target_load must be above zero")


@dataclass(frozen=True, kw_only=True)
class Batching:
    """Requests are stacked along the first dimension, which then is any size in the signature."""

    max_size: int = 1
    """Rows in one run at most; 1 runs every request alone, with shapes taken literally."""
    max_queue: int = 1024
    """Requests waiting at most; one more is refused as overloaded."""

    def __post_init__(self) -> None:
        if self.max_size < 1 or self.max_queue < 1:
            raise ValueError("max_size and max_queue are at least 1")


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime:
    """Options of the ONNX Runtime session."""

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """In order of preference; one that this machine lacks is passed over, CPU comes last."""
    intra_op_threads: int = 1
    inter_op_threads: int = 1
    graph_optimization: str = "all"
    """disable, basic, extended or all."""

    def __post_init__(self) -> None:
        if self.graph_optimization not in ("disable", "basic", "extended", "all"):
            raise ValueError(
                f"graph_optimization is {self.graph_optimization!r}; "
                "use disable, basic, extended or all"
            )
        if self.intra_op_threads < 0 or self.inter_op_threads < 0:
            raise ValueError("thread counts are 0 (ONNX Runtime chooses) or more")


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds."""

    request: float = 30.0
    """One attempt at this specialist, its queue included."""
    startup: float = 120.0
    """From the start of a replica to its first right answer."""
    drain: float = 10.0
    """For finishing what runs when a replica is stopped."""

    def __post_init__(self) -> None:
        if min(self.request, self.startup, self.drain) <= 0:
            raise ValueError("timeouts are above zero")


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """How the replicas of a specialist run. Exactly one of `model` and `python` is given."""

    model: Model | None = None
    python: str = ""
    """`package.module:Class` with an async `infer`, where a model alone is not enough."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Keyword arguments of the Python class."""
    resources: Resources = Resources()
    replicas: Replicas = Replicas()
    batching: Batching = Batching()
    onnxruntime: OnnxRuntime = OnnxRuntime()
    timeouts: Timeouts = Timeouts()

    def __post_init__(self) -> None:
        if bool(self.python) == (self.model is not None):
            raise ValueError("give exactly one of 'model' and 'python'")
        if self.python and not re.fullmatch(r"[\w.]+:\w+", self.python):
            raise ValueError(f"python is {self.python!r}, it must read package.module:Class")


@dataclass(frozen=True, kw_only=True)
class Specialist:
    card: Card
    hosting: Hosting

    @property
    def key(self) -> str:
        return self.card.key
