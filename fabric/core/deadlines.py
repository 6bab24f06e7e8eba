"""A deadline is a point in time, handed down and never restarted."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Seconds on a clock that never goes back, as `time.monotonic`."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on this process's monotonic clock, in seconds; `math.inf` is no deadline."""

    at: float

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        return cls(clock() + seconds)

    def remaining(self, now: float) -> float:
        """Seconds left at *now*; negative when it has passed."""
        return self.at - now

    def within(self, seconds: float, now: float) -> Deadline:
        """This deadline, or *seconds* from *now* if that comes first."""
        at = now + seconds
        return self if self.at <= at else Deadline(at)


NEVER = Deadline(math.inf)
