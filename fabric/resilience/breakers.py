"""Who fails too often, or takes far longer than others, is not asked for a while.

A breaker is closed while all is well. It opens with too many failures, and lets nobody through for
a time that doubles whenever it opens again soon. Then it is half-open: one request at a time is a
probe, whose success closes it, and whose failure opens it again
(Nygard, "Release It!", 2007, "Circuit Breaker").
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median_low
from typing import TYPE_CHECKING

from fabric.core.cards import Breaking
from fabric.core.errors import (
    DeadlineExceeded,
    FabricError,
    Internal,
    InvalidAnswer,
    SpecialistFailed,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fabric.core.deadlines import Clock

_IN_TIME = 2.0
"""Who had so many times what answers usually take, and gave none, has failed."""


DEFAULT = Breaking()


class Circuit(StrEnum):
    """States of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a replica stands, or the replicas of a specialist together."""

    state: Circuit
    failures: Mapping[str, int]
    """How often it has failed, by the reason of the error."""
    why: str = ""
    """What opened it; empty if it is closed."""
    again: float = 0.0
    """Seconds until it is tried again, if that is known."""

    def __str__(self) -> str:
        if self.state is Circuit.CLOSED:
            return "its breaker is closed"
        until = f" for {self.again:.1f} s more" if 0.0 < self.again < math.inf else ""
        return f"its breaker is {self.state}{until}: {self.why}"


class Breaker:
    """Says by what became of requests whether the next one should be made.

    Whoever makes one says so with `begins`, and then how it ended, with the same object for the
    call, which is compared by identity. While it is closed an answer costs two integers.
    """

    __slots__ = (
        "_answers",
        "_before",
        "_begun",
        "_clock",
        "_closed",
        "_errors",
        "_openings",
        "_probe",
        "_row",
        "_since",
        "_until",
        "_within",
        "failures",
        "is_tripped",
        "policy",
        "why",
    )

    def __init__(self, policy: Breaking = DEFAULT, clock: Clock = time.monotonic) -> None:
        self.policy = policy
        self._clock = clock
        self.is_tripped = False
        """It is open or half-open,"""
        self.why = ""
        """because of this."""
        self.failures: dict[str, int] = {}
        """By the reason of the error, since it was made."""
        self._row = 0
        """Failures since the last answer."""
        self._answers = self._errors = 0
        """Since this time,"""
        self._since = clock()
        self._before = (0, 0)
        """and in the half of a window before."""
        self._until = 0.0
        self._openings = 0
        """How often it was opened, each time soon after it had closed."""
        self._closed = -math.inf
        """When it was closed last."""
        self._probe: object | None = None
        self._begun = 0.0
        """When the probe was sent,"""
        self._within = math.inf
        """and in how many seconds it has to be answered."""

    @property
    def state(self) -> Circuit:
        if not self.is_tripped:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if self._clock() >= self._until else Circuit.OPEN

    @property
    def is_probed(self) -> bool:
        """Whether a probe is on its way."""
        return self._probe is not None

    def is_probed_by(self, call: object) -> bool:
        return self._probe is call

    def standing(self) -> Standing:
        again = max(self._until - self._clock(), 0.0) if self.is_tripped else 0.0
        return Standing(self.state, dict(self.failures), self.why, again)

    def admits(self) -> bool:
        """Whether a further request should be made."""
        return not self.is_tripped or (self._probe is None and self._clock() >= self._until)

    def begins(self, call: object) -> bool:
        """Whether *call* should be made; if it is not closed, this is the probe then."""
        if not self.admits():
            return False
        if self.is_tripped:
            self._probe, self._begun = call, self._clock()
        return True

    def answered(self, call: object) -> bool:
        """*call* was answered; gives whether that has closed it, or opened it again."""
        self._row = 0
        self._answers += 1
        if self._probe is not call:
            return False
        now = self._clock()
        if now - self._begun > self._within:
            self._open(now, self.why, self._within)
        else:
            self._close(now)
        return True

    def failed(self, call: object, reason: str) -> bool:
        """*call* has failed for *reason*; gives whether that has opened it."""
        self.failures[reason] = self.failures.get(reason, 0) + 1
        now = self._clock()
        if self.is_tripped:
            is_probe = self._probe is call
            if is_probe:
                self._open(now, self.why, self._within)
            return is_probe
        self._row += 1
        self._turn(now)
        self._errors += 1
        why = self._too_much()
        if why:
            self._open(now, why)
        return bool(why)

    def left(self, call: object) -> None:
        """*call* has ended in a way that says nothing; if it was the probe, another one may be."""
        if self._probe is call:
            self._probe = None

    @property
    def is_failing(self) -> bool:
        """It is open or half-open, or has failed and has not answered since."""
        return self.is_tripped or self._row > 0

    def doubt(self, why: str) -> None:
        """Makes it half-open, so that the first request is a probe."""
        self.is_tripped, self.why = True, why

    def trip(self, why: str, within: float = math.inf) -> None:
        """Opens it, if it is closed, until a probe is answered *within* some seconds."""
        if not self.is_tripped:
            self._open(self._clock(), why, within)

    def _too_much(self) -> str:
        policy = self.policy
        if 0 < policy.consecutive <= self._row:
            return f"{self._row} failures in a row"
        answers, errors = self._before
        errors += self._errors
        total = answers + self._answers + errors
        if policy.failing and total >= policy.least and errors >= policy.failing * total:
            return f"{errors} of {total} requests failed"
        return ""

    def _turn(self, now: float) -> None:
        """Lets what is too long ago go. Only failures call it, so it costs answers nothing."""
        age = now - self._since
        if age < self.policy.window / 2:
            return
        is_recent = age < self.policy.window
        self._before = (self._answers, self._errors) if is_recent else (0, 0)
        self._answers = self._errors = 0
        self._since = now

    def _open(self, now: float, why: str, within: float = math.inf) -> None:
        policy = self.policy
        if not self.is_tripped and now - self._closed >= policy.longest:
            self._openings = 0
        seconds = min(policy.first * 2.0**self._openings, policy.longest)
        self._openings += seconds < policy.longest
        self._until = now + seconds
        self.is_tripped, self.why, self._within = True, why, within
        self._probe = None

    def _close(self, now: float) -> None:
        self.is_tripped, self.why, self._probe = False, "", None
        self._row = self._answers = self._errors = 0
        self._before = (0, 0)
        self._since = self._closed = now


def ejected(
    breakers: Sequence[Breaker], known: int, policy: Breaking = DEFAULT
) -> Sequence[Breaker]:
    """Of the *breakers* of replicas that can be reached, of *known* in all, those of replicas that
    should get no more than probes: the most that may be, and never all."""
    tripped = [breaker for breaker in breakers if breaker.is_tripped]
    well = len(breakers) - len(tripped)
    if not well or well < policy.panic * known:
        return ()
    return tripped[: max(1, int(policy.ejected * len(breakers)))]


def slow(
    seconds: Sequence[float | None], policy: Breaking = DEFAULT
) -> Iterator[tuple[int, float]]:
    """The places of those whose *seconds* are far more than the others', with how many would not
    have been; None is what nobody knows."""
    if not policy.slower:
        return
    for place, own in enumerate(seconds):
        others = [each for at, each in enumerate(seconds) if each is not None and at != place]
        if own is None or not others:
            continue
        usual = median_low(others)
        most = max(policy.slower * usual, usual + policy.margin)
        if own > most:
            yield place, most


def together(standings: Sequence[Standing]) -> Standing:
    """How a specialist stands whose replicas stand so: as the one that stands best."""
    failures: dict[str, int] = {}
    for standing in standings:
        for reason, count in standing.failures.items():
            failures[reason] = failures.get(reason, 0) + count
    order = (Circuit.CLOSED, Circuit.HALF_OPEN, Circuit.OPEN)
    best = min(standings, key=lambda each: (order.index(each.state), each.again))
    return Standing(best.state, failures, best.why, best.again)


def is_fault(error: FabricError, usual: float) -> bool:
    """Whether *error* speaks against whoever was asked, and whose answers *usually* take so long.

    A request that is wrong does not, nor one for which there is no room, nor one that had too
    little time.
    """
    if isinstance(error, DeadlineExceeded):
        return error.waited > 0.0 and error.waited >= _IN_TIME * usual
    return isinstance(error, Unavailable | SpecialistFailed | InvalidAnswer | Internal)
