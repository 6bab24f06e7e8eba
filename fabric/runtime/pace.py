"""How fast a model is: what its runs took, and what that says of those to come."""

from __future__ import annotations

import math
from bisect import bisect, insort

_OUTLIER = 3.0
"""A run that took longer than so many others counts as this: the machine did something else."""
_WEIGHT = 0.1
"""Of one run in the average."""
_RARE = 0.1
"""Of one batch in what batches are like."""


class Pace:
    """How long runs take until their answers are given, by the size class of their batch.

    It never guesses upwards: what was not measured is as fast as what was measured allows.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self.longest = 0.0
        """Seconds that a run of the largest batch takes."""
        self._known: dict[float, float] = {}
        """What so many jobs take, looked up since the last batch."""
        self._sizes: list[int] = []
        """Those that were measured, in order."""
        self._bytes = 0.0
        """Of one job, in the last batch."""
        self._usual = 1.0
        """Jobs in a batch, on average."""
        self._full = math.inf
        """Jobs in a batch that left others waiting, on average: not the most rows that fit, if
        those who wait cannot all be stacked."""

    def seconds(self, size: int) -> float:
        """What a run of the size class *size* takes at least; 0 where nothing says so."""
        known = self._seconds.get(size)
        if known is not None:
            return known
        at = bisect(self._sizes, size)
        return max(
            (self._bounds(other, size)[0] for other in self._sizes[max(0, at - 1) : at + 1]),
            default=0.0,
        )

    def wait(self, ahead: int) -> float:
        """Seconds of runs until one job more is answered, behind *ahead* that wait.

        Its own batch grows behind it to the usual size.
        """
        batches, mates = divmod(ahead, self._full)
        if not batches:
            return self._lasts(max(mates + 1, self._usual))
        return batches * self._lasts(self._full) + self._lasts(max(mates + 1, self._usual))

    def _lasts(self, jobs: float) -> float:
        seconds = self._known.get(jobs)
        if seconds is None:
            seconds = self._known[jobs] = self.seconds(size_class(jobs * self._bytes))
        return seconds

    def batched(self, jobs: int, size: int, *, others: bool) -> None:
        """Learns of a batch of so many *jobs* and *size* bytes, behind which *others* wait."""
        self._known.clear()
        self._bytes = size / jobs
        self._usual += (jobs - self._usual) * _RARE
        if jobs > self._full or (others and self._full == math.inf):
            self._full = jobs
        elif others:
            self._full += (jobs - self._full) * _RARE

    def took(self, size: int, seconds: float) -> None:
        """Learns that a run of the size class *size* took *seconds*.

        So every run says something of all sizes, and what was learnt while the machine was slow
        is forgotten though no such batch is run any more.
        """
        known = self._seconds.get(size)
        if known is None:
            insort(self._sizes, size)
        else:
            seconds = known + (min(seconds, _OUTLIER * known) - known) * _WEIGHT
        self._seconds[size] = seconds
        if len(self._sizes) > 1:
            at = bisect(self._sizes, size)
            self._bind(size, self._sizes[at:])
            self._bind(size, self._sizes[: at - 1][::-1])
        self.longest = self._seconds[self._sizes[-1]]

    def _bind(self, size: int, others: list[int]) -> None:
        """Holds *others*, the nearest first, to what *size* says; behind one that does, all do."""
        for other in others:
            least, most = self._bounds(size, other)
            if least <= self._seconds[other] <= most:
                return
            self._seconds[other] = min(max(self._seconds[other], least), most)

    def _bounds(self, size: int, other: int) -> tuple[float, float]:
        """The least and the most that a run of the class *other* takes, as *size* says it: the
        larger takes no less than the smaller, and no more than as many of these as make it up."""
        seconds = self._seconds[size]
        in_proportion = seconds * 2.0 ** ((other - size) / 4)
        return (seconds, in_proportion) if other > size else (in_proportion, seconds)


def size_class(size: float) -> int:
    """Batches of *size* bytes take about as long as others of their class: four lie between any
    size and twice as much."""
    whole = int(size)
    bits = whole.bit_length()
    return bits * 4 + (whole << 2 >> bits - 1 & 3) if whole else 0


def averaged(average: float, seconds: float) -> float:
    """The moving average with one more run; it falls quickly, because what else a busy machine
    does makes runs look longer, never shorter."""
    return average + (seconds - average) * (0.5 if seconds < average else 0.1)
