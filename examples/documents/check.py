"""How right a text was read, and how rapidocr reads the same pages by itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rapidocr import RapidOCR

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reading:
    """What one page was read as."""

    text: str
    seconds: float


def error_rate(read: str, written: str) -> float:
    """Characters inserted, deleted and replaced between two texts, as a share of what is written.

    White space of any kind and length counts as one space.
    """
    read, written = " ".join(read.split()), " ".join(written.split())
    return distance(read, written) / len(written)


def distance(a: str, b: str) -> int:
    """Levenshtein's: the fewest characters to insert, delete or replace to make *a* of *b*."""
    letters = np.array([*b], "U1")
    places = np.arange(len(b) + 1)
    costs = places
    for letter in a:
        replaced = costs[:-1] + (letters != letter)
        least = np.concatenate([costs[:1] + 1, np.minimum(replaced, costs[1:] + 1)])
        costs = np.minimum.accumulate(least - places) + places  # insertions, all at once
    return int(costs[-1])


def read_by_rapidocr(pages: Iterable[Path]) -> dict[str, Reading]:
    """How rapidocr reads *pages* in this process, one after the other, by file name; blocks.

    Its models are open before the first one. It gives the lines of a page that is upside down from
    the last to the first.
    """
    engine = RapidOCR(params={"Global.log_level": "critical"})
    pages = list(pages)
    engine(pages[0])
    found = {}
    for page in pages:
        began = time.perf_counter()
        lines = engine(page).txts or ()
        found[page.name] = Reading("\n".join(lines), time.perf_counter() - began)
    return found


def in_best_order(text: str, written: str) -> str:
    """The lines of *text* as they are, or from the last to the first, whichever is nearer to what
    is *written*."""
    turned = "\n".join(reversed(text.split("\n")))
    return min(text, turned, key=lambda order: error_rate(order, written))
