"""Ratios, what is recorded of them, and when one has fallen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.figures import Ratio
from tests.benchmarks.report import BEGIN, END, cells, fallen, renewed, verdict, with_table

RATE = Ratio(
    part="closed",
    what="small c64, requests",
    unit="/s",
    ours=1300.0,
    against="triton",
    other=1000.0,
    target=1.3,
)
LATENCY = replace(RATE, what="small c1, mean latency", ours=1.04, other=1.0, is_limited=True)


@pytest.mark.parametrize(
    ("ratio", "recorded", "has_fallen"),
    [
        (RATE, 1.3, False),
        (RATE, 1.62, False),
        (RATE, 1.63, True),
        (LATENCY, 1.04, False),
        (LATENCY, 0.84, False),
        (LATENCY, 0.83, True),
    ],
)
def test_a_ratio_has_fallen_when_it_is_worse_by_more_than_a_fifth(ratio, recorded, has_fallen):
    """Worse is less of what there should be more of, and more of what is limited."""
    assert ratio.has_fallen(recorded) is has_fallen
    said = f"{ratio.key}: × {ratio.value:.2f}, worse than the recorded {recorded:.2f} by more than"
    assert fallen([ratio], {ratio.key: recorded}) == [f"{said} 20%"] * has_fallen


def test_what_was_never_recorded_has_not_fallen():
    """A new ratio is held to nothing."""
    assert fallen([RATE], {}) == []


@pytest.mark.parametrize(
    ("ratio", "recorded", "said"),
    [
        (RATE, None, "met"),
        (replace(RATE, ours=1299.0), None, "missed"),
        (replace(LATENCY, target=1.05), None, "met"),
        (replace(LATENCY, target=1.03), None, "missed"),
        (replace(RATE, target=None), None, ""),
        (RATE, 2.0, "fell"),
    ],
)
def test_a_target_is_met_missed_or_not_there_and_a_fall_comes_first(ratio, recorded, said):
    """One word for each row."""
    assert verdict(ratio, recorded) == said


def test_a_row_says_both_figures_with_their_unit():
    """Large ones in full, small ones to three digits."""
    assert cells(RATE, 1.25) == (
        "closed",
        "small c64, requests",
        "1,300 /s",
        "triton",
        "1,000 /s",
        "× 1.30",
        "≥ 1.30",
        "1.25",
        "met",
    )
    assert cells(LATENCY, None)[2:] == ("1.04 /s", "triton", "1 /s", "× 1.04", "≤ 1.30", "", "met")


def test_recording_a_part_renews_all_of_it_and_nothing_else():
    """What a part no longer gives is forgotten; what swings is not recorded at all."""
    before = {"closed: gone against triton": 2.0, "open: p50 against triton": 0.7}
    swinging = replace(RATE, what="p99", is_steady=False)
    assert renewed(before, [RATE, swinging], ["closed"]) == {
        "closed: small c64, requests against triton": 1.3,
        "open: p50 against triton": 0.7,
    }


def test_the_readmes_table_keeps_the_rows_of_parts_that_were_not_measured():
    """All around the table stays as it is."""
    old = f"before\n{BEGIN}{END}after\n"
    both = with_table(old, [RATE, replace(RATE, part="open")], ["closed", "open"], "ray")
    changed = with_table(both, [replace(RATE, ours=2000.0)], ["closed"], "ray")

    rows = [line for line in changed.splitlines() if line.startswith("| ")]
    assert [row.split("|")[6].strip() for row in rows] == ["ratio", "× 2.00", "× 1.30"]
    assert changed.startswith(f"before\n{BEGIN}On ")
    assert changed.endswith(f"\n{END}after\n")
