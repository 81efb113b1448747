"""Both services as the generated stubs see them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from integration.stubs import Wire, connected
from modelwire_server.testing import RunningServices


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project that no other test uses, not even one with the same long name."""
    name: str = request.node.name
    return "".join(char if char.isalnum() else "-" for char in name)[:60] + uuid.uuid4().hex[:8]


@pytest.fixture
async def wire(services: RunningServices, project: str) -> AsyncIterator[Wire]:
    """The shared services, in a project of the test's own."""
    async with connected(services, project) as wire:
        yield wire


@pytest.fixture
async def own_wire(own_services: RunningServices, project: str) -> AsyncIterator[Wire]:
    """Services of the test's own."""
    async with connected(own_services, project) as wire:
        yield wire
