"""The store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fabric.control.store import Entry, Stored, Superseded, Writes, opened
from fabric.control.tables import PIPELINES
from fabric.core.errors import Unavailable
from fabric.core.tensors import Signature, TensorSpec
from fabric.testing import pipeline, replica, route, specialist

SIGNATURE = Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),))
WRITES = Writes(
    specialists={
        "a:1": Entry(specialist("a"), signature=SIGNATURE),
        "b:1": Entry(specialist("b"), declared=False),
    },
    routes={"r": route("r", "a")},
    replicas={"x": replica("x", "a:1", pid=7, node="here")},
    pipelines={"p": pipeline("p", "a", "r")},
)


async def contents(url: str) -> Stored:
    async with opened(url) as store:
        return await store.load()


async def test_what_is_written_is_there_afterwards(store_url):
    """Declarations, signatures, routes and registrations come back as they were."""
    async with opened(store_url) as store:
        assert await store.load() == Stored(1, (), (), ())
        await store.write(WRITES)

    stored = await contents(store_url)
    assert stored == Stored(
        2,
        tuple(WRITES.specialists.values()),
        tuple(WRITES.routes.values()),
        tuple(WRITES.replicas.values()),
        pipelines=tuple(WRITES.pipelines.values()),
    )


async def test_writing_again_changes_and_takes_out(store_url):
    """Under a key that is there, a value takes the place of the old one, and None takes it out."""
    async with opened(store_url) as store:
        await store.load()
        await store.write(WRITES)
        changed = replace(WRITES.replicas["x"], draining=True)
        await store.write(
            Writes(
                specialists={"a:1": None, "never:1": None},
                routes={"r": None},
                replicas={"x": changed},
                pipelines={"p": None},
            )
        )

    stored = await contents(store_url)
    assert [entry.specialist.key for entry in stored.specialists] == ["b:1"]
    assert stored.routes == ()
    assert stored.replicas == (changed,)
    assert stored.pipelines == ()


async def test_a_write_that_fails_leaves_nothing_behind(store_url):
    """Half a change is never stored."""
    async with opened(store_url) as store:
        await store.load()
        with pytest.raises(Unavailable, match="the store did not answer"):
            await store.write(Writes(routes={"r": route("r", "a"), None: route("s", "a")}))

    assert (await contents(store_url)).routes == ()


async def test_a_store_of_before_there_were_pipelines_opens(store_url):
    """What it has stays, and pipelines are stored from then on."""
    async with opened(store_url) as store:
        await store.load()
        await store.write(WRITES)
        async with store.transaction() as connection:
            await connection.run_sync(PIPELINES.drop)
    async with opened(store_url) as store:
        assert (await store.load()).routes == tuple(WRITES.routes.values())
        await store.write(Writes(pipelines=WRITES.pipelines))

    assert (await contents(store_url)).pipelines == tuple(WRITES.pipelines.values())


async def test_every_load_begins_a_new_epoch(store_url):
    """Epochs grow across restarts, so that revisions never come twice."""
    epochs = [(await contents(store_url)).epoch for _ in range(3)]

    assert epochs == [1, 2, 3]


async def test_only_the_last_to_load_may_write(store_url):
    """A control plane that another one has followed is told so, and changes nothing."""
    async with opened(store_url) as first, opened(store_url) as second:
        await first.load()
        await second.load()
        with pytest.raises(Superseded):
            await first.write(WRITES)
        await second.write(Writes(routes={"r": route("r", "b")}))

    stored = await contents(store_url)
    assert stored.specialists == ()
    assert stored.routes == (route("r", "b"),)


async def test_writers_at_once_take_turns(store_url):
    """Writes that come together are all stored."""
    async with opened(store_url) as store:
        await store.load()
        writes = (Writes(routes={f"r{i}": route(f"r{i}", "a")}) for i in range(20))
        await asyncio.gather(*map(store.write, writes))

    assert len((await contents(store_url)).routes) == 20


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "store: Could not parse"),
        ("mysql+aiomysql://host/db", "store 'mysql\\+aiomysql' is not known; use sqlite"),
        ("sqlite:///x.db", "store 'sqlite' is not known; use sqlite\\+aiosqlite"),
    ],
)
async def test_an_unknown_database_is_refused_with_the_ones_that_are_known(url, message):
    """The message says what a URL looks like."""
    with pytest.raises(ValueError, match=message):
        async with opened(url):
            pass


@pytest.mark.parametrize(
    "url",
    ["sqlite+aiosqlite:////no/such/folder/x.db", "postgresql+asyncpg://u:secret@127.0.0.1:1/db"],
)
async def test_a_store_that_does_not_open_says_which_and_keeps_its_password(url):
    """The password in the URL is in no message."""
    with pytest.raises(Unavailable, match="cannot open the store") as raised:
        async with opened(url):
            pass

    assert "secret" not in raised.value.message
