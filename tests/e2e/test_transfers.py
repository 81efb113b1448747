"""What a transfer moves, counted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import modelwire
from modelwire import _chunking, _upload
from modelwire._channel import Tickets
from modelwire.errors import SourceChangedError
from modelwire_server.rpc.auth import KeySet, Signer
from modelwire_server.testing import RunningServices

MIB = 1 << 20


def same(one: Path, other: Path) -> bool:
    """Compares files or folders byte for byte."""
    return subprocess.run(["diff", "-r", one, other], check=False, capture_output=True).returncode == 0


async def test_changing_one_tensor_sends_that_tensor_and_nothing_else(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tensors = {f"layer{number}": rng.random((512, 1031), dtype=np.float32) for number in range(8)}
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    async with client.run() as run:
        await run.log_model(path, name="M")
        tensors["layer3"] = tensors["layer3"] + 1
        save_file(tensors, path)
        version = await run.log_model(path, name="M")
        assert version.name == "M:v1"
        assert version.stats.sent_bytes == tensors["layer3"].nbytes
        used = await run.use_model("M:v1")
    assert used.read_bytes() == path.read_bytes()


async def test_a_tensor_is_found_again_where_it_moved(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    tensors = {f"layer{number}": rng.random((700, 701), dtype=np.float32) for number in range(4)}
    path = tmp_path / "model.safetensors"
    async with client.run() as run:
        save_file(tensors, path)
        await run.log_model(path, name="M")
        grown = {"a-first-one": rng.random((333, 1000), dtype=np.float32), **tensors}
        save_file(grown, path)
        version = await run.log_model(path, name="M")
    header = path.stat().st_size - sum(tensor.nbytes for tensor in grown.values())
    assert version.stats.sent_bytes == grown["a-first-one"].nbytes + header


async def test_an_insertion_into_another_file_sends_little(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    content = np.random.default_rng(3).bytes(32 * MIB)
    async with client.run() as run:
        path.write_bytes(content)
        await run.log_model(path, name="M")
        path.write_bytes(content[: 5 * MIB] + b"inserted" + content[5 * MIB :])
        version = await run.log_model(path, name="M")
    assert version.stats.sent_bytes <= 4 * MIB
    assert version.stats.deduplicated_bytes == path.stat().st_size - version.stats.sent_bytes


async def test_ten_thousand_small_files_come_back(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "many"
    for number in range(10_000):
        path = source / f"{number % 100:02}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % number * (number % 300))
    async with client.run() as run:
        version = await run.log_model(source, name="many")
        assert version.file_count == 10_000
        assert same(source, await run.use_model("many"))
        again = await run.log_model(source, name="many")
        assert (again.created, again.stats.sent_bytes) == (False, 0)


async def test_two_large_files_of_the_same_content_are_moved_once(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    content = os.urandom(20 * MIB)
    for name in ("one", "two"):
        (source / name).write_bytes(content)
    async with client.run() as run:
        version = await run.log_model(source, name="M")
        assert version.stats.sent_bytes == 20 * MIB
        assert same(source, await run.use_model("M"))
        assert run.stats.received_bytes == 20 * MIB


async def test_the_cache_serves_another_folder(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(5 * MIB))
    async with client.run() as run:
        await run.log_model(source, name="M")
        version = await client.artifact("M")
        first = await version.download(tmp_path / "one")
        assert (version.stats.received_bytes, version.stats.reused_bytes) == (5 * MIB, 0)
        second = await version.download(tmp_path / "two")
        assert (version.stats.received_bytes, version.stats.reused_bytes) == (5 * MIB, 5 * MIB)
    assert same(first, source)
    assert same(second, source)


async def test_a_spoiled_cache_is_found_out(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(2 * MIB))
    async with client.run() as run:
        await run.log_model(source, name="M")
        await run.use_model("M")
    [cached] = (tmp_path / "cache" / "content").glob("*/*")
    cached.chmod(0o644)
    content = bytearray(cached.read_bytes())
    content[1000] ^= 1
    cached.write_bytes(content)
    assert same(await client.download("M", tmp_path / "again"), source)


async def test_without_a_cache_files_go_straight_to_their_place(
    services: RunningServices, project: str, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file stands where the cache should be")
    source = tmp_path / "model"
    source.mkdir()
    for name, size in (("large", 9 * MIB), ("same", 9 * MIB), ("small", 10), ("empty", 0)):
        (source / name).write_bytes(b"%d" % size * (size // 7) if size else b"")
    async with modelwire.AsyncClient(services.address, project=project) as client, client.run() as run:
        await run.log_model(source, name="M")
        path = await run.use_model("M")
    assert same(source, path)


async def test_a_file_that_changes_while_it_is_read_is_an_error(
    client: modelwire.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(20 * MIB))
    read = _chunking.chunks_of

    def disturbed(descriptor: int, size: int) -> object:
        for number, chunk in enumerate(read(descriptor, size)):
            if number == 10:
                with source.open("r+b") as file:
                    file.write(b"other")
            yield chunk

    monkeypatch.setattr(_upload, "chunks_of", disturbed)
    async with client.run() as run:
        with pytest.raises(SourceChangedError, match="changed while it was being logged"):
            await run.log_model(source, name="M")
    assert await client.artifact_collections() == []


async def test_an_expired_ticket_is_renewed_on_the_way(
    own_services: RunningServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer(KeySet.load(own_services.data / "keys.json"))
    stale, _ = signer.write_ticket("default", seconds=-1)
    made = Tickets.__init__
    renewals = []

    def expired(self: Tickets, token: str, renew: object) -> None:
        made(self, stale, renew)  # type: ignore[arg-type]
        renewals.append(token)

    monkeypatch.setattr(Tickets, "__init__", expired)
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(3 * MIB))
    async with modelwire.AsyncClient(own_services.address, project="p") as client, client.run() as run:
        await run.log_model(source, name="M")
        assert same(await run.use_model("M"), source)
    assert len(renewals) == 2
