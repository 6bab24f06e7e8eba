"""What was learned for a route: how likely each candidate is to succeed at a query.

A policy is a few stages, each usable alone: a prior per task and domain, a linear model of the
words of a text, one of a vector of numbers, and a forest over all candidates at once that is also
told what the others say. They are weighed against each other, calibrated, and guarded.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fabric.core.cards import name_of
from fabric.routing import features
from fabric.routing.forest import Forest

if TYPE_CHECKING:
    from fabric.core.decisions import Query

FORMAT = 1
"""Of what `Learned.write` writes."""
STAGES = ("prior", "words", "numbers", "forest")
"""In the order of `Learned.weights`."""

Floats = NDArray[np.float64]

_MARK = b"FBRL"
"""What a policy begins with; a checksum of the rest follows."""
_DAMAGES = (
    ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy, zipfile and json raise for bytes that are something else."""


@dataclass(frozen=True, eq=False)
class Prior:
    """Shrunken means of each task and domain; k is the number of candidates."""

    rows: Mapping[tuple[str, str], int]
    """The row of a task and domain, of either alone, and of neither."""
    means: NDArray[np.float32]
    """[rows, k]"""

    def predict(self, query: Query) -> NDArray[np.float32]:
        """The means of the nearest that is known of the query's task and domain: [k]."""
        for key in ((query.task, query.domain), (query.task, ""), ("", query.domain)):
            if (row := self.rows.get(key)) is not None:
                break
        else:
            row = self.rows["", ""]
        return np.asarray(self.means[row])


@dataclass(frozen=True, eq=False)
class Words:
    """What a text says beyond the prior: linear in its hashed n-grams, weighed by their rarity."""

    rarity: NDArray[np.float16]
    """[buckets], inverse document frequencies."""
    slopes: NDArray[np.float16]
    """[buckets, k]"""
    level: NDArray[np.float32]
    """[k], of a text without any of the n-grams."""
    topics: NDArray[np.float16]
    """[fewer buckets, topics], directions in which texts differ most, for the forest."""

    def read(self, text: bytes) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The buckets of a text's n-grams, and what each weighs."""
        buckets, counts = features.counted(text, len(self.rarity).bit_length() - 1)
        return buckets, features.weighed(buckets, counts, self.rarity)

    def added(self, buckets: NDArray[np.intp], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is to be added to the prior: [k]."""
        return np.asarray(weights @ self.slopes[buckets].astype(np.float32) + self.level)

    def placed(
        self, buckets: NDArray[np.intp], weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Where the text lies: [topics]."""
        folded = features.folded(buckets, len(self.rarity), len(self.topics))
        return np.asarray(weights @ self.topics[folded].astype(np.float32))


@dataclass(frozen=True, eq=False)
class Numbers:
    """A vector of m numbers: made comparable, and a linear model of it."""

    middle: NDArray[np.float32]
    """[m], the median on the scale of logarithms; stands in for what is not given."""
    spread: NDArray[np.float32]
    """[m]"""
    slopes: NDArray[np.float32]
    """[m, k]"""
    level: NDArray[np.float32]
    """[k]"""

    def scaled(self, query: Query) -> NDArray[np.float32]:
        """The query's numbers on the scale of logarithms, around 0: [m]."""
        if len(query.numbers) != len(self.middle):
            return np.zeros(len(self.middle), dtype=np.float32)
        return scaled(np.array(query.numbers), self.middle, self.spread)

    def predict(self, numbers: NDArray[np.float32]) -> Floats:
        """Of scaled numbers: [k]."""
        return np.asarray(numbers @ self.slopes + self.level, dtype=np.float64)


def scaled(
    numbers: Floats, middle: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Signed logarithms, shifted and stretched; zeros for what is no finite number: [.., m]."""
    with np.errstate(invalid="ignore"):
        values = (np.sign(numbers) * np.log1p(np.abs(numbers)) - middle) / spread
    return np.where(np.isfinite(values), np.clip(values, -10, 10), 0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Choice:
    """Who is to answer a query. Positions are those of the candidates that were asked about."""

    probabilities: Floats
    """[k] of success, calibrated; not a number for those of whom no version is known."""
    order: tuple[int, ...]
    """All positions, best first; those of whom no version is known come last, as they stood."""
    gain: float
    """In probability: of the candidate that scores highest over the best single one."""
    gain_bound: float
    """What of the gain is certain; the best single candidate is left only where it is above 0."""
    switched: bool
    """Whether another than the best single candidate is first."""

    @property
    def first(self) -> int:
        """The position of who is to answer."""
        return self.order[0]


@dataclass(frozen=True, eq=False)
class Learned:
    """A policy: who succeeds at which queries, frozen."""

    candidates: tuple[str, ...]
    """`name:version` of the k candidates that it knows."""
    best: str
    """The best of them on the whole."""
    prior: Prior
    weights: NDArray[np.float64]
    """[stages, 2]: of each stage's differences between candidates, and of its level over them."""
    offset: Floats
    """[k], added to the weighed sum."""
    curve: Floats
    """[2, points], scores and the probabilities that they mean; both ascend."""
    margin: float
    """What a gain must exceed for it to be certain; infinite where no switch ever gained."""
    words: Words | None = None
    numbers: Numbers | None = None
    forest: Forest | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    """What training measured on held-out queries, in what JSON can say."""

    def __post_init__(self) -> None:
        places = {name_of(key): at for at, key in enumerate(self.candidates)}
        places |= {key: at for at, key in enumerate(self.candidates)}
        object.__setattr__(self, "_places", places)

    @property
    def width(self) -> int:
        """F, how long `inputs` are."""
        count = len(self.candidates)
        if self.words is not None:
            count += len(self.candidates) + self.words.topics.shape[1] + features.STATISTICS
        return count + (0 if self.numbers is None else len(self.numbers.middle))

    def inputs(self, query: Query, *, is_whole: bool = True) -> NDArray[np.float32]:
        """What the forest is told of a query, and all that the score depends on: [F].

        Unless it *is_whole*, without what the forest alone is told.
        """
        prior = self.prior.predict(query)
        parts: list[NDArray[Any]] = [prior]
        if self.words is not None:
            text = features.shortened(query.text)
            read = self.words.read(text)
            parts.append(prior + self.words.added(*read))
            if is_whole:
                parts += [self.words.placed(*read), features.statistics(text)]
        if self.numbers is not None:
            parts.append(self.numbers.scaled(query))
        return np.concatenate(parts).astype(np.float32)

    def score(self, query: Query) -> Floats:
        """Of each candidate the weighed sum of the stages: [k], what a query ranks them by."""
        inputs = self.inputs(query, is_whole=self.forest is not None)
        k = len(self.candidates)
        said: list[Floats | None] = [inputs[:k].astype(np.float64), None, None, None]
        if self.words is not None:
            said[1] = inputs[k : 2 * k].astype(np.float64)
        if self.numbers is not None:
            said[2] = self.numbers.predict(inputs[-len(self.numbers.middle) :])
        if self.forest is not None:
            said[3] = self.forest.predict(inputs)
        total = self.offset.copy()
        for stage, (between, level) in zip(said, self.weights, strict=True):
            if stage is not None:
                mean = stage.mean()
                total += between * (stage - mean) + level * mean
        return total

    def calibrated(self, scores: Floats) -> Floats:
        """The probabilities that *scores* mean."""
        return np.asarray(np.interp(scores, self.curve[0], self.curve[1]))

    def predict(self, query: Query, candidates: Sequence[str]) -> Floats:
        """P(success) of each of *candidates*: [k], not a number where no version is known."""
        return self.calibrated(self._of(self.score(query), candidates))

    def choose(self, query: Query, candidates: Sequence[str]) -> Choice:
        """Who of *candidates* is to answer *query*.

        The best single candidate of those at hand stays first unless the lower bound of the gain of
        who scores highest is above zero.
        """
        scores = self._of(self.score(query), candidates)
        probabilities = self.calibrated(scores)
        ranks = np.where(np.isnan(scores), -np.inf, scores)
        order = np.argsort(-ranks, kind="stable").tolist()
        usual = self._usual(candidates)
        if usual is None or np.isnan(scores[order[0]]):
            return Choice(probabilities, tuple(order), 0.0, 0.0, False)
        top = order[0]
        gain = float(probabilities[top] - probabilities[usual])
        bound = float(scores[top] - scores[usual]) - self.margin
        if top != usual and bound <= 0:
            order.remove(usual)
            order.insert(0, usual)
        return Choice(probabilities, tuple(order), gain, bound, order[0] != usual)

    def _of(self, scores: Floats, candidates: Sequence[str]) -> Floats:
        """[len(candidates)]; a new version is as the last one of its name that is known."""
        places: dict[str, int] = self.__dict__["_places"]
        at = [places[key] if key in places else places.get(name_of(key), -1) for key in candidates]
        return np.append(scores, np.nan)[at]

    def _usual(self, candidates: Sequence[str]) -> int | None:
        """Where the best single one of *candidates* stands, of those who are known."""
        if self.best in candidates:
            return candidates.index(self.best)
        means = self._of(self.prior.means[self.prior.rows["", ""]].astype(float), candidates)
        return None if np.isnan(means).all() else int(np.nanargmax(means))

    def write(self) -> bytes:
        """As `read` reads it."""
        arrays: dict[str, NDArray[Any]] = {
            "prior.means": self.prior.means,
            "weights": self.weights,
            "offset": self.offset,
            "curve": self.curve,
        }
        for name, part in (
            ("words", self.words),
            ("numbers", self.numbers),
            ("forest", self.forest),
        ):
            for key, value in vars(part).items() if part is not None else ():
                arrays[f"{name}.{key}"] = np.asarray(value)
        header = {
            "format": FORMAT,
            "candidates": self.candidates,
            "best": self.best,
            "margin": self.margin if np.isfinite(self.margin) else None,
            "prior": list(self.prior.rows),
            "report": self.report,
        }
        text = json.dumps(header, allow_nan=False).encode()
        arrays["header"] = np.frombuffer(text, dtype=np.uint8)
        out = io.BytesIO()
        np.savez_compressed(out, allow_pickle=False, **arrays)
        packed = out.getvalue()
        return _MARK + zlib.crc32(packed).to_bytes(4, "big") + packed

    @classmethod
    def read(cls, data: bytes) -> Learned:
        """What `write` wrote.

        Raises:
            ValueError: *data* is damaged, or of a later format.
        """
        packed = data[8:]
        if data[:4] != _MARK or data[4:8] != zlib.crc32(packed).to_bytes(4, "big"):
            raise ValueError("the policy is damaged: it is not what was written, byte for byte")
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            header = json.loads(arrays.pop("header").tobytes())
            if header["format"] == FORMAT:
                learned = _assembled(header, arrays)
                _check(learned)
        except _DAMAGES as error:
            raise ValueError(f"the policy is damaged: {type(error).__name__}: {error}") from error
        if header["format"] != FORMAT:
            raise ValueError(
                f"the policy is of format {header['format']}, this fabric reads {FORMAT}: "
                "use the fabric that trained it, or train it again"
            )
        return learned


def _assembled(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Learned:
    def part(name: str) -> dict[str, Any] | None:
        found = {key.partition(".")[2]: arrays[key] for key in arrays if key.startswith(name + ".")}
        return found or None

    words, numbers, forest = part("words"), part("numbers"), part("forest")
    if forest is not None:
        forest["depth"] = int(forest["depth"])
    rows = {(task, domain): row for row, (task, domain) in enumerate(header["prior"])}
    return Learned(
        candidates=tuple(header["candidates"]),
        best=header["best"],
        prior=Prior(rows, arrays["prior.means"]),
        weights=arrays["weights"],
        offset=arrays["offset"],
        curve=arrays["curve"],
        margin=float("inf") if header["margin"] is None else float(header["margin"]),
        words=Words(**words) if words else None,
        numbers=Numbers(**numbers) if numbers else None,
        forest=Forest(**forest) if forest else None,
        report=header["report"],
    )


def _check(learned: Learned) -> None:
    """Raises ValueError where parts do not fit each other, before a query finds out."""
    k = len(learned.candidates)
    if not k or len(set(learned.candidates)) != k or learned.best not in learned.candidates:
        raise ValueError("its best candidate is not among its candidates")
    prior, words, numbers = learned.prior, learned.words, learned.numbers
    shapes: list[tuple[str, NDArray[Any], tuple[int, ...]]] = [
        ("prior", prior.means, (len(prior.rows), k)),
        ("weights", learned.weights, (len(STAGES), 2)),
        ("offset", learned.offset, (k,)),
        ("curve", learned.curve, (2, learned.curve.shape[-1])),
    ]
    if words is not None:
        size = len(words.rarity)
        shapes += [
            ("words", words.rarity, (1 << max(size.bit_length() - 1, 1),)),
            ("words", words.slopes, (size, k)),
            ("words", words.level, (k,)),
            ("topics", words.topics, (features.FEWER, words.topics.shape[-1])),
        ]
    if numbers is not None:
        m = len(numbers.middle)
        shapes += [
            ("numbers", numbers.spread, (m,)),
            ("numbers", numbers.slopes, (m, k)),
            ("numbers", numbers.level, (k,)),
        ]
    for name, values, shape in shapes:
        if values.shape != shape or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise ValueError(f"{name} is not {shape} of finite numbers")
    if ("", "") not in prior.rows or (np.diff(learned.curve[0]) <= 0).any():
        raise ValueError("it has no prior for all, or no ascending curve")
    if learned.forest is not None:
        learned.forest.check(learned.width, k)
