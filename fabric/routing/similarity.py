"""How near a request is to what a card says that it is good at.

A card says it by its examples, or by its description where it has none. The similarity of a request
to a card is the largest cosine to one of these texts, from 0 to 1: of embeddings where a route
names an encoder, else of words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from fabric.core.cards import Card

MOST_TEXTS = 64
"""Of one card that are compared."""
_WORD = re.compile(r"\w+")
_STEM = 5
"""Letters; words that begin with the same ones are half the same."""


def said(card: Card) -> tuple[str, ...]:
    """The texts by which *card* says what it is good at."""
    return (card.examples or ((card.description,) if card.description else ()))[:MOST_TEXTS]


class Words:
    """The words of what *cards* say, weighted by how few of the cards have them (TF-IDF)."""

    def __init__(self, cards: Iterable[Card]) -> None:
        texts = {card.key: [_words(text) for text in said(card)] for card in cards}
        self.keys = frozenset(texts)
        had = Counter(word for of in texts.values() for word in {w for each in of for w in each})
        self._rarity = {word: math.log(len(texts) / count) + 1.0 for word, count in had.items()}
        self._unknown = math.log(len(texts) or 1) + 1.0
        self._nearest = _Nearest({key: len(of) for key, of in texts.items()})
        had_by: dict[str, list[tuple[int, float]]] = {word: [] for word in had}
        for row, words in enumerate(each for of in texts.values() for each in of):
            for word, weight in self._unit(words).items():
                had_by[word].append((row, weight))
        self._weights = {word: _columns(of) for word, of in had_by.items()}
        """By word, the texts that have it and how much it weighs there; each is of length 1."""

    def similarities(self, text: str) -> dict[str, float]:
        """Of *text* to each card that says anything, by its key."""
        weights = self._unit(_words(text))
        known = [(self._weights[word], weights[word]) for word in weights if word in self._weights]
        if not known:
            return self._nearest.of(np.zeros(self._nearest.count))
        rows = np.concatenate([rows for (rows, _), _ in known])
        there = np.concatenate([there for (_, there), _ in known])
        here = np.repeat([weight for _, weight in known], [len(rows) for (rows, _), _ in known])
        cosines = np.bincount(rows, there * here, self._nearest.count).astype(np.float64)
        return self._nearest.of(cosines)

    def _unit(self, words: Counter[str]) -> dict[str, float]:
        rarity, unknown = self._rarity, self._unknown
        weights = {
            word: (1.0 + math.log(count)) * rarity.get(word, unknown)
            for word, count in words.items()
        }
        length = math.hypot(*weights.values())
        return {word: weight / length for word, weight in weights.items()}


def _columns(of: Sequence[tuple[int, float]]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    rows, weights = zip(*of, strict=True)
    return np.array(rows, np.intp), np.array(weights, np.float32)


class Embedded:
    """The embeddings of what cards say: *vectors* by the key of each, all of one length."""

    def __init__(self, vectors: Mapping[str, Sequence[NDArray[np.float32]]]) -> None:
        self._nearest = _Nearest({key: len(of) for key, of in vectors.items()})
        self._units = np.array([unit(each) for of in vectors.values() for each in of])
        """[texts, length]."""

    def similarities(self, vector: Sequence[float]) -> dict[str, float]:
        """Of a request with this embedding to each card, by its key; empty if it cannot be one."""
        if self._units.ndim != 2 or len(vector) != self._units.shape[1]:
            return {}
        return self._nearest.of(self._units @ unit(np.array(vector, np.float32)))


class _Nearest:
    """Which texts are whose: *counts* has how many in a row, by key."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._keys = [key for key, count in counts.items() if count]
        ends = np.cumsum([counts[key] for key in self._keys], dtype=np.intp)
        self._starts = np.concatenate([np.zeros(1, np.intp), ends])[:-1]
        self.count = int(ends[-1]) if self._keys else 0

    def of(self, cosines: NDArray[np.float32] | NDArray[np.float64]) -> dict[str, float]:
        """The largest of the *cosines* [texts] of each."""
        if not self._keys:
            return {}
        largest = np.maximum.reduceat(cosines, self._starts).clip(0.0, 1.0)
        return dict(zip(self._keys, largest.tolist(), strict=True))


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """*vector* with length 1, or zeros."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length or 1.0)


def _words(text: str) -> Counter[str]:
    """The words of *text*, and the beginnings of the longer ones, which end with a dash."""
    words = _WORD.findall(text.lower())
    return Counter([*words, *(f"{word[:_STEM]}-" for word in words if len(word) > _STEM)])
