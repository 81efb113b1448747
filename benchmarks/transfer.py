"""Logs a path and uses it again, in a process of its own; prints one line of JSON. The other benchmarks start it.

    python benchmarks/transfer.py ADDRESS PATH FOLDER [--lag]

FOLDER gets the artifacts and the cache. `--lag` adds what the monitor of the event loop saw.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import modelwire
from event_loop import LoopMonitor, run
from modelwire.settings import Settings
from stage import MIB


def peak_memory(pid: int | str = "self") -> int:
    """Returns the largest resident memory that a process ever had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def transfer(address: str, path: Path, folder: Path, warm: Path, *, lag: bool) -> dict[str, Any]:
    """Logs and uses `path`; returns seconds, peak memory and, when asked, the monitor's findings of both.

    `warm` is a file that goes both ways first, so that connections and code are warm when the clock starts.
    """
    settings = Settings.load(
        address=address, project="benchmark", artifact_dir=folder / "artifacts", cache_dir=folder / "cache", quiet=True
    )
    findings: dict[str, Any] = {}

    async def measured(name: str, work: Awaitable[object]) -> None:
        monitor = LoopMonitor()
        if lag:
            monitor.start()
        begin = time.perf_counter()
        await work
        findings[f"{name}_seconds"] = time.perf_counter() - begin
        if lag:
            findings[f"{name}_lag"] = await monitor.stop()
        findings[f"{name}_peak"] = peak_memory()

    async with modelwire.AsyncClient(settings=settings) as client, client.run() as run:
        await run.log_model(warm, name="warm")
        await run.use_model("warm")
        await measured("up", run.log_model(path, name="measured"))
        await measured("down", run.use_model("measured"))
    return findings


def main() -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("path", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lag", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    warm = given.folder / "warm.bin"
    warm.write_bytes(os.urandom(8 * MIB))
    print(json.dumps(run(transfer(given.address, given.path, given.folder, warm, lag=given.lag))), flush=True)


if __name__ == "__main__":
    main()
