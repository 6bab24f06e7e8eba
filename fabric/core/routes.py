"""Routes: what a caller needs, who may answer, and how that is decided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

from fabric.core.cards import no_name
from fabric.core.mistakes import Checked, above_zero, at_least, one_of, shares
from fabric.core.tensors import TensorValue


def _discount(value: float) -> Iterator[str]:
    if not 0 < value <= 1:
        yield f"discount is {value}, it must be above 0 and at most 1"


@dataclass(frozen=True, kw_only=True)
class MinQuality(Checked):
    """The least of a measured quality, for the domain that is asked for or else for all."""

    metric: str
    value: float


@dataclass(frozen=True, kw_only=True)
class TensorNeed:
    """An input or output of a signature, by its name; what is left out is not asked for."""

    name: str
    datatype: str = ""
    shape: tuple[int, ...] = ()
    """Sizes of all dimensions; -1 asks for nothing."""


@dataclass(frozen=True, kw_only=True)
class Requirements(Checked):
    """What an answer must come from; an empty field asks for nothing.

    A card that states nothing under `domains`, `languages`, `modality` or `data_classes` is not
    limited in it, so it meets any requirement there; a task, owner, region or label is met only by
    a card that states it.
    """

    task: str = ""
    domain: str = ""
    language: str = ""
    modality: str = ""
    owner: str = ""
    region: str = ""
    data_classes: tuple[str, ...] = ()
    """Kinds of data that the request holds: all of them must be allowed."""
    labels: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[str, ...] = ()
    """One of them."""
    max_cost: float | None = None
    """Per call."""
    max_latency: float | None = None
    """Seconds that an answer is expected to take, by what the others took; what has not answered
    yet is not refused."""
    min_quality: MinQuality | None = None
    inputs: tuple[TensorNeed, ...] = ()
    """That it must take."""
    outputs: tuple[TensorNeed, ...] = ()
    """That it must give."""
    expression: str = ""
    """In CEL (https://cel.dev), over `card`; true for those who may answer."""

    def mistakes(self) -> Iterator[str]:
        if "" in self.labels:
            yield "labels has a value without a key"
        yield from at_least(self, 0, "max_cost", "max_latency")

    def __hash__(self) -> int:
        return hash(
            (
                *(self.task, self.domain, self.language, self.modality, self.owner, self.region),
                *(self.data_classes, self.versions, self.max_cost, self.max_latency),
                *(self.min_quality, self.inputs, self.outputs, self.expression),
                frozenset(self.labels.items()),
            )
        )


FAILURES = ("unavailable", "overloaded", "late", "failed", "invalid")
"""How an attempt fails: nobody is there, there is no room, no answer came in time, the model
failed, or its answer is against the checks of its card."""
CONDITIONS = (*FAILURES, "unsure")
"""On what the next of a chain is tried: a failure, or a confidence below the threshold."""


@dataclass(frozen=True, kw_only=True)
class ChainEntry(Checked):
    """One entry of a fallback chain: a specialist (any version or one) or another route by its
    name, all who meet `select`, a `cached` answer, or a `static` one."""

    name: str = ""
    version: str = ""
    """Empty for the latest."""
    select: Requirements | None = None
    """Every specialist that meets these, ranked by the route's preferences."""
    cached: float | None = None
    """An answer that one of those before it gave to an equal request, at most so many seconds
    ago; their cards say whether answers are kept."""
    static: tuple[TensorValue, ...] = ()
    """The outputs of an answer that needs nobody."""
    weight: float = 1.0
    """Share of first places under the order `weighted`."""
    on: tuple[str, ...] = ()
    """What it is tried on, where it is not the first: unavailable, overloaded, late, failed,
    invalid or unsure. Empty for all of these, and for all failures where nobody is asked."""
    share: float = 1.0
    """Of the time that is left, for one attempt."""
    tries: int = 0
    """Attempts at one candidate; 0 for what the route's `retry` says."""
    substitute: bool = True
    """Whether those after it may answer where it does not."""

    def mistakes(self) -> Iterator[str]:
        given = (bool(self.name), self.select is not None, self.is_given)
        if sum(given) != 1 or (self.cached is not None and self.static):
            yield "an entry has exactly one of name, select, cached and static"
        if self.name:
            yield from no_name("name", self.name)
        elif self.version:
            yield "version is that of a name; under select use versions"
        for each in self.on:
            yield from one_of("on", each, *CONDITIONS)
        if not 0 < self.share <= 1:
            yield f"share is {self.share}, it must be above 0 and at most 1"
        yield from at_least(self, 0, "weight", "tries")
        yield from above_zero(self, "cached")

    def __str__(self) -> str:
        if self.is_given:
            return "static" if self.static else f"cached for {self.cached:g} s"
        if self.select is not None:
            said = ((f.name, getattr(self.select, f.name), f.default) for f in fields(Requirements))
            wanted = (f"{name} {value}" for name, value, usual in said if value and value != usual)
            return f"all of {', '.join(wanted) or 'anything'}"
        return f"{self.name}:{self.version}" if self.version else self.name

    @property
    def is_given(self) -> bool:
        """Whether its answer is there without anybody being asked."""
        return self.cached is not None or bool(self.static)

    @property
    def conditions(self) -> frozenset[str]:
        """What it is tried on."""
        return frozenset(self.on or (FAILURES if self.is_given else CONDITIONS))


@dataclass(frozen=True, kw_only=True)
class Retry(Checked):
    """How often it is tried, and how soon again."""

    attempts: int = 4
    """Over the whole chain, the first one included."""
    per_candidate: int = 2
    """Attempts at one candidate, each on a replica not tried before."""
    budget: float = 0.2
    """Attempts beyond the first at a specialist, as a share of the requests it is asked: a
    specialist that fails is not hit harder."""
    backoff: float = 0.005
    """Seconds before an overloaded candidate is asked again, twice as many each further time, and
    of these a random part."""

    def mistakes(self) -> Iterator[str]:
        yield from at_least(self, 1, "attempts", "per_candidate")
        yield from shares(self, "budget")
        yield from at_least(self, 0, "backoff")


@dataclass(frozen=True, kw_only=True)
class Hedging(Checked):
    """Whom an answer takes longer than usual asks somebody else, too; the first answer counts."""

    quantile: float = 0.95
    """Of the specialist's recent answers, the share that come sooner."""
    least: float = 0.002
    """Seconds that are waited at least."""

    def mistakes(self) -> Iterator[str]:
        if not 0 < self.quantile < 1:
            yield f"quantile is {self.quantile}, it must be between 0 and 1"
        yield from at_least(self, 0, "least")


SCORERS = ("quality", "cost", "latency", "load", "locality", "freshness", "similarity")
"""What candidates are ranked by, each from 0 to 1."""
PRESETS: Mapping[str, Mapping[str, float]] = {
    "quality": {"quality": 1.0, "latency": 0.05, "cost": 0.05},
    "balanced": {"quality": 0.6, "cost": 0.2, "latency": 0.15, "load": 0.05},
    "cheapest": {"cost": 0.8, "quality": 0.2},
    "fastest": {"latency": 0.7, "load": 0.2, "quality": 0.1},
}


@dataclass(frozen=True, kw_only=True)
class Preferences(Checked):
    """How candidates are ranked under the order `scored`: by the weighted mean of their scores."""

    preset: str = "balanced"
    """quality, balanced, cheapest or fastest."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Instead of those of the preset, by scorer: quality, cost, latency, load, locality, freshness
    or similarity."""
    metric: str = ""
    """Of the evidence that counts as quality; empty for whichever a card has."""
    region: str = ""
    """Where locality is best; empty for that of the gateway."""

    def mistakes(self) -> Iterator[str]:
        yield from one_of("preset", self.preset, *PRESETS)
        for name, weight in self.weights.items():
            yield from one_of("weights", name, *SCORERS)
            if not 0 <= weight < math.inf:
                yield f"weights has {name}: {weight}, it cannot be negative or infinite"

    @property
    def weighted(self) -> Mapping[str, float]:
        """The weight of every scorer that has one."""
        found = {**PRESETS[self.preset], **self.weights}
        return {name: weight for name, weight in found.items() if weight > 0}


@dataclass(frozen=True, kw_only=True)
class Content:
    """What of a request the router looks at."""

    input: str
    """Name of the input: texts where it is of BYTES, else a vector of numbers."""
    encoder: str = ""
    """A specialist or route that makes an embedding of that input."""
    encoder_input: str = ""
    """Name of its input; empty for the same name."""
    encoder_output: str = ""
    """Name of its output; empty for the first."""


@dataclass(frozen=True, kw_only=True)
class Learning(Checked):
    """Whether the quality of candidates is learned from outcomes and feedback."""

    mode: str = "observe"
    """`observe` learns and says what it would do, `canary` decides a share of requests, `apply`
    decides all, `bypass` neither learns nor decides."""
    canary: float = 0.1
    """Share of requests that are decided under `canary`."""
    policy: int = 0
    """The version to use; 0 for the latest that has not lost."""
    guard: bool = True
    """Leaves the best single candidate only where the lower bound of the gain is above zero."""
    min_labels: int = 50
    """Labels before the first policy is trained."""
    discount: float = 1.0
    """Weight in training of a label after the next one for the same candidate has come: below 1
    what was long ago is forgotten, and what it had taught."""

    def mistakes(self) -> Iterator[str]:
        yield from one_of("mode", self.mode, "observe", "canary", "apply", "bypass")
        yield from shares(self, "canary")
        yield from _discount(self.discount)
        yield from at_least(self, 0, "policy")
        yield from at_least(self, 1, "min_labels")


@dataclass(frozen=True, kw_only=True)
class Exploration(Checked):
    """What is spent to learn of candidates that are not the first choice."""

    shadow: float = 0.0
    """Share of requests that a second candidate is given too; the first answers."""
    share: float = 0.0
    """Share of the other requests in which the method picks who answers."""
    method: str = "thompson"
    """thompson or linucb."""
    discount: float = 0.995
    """Weight of a label after the next one for the same candidate and kind of request has come:
    what is known of a candidate follows it when it changes."""

    def mistakes(self) -> Iterator[str]:
        yield from one_of("method", self.method, "thompson", "linucb")
        yield from _discount(self.discount)
        yield from shares(self, "shadow", "share")

    @property
    def is_on(self) -> bool:
        return self.shadow > 0 or self.share > 0


@dataclass(frozen=True, kw_only=True)
class Calibration(Checked):
    """How often the answers of a specialist are right by their confidence; increasing, and linear
    between the points."""

    specialist: str
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    def mistakes(self) -> Iterator[str]:
        if len(self.confidence) != len(self.accuracy) or not self.confidence:
            yield "confidence and accuracy have one number for each point"
        for name, values in (("confidence", self.confidence), ("accuracy", self.accuracy)):
            if list(values) != sorted(values):
                yield f"{name} must increase"


@dataclass(frozen=True, kw_only=True)
class Cascade(Checked):
    """The cheapest candidate first, by the cost on its card; the next one where it is not sure
    enough. Of a request with several rows the least sure one decides."""

    confidence: str = "margin"
    """`margin` of the two largest of the output's scores, `entropy` of them (1 is sure), `output`
    for one that gives it, `agreement` with the candidate before, `python` for a function."""
    output: str = ""
    """Name of the output with the scores of classes or the confidence; empty for the first."""
    python: str = ""
    """`package.module:function` from the outputs by name to a confidence from 0 to 1; the gateway
    calls it on its event loop, so it must be quick."""
    threshold: float = 0.8
    """The confidence, calibrated where that is known, from which on an answer is given."""
    risk: float | None = None
    """The share of wrong answers that the threshold is fitted to by `fabric evaluate`."""
    calibrations: tuple[Calibration, ...] = ()

    def mistakes(self) -> Iterator[str]:
        kinds = ("margin", "entropy", "output", "agreement", "python")
        yield from one_of("confidence", self.confidence, *kinds)
        if (self.confidence == "python") != bool(self.python):
            yield "python names the function of the confidence 'python', and only of it"
        yield from shares(self, "threshold", "risk")


@dataclass(frozen=True, kw_only=True)
class Mixture(Checked):
    """The best candidates answer together."""

    top: int = 2
    """How many of them; 0 for all. No more than the attempts of `retry`."""
    combine: str = "mean"
    """`mean` weighted by their scores, `vote` of their classes, `best` for the surest alone."""
    output: str = ""
    """Name of the output with the scores of classes; empty for the first."""

    def mistakes(self) -> Iterator[str]:
        yield from one_of("combine", self.combine, "mean", "vote", "best")
        yield from at_least(self, 0, "top")


@dataclass(frozen=True, kw_only=True)
class Route(Checked):
    """A virtual model: requirements, candidates and a policy, called like any model."""

    name: str
    description: str = ""
    requirements: Requirements = Requirements()
    chain: tuple[ChainEntry, ...] = ()
    """Empty under `scored` for every specialist that meets the requirements."""
    order: str = "fixed"
    """`fixed` tries the chain as written; `weighted` draws the first place by weight; `scored`
    ranks by the preferences."""
    preferences: Preferences = Preferences()
    content: Content | None = None
    learning: Learning | None = None
    exploration: Exploration = Exploration()
    cascade: Cascade | None = None
    mixture: Mixture | None = None
    retry: Retry = Retry()
    hedging: Hedging | None = None
    timeout: float = 30.0
    """Seconds for the whole call where the caller sets none, and at most."""
    loaded: bool = True
    """False keeps it declared, and unanswered until it is loaded."""

    @property
    def learns(self) -> bool:
        """Whether it has learning that is not bypassed."""
        return self.learning is not None and self.learning.mode != "bypass"

    def mistakes(self) -> Iterator[str]:
        yield from no_name("name", self.name)
        yield from one_of("order", self.order, "fixed", "weighted", "scored")
        is_scored = self.order not in ("fixed", "weighted")
        given = [entry.is_given for entry in self.chain]
        if given != sorted(given):
            yield "chain has a cached or static answer before others: they come last"
        if not self.chain and not is_scored:
            yield (
                f"route {self.name!r} has an empty chain: name at least one specialist, or use "
                "order: scored for all that meet the requirements"
            )
        for name, value in (("learning", self.learning), ("content", self.content)):
            if value is not None and not is_scored:
                yield f"{name} needs order: scored, it is {self.order}"
        if self.preferences.weights.get("similarity") and self.content is None:
            yield "preferences has a weight for similarity, which needs content: say its input"
        if self.exploration != Exploration() and self.learning is None:
            yield "exploration needs learning, which it is for"
        if self.cascade is not None and self.mixture is not None:
            yield "cascade and mixture exclude each other"
        yield from above_zero(self, "timeout")
