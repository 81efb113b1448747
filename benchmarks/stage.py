"""What the benchmarks share: places that are cleaned up, inputs, processes of their own, and figures with their spread."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from modelwire_server.testing import ServerProcess

MIB = 1 << 20
HERE = Path(__file__).parent
SHM = Path("/dev/shm")
ANY_PORT = "127.0.0.1:0"

_CHILD_SECONDS = 600
_FEATURES = 1024


# ── Places ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def places(disk: Path | None) -> dict[str, Path]:
    """Returns the folders to measure in: a disk, and a tmpfs where the machine has one."""
    found = {"disk": disk or Path(tempfile.gettempdir())}
    return found | ({"tmpfs": SHM} if os.access(SHM, os.W_OK) else {})


def fast_place() -> Path:
    """Returns the tmpfs, or the folder for temporary files where there is none."""
    return SHM if os.access(SHM, os.W_OK) else Path(tempfile.gettempdir())


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """Makes a folder of one's own, which is gone at the end, also after Ctrl-C or SIGTERM."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="modelwire-bench-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear(*folders: Path) -> None:
    """Deletes folders that may be there."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def touch_memory(folder: Path, size: int) -> None:
    """Writes and deletes `size` bytes below `folder`: a virtual machine is slow to hand out memory for the first time."""
    path, zeros = folder / "warm", bytes(8 * MIB)
    with path.open("wb") as file:
        for _ in range(0, size, len(zeros)):
            file.write(zeros)
    path.unlink()


# ── Inputs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_safetensors(path: Path, size: int) -> int:
    """Writes a safetensors file of about `size` bytes of random weights in layers; returns where its tensors begin."""
    generator = np.random.default_rng()
    header: dict[str, object] = {}
    lengths: list[int] = []
    # One layer: a matrix of 16 MiB, one of 4 MiB, and a bias of 4 KiB, in float32.
    shapes = {"mlp.weight": [4 * _FEATURES, _FEATURES], "attention.weight": [_FEATURES, _FEATURES], "bias": [_FEATURES]}
    at = 0
    for layer in range(max(1, size // (20 * MIB + 4096))):
        for name, shape in shapes.items():
            length = 4 * int(np.prod(shape))
            header[f"layer.{layer}.{name}"] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + length]}
            lengths.append(length)
            at += length
    if at < size:
        header["head.weight"] = {"dtype": "U8", "shape": [size - at], "data_offsets": [at, size]}
        lengths.append(size - at)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for length in lengths:
            file.write(generator.bytes(length))
    return 8 + len(text)


def change_content(path: Path, start: int) -> None:
    """Changes every tensor byte of a file in place, so that no chunk of it was seen before."""
    key = np.frombuffer(os.urandom(MIB), dtype=np.uint8)
    with path.open("r+b") as file:
        file.seek(start)
        while data := file.read(MIB):
            file.seek(-len(data), os.SEEK_CUR)
            file.write((np.frombuffer(data, dtype=np.uint8) ^ key[: len(data)]).tobytes())


def write_small_files(folder: Path, count: int) -> int:
    """Writes `count` files of 2 to 4 KiB of new content, 100 to a folder; returns their bytes."""
    generator = np.random.default_rng()
    total = 0
    for number in range(count):
        path = folder / f"part-{number // 100:03d}" / f"{number:05d}.bin"
        if number % 100 == 0:
            path.parent.mkdir(parents=True)
        data = generator.bytes(int(generator.integers(2048, 4097)))
        path.write_bytes(data)
        total += len(data)
    return total


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def services(data: Path) -> ServerProcess:
    """Returns both services in one process, to be started by `with`."""
    return ServerProcess("all", data, {"--address": ANY_PORT, "--blob-address": ANY_PORT})


def environment() -> dict[str, str]:
    """Returns the environment without the settings of whoever runs the benchmark."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELWIRE_", "WANDB_", "MALLOC_"))}
    return kept | {"MODELWIRE_CONFIG": os.devnull}


class Child:
    """Is one of the scripts beside this file in a process of its own. It prints lines of JSON."""

    def __init__(self, script: str, *arguments: object) -> None:
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        # In a session of its own: Ctrl-C comes to us, and we end it.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment(), start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def answer(self) -> Any:
        """Reads the next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args!r} ended with code {self.process.wait(_CHILD_SECONDS)}")
        return json.loads(line)

    def tell(self) -> None:
        """Sends an empty line: go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


def ask(script: str, *arguments: object) -> Any:
    """Runs a script to its end and returns its one answer."""
    with Child(script, *arguments) as child:
        return child.answer()


# ── Figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Spread:
    """Is what was measured in several rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sums up the rounds, to three digits."""
        return cls(*(float(f"{value:.3g}") for value in (statistics.median(values), min(values), max(values))))

    def __str__(self) -> str:
        return f"{self.median:g} ({self.low:g} to {self.high:g})"

    def plain(self) -> dict[str, float]:
        """Returns what JSON can hold."""
        return asdict(self)
