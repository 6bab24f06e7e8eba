"""What a gateway knows follows its catalog."""

from __future__ import annotations

import asyncio

import pytest
from running import until

from fabric.core.cards import Caching, Replicas, Timeouts
from fabric.core.changes import Changes, Hosted, Key, Kind
from fabric.core.deadlines import NEVER
from fabric.core.errors import InvalidRequest, NotFound, Unavailable
from fabric.core.pipelines import DEEPEST
from fabric.core.replicas import Status
from fabric.core.requests import InferRequest
from fabric.core.routes import Preferences, Route
from fabric.core.tensors import Signature, TensorSpec
from fabric.gateway.view import View
from fabric.testing import FakeInvoker, pipeline, replica, route, specialist


class Pool(FakeInvoker):
    """Counts what the catalog's replicas are; no links."""

    def __init__(self):
        super().__init__()
        self.known = {}
        self.unlinked = set()
        self.on_change = lambda: None
        self.fares = []
        self.judged = 0

    def sync(self, replicas):
        self.known = dict(replicas)

    def limit(self, specialists):
        self.limited = dict(specialists)

    def fare(self):
        return self.fares

    def holds(self, replica):
        return replica in self.known and replica not in self.unlinked

    def models(self, key):
        return {"model"}

    def judge(self):
        self.judged += 1

    def linked(self, key):
        return self.count(key)

    def count(self, key):
        linked = (r for r in self.known.values() if r.id not in self.unlinked)
        return sum(r.specialist_key == key for r in linked)


@pytest.fixture
def view():
    return View(Pool())


def change(view, *resources, removed=()):
    view.catalog.update(
        Changes(
            revision=view.catalog.revision + 1,
            specialists=tuple(Hosted(r, Status()) for r in resources if hasattr(r, "hosting")),
            routes=tuple(r for r in resources if hasattr(r, "chain")),
            replicas=tuple(r for r in resources if hasattr(r, "address")),
            pipelines=tuple(r for r in resources if hasattr(r, "steps")),
            removed=removed,
        )
    )
    view.changed()


def typed(name, outputs="FP32"):
    """A specialist whose `y` is of the datatype *outputs*."""
    x = TensorSpec(name="x", datatype="FP32", shape=(-1,))
    y = TensorSpec(name="y", datatype=outputs, shape=(-1,))
    return specialist(name, signature=Signature(inputs=(x,), outputs=(y,)))


def first(view, model):
    return view.planner.plan(model, "", None).candidates[0].card.key


def test_a_view_of_nothing_is_ready_once_a_catalog_has_arrived(view):
    """An empty one is one."""
    assert not view.is_known
    assert not view.is_ready
    change(view)
    assert view.is_known
    assert view.is_ready


def test_a_view_is_ready_once_all_could_be_asked(view):
    """Whatever becomes of them after that, and whoever else comes."""
    change(view, specialist("a"), specialist("b"), replica("x", "a:1"))
    view.pool.unlinked.add("y")
    change(view, replica("y", "b:1"))
    assert not view.is_ready
    change(view, removed=(Key(Kind.REPLICA, "x"),))
    view.pool.unlinked.clear()
    view.pool.on_change()
    assert view.is_ready
    change(view, specialist("c"), removed=(Key(Kind.REPLICA, "y"),))
    assert view.is_ready
    assert not view.is_ready_for(strict=True)
    change(view, *(replica(f"{name}-again", f"{name}:1") for name in "abc"))
    assert view.is_ready_for(strict=True)


async def test_a_view_looks_whether_time_is_up_for_who_is_waited_for(view, monkeypatch):
    """Nothing else may happen by then."""
    monkeypatch.setattr("fabric.gateway.view._REFRESHED", 0.001)
    late = specialist("late", timeouts=Timeouts(startup=0.005))
    change(view, late)
    assert not view.is_ready
    async with asyncio.timeout(10):
        following = asyncio.create_task(view.follow_live())
        while not view.is_ready:
            await view.news.wait()
    following.cancel()


async def test_a_view_is_linked_once_there_are_links_to_all_replicas(view):
    """Not before its first catalog; who never answers is waited for only so long."""
    view.pool.unlinked = {"a"}
    linking = asyncio.create_task(view.linked(60))
    for _ in range(2):
        await asyncio.sleep(0)
        assert not linking.done()
        change(view, replica("a", "double:1"))
    view.pool.unlinked = set()
    view.pool.on_change()
    await linking

    view.pool.unlinked = {"a"}
    await view.linked(0.001)


async def test_a_view_is_not_linked_before_its_specialists_have_started(view):
    """Whoever takes connections is asked for them."""
    change(view, specialist("double"))
    linking = asyncio.create_task(view.linked(60))
    await asyncio.sleep(0)
    assert not linking.done()
    change(view, replica("a", "double:1"))
    await linking


def test_nothing_is_unknown_before_a_catalog_has_arrived(view):
    """A gateway that has just started sends its callers away for a moment, not for good."""
    with pytest.raises(Unavailable, match="first catalog"):
        first(view, "a")
    change(view)
    with pytest.raises(NotFound):
        first(view, "a")


def test_plans_follow_the_catalog(view):
    """What is planned is forgotten with every change."""
    change(view, specialist("a"), route("r", "b", "a"))
    assert (first(view, "a"), first(view, "r")) == ("a:1", "a:1")
    change(view, specialist("b"))
    assert first(view, "r") == "b:1"
    change(view, removed=(Key(Kind.SPECIALIST, "b:1"),))
    assert first(view, "r") == "a:1"


def test_a_new_version_takes_over_when_there_is_a_link_to_it(view):
    """In the catalog alone, it would refuse what its predecessor still answers."""
    change(view, specialist("a", "1"), specialist("a", "2"), replica("x", "a:1"))
    assert first(view, "a") == "a:1"
    change(view, replica("y", "a:2"))
    view.pool.unlinked.add("y")
    view.pool.on_change()
    assert first(view, "a") == "a:1"
    view.pool.unlinked.clear()
    view.pool.on_change()
    assert first(view, "a") == "a:2"


def test_the_latest_version_with_a_replica_is_called(view):
    """A new version takes over when it has one; without any the latest counts."""
    change(view, specialist("a", "1"), specialist("a", "2"))
    assert first(view, "a") == "a:2"
    change(view, replica("r1", "a:1"))
    assert first(view, "a") == "a:1"
    change(view, replica("r2", "a:2"))
    assert first(view, "a") == "a:2"
    assert view.planner.plan("a", "1", None).candidates[0].card.key == "a:1"


async def test_answers_of_specialists_that_are_gone_are_forgotten():
    """Those of the others are not."""
    view = View(Pool(), cache=1 << 16)
    kept = [specialist(name, cache=Caching()) for name in "ab"]
    change(view, *kept, replica("r1", "a:1"), replica("r2", "b:1"))
    for each in kept:
        asked = InferRequest(each.card.name, "", b"")
        await view.cache.infer(each.card, asked, NEVER)
    change(view, removed=(Key(Kind.SPECIALIST, "a:1"),))
    assert (len(view.cache.kept), set(view.cache.uses)) == (1, {"b:1"})
    await view.close()


def test_a_model_can_serve_when_one_of_its_candidates_has_a_replica(view):
    """A name that nobody has is not found."""
    change(view, specialist("a"), specialist("b"), route("r", "a", "b"))
    assert not view.can_serve("r", "")
    change(view, replica("r1", "b:1"))
    assert view.can_serve("r", "")
    assert not view.can_serve("a", "")
    for model, version in (("none", ""), ("a", "9")):
        with pytest.raises(NotFound):
            view.can_serve(model, version)


def test_a_pipeline_can_be_run_while_all_that_it_calls_can_be_served(view):
    """Through routes and other pipelines; else it is said who is not there."""
    change(view, typed("a"), typed("b"), route("r", "b"), pipeline("inner", "r"))
    change(view, pipeline("p", "a:1", "inner"), replica("x", "a:1"))
    assert not view.can_serve("p", "")
    assert view.why_not("p") == "pipeline 'p' is not ready: 'inner' is not"
    assert view.why_not("inner") == "pipeline 'inner' is not ready: 'r' is not"
    change(view, replica("y", "b:1"))
    assert view.can_serve("p", "")
    assert view.why_not("p") == ""
    with pytest.raises(NotFound, match="'p' version 1 is not found; it is a pipeline"):
        view.can_serve("p", "1")
    change(view, pipeline("p", "a:1", "inner", loaded=False))
    assert not view.can_serve("p", "")


def test_a_pipeline_whose_values_do_not_fit_cannot_be_run(view):
    """As soon as that is known: before a replica has told its signature anything may fit."""
    change(view, specialist("a"), typed("b"), pipeline("p", "a", "b"))
    change(view, replica("x", "a:1"), replica("y", "b:1"))
    assert "'a' is not known yet" in view.why_not("p")
    change(view, typed("a", outputs="INT64"))
    assert not view.can_serve("p", "")
    assert "step 's1', inputs.x" in view.why_not("p")
    with pytest.raises(InvalidRequest, match="INT64"):
        view.prepared("p")
    change(view, typed("a"))
    assert view.can_serve("p", "")


def test_who_is_called_often_is_looked_at_once(view):
    """Whether a pipeline can be run is told soon, however many ways lead to whom it calls."""
    deep = [pipeline(f"p{at}", *[f"p{at + 1}"] * 8) for at in range(DEEPEST - 1)]
    change(view, typed("a"), *deep, pipeline(f"p{DEEPEST - 1}", "a"))
    assert not view.can_serve("p0", "")
    change(view, replica("x", "a:1"))
    assert view.can_serve("p0", "")


def test_every_model_can_be_served_once_every_pipeline_can_be_run(view):
    """Those that are unloaded count for nothing."""
    wrong = typed("a", outputs="INT64")
    change(view, wrong, replica("x", "a:1"), pipeline("p", "a", "a", loaded=False))
    assert view.is_ready_for(strict=True)
    change(view, pipeline("p", "a", "a"))
    assert not view.is_ready_for(strict=True)
    assert view.is_ready_for(strict=False)
    change(view, typed("a"))
    assert view.is_ready_for(strict=True)


async def test_plans_follow_how_candidates_fare(view):
    """When it is looked at, and it is much; a load is a share of what is meant."""
    replicas = Replicas(target_load=4.0)
    ranked = Route(name="r", order="scored", preferences=Preferences(preset="fastest"))
    pair = [specialist(name, replicas=replicas) for name in "ab"]
    change(view, *pair, ranked, replica("1", "a:1"), replica("2", "b:1"))
    assert first(view, "r") == "a:1"

    view.pool.fares = [("a:1", 0.5, 2.0), ("b:1", 0.1, 0.0)]
    assert first(view, "r") == "a:1"
    await view.look()
    assert first(view, "r") == "b:1"
    assert (
        view.planner.plan("r", "", None).candidates[1].reason.startswith("latency 0.5 s, load 0.5")
    )

    plan = view.planner.plan("r", "", None)
    view.pool.fares = [("a:1", 0.51, 2.0), ("b:1", 0.1, 0.0)]
    await view.look()
    assert view.planner.plan("r", "", None) is plan


async def test_it_is_looked_at_while_plans_follow_it(view, monkeypatch):
    """From time to time, and not otherwise; whether a replica is too slow is in any case."""
    monkeypatch.setattr("fabric.gateway.view._REFRESHED", 0.001)
    change(view, specialist("a"), Route(name="r", order="scored"))
    looked = asyncio.Event()

    async def look():
        looked.set()

    monkeypatch.setattr(view, "look", look)
    following = asyncio.create_task(view.follow_live())
    await until(lambda: view.pool.judged > 1)
    assert not looked.is_set()
    view.planner.plan("r", "", None)
    async with asyncio.timeout(5):
        await looked.wait()
    following.cancel()


def test_a_gateway_prefers_its_region_where_it_is_asked_to():
    """Or the one that the route prefers instead."""
    near = {"weights": {"locality": 9.0}}
    view = View(Pool(), region="us")
    routes = (
        Route(name="here", order="scored", preferences=Preferences(**near)),
        Route(name="there", order="scored", preferences=Preferences(region="eu", **near)),
    )
    change(view, specialist("a", region="eu"), specialist("b", region="us"), *routes)
    assert (first(view, "here"), first(view, "there")) == ("b:1", "a:1")
