"""Specialists as they are declared: the card says what one is good at, hosting how it runs.

The portfolio file, the protos under `fabric.api.catalog.v1` and these classes have the same field
names, so that `fabric.wire.cards` and `fabric.config` convert by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from fabric.core.mistakes import Checked, above_zero, at_least, one_of, shares
from fabric.core.tensors import Signature, TensorValue

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")
"""Names are used in URLs, application names and metric labels."""


def no_name(field: str, name: str) -> Iterator[str]:
    """Whether *name*, said by a *field*, may not name a specialist or a route."""
    if not NAME.fullmatch(name):
        yield (
            f"{field} is {name!r}; use 1 to 128 lower-case letters, digits, '-', '_' or '.', "
            "with a letter or digit at both ends"
        )


@dataclass(frozen=True, kw_only=True)
class Evidence(Checked):
    """One measured quality: *metric* was *value* on *dataset*, for one domain or for all.

    Larger is better, and metrics that routing ranks by lie in [0, 1].
    """

    metric: str
    value: float
    dataset: str = ""
    domain: str = ""
    rows: int = 0
    """Rows that it was measured on; 0 where nobody knows."""
    measured: str = ""
    """The day, as `2026-01-31`; empty where nobody knows."""

    def mistakes(self) -> Iterator[str]:
        yield from at_least(self, 0, "rows")
        if self.measured:
            try:
                date.fromisoformat(self.measured)
            except ValueError:
                yield f"measured is {self.measured!r}, it must be a day such as 2026-01-31"


@dataclass(frozen=True, kw_only=True)
class Caching(Checked):
    """Gateways keep answers, and give them again to equal requests of the same tenant."""

    ttl: float = 60.0
    """Seconds for which one is given again."""

    def mistakes(self) -> Iterator[str]:
        yield from above_zero(self, "ttl")


@dataclass(frozen=True, kw_only=True)
class Check(Checked):
    """What an output must be, or else the answer is not given."""

    output: str
    finite: bool = True
    """Every number of it."""
    least: float | None = None
    """That an element may be."""
    most: float | None = None
    """That an element may be."""
    sums: float | None = None
    """What the last dimension adds up to, to a thousandth: 1 for probabilities."""

    def mistakes(self) -> Iterator[str]:
        if self.least is not None and self.most is not None and self.least > self.most:
            yield f"least is {self.least}, it cannot be above most, {self.most}"


@dataclass(frozen=True, kw_only=True)
class Card(Checked):
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
    region: str = ""
    """Where it runs."""
    data_classes: tuple[str, ...] = ()
    """Kinds of data it may be given, such as `public` or `personal`; none stated means any."""
    examples: tuple[str, ...] = ()
    """Texts of requests that it is good at."""
    labels: Mapping[str, str] = field(default_factory=dict)
    cost: float = 0.0
    """Per call, in a unit of the portfolio's own choice."""
    evidence: tuple[Evidence, ...] = ()
    signature: Signature | None = None
    """Read from the model when it opens; declared, it narrows what the model accepts."""
    cache: Caching | None = None
    """Set where equal requests have equal answers, which then may be kept."""
    checks: tuple[Check, ...] = ()
    """What its outputs must be: an answer that is not is a failure, and others are tried."""

    def mistakes(self) -> Iterator[str]:
        yield from no_name("name", self.name)
        if not self.version or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.version):
            yield f"version is {self.version!r}; use 1 to 64 letters, digits, '.', '-' or '_'"
        yield from at_least(self, 0, "cost")

    @cached_property
    def key(self) -> str:
        """`name:version`, unique in a fabric."""
        return f"{self.name}:{self.version}"


def name_of(key: str) -> str:
    """The name in *key*, `name:version`; all of it where it has no version."""
    return key.rpartition(":")[0] or key


@dataclass(frozen=True, kw_only=True)
class Model(Checked):
    uri: str
    """Any fsspec URI: a path, file://, s3://, gs://, https://."""
    sha256: str = ""
    """Of the file, in hex; checked before the model is opened."""

    def mistakes(self) -> Iterator[str]:
        if self.sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            yield "sha256 is not 64 hexadecimal digits"


@dataclass(frozen=True, kw_only=True)
class Resources(Checked):
    """What one replica reserves."""

    cpus: float = 0.5
    gpus: float = 0.0
    memory: int = 0
    """Bytes. A replica whose process holds more is replaced; 0 reserves none and has no limit."""

    def mistakes(self) -> Iterator[str]:
        yield from at_least(self, 0, "cpus", "gpus", "memory")


@dataclass(frozen=True, kw_only=True)
class Replicas(Checked):
    """How many replicas there are, and the load each is meant to carry."""

    min: int = 1
    max: int = 1
    target_load: float = 16.0
    """Requests running or queued per replica that autoscaling aims at."""

    def mistakes(self) -> Iterator[str]:
        yield from at_least(self, 1, "min", "max")
        if 1 <= self.max < self.min:
            yield f"min is {self.min} replicas, it cannot be above max, {self.max}"
        yield from above_zero(self, "target_load")


RESERVED = 0.2
"""Of the room for requests that wait, so much is not for the lowest level of priority."""


@dataclass(frozen=True, kw_only=True)
class Batching(Checked):
    """Requests are stacked along the first dimension, which then is any size in the signature."""

    max_size: int = 1
    """Rows in one run at most; 1 runs every request alone, with shapes taken literally."""
    max_queue: int = 1024
    """Requests waiting at most; one more is refused as overloaded."""
    max_queue_bytes: int = 1 << 30
    """Bytes of all that wait, at most; one that waits alone may be larger."""
    queue_timeout: float = 0.0
    """Seconds until a request that names no `timeout` of its own is run at the latest, or refused;
    0 for as long as it has."""
    priorities: int = 0
    """Levels of priority, of which 1 is served first; 0 for none. A fifth of the room for requests
    is kept from the lowest, and less from those above it."""
    default_priority: int = 0
    """The level of requests that name none; 0 for the lowest."""

    def mistakes(self) -> Iterator[str]:
        yield from at_least(self, 1, "max_size", "max_queue", "max_queue_bytes")
        yield from at_least(self, 0, "queue_timeout", "priorities", "default_priority")
        if self.default_priority > max(0, self.priorities):
            yield (
                f"default_priority is {self.default_priority}, "
                f"it must be from 0 to priorities, which is {self.priorities}"
            )

    def level(self, priority: int) -> int:
        """The level of a request that names *priority*: the default one if there is no such."""
        if 1 <= priority <= self.priorities:
            return priority
        return self.default_priority or self.priorities

    def share(self, priority: int) -> float:
        """How much of the room for requests may be taken where one of *priority* is let in.

        Some is kept for those above it: nobody who waits makes room for them.
        """
        if self.priorities < 2:
            return 1.0
        return 1.0 - RESERVED * (self.level(priority) - 1) / (self.priorities - 1)


@dataclass(frozen=True, kw_only=True)
class Concurrency(Checked):
    """How many requests a gateway has in flight at all replicas of a specialist together: as many
    as do not make its answers take longer."""

    first: int = 64
    """Until something is known."""
    least: int = 8
    most: int = 4096
    tolerance: float = 2.0
    """So many times as long as usual is no reason to lower it."""

    def mistakes(self) -> Iterator[str]:
        if not 1 <= self.least <= self.first <= self.most:
            yield (
                f"concurrency needs 1 <= least <= first <= most, got least {self.least}, "
                f"first {self.first}, most {self.most}"
            )
        yield from at_least(self, 1, "tolerance")


@dataclass(frozen=True, kw_only=True)
class Breaking(Checked):
    """When a gateway stops asking a replica, and asks it again. Seconds, and shares from 0 to 1.

    Failures in a row, growing times, and the limits on ejection are those of Envoy's outlier
    detection (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier),
    with shorter times, since a probe costs one request and not all; the error rate is Hystrix's
    (https://github.com/Netflix/Hystrix/wiki/Configuration).
    """

    consecutive: int = 5
    """Failures in a row that open its breaker; 0 for no number of them."""
    failing: float = 0.5
    """The share of all requests that fail and open it, 0 for none,"""
    least: int = 20
    """of so many at least,"""
    window: float = 10.0
    """within this time or a little longer."""
    slower: float = 4.0
    """A replica is too slow that takes so many times what the others take, 0 for none,"""
    margin: float = 0.02
    """and that much longer."""
    first: float = 1.0
    """How long it is open the first time, and twice as long each time that follows soon,"""
    longest: float = 30.0
    """and at most. What was closed for as long begins anew."""
    ejected: float = 0.5
    """The share of a specialist's replicas that may be ejected, but one may in any case."""
    panic: float = 0.5
    """If the share of them that are well is less, all are asked: few cannot do the work of all."""

    def mistakes(self) -> Iterator[str]:
        yield from at_least(self, 0, "consecutive", "margin")
        yield from shares(self, "failing", "ejected", "panic")
        yield from at_least(self, 1, "least")
        if self.slower and self.slower <= 1:
            yield f"slower is {self.slower}, it is above 1, or 0 for none"
        yield from above_zero(self, "window", "first")
        if self.longest < self.first:
            yield f"longest is {self.longest}, it cannot be below first, {self.first}"


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime(Checked):
    """Options of the ONNX Runtime session."""

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """In order of preference; one that this machine lacks is passed over, CPU comes last."""
    intra_op_threads: int = 1
    inter_op_threads: int = 1
    graph_optimization: str = "all"
    """disable, basic, extended or all."""

    def mistakes(self) -> Iterator[str]:
        levels = ("disable", "basic", "extended", "all")
        yield from one_of("graph_optimization", self.graph_optimization, *levels)
        yield from at_least(self, 0, "intra_op_threads", "inter_op_threads")


@dataclass(frozen=True, kw_only=True)
class Timeouts(Checked):
    """Seconds."""

    request: float = 30.0
    """One attempt at this specialist, its queue and all of its answers included."""
    startup: float = 120.0
    """From the start of a replica to its first right answer."""
    drain: float = 10.0
    """For finishing what runs when a replica is stopped."""

    def mistakes(self) -> Iterator[str]:
        yield from above_zero(self, "request", "startup", "drain")


@dataclass(frozen=True, kw_only=True)
class StateTensor:
    """An output that becomes an input of the next request of its sequence."""

    input: str
    """Name of the model's input; zeros at the start of a sequence, sizes left open taken as 1."""
    output: str
    """Name of the model's output."""


@dataclass(frozen=True, kw_only=True)
class Control(Checked):
    """An input of the model that says where in its sequence a request stands."""

    input: str
    """Name of the model's input: one element a row."""
    kind: str
    """start, end, ready or id."""
    no: float = 0.0
    yes: float = 1.0

    def mistakes(self) -> Iterator[str]:
        yield from one_of("kind", self.kind, "start", "end", "ready", "id")


@dataclass(frozen=True, kw_only=True)
class Sequences(Checked):
    """Requests that belong together, by `sequence_id`, are answered by one replica in order."""

    strategy: str = "oldest"
    """`direct` keeps one slot of the batch for a sequence, `oldest` batches whatever has waited
    longest."""
    max_sequences: int = 0
    """Of one replica at a time; further ones wait. 0: as many as `batching.max_size`."""
    idle_timeout: float = 60.0
    """Seconds after which a sequence without requests ends."""
    states: tuple[StateTensor, ...] = ()
    """What the model remembers."""
    controls: tuple[Control, ...] = ()
    """What the model is told."""

    def mistakes(self) -> Iterator[str]:
        yield from one_of("strategy", self.strategy, "direct", "oldest")
        yield from at_least(self, 0, "max_sequences")
        yield from above_zero(self, "idle_timeout")


@dataclass(frozen=True, kw_only=True)
class Canary(Checked):
    """A request whose right answer is known."""

    inputs: tuple[TensorValue, ...]
    outputs: tuple[TensorValue, ...]
    """That it must have; others may be what they like."""
    tolerance: float = 1e-3
    """How far an element may be off: absolutely, and as a share of it."""
    every: float = 0.0
    """Seconds from one time that it is asked to the next; 0 for the start alone."""

    def mistakes(self) -> Iterator[str]:
        if not self.inputs or not self.outputs:
            yield "inputs and outputs have at least one tensor each"
        yield from at_least(self, 0, "tolerance", "every")


@dataclass(frozen=True, kw_only=True)
class RuntimeEnv(Checked):
    """What a replica finds beside what its node has, as in Ray's `runtime_env`
    (https://docs.ray.io/en/latest/ray-core/handling-dependencies.html)."""

    pip: tuple[str, ...] = ()
    """Requirements that are installed for its replicas alone, on Ray."""
    env_vars: Mapping[str, str] = field(default_factory=dict)
    """Environment variables."""
    working_dir: str = ""
    """URI of a zip archive that is unpacked, and is the working directory, on Ray."""

    def mistakes(self) -> Iterator[str]:
        if "" in self.env_vars:
            yield "env_vars has a value without a name"
        if self.working_dir and "://" not in self.working_dir:
            yield f"working_dir is {self.working_dir!r}, it must be the URI of a zip archive"


@dataclass(frozen=True, kw_only=True)
class Hosting(Checked):
    """How the replicas of a specialist run. Exactly one of `model` and `python` is given."""

    model: Model | None = None
    python: str = ""
    """`package.module:Class` with an async `infer`, where a model alone is not enough."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Keyword arguments of the Python class."""
    runtime_env: RuntimeEnv = RuntimeEnv()
    resources: Resources = Resources()
    replicas: Replicas = Replicas()
    batching: Batching = Batching()
    concurrency: Concurrency | None = None
    """Set for a limit that follows latency; without one it is what may wait at the replicas."""
    breaker: Breaking = Breaking()
    onnxruntime: OnnxRuntime = OnnxRuntime()
    timeouts: Timeouts = Timeouts()
    sequences: Sequences | None = None
    """Set for a model that takes sequences of requests."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """Files with the names of classes, one a line, by output: any fsspec URI."""
    loaded: bool = True
    """False keeps it declared, and without replicas until it is loaded."""
    canary: Canary | None = None
    """What a replica must answer right to be ready, and to stay so."""

    def mistakes(self) -> Iterator[str]:
        if self.canary is not None and self.sequences is not None:
            yield "canary is for specialists without sequences"
        if bool(self.python) == (self.model is not None):
            yield "give exactly one of 'model' and 'python'"
        if self.python and not re.fullmatch(r"[\w.]+:\w+", self.python):
            yield f"python is {self.python!r}, it must read package.module:Class"


@dataclass(frozen=True, kw_only=True)
class Specialist:
    card: Card
    hosting: Hosting

    @property
    def key(self) -> str:
        return self.card.key
