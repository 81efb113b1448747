"""Logs and uses a folder of 10 000 small files and prints seconds and files per second.

python benchmarks/small_files.py [--files N] [--rounds N] [--disk FOLDER]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from stage import Spread, ask, clear, fast_place, places, services, workplace, write_small_files


def measure(source: Path, folder: Path) -> tuple[float, float]:
    """Returns the seconds of logging and of using, with services and folders that are new."""
    data, own = folder / "data", folder / "client"
    try:
        with services(data) as server:
            took = ask("transfer.py", server.addresses["metadata"], source, own)
    finally:
        clear(data, own)
    return took["up_seconds"], took["down_seconds"]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure; the one for temporary files otherwise")
    given = parser.parse_args()
    seconds = defaultdict[str, list[float]](list)
    with ExitStack() as stack:
        folders = {place: stack.enter_context(workplace(folder)) for place, folder in places(given.disk).items()}
        source = stack.enter_context(workplace(fast_place())) / "files"
        for _ in range(given.rounds):
            size = write_small_files(source, given.files)
            for place, folder in folders.items():
                up, down = measure(source, folder)
                seconds[f"{place} up"].append(up)
                seconds[f"{place} down"].append(down)
            clear(source)
    print(f"{given.files} files, {size / 1e6:.0f} MB, {given.rounds} rounds: seconds, median (low to high)")
    for name, found in seconds.items():
        spread = Spread.of(found)
        print(f"{name:<12} {spread!s:<24} {given.files / spread.median:8.0f} files/s")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; everything is cleaned up") from None
