"""What a store keeps: write → sync → row → answer, in that order, whatever fails on the way. Real SQL, real calls."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from integration.stubs import Wire, auth, connected, digest, refused
from modelwire.api.blob.v1 import blob_service_pb2 as pb
from modelwire.errors import InternalFaultError, MessageMalformedError, StorageFullError
from modelwire.wire import BLOB_SERVICE, MIB, Buffer, ChunkFrame, encode_write_chunks
from modelwire_server.blob.chunk_store import ChunkStore
from modelwire_server.blob.packs import OpenPack
from modelwire_server.blob.service import BlobServicer
from modelwire_server.blob.stores.local import LocalPackStore
from modelwire_server.database import Database
from modelwire_server.rpc.auth import KeySet, Signer
from modelwire_server.rpc.host import Host
from modelwire_server.testing import RunningServices, wait_until

Hook = Callable[[str, str], None]
"""Is told ("append" | "sync" | "close", pack name) before the store does it; may raise, may wait."""


class WatchedPackStore(LocalPackStore):
    """Is a local store whose every step is told to a hook and recorded."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hook: Hook = lambda _what, _name: None
        self.steps: list[tuple[str, str]] = []

    def create(self, name: str) -> OpenPack:  # type: ignore[override]
        return WatchedPack(self, super().create(name))


class WatchedPack:
    """Is a growing pack of a watched store."""

    def __init__(self, store: WatchedPackStore, pack: OpenPack) -> None:
        self.name, self.size = pack.name, 0
        self._store, self._pack = store, pack

    def append(self, parts: Sequence[Buffer]) -> int:
        self._tell("append")
        offset = self._pack.append(parts)
        self.size = self._pack.size
        return offset

    def sync(self) -> None:
        self._tell("sync")
        self._pack.sync()

    def close(self) -> None:
        self._tell("close")
        self._pack.close()

    def _tell(self, what: str) -> None:
        self._store.steps.append((what, self.name))
        self._store.hook(what, self.name)


@dataclass(frozen=True)
class Watched:
    """A blob service on a watched store."""

    wire: Wire
    store: WatchedPackStore
    token: str

    def rows(self) -> int:
        """How many chunks the index has, read past the service."""
        connection = sqlite3.connect(self.wire.data / "index.db")
        try:
            return int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])
        finally:
            connection.close()

    def sql(self, statement: str) -> None:
        """Changes the index past the service."""
        connection = sqlite3.connect(self.wire.data / "index.db", isolation_level=None)
        connection.execute(statement)
        connection.close()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Watched]:
    signer = Signer(KeySet.load_or_create(folder / "keys.json"))
    packs = WatchedPackStore(folder / "packs")
    store = ChunkStore(packs, Database(folder / "index.db"))
    await store.open()
    host = Host("127.0.0.1:0", [BlobServicer(store, signer, "test").hosted()])
    await host.start()
    try:
        async with connected(RunningServices(host.address, host.address, folder), "p") as wire:
            yield Watched(wire, packs, signer.write_ticket("default")[0])
    finally:
        packs.hook = lambda _what, _name: None
        await host.drain(2.0)
        await store.close()


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with serving(tmp_path / "blob") as watched:
        yield watched


def failing(number: int, *steps: str) -> Hook:
    """Fails the given steps with an errno."""

    def hook(what: str, _name: str) -> None:
        if what in steps:
            raise OSError(number, os.strerror(number))

    return hook


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so; fails the test when it takes too long."""
    await asyncio.to_thread(wait_until, condition)


async def write(watched: Watched, *chunks: bytes) -> pb.WriteChunksResponse:
    return await watched.wire.write(watched.token, *([(digest(data), data)] for data in chunks))


async def missing(watched: Watched, *chunks: bytes) -> list[int]:
    found = await watched.wire.missing(watched.token, *map(digest, chunks))
    return [place for place, data in enumerate(chunks) if digest(data) in found]


async def test_a_row_stands_only_after_the_sync_and_the_answer_after_the_row(watched: Watched) -> None:
    chunks = [os.urandom(1000), os.urandom(1000)]
    go_on = threading.Event()

    def hook(what: str, _name: str) -> None:
        if what == "sync":
            go_on.wait(30)

    watched.store.hook = hook
    call = asyncio.create_task(write(watched, *chunks))
    await until(lambda: "sync" in dict(watched.store.steps))
    assert [what for what, _ in watched.store.steps] == ["append", "append", "sync"]
    assert watched.rows() == 0
    assert await missing(watched, *chunks) == [0, 1]
    assert not call.done()
    go_on.set()
    assert (await call).accepted == 2
    assert watched.rows() == 2
    assert len({name for _, name in watched.store.steps}) == 1


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EIO, InternalFaultError), (errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError)],
)
async def test_a_failed_sync_acknowledges_nothing_and_its_pack_is_not_used_again(
    watched: Watched, number: int, expected: type[InternalFaultError | StorageFullError]
) -> None:
    before, lost, after = (os.urandom(1000) for _ in range(3))
    await write(watched, before)
    watched.store.hook = failing(number, "sync")
    with refused(expected):
        await write(watched, lost)
    watched.store.hook = lambda _what, _name: None
    [broken] = {name for _, name in watched.store.steps}
    assert await missing(watched, before, lost) == [1]
    assert (await write(watched, lost, after)).duplicates == 0
    used = [name for what, name in watched.store.steps[watched.store.steps.index(("close", broken)) :] if what == "append"]
    assert len(used) == 2
    assert broken not in used
    assert await missing(watched, before, lost, after) == []


async def test_a_call_that_shares_a_pack_with_a_failed_sync_is_not_acknowledged_either(watched: Watched) -> None:
    first, second = os.urandom(1000), os.urandom(1000)
    go_on = threading.Event()
    syncs: dict[str, int] = {}

    def hook(what: str, name: str) -> None:
        if what == "sync":
            syncs[name] = syncs.get(name, 0) + 1
            if len(syncs) == 1 and syncs[name] == 1:  # the kernel tells of lost pages once; the next sync "succeeds"
                go_on.wait(30)
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    watched.store.hook = hook
    failed = asyncio.create_task(write(watched, first))
    await until(lambda: bool(syncs))
    follower = asyncio.create_task(write(watched, second))
    await until(lambda: [what for what, _ in watched.store.steps].count("append") == 2)
    [broken] = syncs
    shared = [name for what, name in watched.store.steps if what == "append"] == [broken, broken]
    assert shared, "both calls were to use one pack"
    go_on.set()
    with refused(InternalFaultError):
        await failed
    with refused(InternalFaultError):
        await follower
    assert await missing(watched, first, second) == [0, 1]
    assert syncs[broken] == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_said_to_be_full_and_what_was_written_stands(watched: Watched, number: int) -> None:
    before, lost = os.urandom(1000), os.urandom(1000)
    await write(watched, before)
    watched.store.hook = failing(number, "append")
    with refused(StorageFullError):
        await write(watched, lost)
    watched.store.hook = lambda _what, _name: None
    assert await missing(watched, before, lost) == [1]
    assert (await write(watched, lost)).accepted == 1
    assert await missing(watched, before, lost) == []


async def test_a_failed_row_spoils_no_later_write(watched: Watched) -> None:
    lost, first, second = (os.urandom(1000) for _ in range(3))
    await missing(watched, lost)
    watched.sql("CREATE TRIGGER refuse BEFORE INSERT ON chunks BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with refused(InternalFaultError):
        await write(watched, lost)
    watched.sql("DROP TRIGGER refuse")
    assert await missing(watched, lost) == [0]
    assert (await write(watched, first)).accepted == 1
    assert (await write(watched, lost, second)).accepted == 2
    blobs, ticket = await watched.wire.bundle([first], [lost], [second])
    for blob in blobs:
        [message] = await watched.wire.read(ticket, (blob.blob_id, 0, 0))
        assert message.pieces[0].data == blob.content


async def test_a_call_cut_by_its_client_keeps_what_arrived_whole(watched: Watched) -> None:
    arrived, unsent = os.urandom(MIB), os.urandom(MIB)
    call = watched.wire.blobs.WriteChunks(metadata=auth(watched.token))
    assert isinstance(call, grpc.aio.StreamUnaryCall)
    await call.write(pb.WriteChunksRequest(chunks=[pb.Chunk(digest=digest(arrived), data=arrived)]))
    await until(lambda: bool(watched.store.steps))
    assert await missing(watched, arrived, unsent) == [0, 1]
    call.cancel()
    await until(lambda: watched.rows() == 1)
    assert await missing(watched, arrived, unsent) == [1]


async def test_a_call_that_turns_malformed_keeps_what_came_before(watched: Watched) -> None:
    data = os.urandom(1000)
    raw: Any = watched.wire.bytes.stream_unary(f"/{BLOB_SERVICE}/WriteChunks")
    messages = [encode_write_chunks([ChunkFrame(digest(data), data)]), b"\x0a\x05ab"]
    with refused(MessageMalformedError):
        await raw(iter(messages), metadata=auth(watched.token))
    assert await missing(watched, data) == []


async def test_many_small_calls_at_once_are_all_durable_when_answered(watched: Watched) -> None:
    chunks = [os.urandom(100) for _ in range(60)]
    answers = await asyncio.gather(*(write(watched, data) for data in chunks))
    assert [answer.accepted for answer in answers] == [1] * 60
    assert watched.rows() == 60
    blobs, ticket = await watched.wire.bundle(*([data] for data in chunks))
    messages = await watched.wire.read(ticket, *((blob.blob_id, 0, 0) for blob in blobs))
    assert [piece.data for message in messages for piece in message.pieces] == chunks


async def test_everything_is_there_after_a_start_anew(tmp_path: Path) -> None:
    chunks = [os.urandom(1000) for _ in range(3)]
    async with serving(tmp_path / "blob") as watched:
        await write(watched, *chunks)
        watched.store.hook = failing(errno.EIO, "sync")
        with refused(InternalFaultError):
            await write(watched, b"never acknowledged")
        [broken] = {name for what, name in watched.store.steps if what == "append"}
        packs = dict(watched.store.list())
        assert packs[broken] == 3000 + len(b"never acknowledged")
    async with serving(tmp_path / "blob") as watched:
        assert dict(watched.store.list()) == {broken: 3000}
        assert await missing(watched, *chunks, b"never acknowledged") == [3]
        blobs, ticket = await watched.wire.bundle(chunks)
        [message] = await watched.wire.read(ticket, (blobs[0].blob_id, 0, 0))
        assert message.pieces[0].data == b"".join(chunks)
