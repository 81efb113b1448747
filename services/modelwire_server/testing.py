"""For people who write a pack store, or test against real services. Needs pytest.

class TestMyStore(PackStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return MyStore(tmp_path)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import pytest

from modelwire_server.blob.packs import PackMissingError, PackStore, TruncatablePackStore
from modelwire_server.embedded import serve_all

READY = "modelwire ready"
START_SECONDS = 60.0


@dataclass(frozen=True)
class RunningServices:
    """Says where both services accept calls, and where they keep everything."""

    address: str
    blob_address: str
    data: Path


@asynccontextmanager
async def running_services(data: Path) -> AsyncIterator[RunningServices]:
    """Runs both services in this process, on free ports, for the length of the block."""
    async with serve_all(data, "127.0.0.1:0", "127.0.0.1:0", drain_seconds=2.0) as (metadata, blob):
        yield RunningServices(metadata.address, blob.address, data)


class ServerProcess:
    """Is a `modelwire-server` of its own, which can be killed and started again on the same ports.

    Args:
        program: "all", "metadata" or "blob".
        data: The data folder.
        options: Options of the program; addresses with port 0 are kept as they turn out at the first start.
    """

    def __init__(self, program: str, data: Path, options: Mapping[str, str]) -> None:
        self.program, self.data, self.options = program, data, dict(options)
        self.addresses: dict[str, str] = {}
        self.log = data.parent / f"{data.name}-{program}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Starts it and waits until it accepts calls."""
        command = [sys.executable, "-m", "modelwire_server", self.program, "--data", str(self.data)]
        for name, value in self.options.items():
            command += [name, value]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 - our own
        assert self._process.stdout is not None
        line = _line_within(self._process.stdout, START_SECONDS)
        if not line.startswith(READY):
            self.kill()
            raise RuntimeError(f"{self.program} did not start: {line!r}\n{self.log.read_text()[-2000:]}")
        places = line.removeprefix(READY).partition(" data=")[0]
        self.addresses = dict(place.split("=", 1) for place in places.split())
        self._keep_ports()
        return self

    def kill(self) -> None:
        """Ends it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ends it as an operator would: SIGTERM; returns its exit code."""
        return self._end(signal.SIGTERM)

    def restart(self) -> Self:
        """Starts it again where it was."""
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        code = self._process.wait(START_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def _keep_ports(self) -> None:
        if self.program == "all":
            self.options["--blob-address"] = self.addresses["blob"]
        self.options["--address"] = self.addresses["blob" if self.program == "blob" else "metadata"]


def _line_within(stream: IO[str], seconds: float) -> str:
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    return lines[0] if lines else ""


def wait_until(condition: object, seconds: float = 30.0) -> None:
    """Waits until `condition()` is true; fails the test when it takes too long."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


class PackStoreContract:
    """Holds a pack store to its promises. A subclass gives a fixture `store`, empty at the start of each test."""

    def test_what_is_appended_and_synced_reads_back_by_range(self, store: PackStore) -> None:
        """Appends in parts, reads across their borders."""
        pack = store.create("a" * 32)
        assert pack.append([b"hello ", memoryview(b"wide")]) == 0
        assert pack.append([b" world"]) == 10
        pack.sync()
        assert store.read(pack.name, 4, 8) == b"o wide w"
        pack.close()
        assert store.read(pack.name, 0, 16) == b"hello wide world"

    def test_a_growing_pack_knows_its_size(self, store: PackStore) -> None:
        """The size counts every append, synced or not."""
        pack = store.create("b" * 32)
        pack.append([b"12345"])
        assert pack.size == 5
        pack.append([b"678"])
        assert pack.size == 8
        pack.close()

    def test_many_small_parts_are_appended_in_order(self, store: PackStore) -> None:
        """More parts than one system call takes."""
        pack = store.create("c" * 32)
        parts = [bytes([number % 256]) * 3 for number in range(5000)]
        pack.append(parts)
        pack.sync()
        pack.close()
        assert store.read(pack.name, 0, 15000) == b"".join(parts)

    def test_a_name_is_used_once(self, store: PackStore) -> None:
        """Invariant I4."""
        pack = store.create("d" * 32)
        pack.append([b"x"])
        pack.sync()
        pack.close()
        with pytest.raises(FileExistsError):
            store.create("d" * 32)

    def test_a_range_beyond_the_end_is_missing(self, store: PackStore) -> None:
        """A short answer is never given."""
        pack = store.create("e" * 32)
        pack.append([b"12345"])
        pack.sync()
        pack.close()
        with pytest.raises(PackMissingError):
            store.read(pack.name, 3, 3)

    def test_a_pack_that_was_never_made_is_missing(self, store: PackStore) -> None:
        """Reading it says so."""
        with pytest.raises(PackMissingError):
            store.read("f" * 32, 0, 1)

    def test_a_deleted_pack_is_gone_and_deleting_it_again_is_harmless(self, store: PackStore) -> None:
        """Deletes twice."""
        pack = store.create("0" * 32)
        pack.append([b"x"])
        pack.sync()
        pack.close()
        assert store.read(pack.name, 0, 1) == b"x"
        store.delete(pack.name)
        store.delete(pack.name)
        with pytest.raises(PackMissingError):
            store.read(pack.name, 0, 1)
        assert list(store.list()) == []

    def test_the_list_has_every_pack_with_its_size(self, store: PackStore) -> None:
        """Lists what was synced."""
        for number in range(3):
            pack = store.create(f"{number:032x}")
            pack.append([b"x" * (number + 1)])
            pack.sync()
            pack.close()
        assert dict(store.list()) == {f"{number:032x}": number + 1 for number in range(3)}

    def test_a_tail_can_be_cut_off(self, store: PackStore) -> None:
        """For stores that can."""
        if not isinstance(store, TruncatablePackStore):
            return
        pack = store.create("1" * 32)
        pack.append([b"acknowledged", b"not"])
        pack.sync()
        pack.close()
        store.truncate(pack.name, 12)
        assert dict(store.list()) == {pack.name: 12}
        assert store.read(pack.name, 0, 12) == b"acknowledged"

    def test_readers_and_a_writer_do_not_disturb_each_other(self, store: PackStore) -> None:
        """Reads what is synced while more is appended, from several threads."""
        pack = store.create("2" * 32)
        pack.append([b"s" * 100_000])
        pack.sync()

        def read(number: int) -> bool:
            return store.read(pack.name, number * 1000, 1000) == b"s" * 1000

        with ThreadPoolExecutor(4) as pool:
            reads = [pool.submit(read, number % 100) for number in range(200)]
            for _ in range(50):
                pack.append([os.urandom(10_000)])
            assert all(future.result() for future in reads)
        pack.sync()
        pack.close()
        assert dict(store.list()) == {pack.name: 600_000}
