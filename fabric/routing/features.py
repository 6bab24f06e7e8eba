"""From a text to features: hashed words and pairs of words, and cheap statistics.

Nothing is fitted, so training and answering share these functions and nothing else. All of it runs
on arrays of bytes: a text of 4 kB takes about 0.2 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

MOST_BYTES = 4096
"""Of longer texts the first and the last half of these are read."""
FEWER = 1 << 13
"""Buckets that others are folded into, where there is much to be said of each."""
STATISTICS = 27
"""How many `statistics` there are."""

_BASE = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_BASE, -1, 1 << 64)


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


_POWERS = _powers(_BASE, MOST_BYTES + 2)
_INVERSES = _powers(_INVERSE, MOST_BYTES + 2)


def _folded() -> NDArray[np.uint8]:
    """Of each byte: letters in lower case, digits, and what is not ASCII; all else is a space."""
    table = np.full(256, ord(" "), dtype=np.uint8)
    for byte in range(256):
        if chr(byte).isalnum() or byte >= 128:
            table[byte] = ord(chr(byte).lower()) if byte < 128 else byte
    return table


_FOLDED = _folded()


def shortened(text: str) -> bytes:
    """The bytes of *text* that are read."""
    data = text.encode("utf-8", "replace")
    half = MOST_BYTES // 2
    return data if len(data) <= MOST_BYTES else data[:half] + data[-half:]


def _spans(
    prefix: NDArray[np.uint64], starts: NDArray[np.intp], ends: NDArray[np.intp]
) -> NDArray[np.uint64]:
    """A hash of each span of bytes, the same wherever it stands: a polynomial, then mixed."""
    values = (prefix[ends] - prefix[starts]) * _INVERSES[starts]
    values ^= values >> np.uint64(31)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(29)
    values *= np.uint64(0x94D049BB133111EB)
    return values


def hashed(data: bytes, bits: int) -> NDArray[np.intp]:
    """The bucket, from 0 to 2 ** *bits*, of each word and of each pair of words in *data*."""
    raw = _FOLDED[np.frombuffer(data, dtype=np.uint8)]
    spaces = raw == 32
    keep = np.ones(len(raw), dtype=np.bool_)
    keep[1:] = ~(spaces[1:] & spaces[:-1])
    folded = np.concatenate(([32], raw[keep], [32])).astype(np.uint64)
    prefix = np.zeros(len(folded) + 1, dtype=np.uint64)
    np.cumsum((folded + np.uint64(1)) * _POWERS[: len(folded)], out=prefix[1:])
    edges = folded == 32
    starts = np.flatnonzero(edges[:-1] & ~edges[1:]) + 1
    ends = np.flatnonzero(~edges[:-1] & edges[1:]) + 1
    spans = [_spans(prefix, starts, ends), _spans(prefix, starts[:-1], ends[1:])]
    return (np.concatenate(spans) >> np.uint64(64 - bits)).astype(np.intp)


def counted(data: bytes, bits: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The buckets that occur in *data*, and how often each does."""
    return np.unique(hashed(data, bits), return_counts=True)


def folded(buckets: NDArray[Any], count: int, fewer: int) -> NDArray[Any]:
    """The same of *fewer* buckets instead of *count*; both are powers of two."""
    return buckets >> (count // fewer).bit_length() - 1


def weighed(
    buckets: NDArray[np.intp], counts: NDArray[np.intp], rarity: NDArray[np.float16]
) -> NDArray[np.float32]:
    """Of each bucket its weight in the text: logarithm of counts times rarity, of length 1."""
    weights = (1 + np.log(counts)).astype(np.float32) * rarity[buckets]
    return weights / max(float(np.sqrt(weights @ weights)), 1e-9)


_CLASSES = (
    b"abcdefghijklmnopqrstuvwxyz",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"0123456789",
    b" ",
    b"\n",
    b".",
    b",",
    b"?",
    b"!",
    b":;",
    b"\"'",
    b"()[]",
    b"{}<>#@`|~",
    b"+-*/=^%",
    b"\\$",
    b"_",
    bytes(range(128, 256)),
)


def _class_table() -> NDArray[np.float64]:
    table = np.zeros((256, len(_CLASSES)))
    for column, members in enumerate(_CLASSES):
        table[list(members), column] = 1.0
    return table


_CLASS_TABLE = _class_table()


def statistics(data: bytes) -> NDArray[np.float64]:
    """Cheap statistics of a text: lengths, shares of kinds of bytes, of numbers and of lines."""
    codes = np.frombuffer(data, dtype=np.uint8)
    total = max(len(codes), 1)
    counts = np.bincount(codes, minlength=256) @ _CLASS_TABLE
    spaces = (codes == 32) | (codes == 10)
    words = int((spaces[1:] & ~spaces[:-1]).sum()) + 1
    digits = (codes >= 48) & (codes <= 57)
    numbers = int((digits[1:] & ~digits[:-1]).sum()) + int(bool(len(digits)) and bool(digits[0]))
    lengths = np.diff(np.flatnonzero(np.concatenate(([True], spaces, [True]))))
    lines = data.split(b"\n")
    return np.array(
        [
            np.log1p(len(codes)),
            np.log1p(words),
            np.log1p(len(lines)),
            np.log1p(numbers),
            np.log1p(len(lines[-1])),
            np.log1p(len(lines[0])),
            np.log1p(counts[7]),
            len(codes) / words,
            float(lengths.max(initial=0)),
            float(len(set(data.split())) / words),
            *(counts / total),
        ]
    )
