"""What all tests share: real services on free ports, and clients that leave nothing behind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import modelwire
from command_line import CommandLine
from modelwire_server.testing import RunningServices, ServerProcess, running_services


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keeps the settings of the person who runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith(("MODELWIRE_", "WANDB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MODELWIRE_CONFIG", str(tmp_path / "no-config.toml"))
    monkeypatch.setenv("MODELWIRE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MODELWIRE_ARTIFACT_DIR", str(tmp_path / "artifacts"))


@pytest.fixture(scope="session")
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServices]:
    """Both services in this process, shared by all tests: use a project of your own."""
    async with running_services(tmp_path_factory.mktemp("services") / "data") as running:
        yield running


@pytest.fixture
async def own_services(tmp_path: Path) -> AsyncIterator[RunningServices]:
    """Both services in this process, for one test that looks at or spoils what they keep."""
    async with running_services(tmp_path / "data") as running:
        yield running


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project that no other test uses."""
    name: str = request.node.name
    return "".join(char if char.isalnum() else "-" for char in name)[:100]


@pytest.fixture
async def client(services: RunningServices, project: str) -> AsyncIterator[modelwire.AsyncClient]:
    """A client of the shared services, in a project of its own."""
    async with modelwire.AsyncClient(services.address, project=project) as client:
        yield client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Both services in a process of their own, on free ports."""
    options = {"--address": "127.0.0.1:0", "--blob-address": "127.0.0.1:0"}
    with ServerProcess("all", tmp_path / "data", options) as process:
        yield process


@pytest.fixture
def cli(server: ServerProcess, tmp_path: Path) -> CommandLine:
    """The command line, against a server of its own."""
    return CommandLine(server.addresses["metadata"], tmp_path)
