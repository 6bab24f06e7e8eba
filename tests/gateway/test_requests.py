"""One request through the gateway: what reaches the replica, and what comes back."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from running import Held, served, unique

X = np.zeros(1, np.float32)


async def test_a_caller_that_leaves_stops_the_work(running, client):
    """The replica hears of it within a tenth of a second."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        task = asyncio.create_task(client.infer(name, {"x": X}))
        call = await held.next()
        told = asyncio.Event()
        call.on_cancel = told.set
        task.cancel()
        async with asyncio.timeout(0.1):
            await told.wait()
        assert call.is_cancelled
        with pytest.raises(asyncio.CancelledError):
            await task
