"""A fabric of real processes to break, and what is written down of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from chaos import Proxy
from counting import counted
from on_ray import OnRay, Traffic, Watched, watching
from onnx_models import scaling
from running import unique, until_linked

from fabric import AsyncClient, Client
from fabric.api.catalog.v1 import card_pb2
from fabric.core.cards import Model
from fabric.testing import route, specialist
from fabric.wire.cards import as_dict, to_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from counting import Count, Stopped


class Story:
    """What is printed of a run, line by line, as it goes."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, line: str) -> None:
        with self._capsys.disabled():
            sys.stdout.write(f"\n    {line}")
            sys.stdout.flush()


@pytest.fixture
def story(capsys: pytest.CaptureFixture[str]) -> Story:
    return Story(capsys)


@pytest.fixture
def told(
    story: Story, record_property: Callable[[str, object], None]
) -> Callable[..., Count | Stopped]:
    """Says what became of requests during a fault, also to the tables in README.md."""

    def tell(fault: str, what: Traffic | Stopped, **said: object) -> Count | Stopped:
        count = counted(what, **said) if isinstance(what, Traffic) else what
        record_property(fault, count)
        story(f"{fault}: {count}")
        return count

    return tell


@pytest.fixture(scope="session")
def on_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """A fabric on the local host: two gateways, two replicas of `double`, one of `triple`."""
    folder = tmp_path_factory.mktemp("on-local")
    with OnRay(folder, host="local", doubles=2, gateways=2) as started:
        yield started


@pytest.fixture
async def local_client(on_local: OnRay) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(on_local.server) as made:
        yield made


@pytest.fixture
async def seen(local_client: AsyncClient) -> AsyncIterator[Watched]:
    """The catalog of the fabric on the local host, when all of its replicas are there."""
    await until_linked(local_client, "double", 2)
    async with watching(local_client) as made:
        yield made


# ------------------------------------------------------------------ behind a proxy
BEHIND = str(Path(__file__).with_name("behind.py"))


class Far(NamedTuple):
    """A route whose first choice is behind a proxy, and the second is not."""

    proxy: Proxy
    route: str
    first: str
    second: str

    @property
    def factors(self):
        return {self.first: 2.0, self.second: 3.0}


@contextlib.contextmanager
def replica_process(of, control, *command, **environ):
    declared = json.dumps(as_dict(to_message(of, card_pb2.Specialist)))
    running = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "FABRIC_SPECIALIST": declared, "FABRIC_CONTROL": control, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        yield running
        running.terminate()


@pytest.fixture(scope="module")
def proxied(running, tmp_path_factory):
    """The processes, for the whole module."""
    folder = tmp_path_factory.mktemp("networks")
    names = unique("far"), unique("near")
    first, second = (
        specialist(name, model=Model(uri=str(scaling(folder / f"{name}.onnx", factor))))
        for name, factor in zip(names, (2, 3), strict=True)
    )
    along = route(unique("line"), *names)
    with Client(running.address) as client:
        client.apply([first, second], [along])
    control = running.control_address
    with (
        Proxy() as proxy,
        replica_process(first, control, BEHIND, FAULTS_ADDRESS=proxy.address) as far,
        replica_process(second, control, "-m", "fabric.runtime"),
    ):
        proxy.target = far.stdout.readline().strip()
        yield Far(proxy, along.name, *names)


@pytest.fixture
async def far(proxied, client):
    """The same, each time with links to both."""
    for name in (proxied.first, proxied.second):
        await until_linked(client, name)
    yield proxied
    proxied.proxy.heal()
