"""What all tests share: real services on free ports, and clients that leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import modelwire
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


@dataclass(frozen=True)
class Ran:
    """Is what a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed as JSON; fails the test when the command failed."""
        assert self.code == 0, self.err
        return json.loads(self.out)


class CommandLine:
    """Runs `modelwire` and Python programs as a user would, in processes of their own."""

    def __init__(self, address: str, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "MODELWIRE_ADDRESS": address}

    def __call__(self, *arguments: str | Path, code: int | None = 0, env: Mapping[str, str] | None = None) -> Ran:
        """Runs `modelwire` with arguments; fails the test when it ends with another code than `code`."""
        ran = self._run([sys.executable, "-m", "modelwire", *map(str, arguments)], env)
        assert code is None or ran.code == code, f"{arguments}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def python(self, program: str, *arguments: str, env: Mapping[str, str] | None = None) -> Ran:
        """Runs a Python program given as text; fails the test when it fails."""
        ran = self._run([sys.executable, "-W", "error", "-c", program, *arguments], env)
        assert ran.code == 0, f"exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def _run(self, command: list[str], env: Mapping[str, str] | None) -> Ran:
        environment = {**self.environment, **(env or {})}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cli(server: ServerProcess, tmp_path: Path) -> CommandLine:
    """The command line, against a server of its own."""
    return CommandLine(server.addresses["metadata"], tmp_path)
