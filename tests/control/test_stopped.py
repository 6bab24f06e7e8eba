"""A control plane that was stopped for a while, as by SIGSTOP or with its machine."""

from __future__ import annotations

import asyncio
import logging

from fabric.control.controller import Controller
from fabric.control.store import opened
from fabric.testing import ManualClock, replica, specialist

LENGTH = 0.04


async def test_nobody_has_gone_while_it_was_stopped(sqlite_url, caplog):
    """Leases start anew then, and end as ever where nobody renews them."""
    clock = ManualClock()
    async with opened(sqlite_url) as store:
        controller = Controller(store, clock, lease=LENGTH)
        await controller.start()
        await controller.apply([specialist("a")], [])
        await controller.register(replica("r", "a:1"), None)
        keeping = asyncio.create_task(controller.keep_leases())
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(0)
            clock.advance(10 * LENGTH)
            while controller.catalog.replicas and not caplog.messages:
                await asyncio.sleep(LENGTH / 8)
        assert "leases start anew" in caplog.text
        assert list(controller.catalog.replicas) == ["r"]

        while controller.catalog.replicas:
            clock.advance(LENGTH / 32)
            await asyncio.sleep(LENGTH / 8)
        keeping.cancel()
        await asyncio.wait((keeping,))
        await controller.close()
