"""Logs and uses 1 GiB in one file, and 10 000 small files, and prints how long the event loops were held up meanwhile.

    python benchmarks/lag.py [--size MIB] [--files N]

See README.md for how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from event_loop import BLOCKED_SECONDS, SLOW_SECONDS, LoopMonitor, run
from modelwire.memory import keep_large_buffers
from modelwire_server.embedded import serve_all
from stage import ANY_PORT, MIB, Child, ask, fast_place, workplace, write_safetensors, write_small_files

SHOWN_STACKS = 6


async def serve(data: Path) -> None:
    """Runs both services with a monitor in their loop; every line on stdin brings the findings since the last one."""
    lines: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:  # a thread of its own, which ends with the process: reading stdin cannot be cancelled
        for _ in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=listen, daemon=True).start()
    async with serve_all(data, ANY_PORT, ANY_PORT) as (metadata, _):
        print(json.dumps(metadata.address), flush=True)
        while True:
            monitor = LoopMonitor()
            monitor.start()
            await lines.get()
            print(json.dumps(await monitor.stop()), flush=True)


def show(what: str, findings: dict[str, Any]) -> None:
    """Prints what a monitor saw."""
    late, busy, collecting = (findings[name] * 1000 for name in ("late", "busy", "collecting"))
    over = (
        f"{findings['slow']} times over {SLOW_SECONDS * 1000:.0f} ms, {findings['blocked']} over {BLOCKED_SECONDS * 1000:.0f}"
    )
    print(f"{what:<30} late {late:4.0f} ms ({over})   busy {busy:4.0f} ms   collecting {collecting:4.0f} ms")
    for seen, worst, stack in findings["stacks"][:SHOWN_STACKS]:
        print(f"    seen {seen} times, up to {worst * 1000:.0f} ms:")
        print("".join(f"      {line}\n" for line in stack.splitlines()), end="")


def measure(what: str, make: Callable[[Path], object]) -> None:
    """Makes the input, moves it up and down with services of its own, and prints what was seen."""
    with workplace(fast_place()) as folder:
        source = folder / "source"
        make(source)
        with Child("lag.py", "--serve", folder / "data") as server:
            address = server.answer()
            client = ask("transfer.py", address, source, folder / "client", "--lag")
            server.tell()
            services = server.answer()
    show(f"{what}: client, log", client["up_lag"])
    show(f"{what}: client, use", client["down_lag"])
    show(f"{what}: services, both", services)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="size of the one file")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--serve", type=Path, metavar="DATA", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        keep_large_buffers()
        run(serve(given.serve))
        return
    print("worst of each; see README.md")
    measure(f"{given.size} MiB", lambda path: write_safetensors(path, given.size * MIB))
    measure(f"{given.files} files", lambda path: write_small_files(path, given.files))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; everything is cleaned up") from None
