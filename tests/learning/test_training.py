"""Policies that are trained from tables of outcomes."""

import json

import numpy as np
import pytest

from fabric.core.cards import Evidence
from fabric.core.decisions import Query
from fabric.learning import measures
from fabric.learning.outcomes import Table
from fabric.learning.training import Training, fit
from fabric.routing.learned import Learned
from tests.learning import tables

QUICK = Training(trees=8)


def quality(learned: Learned, held: Table) -> float:
    chosen = [learned.choose(query, held.candidates).first for query in held.queries]
    return float(measures.taken(held.quality, np.array(chosen)).mean())


@pytest.mark.parametrize(
    "make", [tables.of_texts, lambda **how: tables.of_texts(tagged=True, **how), tables.of_numbers]
)
def test_a_policy_is_better_than_the_best_single_candidate(make):
    """From texts, declared tasks or numbers alone a policy learns who is good at what."""
    learned, held = fit(make(seed=0), QUICK), make(seed=1)

    assert quality(learned, held) > held.quality.mean(0).max() + 0.1
    assert learned.report["switched"] > 0.1
    assert learned.report["gain"]["low"] > 0


@pytest.mark.parametrize("stages", [("prior",), ("prior", "words"), ("prior", "forest", "words")])
def test_each_stage_is_usable_alone(stages):
    """A policy of some of the stages alone has nothing of the others, and answers."""
    made = tables.of_texts(tagged=True)

    learned = fit(made, Training(trees=8, stages=stages))

    assert (learned.words is not None, learned.forest is not None) == (
        "words" in stages,
        "forest" in stages,
    )
    assert quality(learned, tables.of_texts(seed=1, tagged=True)) > made.quality.mean(0).max()


def test_nobody_is_switched_to_where_there_is_nothing_to_learn():
    """Where outcomes have nothing to do with queries, the best single candidate stays first."""
    made = tables.of_texts()
    shuffled = np.random.default_rng(1).permutation(made.quality)

    learned = fit(tables.table(list(made.queries), shuffled), QUICK)

    assert not any(learned.choose(query, made.candidates).switched for query in made.queries[:50])


def test_probabilities_are_those_that_come_out():
    """On queries that training did not see, predicted and observed success agree."""
    learned, held = fit(tables.of_texts(rows=600), QUICK), tables.of_texts(rows=600, seed=1)

    predicted = np.array([learned.predict(query, held.candidates) for query in held.queries])

    assert measures.calibration_error(predicted, held.quality) < 0.06


def test_one_outcome_a_query_is_enough():
    """Where of each query one candidate at random was observed, who is good at what still shows."""
    made = tables.of_texts(rows=900, tagged=True)
    asked = np.random.default_rng(0).integers(0, 3, 900)
    seen = np.where(np.arange(3) == asked[:, None], made.quality, np.nan)

    learned = fit(tables.table(list(made.queries), seen), QUICK)

    held = tables.of_texts(seed=1, tagged=True)
    assert quality(learned, held) > held.quality.mean(0).max() + 0.1


def test_a_few_labels_are_shrunk_towards_all():
    """A task with two labels is expected to be like all others, nearly; one with many is not."""
    queries = [Query(task="usual")] * 200 + [Query(task="rare")] * 2
    outcomes = np.array([[1.0, 0.0]] * 200 + [[0.0, 1.0]] * 2)

    learned = fit(tables.table(queries, outcomes, ("a:1", "b:1")), QUICK)

    assert learned.predict(Query(task="rare"), ("a:1",))[0] > 0.8
    assert learned.predict(Query(task="usual"), ("a:1",))[0] > 0.95


def test_without_labels_the_evidence_of_cards_is_believed():
    """A candidate without any label is expected to do as its card's evidence says."""
    empty = tables.table([], np.zeros((0, 2)), ("a:1", "b:1"))
    evidence = {"b:1": [Evidence(metric="accuracy", value=0.9, rows=100)]}

    learned = fit(empty, QUICK, evidence=evidence)

    assert learned.best == "b:1"
    assert learned.predict(Query(), ("a:1", "b:1")) == pytest.approx([0.5, 0.9])


def test_discounted_outcomes_count_less():
    """Old outcomes that are weighed with nearly nothing do not decide who is best."""
    outcomes = np.array([[1.0, 0.0]] * 150 + [[0.0, 1.0]] * 50)
    made = tables.table([Query()] * 200, outcomes, ("a:1", "b:1"))

    aged = fit(made, QUICK, weights=0.9 ** np.arange(200)[::-1])

    assert fit(made, QUICK).best == "a:1"
    assert aged.best == "b:1"


def test_the_same_seed_gives_the_same_policy():
    """Training is reproducible to the byte, and its report is what JSON can say."""
    made = tables.of_texts()

    first, second = fit(made, QUICK, seed=3), fit(made, QUICK, seed=3)

    assert json.loads(json.dumps(first.report)) == second.report
    assert np.array_equal(first.score(made.queries[0]), second.score(made.queries[0]))


def test_nothing_is_learned_without_candidates():
    """A table without candidates is refused."""
    with pytest.raises(ValueError, match="without candidates"):
        fit(tables.table([], np.zeros((0, 0)), ()))


def test_unknown_stages_are_refused():
    """A misspelt stage is named, with those that there are."""
    with pytest.raises(ValueError, match=r"\['word'\].*words"):
        Training(stages=("word",))


@pytest.mark.parametrize("text", ["same", "!!", "only {}"])
def test_texts_that_say_nothing_teach_nothing(text):
    """All the same, without a word, or each with a word of its own; warnings are errors here."""
    queries = tuple(Query(text=text.format(row)) for row in range(80))
    learned = fit(tables.table(queries, np.tile([1.0, 0.0], (80, 1)), ("a:1", "b:1")))
    assert learned.predict(queries[0], ("a:1", "b:1")) == pytest.approx([1, 0], abs=0.05)


def test_scores_that_are_nearly_equal_make_a_curve():
    """As they are where tasks are all there is to go by, and old outcomes weigh less."""
    rows = np.arange(200)
    quality = np.full((200, 2), np.nan)
    quality[rows, rows % 2] = rows % 3 > 0
    queries = tuple(Query(task=("odd", "even")[row % 2]) for row in rows)
    nothing = np.zeros((200, 2))
    weights = 0.995 ** ((199 - rows) // 2).astype(float)
    learned = fit(Table(("a:1", "b:1"), queries, quality, nothing, nothing), weights=weights)
    assert Learned.read(learned.write()).predict(queries[0], ("a:1",)) == pytest.approx(
        0.66, abs=0.03
    )
