"""Logs and uses a safetensors file of 1 GiB and sets the speed beside that of dd, a null sink, and the previous run.

    python benchmarks/quick.py [--size MIB] [--rounds N] [--disk FOLDER]

See README.md for what the figures mean. The last figures at the standard size are kept in results/quick.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from null_stream import null_rates
from stage import (
    HERE,
    MIB,
    SHM,
    Spread,
    ask,
    change_content,
    clear,
    fast_place,
    places,
    services,
    touch_memory,
    workplace,
    write_safetensors,
)

STANDARD_SIZE = 1024
STREAMS = 2
"""Calls at a time, as many as the product makes."""

RESULTS = HERE / "results" / "quick.json"

Rounds = dict[str, list[float]]


class Bench:
    """Measures round after round; `rates` has bytes per second by name."""

    def __init__(self, source: Path, start: int, folders: dict[str, Path]) -> None:
        self._source, self._start, self._folders = source, start, folders
        self._size = source.stat().st_size
        self.rates: Rounds = defaultdict(list)
        self.ratios: Rounds = defaultdict(list)

    def round(self) -> None:
        """Measures everything once, the sides in turn, so that a slow minute of the machine hits all of them."""
        streamed = self._size // MIB
        for allocator in ("kept", "plain"):
            up, down = null_rates(streamed, allocator, STREAMS)
            self._note(f"null {allocator} up", up)
            self._note(f"null {allocator} down", down)
        for place, folder in self._folders.items():
            change_content(self._source, self._start)
            self._note(f"{place} dd", self._dd(folder / "dd.bin"))
            up, down = self._product(folder)
            self._note(f"{place} up", up)
            self._note(f"{place} down", down)
            for way, rate in (("up", up), ("down", down)):
                self._relate(f"{place} {way} / dd", rate, f"{place} dd")
                for allocator in ("kept", "plain"):
                    self._relate(f"{place} {way} / null {allocator}", rate, f"null {allocator} {way}")

    def _note(self, name: str, rate: float) -> None:
        self.rates[name].append(rate)
        print(f"  {name:<16} {rate / 1e6:7.0f} MB/s", flush=True)

    def _relate(self, name: str, rate: float, other: str) -> None:
        self.ratios[name].append(rate / self.rates[other][-1])

    def _dd(self, target: Path) -> float:
        begin = time.perf_counter()
        command = ["dd", f"if={self._source}", f"of={target}", "bs=1M", "conv=fsync"]
        try:
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            return self._size / (time.perf_counter() - begin)
        finally:
            target.unlink(missing_ok=True)

    def _product(self, folder: Path) -> tuple[float, float]:
        data, own = folder / "data", folder / "client"
        if folder.parent == SHM:
            touch_memory(folder, 3 * self._size)
        try:
            with services(data) as server:
                took = ask("transfer.py", server.addresses["metadata"], self._source, own)
        finally:
            clear(data, own)
        return self._size / took["up_seconds"], self._size / took["down_seconds"]


def report(bench: Bench, size: int) -> None:
    """Prints medians with their spread beside the previous ones, and keeps those of the standard size."""
    rates = {name: Spread.of([rate / 1e6 for rate in found]) for name, found in bench.rates.items()}
    ratios = {name: Spread.of(found) for name, found in bench.ratios.items()}
    previous = json.loads(RESULTS.read_text()) if RESULTS.exists() and size == STANDARD_SIZE else {}
    for title, group, figures in (("MB/s", "rates", rates), ("ratio", "ratios", ratios)):
        print(f"\n{title:<26} {'median (low to high)':<26} {'previous':<26} now / previous")
        for name, spread in figures.items():
            before = previous.get(group, {}).get(name)
            then = f"{Spread(**before)!s:<26} {spread.median / before['median']:.2f}" if before else "-"
            print(f"{name:<26} {spread!s:<26} {then}")
    if size == STANDARD_SIZE:
        kept = {
            group: {name: spread.plain() for name, spread in figures.items()}
            for group, figures in (("rates", rates), ("ratios", ratios))
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=STANDARD_SIZE, metavar="MIB", help="size of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure; the one for temporary files otherwise")
    given = parser.parse_args()
    with ExitStack() as stack:
        folders = {place: stack.enter_context(workplace(folder)) for place, folder in places(given.disk).items()}
        # The source lies in memory, so that reading it does not count.
        source = stack.enter_context(workplace(fast_place())) / "model.safetensors"
        start = write_safetensors(source, given.size * MIB)
        bench = Bench(source, start, folders)
        for number in range(given.rounds):
            print(f"round {number + 1} of {given.rounds}", flush=True)
            bench.round()
        report(bench, given.size)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; everything is cleaned up") from None
