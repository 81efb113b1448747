"""What becomes of bytes that a crash or a bad disk spoiled: at the next start, at the next read, at the next upload."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

import modelwire
from integration.stubs import Wire, connected, digest, refused
from modelwire.digests import blob_id
from modelwire.errors import DataDamagedError
from modelwire.wire import MIB
from modelwire_server.testing import RunningServices, ServerProcess, running_services


def packs(data: Path) -> list[Path]:
    """The pack files of a data folder, the largest first."""
    return sorted((data / "blob" / "packs").glob("??/*.pack"), key=lambda path: -path.stat().st_size)


def flip(path: Path, offset: int) -> None:
    """Changes one bit on disk."""
    with path.open("r+b") as file:
        file.seek(offset)
        [byte] = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def running(server: ServerProcess) -> RunningServices:
    return RunningServices(server.addresses["metadata"], server.addresses["blob"], server.data)


def cut(content: bytes) -> list[bytes]:
    return [content[first : first + MIB] for first in range(0, len(content), MIB)]


def chunk_ids(content: bytes) -> list[bytes]:
    return [digest(chunk) for chunk in cut(content)]


@pytest.fixture
async def own_client(own_services: RunningServices, project: str) -> AsyncIterator[modelwire.AsyncClient]:
    async with modelwire.AsyncClient(own_services.address, project=project) as client:
        yield client


async def test_what_was_never_acknowledged_is_dropped_at_the_next_start(server: ServerProcess, project: str) -> None:
    content = os.urandom(5000)
    async with connected(running(server), project) as wire:
        await wire.log("M", content)
        server.kill()
        [pack] = packs(server.data)
        with pack.open("ab") as file:
            file.write(b"tail that no row acknowledges")
        orphan = server.data / "blob" / "packs" / "ab" / f"{'ab' * 16}.pack"
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"a pack that no row names")
        server.restart()
        assert packs(server.data) == [pack]
        assert pack.stat().st_size == 5000
    async with connected(running(server), project) as wire:
        token = await wire.use("M")
        write = wire.signer.write_ticket(wire.entity)[0]
        assert await wire.missing(write, digest(content), digest(b"a pack that no row names")) == [
            digest(b"a pack that no row names")
        ]
        [message] = await wire.read(token, (blob_id([(digest(content), 5000)]), 0, 0))
        assert message.pieces[0].data == content
        await wire.log("M", b"the next one")
        assert [path.stat().st_size for path in packs(server.data)] == [5000, len(b"the next one")]


@pytest.mark.parametrize("how", ["missing", "shortened", "emptied"])
async def test_a_pack_that_lost_bytes_is_found_at_the_start_and_mended_by_logging_again(
    tmp_path: Path, project: str, how: str
) -> None:
    content = os.urandom(3 * MIB)
    data = tmp_path / "data"
    async with running_services(data) as services, connected(services, project) as wire:
        draft = await wire.begin("M")
        blob = await wire.put(draft.token, *cut(content))
        receipt = (await wire.seal(draft.token, blob.blob_id)).receipt
        await wire.commit(draft, [blob.entry("m")], receipt)
    [pack] = packs(data)
    left = {"missing": 0, "shortened": 2 * MIB - 1, "emptied": 0}[how]
    if how == "missing":
        pack.unlink()
    else:
        os.truncate(pack, left)
    for _ in range(2):  # the second start must know what the first one found
        async with running_services(data) as services, connected(services, project) as wire:
            write, read = wire.signer.write_ticket(wire.entity)[0], await wire.use("M")
            whole = left // MIB
            assert await wire.missing(write, *chunk_ids(content)) == chunk_ids(content)[whole:]
            with refused(DataDamagedError, blob=blob.blob_id.hex(), digest=chunk_ids(content)[whole].hex()):
                await wire.read(read, (blob.blob_id, 0, 0))
            answer = await wire.commit_blobs(write, blob.recipe)
            assert [item.reason for item in answer.rejected] == ["CHUNK_MISSING"]
    async with running_services(data) as services, connected(services, project) as wire:
        mended = await wire.put(wire.signer.write_ticket(wire.entity)[0], *cut(content))
        assert mended.blob_id == blob.blob_id
    async with running_services(data) as services, connected(services, project) as wire:
        messages = await wire.read(await wire.use("M"), (blob.blob_id, 0, 0))
        assert b"".join(piece.data for message in messages for piece in message.pieces) == content
        assert await wire.missing(wire.signer.write_ticket(wire.entity)[0], *chunk_ids(content)) == []


async def test_one_flipped_bit_is_data_loss_that_names_the_blob(own_wire: Wire) -> None:
    [good, bad], token = await own_wire.bundle([os.urandom(1000)], [os.urandom(1000), os.urandom(1000)])
    [pack] = packs(own_wire.data)
    flip(pack, 2500)
    facts = {"blob": bad.blob_id.hex(), "digest": bad.recipe[1][0].hex()}
    for ranges in ([(bad.blob_id, 0, 0)], [(good.blob_id, 0, 0), (bad.blob_id, 1999, 1)]):
        with refused(DataDamagedError, **facts):
            await own_wire.read(token, *ranges)
    assert await own_wire.read(token, (good.blob_id, 0, 0), (bad.blob_id, 0, 1000))
    write = own_wire.signer.write_ticket(own_wire.entity)[0]
    assert await own_wire.missing(write, *(one for one, _ in [*good.recipe, *bad.recipe])) == [bad.recipe[1][0]]


@pytest.mark.parametrize("where", [0, 3_500_000, -1])
async def test_the_client_never_returns_a_damaged_file(
    own_client: modelwire.AsyncClient, own_services: RunningServices, tmp_path: Path, where: int
) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "large.bin").write_bytes(os.urandom(6_000_000))
    (source / "small.bin").write_bytes(os.urandom(1000))
    async with own_client.run() as run:
        version = await run.log_model(source, name="M")
    pack = packs(own_services.data)[0]
    size = pack.stat().st_size
    flip(pack, where % size)
    target = tmp_path / "target"
    with pytest.raises(DataDamagedError) as raised:
        await version.download(target)
    damaged = raised.value.facts["path"]
    assert damaged in {"large.bin", "small.bin"}
    assert damaged in str(raised.value)
    assert raised.value.facts["blob"]
    assert not (target / damaged).exists()
    cached = [path for path in own_client.settings.cache_dir.rglob("*") if path.is_file() and path.suffix != ".part"]
    for path in [path for path in cached if len(path.name) == 64]:
        assert blake3(path.read_bytes()).hexdigest() == path.name
    for path in target.rglob("*.bin"):
        assert path.read_bytes() == (source / path.name).read_bytes()
    async with own_client.run() as run:
        again = await run.log_model(source, name="M")
        assert (again.created, again.name) == (False, "M:v0")
        assert 0 < again.stats.sent_bytes <= 2 * MIB
        path = await run.use_model("M")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == {
        file.name: file.read_bytes() for file in source.iterdir()
    }


async def test_a_pack_that_vanishes_while_the_service_runs_is_data_loss(own_wire: Wire) -> None:
    [blob], token = await own_wire.bundle([os.urandom(1000)])
    [pack] = packs(own_wire.data)
    pack.unlink()
    with refused(DataDamagedError, blob=blob.blob_id.hex()):
        await own_wire.read(token, (blob.blob_id, 0, 0))
    mended, again = await own_wire.bundle([blob.content])
    assert mended[0].blob_id == blob.blob_id
    with refused(DataDamagedError):
        await own_wire.read(again, (blob.blob_id, 0, 0))
