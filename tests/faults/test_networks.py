"""A bad network between a gateway and a replica costs no answer."""

from __future__ import annotations

import pytest
from breaking import traffic_through
from running import until_linked

pytestmark = pytest.mark.timeout(120)


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
        end = len(traffic.answers) + 20
        await traffic.until(lambda: len(traffic.answers) >= end)
        far.proxy.heal()
        await traffic.until_answered()
        await until_linked(client, far.first)
    count = told(f"{rate // 1000} kB/s between gateway and replica", traffic, factors=far.factors)
    assert count.refused == count.lost == 0
