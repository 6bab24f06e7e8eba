"""Fixtures of the SDK's tests."""

from __future__ import annotations

import pytest
from gateways import recording_gateway


@pytest.fixture
async def gateway():
    async with recording_gateway() as seen:
        yield seen
