"""Watching a catalog."""

from __future__ import annotations

import asyncio

import pytest

from fabric.catalog.catalog import Catalog, Changes
from fabric.catalog.feed import Feed, first_revision
from fabric.core.policies import Policy
from fabric.testing import pipeline, route

START = first_revision(3)


def adding(name: str) -> Changes:
    return Changes(revision=0, routes=(route(name, "a"),))


@pytest.fixture
def catalog() -> Catalog:
    catalog = Catalog()
    catalog.update(Changes(revision=START, snapshot=True))
    return catalog


@pytest.fixture
def feed(catalog) -> Feed:
    return Feed(catalog, kept=4)


def test_revisions_of_a_later_start_are_above_all_earlier_ones(catalog, feed):
    """A revision is never used twice, however many changes there were before a restart."""
    assert feed.publish(adding("a")).revision == START + 1
    assert first_revision(4) > catalog.revision + 2**31


def test_a_watcher_that_resumes_gets_what_it_missed(feed):
    """As long as the changes are kept, nothing else is sent."""
    first, second = feed.publish(adding("a")), feed.publish(adding("b"))

    assert feed.since(START) == (first, second)
    assert feed.since(first.revision) == (second,)
    assert feed.since(second.revision) == ()


@pytest.mark.parametrize("revision", [0, 1, first_revision(2) + 5, START, START + 99])
def test_a_watcher_of_another_time_gets_a_snapshot(catalog, feed, revision):
    """A revision that is too old, of an earlier start, or not yet reached, means a snapshot."""
    for name in "abcdef":
        feed.publish(adding(name))

    assert feed.since(revision) == (catalog.snapshot(),)


def test_pipelines_are_kept_as_far_as_there_is_room(catalog, feed, monkeypatch):
    """Those of many steps take more of it."""
    monkeypatch.setattr("fabric.catalog.feed._MOST_BYTES", 3 << 11)
    for calls in (("a",), ("a", "b")):
        feed.publish(Changes(revision=0, pipelines=(pipeline("p", *calls),)))
    assert not feed.since(START)[0].snapshot
    feed.publish(Changes(revision=0, pipelines=(pipeline("p", "a"),)))
    assert feed.since(START)[0].snapshot
    assert not feed.since(START + 1)[0].snapshot


def test_policies_are_kept_as_far_as_there_is_room(catalog, feed, monkeypatch):
    """They may be large: whoever has not seen the last of them starts again from a snapshot."""
    monkeypatch.setattr("fabric.catalog.feed._MOST_BYTES", 100)
    learned = [
        feed.publish(Changes(revision=0, policies=(Policy(route="a", version=n, data=bytes(60)),)))
        for n in (1, 2)
    ]

    assert feed.since(learned[0].revision) == (learned[1],)
    assert feed.since(START) == (catalog.snapshot(),)


async def test_changes_arrive_as_they_happen(catalog, feed):
    """A watcher gets the snapshot, then each change by itself."""
    watch = feed.watch(0)
    assert await anext(watch) == catalog.snapshot()
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    change = feed.publish(adding("a"))

    assert await waiting == change


async def test_a_watcher_that_falls_behind_goes_on_from_a_snapshot(catalog, feed):
    """The writer never waits for a watcher, and the watcher loses nothing."""
    watch = feed.watch(START)
    feed.publish(adding("first"))
    await anext(watch)
    for number in range(50):
        feed.publish(adding(f"r{number}"))

    assert await anext(watch) == catalog.snapshot()
    last = feed.publish(adding("last"))
    assert await anext(watch) == last


async def test_closing_ends_every_watch(feed):
    """A watch that waits ends, and so does one that has not begun."""
    waiting = asyncio.ensure_future(anext(feed.watch(START), None))
    await asyncio.sleep(0)
    feed.close()

    assert await waiting is None
    assert await anext(feed.watch(0), None) is None
