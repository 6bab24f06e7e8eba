"""Policies of routes: numbered, kept, handed out and taken out."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from planes import control_plane, free_port

from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.catalog.catalog import Catalog
from fabric.control.ledger import KEPT_POLICIES, LARGEST_POLICY, kept_versions
from fabric.core.changes import Key, Kind
from fabric.core.errors import InvalidRequest, NotFound
from fabric.core.policies import Policy
from fabric.core.routes import Learning, Route
from fabric.gateway.mirror import channel_to, follow
from fabric.testing import specialist
from fabric.wire.changes import from_watch

LEARNT = Policy(route="digits", version=1, data=b"numbers", labels=60, report="{}")


def route(name: str = "digits", policy: int = 0) -> Route:
    return Route(name=name, order="scored", learning=Learning(policy=policy))


@pytest.fixture
async def plane(sqlite_url):
    async with control_plane(sqlite_url) as plane:
        await plane.controller.apply([specialist("a")], [route()])
        yield plane


async def test_policies_are_numbered_and_the_newest_kept(plane):
    """Each is the next version of its route, and the oldest goes when there are too many."""
    controller = plane.controller
    made = [await controller.learn(LEARNT) for _ in range(KEPT_POLICIES + 2)]

    assert [policy.version for policy in made] == [*range(1, KEPT_POLICIES + 3)]
    assert controller.catalog.policies["digits"] == tuple(reversed(made[2:]))
    assert controller.get(Key(Kind.POLICY, "digits")) == made[-1]
    assert controller.get(Key(Kind.POLICY, "digits:3")) == made[2]
    with pytest.raises(NotFound, match="no policy digits:1; did you mean"):
        controller.get(Key(Kind.POLICY, "digits:1"))


def test_the_version_in_use_is_always_kept():
    """The one that a route is pinned to stays, and the latest that has not lost."""
    latest = [replace(LEARNT, version=v, lost="worse" if v > 3 else "") for v in range(12, 0, -1)]

    assert kept_versions(latest, pinned=1) == {12, 11, 10, 9, 8, 3, 1}
    assert kept_versions([], pinned=0) == {0}


async def test_policies_survive_and_go_with_their_route(sqlite_url):
    """They are there after a restart, lost ones as such, and a route takes its own with it."""
    async with control_plane(sqlite_url) as (controller, *_):
        await controller.apply([specialist("a")], [route(), route("other")])
        first, second = [await controller.learn(LEARNT) for _ in range(2)]
        await controller.learn(replace(LEARNT, route="other"))
        await controller.lose(second, "it is worse")
        await controller.lose(second, "said of what is no more")
    async with control_plane(sqlite_url) as (controller, *_):
        kept = (replace(second, lost="it is worse"), first)
        assert controller.catalog.policies["digits"] == kept
        await controller.delete(Key(Kind.ROUTE, "digits"))
        assert set(controller.catalog.policies) == {"other"}
    async with control_plane(sqlite_url) as (controller, *_):
        assert set(controller.catalog.policies) == {"other"}


async def test_a_large_policy_reaches_a_watcher(plane):
    """As a change, and in a snapshot; a list leaves its data out."""
    data = random.Random(1).randbytes(2 << 20)
    watch = plane.stub.Watch(pb.WatchRequest())
    await watch.read()
    policy = await plane.controller.learn(replace(LEARNT, data=data))
    changes = from_watch(await watch.read())
    assert changes.policies == (policy,)
    assert policy.data == data

    mirror = Catalog()
    mirror.update(from_watch(await plane.stub.Watch(pb.WatchRequest()).read()))
    assert mirror.policies == {"digits": (policy,)}
    listed = await plane.stub.List(pb.ListRequest(kind=pb.KIND_POLICY))
    (resource,) = listed.resources
    assert (resource.policy.data, resource.policy.labels) == (b"", 60)


async def test_what_cannot_be_kept_is_refused(plane):
    """A policy of no route, and one that is too large for the gateways."""
    with pytest.raises(NotFound, match="no route digit; did you mean 'digits'"):
        await plane.controller.learn(replace(LEARNT, route="digit"))
    with pytest.raises(InvalidRequest, match=r"'digits' has 8\.0 MiB, more than the 8 MiB"):
        await plane.controller.learn(replace(LEARNT, data=bytes(LARGEST_POLICY + 1)))
    with pytest.raises(InvalidRequest, match="policies are not declared"):
        await plane.controller.delete(Key(Kind.POLICY, "digits:1"))


async def test_a_route_goes_over_to_a_policy_that_it_has(plane):
    """Another one is refused, also where nothing would be changed, and the file as a whole."""
    controller = plane.controller
    with pytest.raises(InvalidRequest, match="'digits' names policy 1, and has none yet: leave"):
        await controller.apply([], [route(policy=1)], dry_run=True)
    for _ in range(2):
        await controller.learn(LEARNT)
    with pytest.raises(InvalidRequest, match="'digits' names policy 7, and has only 1, 2: leave"):
        await controller.apply([specialist("b")], [route(policy=7), route("new")])

    assert controller.catalog.routes == {"digits": route()}
    await controller.apply([], [route(policy=1)])
    assert controller.catalog.routes["digits"] == route(policy=1)


async def test_what_a_route_named_before_is_not_refused(plane):
    """Nor what a new route names: its file may come from a fabric where it has learned."""
    new = route("new", policy=7)
    await plane.controller.apply([], [new])

    await plane.controller.apply([], [replace(new, description="Another.")])

    assert plane.controller.catalog.routes["new"].description == "Another."


async def test_a_gateway_keeps_its_policies_while_the_control_plane_is_away(sqlite_url):
    """It goes on from them, and hears of the next one when the control plane is back."""
    port, mirror, news = free_port(), Catalog(), asyncio.Event()

    async def heard(versions: list[int]) -> None:
        async with asyncio.timeout(20):
            while [each.version for each in mirror.policies.get("digits", ())] != versions:
                news.clear()
                await news.wait()

    async with channel_to(f"127.0.0.1:{port}") as channel:
        following = asyncio.create_task(follow(CatalogServiceStub(channel), mirror, news.set))
        async with control_plane(sqlite_url, port=port) as (controller, *_):
            await controller.apply([specialist("a")], [route()])
            large = replace(LEARNT, data=random.Random(1).randbytes(LARGEST_POLICY - 10))
            first = await controller.learn(large)
            await heard([1])
        assert mirror.policies == {"digits": (first,)}
        async with control_plane(sqlite_url, port=port) as (controller, *_):
            second = await controller.learn(LEARNT)
            await heard([2, 1])
        assert mirror.policies == {"digits": (second, first)}
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
