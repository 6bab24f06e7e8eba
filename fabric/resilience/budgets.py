"""How much harder a specialist may be hit than by the requests that come for it."""

from __future__ import annotations

_BURST = 1000.0
"""Further attempts that are allowed at once: all that are in flight when a replica is lost."""
_MOST = 4096


class Budgets:
    """Further attempts at specialists, as a share of the requests that they are asked.

    By specialist, a bucket that each request fills a little and each further attempt empties by
    one, as in gRPC's throttling of retries
    (https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs).
    What fails once is asked again, what fails all the time hardly more often than it is asked.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: dict[str, float] = {}
        """By `name:version`; full where it is not there."""

    def asked(self, key: str, share: float) -> None:
        """The specialist is asked a request, which allows *share* of a further attempt."""
        left = self._left.get(key)
        if left is not None:
            left += share
            if left < _BURST:
                self._left[key] = left
            else:
                self._left.pop(key, None)  # threads of a client may do so at once

    def spend(self, key: str) -> bool:
        """Whether there may be a further attempt, which then counts."""
        left = self._left.get(key, _BURST)
        if left < 1.0:
            return False
        if len(self._left) >= _MOST:
            del self._left[next(iter(self._left))]
        self._left[key] = left - 1.0
        return True

    def left(self, key: str) -> float:
        """The share of the bucket that is left, from 0 to 1."""
        return self._left.get(key, _BURST) / _BURST
