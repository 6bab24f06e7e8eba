"""How much harder specialists are hit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.resilience.budgets import Budgets


def spent(budgets, key="a:1"):
    count = 0
    while budgets.spend(key):
        count += 1
    return count


def test_all_that_are_in_flight_at_a_lost_replica_are_asked_again():
    """Whoever has failed seldom may be asked again many times at once."""
    assert spent(Budgets()) == 1000


@given(st.lists(st.booleans(), max_size=300), st.floats(0.0, 1.0))
def test_further_attempts_are_a_share_of_requests(steps, share):
    """From an empty bucket on, never more than the share of those that came since."""
    budgets = Budgets()
    spent(budgets)
    asked = further = 0
    for step in steps:
        if step:
            budgets.asked("a:1", share)
            asked += 1
        else:
            further += budgets.spend("a:1")
        assert further <= asked * share + 1e-6
        assert 0.0 <= budgets.left("a:1") <= 1.0


def test_specialists_have_budgets_of_their_own():
    """One that fails takes nothing from another, and those who are gone are forgotten."""
    budgets = Budgets()
    spent(budgets)
    assert budgets.spend("b:1")
    for number in range(5000):
        budgets.spend(f"c:{number}")
    assert len(budgets._left) <= 4096
