"""How late the loop reads, and what that does to deadlines."""

from __future__ import annotations

import asyncio
import time

import pytest

from fabric.core.deadlines import NEVER, Deadline
from fabric.gateway.lag import Lag


async def test_a_loop_that_is_not_late_leaves_deadlines_alone():
    """To the millisecond that timers take anyway."""
    lag = Lag()
    deadline = Deadline(time.monotonic() + 1.0)
    assert lag.read(deadline) is deadline
    lag._measure(time.monotonic())
    assert lag.read(deadline) is deadline


async def test_what_a_busy_loop_reads_late_has_less_time():
    """By what it has waited, and as much again for its answer."""
    lag = Lag()
    lag.read(NEVER)
    time.sleep(0.1)
    await asyncio.sleep(0.01)
    assert 0.05 < lag.seconds < 1.0
    assert lag.read(Deadline(10.0)).at == pytest.approx(10.0 - 2 * lag.seconds)


async def test_a_loop_that_is_not_busy_any_more_is_found_out():
    """By the next request that is read, or at once if the last was long ago."""
    lag = Lag()
    lag._measure(time.monotonic() - 5.0)
    assert lag.read(Deadline(10.0)).at < 1.0
    while lag.seconds:
        await asyncio.sleep(0.005)
        lag.read(NEVER)
    await asyncio.sleep(0.01)
    lag._measure(time.monotonic() - 5.0)
    lag._measured -= 1.0
    deadline = Deadline(10.0)
    assert lag.read(deadline) is deadline
