"""Records as a table."""

from __future__ import annotations

import numpy as np

from fabric.core.decisions import Decision, Feedback, Outcome, Query, Record
from fabric.learning.records import table_of


def test_a_table_has_a_row_for_every_record_with_a_reward():
    """Not a number where nobody asked; cost and time are then what they are on average."""

    def outcome(specialist, **fields):
        return Outcome(request="r", specialist=specialist, **{"seconds": 0.1, **fields})

    def record(name, *outcomes, score=None):
        query = Query(text=name)
        decision = Decision(request="r", route="d", time=0, query=query, candidates=("a", "b"))
        said = () if score is None else (Feedback(request="r", score=score),)
        return Record(decision, outcomes, said)

    first = record("0", outcome("a", cost=1.0), score=1.0)
    unknown = record("1", outcome("b"))
    shadow = outcome("b", cost=8.0, is_shadow=True)
    last = record("2", outcome("a", cost=3.0, seconds=0.3), shadow, score=0.0)
    table = table_of((first, unknown, last))
    assert table.candidates == ("a", "b")
    assert [query.text for query in table.queries] == ["0", "2"]
    np.testing.assert_array_equal(table.quality, [[1.0, np.nan], [0.0, np.nan]])
    np.testing.assert_allclose(table.cost, [[1.0, 8.0], [3.0, 8.0]])
    np.testing.assert_allclose(table.seconds, [[0.1, 0.1], [0.3, 0.1]])


def test_a_table_of_nothing_is_empty():
    """No records, no candidates."""
    assert table_of(()).quality.shape == (0, 0)
