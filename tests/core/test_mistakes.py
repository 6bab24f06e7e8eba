"""What classes of core refuse."""

from __future__ import annotations

import pytest

from fabric.core.cards import Batching, Card
from fabric.core.mistakes import WrongValues
from fabric.core.routes import MinQuality, Requirements


def test_an_object_names_all_that_is_wrong_with_it():
    """One by one, and together as the text of the error."""
    with pytest.raises(WrongValues) as caught:
        Batching(max_size=0, queue_timeout=-1.0, default_priority=3)
    assert caught.value.mistakes == (
        "max_size is 0, it is at least 1",
        "queue_timeout is -1.0, it cannot be negative",
        "default_priority is 3, it must be from 0 to priorities, which is 0",
    )
    assert str(caught.value) == "; ".join(caught.value.mistakes)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("cls", "name", "said"),
    [
        (Requirements, "max_cost", {}),
        (Requirements, "max_latency", {}),
        (MinQuality, "value", {"metric": "accuracy"}),
        (Card, "cost", {"name": "a"}),
    ],
)
def test_what_is_no_finite_number_is_refused(cls, name, said, number):
    """Wherever it comes from: files, messages, and Python."""
    with pytest.raises(WrongValues, match=f"^{name} is {number}, it must be a finite number$"):
        cls(**said, **{name: number})
