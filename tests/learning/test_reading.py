"""Tables of outcomes, out of files and into them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fabric.core.decisions import Query
from fabric.core.errors import FabricError, InvalidRequest, NotFound
from fabric.learning.files import write
from fabric.learning.outcomes import Table
from fabric.learning.reading import Columns, read, table_of

WIDE = pl.DataFrame(
    {
        "prompt": ["one", "two", "three"],
        "kind": ["a", "b", None],
        "x1": [1.0, 2.0, 3.0],
        "x2": [4, 5, 6],
        "note": ["", "", ""],
        "big": [1.0, 0.5, None],
        "small": [True, False, True],
        "big|usd": [0.2, 0.3, None],
        "small|usd": [0.1, 0.1, 0.1],
    }
)
COLUMNS = Columns(quality=("{}",), cost=("{}|usd",), text="prompt", task="kind", numbers="x*")


def test_a_pattern_names_specialists_by_what_it_leaves_open():
    """Columns that mean something else, and texts, are none of them."""
    table = table_of(WIDE, COLUMNS)
    assert table.candidates == ("big", "small")
    np.testing.assert_array_equal(table.quality, [[1, 1], [0.5, 0], [np.nan, 1]])
    np.testing.assert_array_equal(table.cost, [[0.2, 0.1], [0.3, 0.1], [0, 0.1]])
    assert not table.seconds.any()
    assert table.queries[0] == Query(text="one", task="a", numbers=(1.0, 4.0))
    assert table.queries[2] == Query(text="three", numbers=(3.0, 6.0))


def test_specialists_may_be_named_and_have_one_cost():
    """A number in the place of a column holds for all rows."""
    columns = Columns(quality=("s=small", "b=big"), cost=("s=0", "b=1.5"), where="x1 < 3")
    table = table_of(WIDE, columns)
    assert table.candidates == ("s", "b")
    np.testing.assert_array_equal(table.cost, [[0, 1.5], [0, 1.5]])


LONG = pl.DataFrame(
    {
        "id": [1, 1, 2, 3, 3],
        "text": ["one", "one", "two", "three", "three"],
        "model": ["a", "b", "a", "b", "a"],
        "score": [1.0, 0.0, 1.0, 0.5, 0.0],
        "seconds": [0.1, 0.2, 0.1, 0.2, 0.3],
    }
)


def test_a_long_table_is_read_as_a_wide_one():
    """Who was not asked has no outcome."""
    table = table_of(LONG, Columns(query="id", specialist="model", quality=("score",)))
    assert table.candidates == ("a", "b")
    assert [query.text for query in table.queries] == ["one", "two", "three"]
    np.testing.assert_array_equal(table.quality, [[1, 0], [1, np.nan], [0, 0.5]])
    np.testing.assert_array_equal(table.seconds, [[0.1, 0.2], [0.1, 0], [0.3, 0.2]])


def test_a_query_has_one_outcome_of_a_specialist():
    """Which of two would count?"""
    twice = pl.concat([LONG, LONG[:1]])
    with pytest.raises(InvalidRequest, match="query 1 has two rows of specialist 'a'"):
        table_of(twice, Columns(query="id", specialist="model", quality=("score",)))


SURE = WIDE.with_columns(
    pl.Series("big|sure", [0.9, None, 0.25]), pl.Series("small|sure", [1, 0, 1])
)
SURELY = Columns(**{**vars(COLUMNS), "confidence": ("{}|sure",)})


def test_confidence_is_read_like_quality():
    """Its columns are no specialists, and where there is none it is not a number."""
    table = table_of(SURE, SURELY)
    assert table.candidates == ("big", "small")
    np.testing.assert_array_equal(table.confidence, [[0.9, 1], [np.nan, 0], [0.25, 1]])
    one = table_of(SURE, Columns(**{**vars(SURELY), "confidence": ("big=big|sure",)}))
    np.testing.assert_array_equal(one.confidence[:, 1], [np.nan] * 3)
    assert table_of(WIDE, COLUMNS).confidence is None
    np.testing.assert_array_equal(table.rows(np.array([2])).confidence, [[0.25, 1]])


def test_a_long_table_has_one_column_of_confidence():
    """By its own name, or the one that is given."""
    told = LONG.with_columns(sure=pl.Series([0.1, 0.2, 0.3, 0.4, 0.5]))
    for named, given in ((told, ("sure",)), (told.rename({"sure": "confidence"}), None)):
        columns = Columns(query="id", specialist="model", quality=("score",))
        if given is not None:
            columns = Columns(**{**vars(columns), "confidence": given})
        table = table_of(named, columns)
        np.testing.assert_array_equal(table.confidence, [[0.1, 0.2], [0.3, np.nan], [0.5, 0.4]])


@pytest.mark.parametrize(
    ("confidence", "error", "message"),
    [
        ("big=0.9", NotFound, "--confidence: no column '0.9'"),
        ("bg=big|sure", NotFound, "--confidence: no specialist 'bg'; did you mean 'big'?"),
        ("{}|surely", NotFound, "--confidence: no column of numbers is like {}|surely"),
        ("big=x1", InvalidRequest, "row 2, column 'x1': confidence is 2, it must be from 0 to 1"),
    ],
)
def test_confidence_that_cannot_be_is_refused(confidence, error, message):
    """A number for all rows would say nothing of any."""
    with pytest.raises(error) as raised:
        table_of(SURE, Columns(**{**vars(SURELY), "confidence": (confidence,)}))
    assert message in raised.value.message


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_what_is_written_is_read_again(tmp_path, kind):
    """Without saying which column means what."""
    table = table_of(SURE, SURELY)
    write(table, str(tmp_path / f"t.{kind}"))
    again = read(str(tmp_path / f"t.{kind}"))
    assert again.candidates == table.candidates
    assert again.queries == table.queries
    np.testing.assert_array_equal(again.quality, table.quality)
    np.testing.assert_array_equal(again.cost, table.cost)
    np.testing.assert_array_equal(again.confidence, table.confidence)


def test_files_are_read_by_any_uri_of_fsspec():
    """Not from this machine alone."""
    import fsspec

    with fsspec.open("memory://t.csv", "w") as file:
        file.write("a|quality,b|quality\n1,0\n")
    assert read("memory://t.csv").candidates == ("a", "b")


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"text": "prompts"}, NotFound, "--text: no column 'prompts'; did you mean 'prompt'?"),
        ({"quality": ("b=bgi",)}, NotFound, "--quality: no column 'bgi'; did you mean 'big'?"),
        ({"quality": ("big",)}, InvalidRequest, "--quality 'big' must read NAME=COLUMN"),
        ({"quality": ("{}|q",)}, NotFound, "--quality: no column of numbers is like {}|q"),
        ({}, InvalidRequest, "no column has the quality of a specialist"),
        ({"quality": ("x=x2",)}, InvalidRequest, "row 1, column 'x2': quality is 4, it must be"),
        ({"quality": ("n=note",)}, InvalidRequest, "column 'note' does not hold numbers alone"),
        (
            {"quality": ("b=big",), "cost": ("bg=1",)},
            NotFound,
            "--cost: no specialist 'bg'; did you mean 'b'?",
        ),
        (
            {"quality": ("b=big",), "cost": ("b=-1",)},
            InvalidRequest,
            "column '-1': cost cannot be negative",
        ),
        ({"numbers": "y*"}, NotFound, "--numbers: no column of numbers is like 'y*'"),
        ({"where": "y = 1"}, InvalidRequest, "the columns are prompt, kind"),
        ({"where": "x1 > 9"}, InvalidRequest, "the table has no rows that --where keeps"),
        ({"query": "prompt"}, InvalidRequest, "give --specialist"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_way_out(columns, error, message):
    """It names the option and the column."""
    with pytest.raises(error) as raised:
        table_of(WIDE, Columns(**columns))
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "there is no file"),
        ("t.xlsx", b"", "is no table: use one of .csv, .parquet, .jsonl"),
        ("t.parquet", b"no parquet", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, message):
    """By its name."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FabricError, match=message):
        read(str(tmp_path / name))


def test_a_table_is_written_as_a_kind_of_table(tmp_path):
    """By the end of its name."""
    one = np.ones((1, 1))
    with pytest.raises(InvalidRequest, match=r"use .parquet, .csv or .jsonl"):
        write(Table(("a",), (Query(),), one, one, one), str(tmp_path / "t.txt"))
