"""Logs and uses a safetensors file of 3 GiB and prints the peak memory of both services and of the client.

    python benchmarks/memory.py [--size MIB] [--folder FOLDER]

Ends with exit code 1 when one of them is over its limit. Reads /proc, so it needs Linux.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from modelwire_server.testing import ServerProcess
from stage import ANY_PORT, MIB, ask, workplace, write_safetensors
from transfer import peak_memory

LIMITS = {"metadata service": 250 * MIB, "blob service": 250 * MIB, "client": 300 * MIB}


def measure(folder: Path, size: int) -> dict[str, tuple[int, int]]:
    """Returns the peaks after logging and after using too; the services' are known at the end only."""
    source, data = folder / "model.safetensors", folder / "data"
    write_safetensors(source, size)
    with (
        ServerProcess("blob", data, {"--address": ANY_PORT}) as blob,
        ServerProcess("metadata", data, {"--address": ANY_PORT, "--blob-address": blob.addresses["blob"]}) as metadata,
    ):
        idle = {"metadata service": peak_memory(metadata.pid), "blob service": peak_memory(blob.pid)}
        took = ask("transfer.py", metadata.addresses["metadata"], source, folder / "client")
        after = {"metadata service": peak_memory(metadata.pid), "blob service": peak_memory(blob.pid)}
    peaks = {name: (idle[name], after[name]) for name in idle}
    return peaks | {"client": (took["up_peak"], took["down_peak"])}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=3072, metavar="MIB", help="size of the file")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work; needs 3 times the size"
    )
    given = parser.parse_args()
    with workplace(given.folder) as folder:
        peaks = measure(folder, given.size * MIB)
    print(f"{given.size} MiB logged and used; peak resident memory in MiB")
    for name, (before, peak) in peaks.items():
        when = "after logging" if name == "client" else "before"
        verdict = "over" if peak > LIMITS[name] else "ok"
        print(f"{name:<18} {peak / MIB:6.0f}  ({when} {before / MIB:.0f})   limit {LIMITS[name] / MIB:.0f}   {verdict}")
    sys.exit(any(peak > LIMITS[name] for name, (_, peak) in peaks.items()))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; everything is cleaned up") from None
