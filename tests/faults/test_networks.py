"""A bad network between a gateway and a replica costs no answer."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from breaking import traffic_through
from chaos import Proxy
from onnx_models import scaling
from running import unique, until_linked

from fabric import Client
from fabric.api.catalog.v1 import card_pb2
from fabric.core.cards import Model
from fabric.testing import route, specialist
from fabric.wire.cards import as_dict, to_message

pytestmark = pytest.mark.timeout(120)
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


async def test_a_reset_in_the_middle_of_a_frame(far, client, told):
    """What was on its way is answered by the next candidate, and the link comes back."""
    async with traffic_through(client, far.route) as traffic:
        far.proxy.cut()
        await traffic.until(lambda: any(answer.fallback for answer in traffic.answers))
        await until_linked(client, far.first)
    count = told("link reset in the middle of a frame", traffic, factors=far.factors)
    assert count.refused == count.lost == 0
    assert count.right


async def test_a_connection_that_is_half_open(far, client, told):
    """Nothing is heard, and nothing says so: the link is given up."""
    async with traffic_through(client, far.route) as traffic:
        far.proxy.is_silent = True
        await traffic.until_answered()
        far.proxy.heal()
        await until_linked(client, far.first)
    count = told("half-open connection", traffic, factors=far.factors)
    assert count.refused == count.lost == 0
    assert count.degraded


async def test_latency(far, client, told):
    """200 ms more for each answer, and no other harm."""
    async with traffic_through(client, far.route) as traffic:
        far.proxy.delay = 0.1
        await traffic.until_answered()
        end = len(traffic.answers) + 500
        await traffic.until(lambda: len(traffic.answers) >= end)
        far.proxy.heal()
    count = told("200 ms added latency", traffic, factors=far.factors)
    assert count.refused == count.lost == count.degraded == 0


@pytest.mark.parametrize("rate", [20_000, 1_000])
async def test_a_trickle_of_bandwidth(far, client, told, rate):
    """Who has no time to wait for it is answered by the next candidate."""
    async with traffic_through(client, far.route, timeout=10.0) as traffic:
        far.proxy.rate = rate
        await traffic.until_answered()
        end = len(traffic.answers) + 100
        await traffic.until(lambda: len(traffic.answers) >= end)
        far.proxy.heal()
        await traffic.until_answered()
        await until_linked(client, far.first)
    count = told(f"{rate // 1000} kB/s between gateway and replica", traffic, factors=far.factors)
    assert count.refused == count.lost == 0
