"""kill -9 of either service or of the client at random moments: nothing is lost, nothing durable is sent twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import modelwire
from modelwire_server.testing import ServerProcess, wait_until

SIZE = 40 << 20
BLOB_KILLS, METADATA_KILLS, CLIENT_KILLS = 12, 8, 12
LONGEST_WAIT = 0.6
"""Seconds; about what an undisturbed upload takes, so that kills fall into every phase of it."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Each service in a process of its own, on one data folder; yields (metadata, blob)."""
    with ServerProcess("blob", tmp_path / "data", {"--address": "127.0.0.1:0"}) as blob:
        options = {"--address": "127.0.0.1:0", "--blob-address": blob.addresses["blob"]}
        with ServerProcess("metadata", tmp_path / "data", options) as metadata:
            yield metadata, blob


@pytest.fixture
def rng() -> random.Random:
    """Random moments; the seed is shown when a test fails."""
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")  # noqa: T201
    return random.Random(seed)


def durable_bytes(data: Path) -> int:
    """What the chunk index holds."""
    with closing(sqlite3.connect(f"file:{data / 'blob' / 'index.db'}?mode=ro", uri=True)) as index:
        return int(index.execute("SELECT coalesce(sum(size), 0) FROM chunks").fetchone()[0])


async def log_while_killing(
    victim: ServerProcess, address: str, folder: Path, rng: random.Random, kills: int
) -> modelwire.TransferStats:
    """Logs `kills` files, killing and restarting `victim` once during each; checks each by using it."""
    stats = modelwire.TransferStats()
    async with modelwire.AsyncClient(address, project="crashes") as client, client.run() as run:
        for number in range(kills):
            source = folder / f"model{number}.bin"
            source.write_bytes(rng.randbytes(SIZE))
            logging = asyncio.create_task(run.log_model(source, name=f"M{number}"))
            await asyncio.sleep(rng.uniform(0, LONGEST_WAIT))
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.restart)
            version = await logging
            assert version.name == f"M{number}:v0"
            path = await run.use_model(f"M{number}")
            assert path.read_bytes() == source.read_bytes()
            source.unlink()
            path.unlink()
            stats.add(version.stats)
    return stats


async def test_an_upload_survives_kills_of_the_blob_service(
    pair: tuple[ServerProcess, ServerProcess], tmp_path: Path, rng: random.Random
) -> None:
    metadata, blob = pair
    stats = await log_while_killing(blob, metadata.addresses["metadata"], tmp_path, rng, BLOB_KILLS)
    assert stats.duplicate_bytes == 0
    assert durable_bytes(blob.data) == BLOB_KILLS * SIZE


async def test_an_upload_survives_kills_of_the_metadata_service(
    pair: tuple[ServerProcess, ServerProcess], tmp_path: Path, rng: random.Random
) -> None:
    metadata, _ = pair
    stats = await log_while_killing(metadata, metadata.addresses["metadata"], tmp_path, rng, METADATA_KILLS)
    assert stats.duplicate_bytes == 0
    assert stats.sent_bytes == METADATA_KILLS * SIZE


async def test_a_killed_client_sends_only_the_rest_when_it_is_repeated(
    pair: tuple[ServerProcess, ServerProcess], tmp_path: Path, rng: random.Random
) -> None:
    metadata, blob = pair
    address = metadata.addresses["metadata"]
    command = [sys.executable, "-m", "modelwire", "log", "model.bin", "-p", "crashes"]
    environment = {**os.environ, "MODELWIRE_ADDRESS": address}
    async with modelwire.AsyncClient(address, project="crashes") as client, client.run() as run:
        for number in range(CLIENT_KILLS):
            source = tmp_path / "model.bin"
            source.write_bytes(rng.randbytes(SIZE))
            before = durable_bytes(blob.data)
            process = subprocess.Popen([*command, "-n", f"M{number}"], cwd=tmp_path, env=environment)
            # The first moments are Python's own start; wait for the first bytes every other time.
            if number % 2:
                await asyncio.to_thread(wait_until, lambda start=before: durable_bytes(blob.data) > start)
            await asyncio.sleep(rng.uniform(0, LONGEST_WAIT))
            process.kill()
            process.wait()
            await asyncio.to_thread(wait_until_still, blob.data)
            durable = durable_bytes(blob.data) - before
            version = await run.log_model(source, name=f"M{number}")
            assert version.name == f"M{number}:v0"
            assert version.stats.sent_bytes == SIZE - durable
            assert version.stats.duplicate_bytes == 0
            path = await run.use_model(f"M{number}")
            assert path.read_bytes() == source.read_bytes()
            path.unlink()


def wait_until_still(data: Path) -> None:
    """Waits until the blob service has stored what a killed client left behind."""
    seen, since = -1, 0.0
    while seen != durable_bytes(data) or time.monotonic() - since < 0.3:
        if seen != (now := durable_bytes(data)):
            seen, since = now, time.monotonic()
        time.sleep(0.02)


async def test_a_drained_service_ends_with_code_0_and_loses_nothing(
    pair: tuple[ServerProcess, ServerProcess], tmp_path: Path
) -> None:
    metadata, blob = pair
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(SIZE))
    async with modelwire.AsyncClient(metadata.addresses["metadata"], project="crashes") as client, client.run() as run:
        logging = asyncio.create_task(run.log_model(source, name="M"))
        await asyncio.sleep(0.1)
        assert await asyncio.to_thread(blob.stop) == 0
        await asyncio.to_thread(blob.restart)
        await logging
        assert (await run.use_model("M")).read_bytes() == source.read_bytes()


async def test_a_killed_download_goes_on_where_it_was(server: ServerProcess, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    size = 300 << 20
    with source.open("wb") as file:
        file.writelines(os.urandom(1 << 20) for _ in range(size >> 20))
    cache, target = tmp_path / "cache", tmp_path / "artifacts" / "M:v0" / "model.bin"
    command = [sys.executable, "-m", "modelwire", "use", "M", "-p", "crashes"]
    environment = {**os.environ, "MODELWIRE_ADDRESS": server.addresses["metadata"]}
    async with modelwire.AsyncClient(server.addresses["metadata"], project="crashes") as client, client.run() as run:
        await run.log_model(source, name="M")
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)

        def arrived() -> int:
            return sum(part.stat().st_blocks * 512 for part in cache.glob("incoming/*.part"))

        await asyncio.to_thread(wait_until, lambda: arrived() > size // 8)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not target.exists()
        version = await run.use_model_version("M")
        path = await version.download()
        assert 0 < run.stats.received_bytes < size
        assert run.stats.received_bytes + run.stats.reused_bytes == size
    assert path == target
    assert path.stat().st_size == size
    assert subprocess.run(["cmp", source, path], check=False).returncode == 0
