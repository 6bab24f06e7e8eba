"""What the parts give: ratios, each of something of ours to something of somebody else's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

ALLOWED = 0.2
"""A ratio may be worse than the recorded one by this share of it."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """*ours* to *other*, of which more is better, or less where it `is_limited`."""

    part: str
    what: str
    unit: str
    ours: float
    against: str
    other: float
    target: float | None = None
    """What the ratio is at least, or at most."""
    is_limited: bool = False
    is_steady: bool = True
    """Whether it is recorded, and held to what was recorded."""

    @property
    def key(self) -> str:
        return f"{self.part}: {self.what} against {self.against}"

    @property
    def value(self) -> float:
        return self.ours / self.other

    @property
    def meets_target(self) -> bool:
        if self.target is None:
            return True
        return self.value <= self.target if self.is_limited else self.value >= self.target

    def has_fallen(self, recorded: float) -> bool:
        """Whether it is worse than *recorded* by more than is allowed."""
        if self.is_limited:
            return self.value > recorded / (1 - ALLOWED)
        return self.value < recorded * (1 - ALLOWED)


@dataclass(frozen=True)
class Result:
    """What a part gives; `data` is for the JSON file and the plot."""

    ratios: list[Ratio]
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        ratios = [{**asdict(ratio), "ratio": ratio.value} for ratio in self.ratios]
        return {"ratios": ratios, "data": self.data}
