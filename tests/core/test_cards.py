"""What cards say of the room for requests."""

from __future__ import annotations

import pytest

from fabric.core.cards import Batching


@pytest.mark.parametrize(
    ("priorities", "default", "levels"),
    [(0, 0, [0, 0, 0]), (1, 0, [1, 1, 1]), (3, 0, [3, 1, 3]), (3, 2, [2, 1, 3])],
)
def test_who_names_no_level_has_the_default(priorities, default, levels):
    """So has who names one that there is not."""
    batching = Batching(priorities=priorities, default_priority=default)
    assert [batching.level(priority) for priority in (0, 1, 3)] == levels
    assert batching.level(9) == batching.level(0)


@pytest.mark.parametrize(
    ("priorities", "shares"), [(0, [1.0]), (1, [1.0]), (2, [1.0, 0.8]), (3, [1.0, 0.9, 0.8])]
)
def test_each_level_keeps_some_room_for_those_above_it(priorities, shares):
    """The highest has all; where there are no levels, everybody has."""
    batching = Batching(priorities=priorities)
    levels = range(1, max(1, priorities) + 1)
    assert [batching.share(level) for level in levels] == pytest.approx(shares)
    assert batching.share(0) == pytest.approx(shares[-1])
