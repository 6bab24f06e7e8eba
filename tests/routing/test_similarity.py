"""Which card says what a request is about."""

from __future__ import annotations

import numpy as np
import pytest

from fabric.core.cards import Card
from fabric.routing.similarity import MOST_TEXTS, Embedded, Words, said

CARDS = (
    Card(name="contracts", description="Reads contracts and other legal documents."),
    Card(name="recipes", examples=("How long does rice boil?", "What goes with a white fish?")),
    Card(name="quiet"),
)


def test_examples_are_what_a_card_says():
    """Its description only where there are none, and not without end."""
    many = Card(name="a", examples=tuple(map(str, range(2 * MOST_TEXTS))), description="numbers")

    assert said(CARDS[0]) == (CARDS[0].description,)
    assert said(CARDS[2]) == ()
    assert len(said(many)) == MOST_TEXTS


def test_a_request_is_nearest_to_whoever_says_its_words():
    """Cards that say nothing are in no way similar."""
    words = Words(CARDS)

    legal = words.similarities("Is this contract a legal one?")
    rice = words.similarities("boil the rice")

    assert legal["contracts:1"] > legal["recipes:1"] >= 0
    assert rice["recipes:1"] > rice["contracts:1"] >= 0
    assert "quiet:1" not in legal


def test_one_example_that_is_the_request_is_all_there_is():
    """Whatever the others are."""
    words = Words(CARDS)

    assert words.similarities("what goes with a white FISH")["recipes:1"] == pytest.approx(1)


def test_a_request_without_words_that_are_known_is_like_nobody():
    """Nor is an empty one."""
    for text in ("", "zzz", "?!"):
        assert set(Words(CARDS).similarities(text).values()) == {0.0}


def test_words_that_all_cards_have_count_least():
    """They tell nobody from anybody."""
    cards = [Card(name=each, examples=(f"please read {each}",)) for each in ("maps", "mail")]

    words = Words(cards)

    assert words.similarities("maps")["maps:1"] > words.similarities("please")["maps:1"] > 0


def test_nobody_says_anything():
    """Then there are no similarities."""
    assert Words([]).similarities("a") == {}
    assert Words([Card(name="quiet")]).similarities("a") == {}
    assert Embedded({}).similarities((1.0,)) == {}


def test_embeddings_are_compared_by_their_cosine():
    """The largest of a card's, and none below zero."""
    embedded = Embedded(
        {
            "a:1": [np.array([2, 0], np.float32), np.array([0, 3], np.float32)],
            "b:1": [np.array([-1, -1], np.float32)],
        }
    )

    assert embedded.similarities((0.0, 5.0)) == {"a:1": 1.0, "b:1": 0.0}
    assert embedded.similarities((1.0, 1.0))["a:1"] == pytest.approx(0.5**0.5)
    assert embedded.similarities((0.0, 0.0)) == {"a:1": 0.0, "b:1": 0.0}


def test_an_embedding_of_another_length_is_of_another_encoder():
    """It has no similarity to any."""
    assert Embedded({"a:1": [np.ones(2, np.float32)]}).similarities((1.0, 1.0, 1.0)) == {}
