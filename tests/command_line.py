"""Runs the programs as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
