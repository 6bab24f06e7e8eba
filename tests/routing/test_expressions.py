"""Requirements as expressions over cards."""

from __future__ import annotations

import pytest

from fabric.core.cards import Card, Evidence
from fabric.core.errors import InvalidRequest, Overloaded
from fabric.routing.allowance import Allowance
from fabric.routing.expressions import allowance, check_of, check_of_asked, compiled
from fabric.testing import ManualClock

CARD = Card(
    name="rotated",
    cost=1.5,
    languages=("de", "en"),
    labels={"tier": "gold"},
    evidence=(Evidence(metric="accuracy", value=0.93, domain="cursive"),),
)


@pytest.mark.parametrize(
    "expression",
    [
        "card.cost <= 2",
        "card.cost <= 2.0 && 'de' in card.languages",
        "card.labels.tier == 'gold'",
        "!has(card.labels.team) || card.labels.team == 'vision'",
        "card.evidence.exists(e, e.metric == 'accuracy' && e.value > 0.9)",
        "card['cost'] > 1.0",
        "card.signature == null && card.owner == ''",
        "card.name == 'rotated' // the good one",
    ],
)
def test_an_expression_sees_all_of_the_card(expression):
    """Its fields by their names, lists as lists, and what is not known as null or empty."""
    assert check_of(expression)(CARD) == ""


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("card.cost < 1.0", "is false"),
        ("card.cost", "gives 1.5, not true or false"),
        ("card.labels.team == 'a'", "fails: card has no 'team'; ask has(…) first"),
        ("card.evidence[1].value > 0.0", "fails: index out of bounds: 1"),
        ("card.owner > 1", "fails: No such overload"),
    ],
)
def test_what_is_not_true_refuses_with_the_reason(expression, reason):
    """Also where it cannot be said of that card."""
    assert check_of(expression)(CARD).startswith(f"expression `{expression}` {reason}")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("card.cost <", "is no expression: column 12: mismatched input '<EOF>'"),
        ("true &&\n && false", "is no expression: line 2, column 2: "),
        ("cost < 1", "names 'cost'; did you mean 'card.cost'"),
        ("request.id == ''", "names 'request'; all it knows is `card`"),
        ("card.language == 'de'", "'card.language', which no card has; did you mean"),
        ("true" + " && true" * 1000, "at most 4096 characters, not 8004"),
    ],
)
def test_what_is_no_expression_is_refused_where_it_is_declared(expression, message):
    """With the position, or the nearest name."""
    with pytest.raises(InvalidRequest) as caught:
        compiled(expression)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "expression",
    [
        "card.name.matches('(a{100}){100}')",
        "[1].all(x, [1].all(y, x == y))",
        "[1].all(x, [1].all // (\n(y, x == y))",
        "card.cost < 1.0" + " || card.cost < 1.0" * 15,
    ],
)
def test_a_request_may_not_bring_what_is_dear(expression):
    """A route may."""
    compiled(expression)
    with pytest.raises(InvalidRequest, match="state it in a route"):
        check_of_asked(expression, allowance())


def test_expressions_of_requests_have_a_share_of_the_time():
    """What is saved is used up, then they are refused until time has passed."""
    clock, cpu = ManualClock(), ManualClock()
    given = Allowance(0.05, 0.2, "state them in a route", clock, cpu)
    check = check_of_asked("card.cost < 2.0", given)
    assert check(CARD) == ""
    with given.taken():
        cpu.advance(0.3)
    with pytest.raises(Overloaded, match="state them in a route") as refused:
        check(CARD)
    assert refused.value.retry_after == pytest.approx(2.0)
    with pytest.raises(Overloaded):
        check_of_asked("card.cost < 3.0", given)
    clock.advance(2.5)
    assert check(CARD) == ""
