"""What an evaluation says of tables whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from fabric.core.cards import Evidence
from fabric.core.decisions import Query
from fabric.core.errors import InvalidRequest, NotFound
from fabric.learning.evaluation import Wanted, evaluate
from fabric.learning.ladder import ORACLE, RANDOM, SINGLE, TASK_ORACLE
from fabric.learning.measures import means
from fabric.learning.outcomes import Table
from fabric.learning.resampling import intervals, resampled

ROWS = 600
FEW = ("fixed", "prior per task", "declared evidence")


def table(quality, *, domains=None, texts=None, cost=None):
    quality = np.asarray(quality, float)
    rows, k = quality.shape
    domains = domains if domains is not None else [""] * rows
    texts = texts if texts is not None else [""] * rows
    queries = tuple(Query(domain=str(d), text=t) for d, t in zip(domains, texts, strict=True))
    costs = np.tile(np.zeros(k) if cost is None else cost, (rows, 1))
    return Table(tuple("abcdef"[:k]), queries, quality, costs, np.zeros((rows, k)))


def flips(rng, probability, rows=ROWS):
    return (rng.random(rows) < probability).astype(float)


@pytest.fixture(scope="module")
def domains():
    """`a` is good everywhere, `b` better in `x` and bad elsewhere, `c` a dearer copy of `b`."""
    rng = np.random.default_rng(1)
    where = np.array(["x", "y", "z"])[np.arange(ROWS) % 3]
    general = flips(rng, 0.7)
    special = np.where(where == "x", flips(rng, 0.97), flips(rng, 0.2))
    texts = [f"about {place} number {row}" for row, place in enumerate(where)]
    quality = np.column_stack([general, special, special])
    return evaluate(table(quality, domains=where, texts=texts, cost=[1, 1, 2]), Wanted(folds=2))


def verdicts(report, specialist):
    return {c.domain: c.verdict for c in report.cells if c.specialist == specialist}


def test_a_specialist_is_best_where_it_is(domains):
    """And worse where it is not: nobody is best at everything."""
    assert domains.generalist == domains.best_single == "a"
    assert verdicts(domains, "b") == {"": "worse", "x": "better", "y": "worse", "z": "worse"}
    assert set(verdicts(domains, "a").values()) == {""}


def test_copies_are_redundant_and_the_dearer_one_is_named(domains):
    """Neither adds to the other; both add to the generalist."""
    first = domains.pairs[0]
    assert first.specialists == ("b", "c")
    assert (first.agreement, first.added, first.redundant) == (1, (0, 0), "c")
    assert first.most == pytest.approx(3 / ROWS)
    assert [pair.redundant for pair in domains.pairs[1:]] == ["", ""]


def test_without_a_copy_the_oracle_loses_nothing(domains):
    """Without the only one of its kind it does."""
    losses = {worth.specialist: worth.oracle_loss for worth in domains.worth}
    assert losses["a"].low > 0
    assert losses["b"].value == losses["c"].value == 0
    assert {worth.specialist: worth.alone for worth in domains.worth}["c"] == 0


def test_the_ladder_leads_from_chance_to_the_oracle(domains):
    """What knows the domain is between the best single specialist and the oracle."""
    assert [domains.ladder[0].router, domains.ladder[-1].router] == [RANDOM, ORACLE]
    for router in ("prior per task", TASK_ORACLE):
        assert domains.rung(router).m.low > 0.05
        assert domains.rung(router).switched == pytest.approx(1 / 3)
    assert domains.rung(SINGLE).m.value == domains.rung("fixed").m.value == 0
    assert domains.rung(ORACLE).m.value == 1
    assert domains.rung(ORACLE).regret.value == 0


def test_words_tell_domains_apart(domains):
    """Routers that see the text alone find the domain in it."""
    for router in ("kNN", "clusters", "MLP"):
        assert domains.rung(router).m.value > 0.05


def test_routing_is_cheaper_at_the_same_quality():
    """The curve of who knows the domain passes the one by lot, and ends at the oracle's."""
    rng = np.random.default_rng(2)
    where = np.array(["easy", "hard"])[np.arange(ROWS) % 2]
    dear = flips(rng, 0.9)
    cheap = np.where(where == "easy", dear, flips(rng, 0.1))
    outcomes = table(np.column_stack([dear, cheap]), domains=where, cost=[1, 0])
    report = evaluate(outcomes, Wanted(routers=FEW))
    curves = {curve.router: curve for curve in report.curves}
    assert curves["by lot"].area.value == pytest.approx((dear.mean() + cheap.mean()) / 2)
    assert curves["prior per task"].area.low > curves["by lot"].area.high
    assert curves["oracle"].area.value > curves["prior per task"].area.value
    assert curves["prior per task"].saving == pytest.approx(0.5)
    assert list(curves["oracle"].cost) == sorted(curves["oracle"].cost)
    (prior,) = (each for each in report.recoveries if each.router == "prior per task")
    assert prior.area > 0.7
    assert prior.half == pytest.approx(0.25, abs=0.05)


def test_estimates_that_come_out_are_calibrated(domains):
    """The prior of a domain is what comes out in it; bins hold every outcome once."""
    (prior,) = (each for each in domains.calibrations if each.router == "prior per task")
    assert prior.error < 0.05
    assert sum(prior.rows) == 3 * ROWS


def test_cards_that_say_the_truth_route_as_well_as_a_prior():
    """And cards that lie do as badly as they deserve."""
    rng = np.random.default_rng(3)
    where = np.array(["x", "y"])[np.arange(ROWS) % 2]
    sides = [np.where(where == d, flips(rng, 0.95), flips(rng, 0.3)) for d in ("x", "y")]
    outcomes = table(np.column_stack(sides), domains=where)

    def said(**values):
        return tuple(Evidence(metric="accuracy", value=v, domain=d) for d, v in values.items())

    true = {"a": said(x=0.95, y=0.3), "b": said(x=0.3, y=0.95)}
    report = evaluate(outcomes, Wanted(routers=FEW, evidence=true))
    assert report.rung("declared evidence").quality == report.rung(TASK_ORACLE).quality
    lies = {"a": true["b"], "b": true["a"]}
    misled = evaluate(outcomes, Wanted(routers=FEW, evidence=lies))
    assert misled.rung("declared evidence").m.high < 0


def test_all_are_judged_on_the_outcomes_there_are():
    """Nobody is taken whose outcome is not known, and queries without any do not count."""
    quality = np.tile([[1.0, 0.0], [np.nan, 0.5], [1.0, np.nan], [np.nan, np.nan]], (10, 1))
    report = evaluate(table(quality), Wanted(routers=FEW))
    assert report.rows == 30
    assert report.notes[:2] == (
        "10 queries without any outcome are left out",
        "33.3% of outcomes are missing: all are judged on those there are",
    )
    assert report.rung(SINGLE).quality.value == pytest.approx(2.5 / 3)
    assert [w.quality.value for w in report.worth] == [1, 0.25]


def test_who_never_answered_is_worth_nothing():
    """Neither is anybody worse off for it, and one specialist alone is all there is."""
    rng = np.random.default_rng(6)
    one = flips(rng, 0.6, 80)
    report = evaluate(table(np.column_stack([one, np.full(80, np.nan)])), Wanted(folds=2))
    assert [w.oracle_loss.value for w in report.worth] == [one.mean(), 0]
    assert {r.router: r.quality.value for r in report.ladder}["learned"] == one.mean()
    alone = evaluate(table(one[:, None]), Wanted(folds=2))
    assert {rung.quality.value for rung in alone.ladder} == {one.mean()}
    assert (alone.pairs, alone.curves, alone.recoveries) == ((), (), ())


def test_routers_may_learn_from_another_table():
    """Which has the same specialists, in any order."""
    rng = np.random.default_rng(4)
    quality = np.column_stack([flips(rng, 0.2), flips(rng, 0.8)])
    train = table(quality[:, ::-1])
    turned = Table(("b", "a"), train.queries, train.quality, train.cost, train.seconds)
    report = evaluate(table(quality), Wanted(routers=FEW), train=turned)
    assert report.folds == 0
    assert report.rung("fixed").switched == 0
    with pytest.raises(InvalidRequest, match="a table of other specialists: c"):
        evaluate(table(quality), Wanted(routers=FEW), train=table(np.ones((9, 3))))


def test_the_same_seed_gives_the_same_report(domains):
    """Decisions are reproducible."""
    rng = np.random.default_rng(5)
    outcomes = table(np.column_stack([flips(rng, 0.6, 60), flips(rng, 0.5, 60)]))
    first, again = (evaluate(outcomes, Wanted(seed=3, routers=("fixed", "MLP"))) for _ in range(2))
    assert [(r.router, r.quality, r.m) for r in first.ladder] == [
        (r.router, r.quality, r.m) for r in again.ladder
    ]


def test_what_cannot_be_evaluated_is_told():
    """With the way out."""
    few = table(np.ones((9, 2)))
    with pytest.raises(InvalidRequest, match="9 queries are too few to evaluate in 5 folds"):
        evaluate(few, Wanted(routers=FEW))
    with pytest.raises(NotFound, match="no specialist 'z' in the table"):
        evaluate(table(np.ones((20, 2))), Wanted(generalist="z"))


def test_where_nobody_differs_there_is_no_gap():
    """m is not a number, and nothing fails."""
    report = evaluate(table(np.ones((20, 2))), Wanted(routers=FEW))
    assert all(np.isnan(rung.m.value) for rung in report.ladder)
    assert {rung.regret.value for rung in report.ladder} == {0}
    assert report.curves == ()


def test_intervals_are_those_of_theory():
    """Of a mean of n flips, 1.96 standard errors to each side; missing ones do not count."""
    values = np.append(np.tile([0.0, 1.0], 500), np.full(200, np.nan))[:, None]
    (found,) = intervals(values)
    assert found.value == means(values)[0] == 0.5
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(1000), rel=0.1)
    np.testing.assert_array_equal(resampled(values), resampled(values))
