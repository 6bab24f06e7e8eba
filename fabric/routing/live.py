"""How candidates fare at the moment, as far as one gateway sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_MUCH = 0.2
"""The share by which a number has to move before plans are made anew."""
_LITTLE_LOAD = 0.1


@dataclass(frozen=True, slots=True)
class Live:
    """By `name:version`; what has not answered of late is in neither."""

    latencies: Mapping[str, float] = field(default_factory=dict)
    """Seconds within which nine of ten answers came."""
    loads: Mapping[str, float] = field(default_factory=dict)
    """Requests in flight to a replica, on average, as a share of the load it is meant to carry."""


NOTHING = Live()


def settled(old: Live, new: Live) -> Live:
    """*new* where it differs much from *old*, and *old* itself where it nowhere does.

    Loads swing with every request, so they move half the way only.
    """
    means = {key: (old.loads.get(key, load) + load) / 2 for key, load in new.loads.items()}
    latencies = _settled(old.latencies, new.latencies, 0.0)
    loads = _settled(old.loads, means, _LITTLE_LOAD)
    if latencies == old.latencies and loads == old.loads:
        return old
    return Live(latencies, loads)


def _settled(old: Mapping[str, float], new: Mapping[str, float], little: float) -> dict[str, float]:
    def moved(before: float, now: float) -> bool:
        return abs(now - before) > max(little, _MUCH * before)

    return {
        key: value if key not in old or moved(old[key], value) else old[key]
        for key, value in new.items()
    }
