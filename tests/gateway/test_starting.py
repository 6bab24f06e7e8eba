"""Whom a gateway that has just started waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.catalog.catalog import Catalog
from fabric.core.cards import Timeouts
from fabric.core.changes import Changes, Hosted, Key, Kind
from fabric.core.replicas import State, Status
from fabric.gateway.starting import Starting
from fabric.testing import ManualClock, specialist

A = specialist("a", timeouts=Timeouts(startup=60))
B = specialist("b", timeouts=Timeouts(startup=30))


@pytest.fixture
def catalog():
    made = Catalog()
    declare(made, A, B)
    return made


@pytest.fixture
def clock():
    return ManualClock()


def declare(catalog, *specialists, state=State.PENDING, removed=()):
    hosted = tuple(Hosted(each, Status(state=state)) for each in specialists)
    revision = catalog.revision + 1
    catalog.update(Changes(revision=revision, specialists=hosted, removed=removed))


def over(starting, *keys):
    """Whether it is over when those of *keys* can be asked."""
    starting.look(lambda key: key in keys)
    return starting.is_over


def test_it_is_over_when_each_could_be_asked(catalog, clock):
    """One after the other will do."""
    starting = Starting(catalog, clock)
    assert not over(starting)
    assert not over(starting, "a:1")
    assert over(starting, "b:1")
    assert over(starting)


def test_nobody_waits_for_what_has_failed_or_is_gone(catalog, clock):
    """Taken out, unloaded, or unable to start."""
    starting = Starting(catalog, clock)
    declare(catalog, A, state=State.FAILED)
    assert not over(starting)
    declare(catalog, removed=(Key(Kind.SPECIALIST, "b:1"),))
    assert over(starting)
    starting = Starting(catalog, clock)
    declare(catalog, replace(A, hosting=replace(A.hosting, loaded=False)), state=State.UNLOADED)
    assert over(starting)


def test_nobody_waits_for_longer_than_a_start_may_take(catalog, clock):
    """Each by its card."""
    starting = Starting(catalog, clock)
    clock.advance(31)
    assert not over(starting)
    clock.advance(30)
    assert over(starting)


def test_what_is_declared_later_is_not_waited_for(catalog, clock):
    """It takes nobody out of service."""
    starting = Starting(catalog, clock)
    declare(catalog, specialist("c"))
    assert over(starting, "a:1", "b:1")
