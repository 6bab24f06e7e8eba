"""Cascades fitted to answers whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from fabric.core.cards import Card
from fabric.core.decisions import Query
from fabric.core.errors import InvalidRequest
from fabric.core.routes import Cascade
from fabric.learning.cascades import DELTA, _chance, _fit, calibration, cascade_of, fit_cascade
from fabric.learning.outcomes import Table
from fabric.routing.confidence import calibrated

COST = np.array([1.0, 10.0])


def answers(rows, draw, dear=0.97):
    """A cheap candidate that is right as often as it is sure, and a dear one that mostly is."""
    sure = np.stack((draw.uniform(0.3, 1.0, rows), draw.uniform(0.9, 1.0, rows)), axis=1)
    right = np.stack((sure[:, 0], np.full(rows, dear)), axis=1)
    return sure, (draw.random((rows, 2)) < right).astype(np.float64)


def test_a_cascade_keeps_to_its_risk_and_saves():
    """The report says what is kept, passed on and spent."""
    draw = np.random.default_rng(0)
    confidence, correct = answers(4000, draw)
    fitted = fit_cascade(("cheap:1", "dear:1"), confidence, correct, COST, 0.1)
    report = fitted.report

    assert report.is_met
    assert report.wrong.high < 0.11
    assert report.accuracy_of_last.value == correct[:, 1].mean()
    assert report.kept.low < report.kept.value < report.kept.high
    assert report.kept.value == pytest.approx(report.accuracy.value / correct[:, 1].mean())
    assert report.saved.low > 0.2
    first, last = report.stages
    assert (first.specialist, first.asked.value, last.escalated.value) == ("cheap:1", 1.0, 0.0)
    assert last.asked.value == pytest.approx(first.escalated.value)
    assert report.cost.value == pytest.approx(1 + 10 * last.asked.value)
    assert report.saved.value == pytest.approx(1 - report.cost.value / 10)


def test_what_was_fitted_is_what_the_gateway_reads():
    """Its settings give on new rows what they were chosen for."""
    draw = np.random.default_rng(1)
    fitted = fit_cascade(("cheap", "dear"), *answers(4000, draw), COST, 0.1)
    settings = fitted.settings(Cascade(confidence="output", output="sure"))
    assert (settings.confidence, settings.output, settings.risk) == ("output", "sure", 0.1)

    confidence, correct = answers(4000, draw)
    read = [calibrated(settings.calibrations, Card(name="cheap"), c) for c in confidence[:, 0]]
    is_sure = np.array(read) >= settings.threshold
    wrong = 1 - np.where(is_sure, correct[:, 0], correct[:, 1])
    assert 0.07 < wrong.mean() < 0.11
    assert 0.2 < is_sure.mean() < 1.0


def test_the_report_is_of_the_cascade_that_is_deployed():
    """Its intervals hold what that very one does on new requests about as often as they say."""
    draw = np.random.default_rng(8)
    truth, _ = answers(20_000, draw)
    wrong = saved = 0
    for seed in range(40):
        fitted = fit_cascade("ab", *answers(600, draw), COST, 0.08, seed)
        points = [(each.confidence, each.accuracy) for each in fitted.calibrations]
        is_sure = np.interp(truth[:, 0], *points[0]) >= fitted.threshold
        risk = 1 - np.where(is_sure, truth[:, 0], 0.97).mean()
        spared = 1 - (1 + 10 * (~is_sure).mean()) / 10
        report = fitted.report
        wrong += report.wrong.low <= risk <= report.wrong.high
        saved += report.saved.low <= spared <= report.saved.high
    assert wrong >= 32
    assert saved >= 34


def test_the_risk_is_missed_no_more_often_than_promised():
    """Over many small samples, by the truth that they were drawn from."""
    draw = np.random.default_rng(2)
    truth, _ = answers(20_000, draw)
    missed = met = 0
    for _ in range(100):
        fitted = _fit(*answers(300, draw), COST, 0.12, draw)
        met += fitted.is_met
        stage = fitted.stages(truth)
        risk = 1 - np.where(stage == 0, truth[:, 0], 0.97)
        missed += fitted.is_met and risk.mean() > 0.12
    assert met > 50
    assert binomtest(missed, 100, DELTA, alternative="greater").pvalue > 0.05


@pytest.mark.parametrize("seed", range(10))
def test_a_risk_that_leaves_room_is_certified_whatever_the_seed(seed):
    """As far from the risk as two readers of digits are, of whom the dear one is wrong in 5.8 %."""
    confidence, correct = answers(2245, np.random.default_rng(10))
    correct[:, 1] = np.random.default_rng(11).permutation(2245) >= 130
    report = fit_cascade(("cheap", "dear"), confidence, correct, COST, 0.07, seed).report
    assert report.is_met
    assert report.wrong.value < 0.07


def test_the_last_need_not_be_the_best():
    """Then what is tested begins where others answer what they are sure of."""
    confidence, correct = answers(4000, np.random.default_rng(12), dear=0.7)
    report = fit_cascade(("cheap", "dear"), confidence, correct, COST, 0.25).report
    assert report.is_met
    assert 0.1 < report.stages[0].escalated.value < 0.9


def test_a_risk_that_nobody_can_keep_is_said_to_be_missed():
    """The threshold is then that of the fewest wrong answers."""
    draw = np.random.default_rng(3)
    confidence, correct = answers(2000, draw)
    fitted = fit_cascade(("cheap", "dear"), confidence, correct, COST, 0.001)
    assert not fitted.report.is_met
    assert fitted.report.accuracy.value > 0.95


def test_a_cheap_one_that_is_always_right_is_enough():
    """The others are not asked then."""
    draw = np.random.default_rng(4)
    confidence, correct = answers(1000, draw)
    correct[:, 0] = 1.0
    report = fit_cascade(("cheap", "dear"), confidence, correct, COST, 0.05).report
    assert report.stages[0].escalated.value == 0.0
    assert report.saved.value == pytest.approx(0.9)


def test_the_same_seed_fits_the_same():
    """And rows are drawn by it."""
    given = answers(500, np.random.default_rng(5))
    one, same, other = (fit_cascade("ab", *given, COST, 0.1, seed) for seed in (0, 0, 1))
    assert one == same
    assert one.calibrations != other.calibrations


def test_calibrations_increase_and_are_never_certain():
    """However odd the confidence is: also one of two values only."""
    draw = np.random.default_rng(6)
    for confidence in (draw.random(500), draw.integers(0, 2, 500).astype(float), np.ones(500)):
        at, accuracy = calibration(confidence, np.ones(500))
        assert np.all(np.diff(at) > 0)
        assert np.all((accuracy > 0.9) & (accuracy < 1.0))
        at, accuracy = calibration(confidence, (draw.random(500) < 1 - confidence).astype(float))
        assert np.all(np.diff(accuracy) >= 0)
    right = (draw.random(4000) < 0.5).astype(float)
    _, accuracy = calibration(draw.random(4000), right)
    assert accuracy == pytest.approx(np.full(len(accuracy), 0.5), abs=0.1)


@pytest.mark.parametrize("scale", [1.0, 0.9])
def test_the_chance_is_a_bound(scale):
    """Under a true share at the risk, small chances are as rare as they say: binomial where wrong
    is wrong, else by an inequality."""
    draw = np.random.default_rng(7)
    risk = 0.2 * scale
    chances = [_chance((draw.random(100) < 0.2) * scale, risk) for _ in range(2000)]
    assert np.mean(np.array(chances) <= 0.1) <= 0.1
    assert _chance(np.zeros(100), 0.2) < 1e-6
    assert _chance(np.full(100, 0.5), 0.2) == 1.0
    assert _chance(np.full(100, 0.5), 1.0) == 0.0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"order": ("a",)}, "confidence is of"),
        ({"cost": np.ones(3)}, "cost is of"),
        ({"confidence": np.full((100, 2), np.nan)}, "nobody knows how sure a is"),
        ({"correct": np.full((100, 2), 2.0)}, "lie from 0 to 1"),
        ({"risk": 1.5}, "lie from 0 to 1"),
        ({"confidence": np.ones((9, 2)), "correct": np.ones((9, 2))}, "9 rows are too few"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, why):
    """With what is wrong."""
    given = {
        "order": ("a", "b"),
        "confidence": np.ones((100, 2)),
        "correct": np.ones((100, 2)),
        "cost": COST,
        "risk": 0.1,
    }
    with pytest.raises(ValueError, match=why):
        fit_cascade(**(given | change))


def test_one_candidate_is_no_cascade():
    """There is nobody to pass on to."""
    with pytest.raises(ValueError, match="two candidates"):
        fit_cascade(("a",), np.ones((100, 1)), np.ones((100, 1)), np.ones(1), 0.1)


# ------------------------------------------------------------------ of a table
def outcomes(rows=400, costs=(10.0, 1.0, 99.0), **changes):
    """The dear one stands first, and nobody needs the third."""
    confidence, correct = answers(rows, np.random.default_rng(9))
    order = [1, 0, 1]
    given = {
        "quality": correct[:, order],
        "cost": np.tile(np.array(costs), (rows, 1)),
        "seconds": np.zeros((rows, 3)),
        "confidence": confidence[:, order],
    }
    return Table(("dear:1", "cheap:1", "third:1"), (Query(),) * rows, **(given | changes))


def test_a_table_gives_a_cascade_of_the_cheapest_first():
    """As many as a request may ask, and over the queries that all of these answered."""
    table = outcomes()
    table.quality[:7, 0] = np.nan
    table.quality[7:400, 2] = np.nan  # who is not among them
    fitted = cascade_of(table, 0.12, most=2)
    assert [stage.specialist for stage in fitted.report.stages] == ["cheap:1", "dear:1"]
    assert fitted.report.rows == 393
    rows = slice(7, None)
    assert table.confidence is not None
    same = fit_cascade(
        ("cheap:1", "dear:1"),
        table.confidence[rows, [1, 0]],
        table.quality[rows, [1, 0]],
        COST,
        0.12,
    )
    assert fitted == same


def test_all_of_a_table_are_asked_unless_there_is_a_most():
    """The most expensive one comes last."""
    stages = cascade_of(outcomes(), 0.12).report.stages
    assert [stage.specialist for stage in stages] == ["cheap:1", "dear:1", "third:1"]


@pytest.mark.parametrize(
    ("table", "most", "why"),
    [
        (outcomes(confidence=None), 0, "needs the confidence of answers: name its columns"),
        (outcomes(costs=(0.0, 0.0, 0.0)), 0, "needs the costs of its specialists"),
        (outcomes(rows=79), 0, "no cascade: 79 rows are too few"),
        (outcomes(quality=np.full((400, 3), [1, 1, np.nan])), 0, "needs answers of third:1"),
        (outcomes(), 1, "no cascade: a cascade has two candidates at least"),
    ],
)
def test_a_table_that_tells_too_little_is_refused(table, most, why):
    """With what it lacks."""
    with pytest.raises(InvalidRequest, match=why):
        cascade_of(table, 0.1, most)
