"""The catalog and its mirrors."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from fabric.catalog.catalog import Catalog, Changes, Hosted, Key, Kind, rank
from fabric.core.policies import Policy
from fabric.core.replicas import State, Status
from fabric.testing import pipeline, replica, route, specialist


def contents(catalog: Catalog) -> object:
    keys = catalog.specialists
    names = {s.card.name for s in catalog.specialists.values()}
    return (
        catalog.revision,
        catalog.specialists,
        catalog.statuses,
        catalog.routes,
        catalog.replicas,
        catalog.policies,
        catalog.pipelines,
        {name: catalog.versions(name) for name in names},
        {key: {r.id for r in catalog.replicas_of(key)} for key in keys},
    )


@pytest.mark.parametrize(
    ("lower", "higher"),
    [*pairwise(("1.9", "1.10", "2.0", "a", "b2", "b10", "beta", "9", "010", "10", "11"))],
)
def test_versions_rank_as_people_read_them(lower, higher):
    """Integers rank numerically above any text, and text by the numbers in it."""
    assert rank(lower) < rank(higher)


def test_the_latest_version_is_found_without_naming_it():
    """A name alone means the highest version, whatever the order of arrival."""
    catalog = Catalog()
    for version in ("2", "10", "beta", "1"):
        hosted = Hosted(specialist("a", version), Status())
        catalog.update(Changes(revision=catalog.revision + 1, specialists=(hosted,)))

    assert [s.card.version for s in catalog.versions("a")] == ["10", "2", "1", "beta"]
    assert catalog.find("a") == specialist("a", "10")
    assert catalog.find("a", "2") == specialist("a", "2")
    assert catalog.find("a", "3") is None
    assert catalog.find("b") is None


def test_a_replica_that_changes_takes_its_own_place():
    """A replica that comes again is the same replica, changed."""
    catalog = Catalog()
    catalog.update(Changes(revision=1, replicas=(replica("r", "a:1"),)))
    catalog.update(Changes(revision=2, replicas=(replica("r", "b:1"),)))

    assert catalog.replicas_of("a:1") == ()
    assert catalog.replicas_of("b:1") == (replica("r", "b:1"),)


def test_what_is_removed_leaves_every_index():
    """After its removal nothing finds a resource; removing it again is nothing."""
    catalog = Catalog()
    catalog.update(
        Changes(
            revision=1,
            specialists=(Hosted(specialist("a"), Status()),),
            routes=(route("r", "a"),),
            replicas=(replica("x", "a:1"),),
            policies=(policy("r", 1),),
            pipelines=(pipeline("p", "a"),),
        )
    )
    keys = (
        Key(Kind.SPECIALIST, "a:1"),
        Key(Kind.ROUTE, "r"),
        Key(Kind.REPLICA, "x"),
        Key(Kind.POLICY, "r:1"),
        Key(Kind.PIPELINE, "p"),
    )
    catalog.update(Changes(revision=2, removed=keys + keys))

    assert contents(catalog) == contents(emptied(2))
    assert catalog.find("a") is None
    assert catalog.replicas_of("a:1") == ()


@pytest.mark.parametrize("seed", range(20))
def test_a_mirror_is_the_catalog_whenever_it_starts(seed):
    """A mirror that starts from any snapshot and takes every later change in is the catalog."""
    random_ = random.Random(seed)
    catalog, mirrors = Catalog(), []
    for revision in range(1, 60):
        if random_.random() < 0.2:
            mirrors.append(Catalog())
            mirrors[-1].update(Changes(revision=3, replicas=(replica("stale", "z:1"),)))
            mirrors[-1].update(catalog.snapshot())
        changes = random_changes(random_, revision)
        for each in (catalog, *mirrors):
            each.update(changes)

    for mirror in mirrors:
        assert contents(mirror) == contents(catalog)


def policy(route: str, version: int, data: bytes = b"") -> Policy:
    return Policy(route=route, version=version, data=data)


def test_policies_are_in_order_whatever_the_order_of_arrival():
    """The latest comes first, and a version that comes again takes its own place."""
    catalog = Catalog()
    for version, data in ((2, b""), (3, b""), (1, b""), (2, b"changed")):
        changes = Changes(revision=1, policies=(policy("r", version, data),))
        catalog.update(changes)

    assert catalog.policies["r"] == (policy("r", 3), policy("r", 2, b"changed"), policy("r", 1))
    assert catalog.get(Key(Kind.POLICY, "r")) == policy("r", 3)
    assert catalog.all(Kind.POLICY) == list(catalog.policies["r"])


def random_changes(random_: random.Random, revision: int) -> Changes:
    names, versions = ("a", "b"), ("1", "2", "x")
    name, version = random_.choice(names), random_.choice(versions)
    removed = (
        Key(Kind.SPECIALIST, f"{random_.choice(names)}:{random_.choice(versions)}"),
        Key(Kind.REPLICA, f"r{random_.randrange(5)}"),
        Key(Kind.ROUTE, random_.choice(names)),
        Key(Kind.POLICY, f"{random_.choice(names)}:{random_.randrange(1, 4)}"),
        Key(Kind.PIPELINE, random_.choice(names)),
    )
    return Changes(
        revision=revision,
        specialists=(Hosted(specialist(name, version), Status(state=random_.choice(list(State)))),),
        routes=(route(name, version),),
        replicas=(replica(f"r{random_.randrange(5)}", f"{name}:{version}"),),
        policies=(policy(name, random_.randrange(1, 4), bytes([revision])),),
        pipelines=(pipeline(name, version),),
        removed=tuple(key for key in removed if random_.random() < 0.4),
    )


def emptied(revision: int) -> Catalog:
    catalog = Catalog()
    catalog.update(Changes(revision=revision, snapshot=True))
    return catalog
