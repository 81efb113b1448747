"""Takes in chunks: verify, append to a pack, and hand over to the commit queue."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from modelwire.digests import check_digest, chunk_id
from modelwire.errors import (
    BatchTooLargeError,
    ChunkCorruptedError,
    ChunkEmptyError,
    ChunkTooLargeError,
    InvalidError,
)
from modelwire.wire import Buffer, ChunkFrame, Limits
from modelwire_server.blob.commit_queue import CommitQueue, LeasedPack
from modelwire_server.blob.index import ChunkIndex, NewChunk, PackRow
from modelwire_server.blob.packs import PackStore

log = logging.getLogger(__name__)


@dataclass
class WriteResult:
    """Says what became of the chunks of one call; `rejected` pairs an index with the reason."""

    accepted: int = 0
    accepted_bytes: int = 0
    duplicates: int = 0
    duplicate_bytes: int = 0
    rejected: list[tuple[int, InvalidError]] = field(default_factory=list)


class ChunkWriter:
    """Writes chunks into the packs of one store."""

    def __init__(self, store: PackStore, index: ChunkIndex, executor: Executor, limits: Limits) -> None:
        self._store, self._index, self._executor, self._limits = store, index, executor, limits
        self._queue = CommitQueue(index, executor)
        self._idle: list[LeasedPack] = []

    async def write(self, domain_id: int, messages: AsyncIterator[Sequence[ChunkFrame]]) -> WriteResult:
        """Stores the chunks of one call; returns when everything accepted is durable.

        A message is verified and appended in a worker thread while the next one arrives; no more than that is held. When
        the call is cut, what arrived whole is made durable all the same, so that it need not be sent again.

        Raises:
            BatchTooLargeError: The call is larger than announced.
        """
        call = _Call(domain_id, self._limits)
        async with self._lease() as leased:
            try:
                await self._take(call, leased, messages)
            except BaseException:
                await asyncio.shield(self._commit(call, leased))
                raise
        return await self._commit(call, leased)

    async def close(self) -> None:
        """Waits for commits under way and closes the open packs."""
        await self._queue.close()
        while self._idle:
            await self._seal(self._idle.pop())

    async def _take(self, call: _Call, leased: LeasedPack, messages: AsyncIterator[Sequence[ChunkFrame]]) -> None:
        loop = asyncio.get_running_loop()
        appending: asyncio.Future[None] | None = None
        try:
            async for frames in messages:
                call.count(frames)
                if appending is not None:
                    await asyncio.shield(appending)
                appending = loop.run_in_executor(self._executor, call.take, leased, frames)
        finally:
            if appending is not None:  # the thread uses the pack until it is done, whatever became of the call
                await _ended(appending)

    async def _commit(self, call: _Call, leased: LeasedPack) -> WriteResult:
        leased.users += 1
        try:
            places = await self._queue.commit(call.chunks, leased)
        finally:
            leased.users -= 1
            await self._retire(leased)
        return call.result(places)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[LeasedPack]:
        if self._idle:
            leased = self._idle.pop()
        else:
            name = secrets.token_hex(16)
            pack = await asyncio.get_running_loop().run_in_executor(self._executor, self._store.create, name)
            leased = LeasedPack(pack, PackRow(name))
        leased.users += 1
        try:
            yield leased
        finally:
            leased.users -= 1
            if not self._finished(leased):
                self._idle.append(leased)

    def _finished(self, leased: LeasedPack) -> bool:
        return leased.failure is not None or leased.pack.size >= self._store.max_pack_size

    async def _retire(self, leased: LeasedPack) -> None:
        if self._finished(leased) and not leased.users:
            if leased in self._idle:
                self._idle.remove(leased)
            await self._seal(leased)

    async def _seal(self, leased: LeasedPack) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, leased.pack.close)
        if leased.row.row_id is not None and leased.failure is None:
            await self._index.seal_pack(leased.row, leased.pack.size)


class _Call:
    """Holds what one call has brought so far."""

    def __init__(self, domain_id: int, limits: Limits) -> None:
        self._domain_id, self._limits = domain_id, limits
        self.chunks: list[NewChunk] = []
        self.rejected: list[tuple[int, InvalidError]] = []
        self._seen: set[bytes] = set()
        self._announced = self._taken = self._bytes = 0
        self._repeats = self._repeat_bytes = 0

    def count(self, frames: Sequence[ChunkFrame]) -> None:
        """Holds the call to its limits before anything is done for it."""
        # An oversized chunk is refused for itself, with the rest of its message going on.
        size = sum(len(frame.data) for frame in frames if len(frame.data) <= self._limits.max_chunk_size)
        self._announced += len(frames)
        self._bytes += size
        for actual, limit, what in (
            (size, self._limits.max_message_data, "bytes of data in one message"),
            (self._bytes, self._limits.max_call_data, "bytes of data in one call"),
            (self._announced, self._limits.max_call_chunks, "chunks in one call"),
        ):
            if actual > limit:
                raise BatchTooLargeError(f"{actual} {what} are more than {limit}", limit=limit, actual=actual)

    def take(self, leased: LeasedPack, frames: Sequence[ChunkFrame]) -> None:
        """Verifies chunks and appends the good ones. Runs in a worker thread."""
        good: list[tuple[bytes, Buffer]] = []
        for frame in frames:
            try:
                digest = self._verify(frame)
            except InvalidError as error:
                self.rejected.append((self._taken, error))
            else:
                if digest in self._seen:
                    self._repeats += 1
                    self._repeat_bytes += len(frame.data)
                else:
                    self._seen.add(digest)
                    good.append((digest, frame.data))
            self._taken += 1
        if not good:
            return
        offset = leased.pack.append([data for _, data in good])
        for digest, data in good:
            self.chunks.append(NewChunk(self._domain_id, digest, leased.row, offset, len(data)))
            offset += len(data)

    def result(self, duplicates: set[int]) -> WriteResult:
        """Sums the call up; `duplicates` are the places of chunks that were stored before."""
        sizes = [chunk.size for chunk in self.chunks]
        return WriteResult(
            accepted=len(sizes) + self._repeats,
            accepted_bytes=sum(sizes) + self._repeat_bytes,
            duplicates=len(duplicates) + self._repeats,
            duplicate_bytes=sum(sizes[place] for place in duplicates) + self._repeat_bytes,
            rejected=self.rejected,
        )

    def _verify(self, frame: ChunkFrame) -> bytes:
        digest = check_digest(frame.digest, "the digest of a chunk")
        size = len(frame.data)
        if size == 0:
            raise ChunkEmptyError("a chunk has at least one byte; an empty file is a recipe of no chunks")
        if size > self._limits.max_chunk_size:
            limit = self._limits.max_chunk_size
            raise ChunkTooLargeError(f"a chunk of {size} bytes is larger than {limit}", size=size, limit=limit)
        actual = chunk_id(frame.data)
        if actual != digest:
            raise ChunkCorruptedError(
                f"the bytes sent as chunk {digest.hex()} hash to {actual.hex()}", digest=digest.hex(), actual=actual.hex()
            )
        return digest


async def _ended(future: asyncio.Future[None]) -> None:
    """Waits until a thread is done even when the waiting task is cancelled; raises what the thread raised."""
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                await asyncio.wait([future])
            raise
    future.result()
