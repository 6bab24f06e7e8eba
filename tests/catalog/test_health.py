"""How specialists fare, and when they may go."""

from __future__ import annotations

import pytest

from fabric.catalog.catalog import Catalog
from fabric.catalog.declared import Declared
from fabric.catalog.health import RETIRING, Report, outlived, status
from fabric.core.changes import Changes, Hosted
from fabric.core.replicas import State, Status
from fabric.testing import replica, specialist


@pytest.mark.parametrize(
    ("ready", "report", "state", "reason"),
    [
        (0, Report(wanted=1), "pending", ""),
        (0, Report(wanted=1, failure="no file"), "failed", "no file"),
        (0, Report(wanted=1, waiting="no Ray"), "pending", "no Ray"),
        (1, Report(wanted=2, waiting="no Ray"), "degraded", "1 of 2 replicas are ready: no Ray"),
        (1, Report(wanted=1), "ready", ""),
        (2, Report(wanted=1), "ready", ""),
        (1, Report(wanted=1, failure="an old story"), "ready", ""),
        (1, Report(wanted=2), "degraded", "1 of 2 replicas are ready"),
        (1, Report(wanted=2, failure="oom"), "degraded", "1 of 2 replicas are ready: oom"),
        (1, Report(wanted=1, updating=True), "degraded", "an update is under way"),
        (1, Report(wanted=1, updating=True, failure="bad"), "degraded", "bad"),
    ],
)
def test_a_status_says_what_is_and_why(ready, report, state, reason):
    """It follows from the replicas under a lease and what the host says."""
    failing = bool(report.failure) and state != "ready"
    expected = Status(
        state=State(state), reason=reason, ready=ready, wanted=report.wanted, failing=failing
    )

    assert status(ready, report, declared=True) == expected


def test_a_replica_that_leaves_says_why():
    """While there are fewer than wanted, whatever happened before."""
    found = status(1, Report(wanted=2, failure="old"), declared=True, leaving="too large")
    assert found.reason == "1 of 2 replicas are ready: too large"
    assert status(2, Report(wanted=2), declared=True, leaving="too large").reason == ""


def test_what_is_no_longer_declared_says_why_it_is_still_there():
    """A version that waits for its heir is not what it should be."""
    assert status(1, Report(wanted=1), declared=False).reason == RETIRING


def test_what_is_unloaded_wants_no_replicas():
    """Whatever its host has said of it, and though the last of its replicas still finish."""
    found = status(1, Report(wanted=2, failure="oom"), declared=True, loaded=False)

    assert found == Status(state=State.UNLOADED, reason="unloaded")


def world(*known: tuple[str, str, State, int]) -> Catalog:
    catalog = Catalog()
    for name, version, state, count in known:
        replicas = (replica(f"{name}{version}{i}", f"{name}:{version}") for i in range(count))
        hosted = Hosted(specialist(name, version), Status(state=state))
        catalog.update(Changes(revision=1, specialists=(hosted,), replicas=tuple(replicas)))
    return catalog


def declared(catalog: Catalog, *keys: str) -> Declared:
    return Declared({key: catalog.specialists.get(key, specialist("a", "9")) for key in keys})


def test_a_version_outlives_its_removal_until_another_is_ready():
    """Neither a new version that is not there yet nor a broken one takes the good one away."""
    for state in (State.PENDING, State.FAILED, State.DEGRADED):
        catalog = world(("a", "1", State.READY, 1), ("a", "2", state, 0))
        assert outlived(catalog, declared(catalog, "a:2"), {"a:1"}) == set()
    unseen = world(("a", "1", State.READY, 1))
    assert outlived(unseen, declared(unseen, "a:9"), {"a:1"}) == set()

    ready = world(("a", "1", State.READY, 1), ("a", "2", State.READY, 1))
    assert outlived(ready, declared(ready, "a:2")) == {"a:1"}


def test_a_version_does_not_outlive_the_unloading_of_its_heirs():
    """An older version is not kept for ones that nobody waits for."""
    catalog = world(("a", "1", State.READY, 1), ("a", "2", State.UNLOADED, 0))
    heir = specialist("a", "2", loaded=False)

    assert outlived(catalog, Declared({"a:2": heir})) == {"a:1"}


def test_a_version_that_does_not_answer_goes_at_once():
    """There is nothing to lose; but one that was kept stays through a restart of its replica."""
    catalog = world(("a", "1", State.FAILED, 0), ("a", "2", State.PENDING, 0))

    assert outlived(catalog, declared(catalog, "a:2"), {"a:1"}) == {"a:1"}
    assert outlived(catalog, declared(catalog, "a:2")) == set()


def test_the_last_version_goes_at_once():
    """Other names do not matter."""
    catalog = world(("a", "1", State.READY, 1), ("b", "1", State.PENDING, 0))

    assert outlived(catalog, declared(catalog, "b:1"), {"a:1"}) == {"a:1"}


def test_a_host_that_is_away_has_failed_nobody():
    """Without replicas, a specialist whose host waits for something is pending, and says why."""
    report = Report(wanted=1, waiting="Ray Serve does not answer")
    assert status(0, report, declared=True) == Status(
        state=State.PENDING, reason="Ray Serve does not answer", ready=0, wanted=1
    )
    assert status(1, report, declared=True).state is State.READY
