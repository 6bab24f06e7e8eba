"""Where the boxes of a graph are drawn: in layers, each below those that it waits for.

After Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (1981): layers by longest ways, order by barycentres, then places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Point = tuple[float, float]

_BESIDE, _BELOW = 24.0, 36.0
"""Pixels between boxes of a layer, and between layers."""
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Layout:
    corners: Sequence[Point]
    """Of each box, its left upper one."""
    ways: Sequence[Sequence[Point]]
    """Of each edge, the points it goes through from above."""
    width: float
    height: float


def layered(sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> Layout:
    """Places for boxes of *sizes*, of which *edges* name two, the one above first; no way along
    edges leads back."""
    ranks = _ranks(len(sizes), edges)
    boxes = _Boxes(sizes, ranks, edges)
    boxes.order()
    boxes.place()
    return boxes.layout(edges)


def _ranks(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """The layer of each box, by its longest way from above; what waits for nobody is just above
    the first that takes it."""
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for upper, lower in edges:
        above[lower].append(upper)
        below[upper].append(lower)
    ranks, left = [0] * count, [len(each) for each in above]
    ready = [box for box in range(count) if not left[box]]
    for box in ready:  # which grows
        for lower in below[box]:
            ranks[lower] = max(ranks[lower], ranks[box] + 1)
            left[lower] -= 1
            if not left[lower]:
                ready.append(lower)
    for box in range(count):
        if not above[box] and below[box]:
            ranks[box] = min(ranks[lower] for lower in below[box]) - 1
    return ranks


class _Boxes:
    """Boxes in layers, with bends of no width where edges pass a layer by.

    All edges of a box go the same way down, as far as they go.
    """

    def __init__(
        self, sizes: Sequence[Point], ranks: Sequence[int], edges: Sequence[tuple[int, int]]
    ) -> None:
        self.widths = [width for width, _ in sizes]
        self.layers: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
        for box, rank in enumerate(ranks):
            self.layers[rank].append(box)
        self.heights = [max(sizes[box][1] for box in layer) for layer in self.layers]
        self.sizes = sizes
        self.ranks = ranks
        self.bends: dict[tuple[int, int], int] = {}
        """By the box they begin at and the layer."""
        self.above: dict[int, list[int]] = {}
        self.below: dict[int, list[int]] = {}
        for upper, lower in edges:
            way = [upper, *(self._bend(upper, r) for r in range(ranks[upper] + 1, ranks[lower]))]
            for one, other in pairwise([*way, lower]):
                if other not in self.below.setdefault(one, []):
                    self.below[one].append(other)
                    self.above.setdefault(other, []).append(one)
        self.centres = [0.0] * len(self.widths)

    def _bend(self, box: int, rank: int) -> int:
        if (box, rank) not in self.bends:
            self.bends[box, rank] = len(self.widths)
            self.layers[rank].append(len(self.widths))
            self.widths.append(0.0)
        return self.bends[box, rank]

    def _sweeps(self) -> Iterable[tuple[list[int], Mapping[int, list[int]]]]:
        """Layers with their neighbours, down and up, a few times."""
        for _ in range(_SWEEPS):
            yield from ((layer, self.above) for layer in self.layers[1:])
            yield from ((layer, self.below) for layer in self.layers[-2::-1])

    def order(self) -> None:
        """Sorts layers so that edges cross seldom."""
        places = {box: place for layer in self.layers for place, box in enumerate(layer)}
        for layer, neighbours in self._sweeps():
            means = {box: _mean(places, neighbours.get(box, ()), places[box]) for box in layer}
            layer.sort(key=means.__getitem__)
            places.update((box, place) for place, box in enumerate(layer))

    def place(self) -> None:
        """Gives each its place, below and above those it is joined with as far as there is room."""
        for layer in self.layers:
            self._put(layer, [0.0] * len(layer))
        centres = dict(enumerate(self.centres))
        for layer, neighbours in self._sweeps():
            wanted = [_mean(centres, neighbours.get(box, ()), centres[box]) for box in layer]
            self._put(layer, wanted)
            centres.update((box, self.centres[box]) for box in layer)

    def _put(self, layer: Sequence[int], wanted: Sequence[float]) -> None:
        """Puts boxes near the centres *wanted*, in their order: between where they are if pushed
        to the right only, and to the left only."""
        room = [(self.widths[a] + self.widths[b]) / 2 + _BESIDE for a, b in pairwise(layer)]
        right, left = list(wanted), list(wanted)
        for at, least in enumerate(room, 1):
            right[at] = max(right[at], right[at - 1] + least)
        for at in range(len(layer) - 2, -1, -1):
            left[at] = min(left[at], left[at + 1] - room[at])
        for box, one, other in zip(layer, left, right, strict=True):
            self.centres[box] = (one + other) / 2

    def layout(self, edges: Sequence[tuple[int, int]]) -> Layout:
        most = max((c + w / 2 for c, w in zip(self.centres, self.widths, strict=True)), default=0)
        least = min((c - w / 2 for c, w in zip(self.centres, self.widths, strict=True)), default=0)
        tops = [0.0]
        for height in self.heights:
            tops.append(tops[-1] + height + _BELOW)
        corners = [
            (self.centres[box] - width / 2 - least, tops[rank])
            for box, ((width, _), rank) in enumerate(zip(self.sizes, self.ranks, strict=True))
        ]
        ways = []
        for upper, lower in edges:
            x, top, rank = self.centres[upper] - least, corners[upper][1], self.ranks[upper]
            points = [(x, top + self.sizes[upper][1]), (x, top + self.heights[rank])]
            for rank in range(self.ranks[upper] + 1, self.ranks[lower]):
                x = self.centres[self.bends[upper, rank]] - least
                points += [(x, tops[rank]), (x, tops[rank] + self.heights[rank])]
            ways.append([*points, (self.centres[lower] - least, corners[lower][1])])
        return Layout(corners, ways, most - least, max(tops[-1] - _BELOW, 0.0))


def _mean(values: Mapping[int, float], of: Sequence[int], otherwise: float) -> float:
    return sum(values[each] for each in of) / len(of) if of else otherwise
