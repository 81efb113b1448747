"""Sends files: read, cut and hash in one thread; ask what is missing and send it, a few groups of chunks at a time.

The two stages are tied by a queue of one element, so that memory is a constant whatever the size of the files: what is
being read, what waits, and the groups under way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from blake3 import blake3

from modelwire._blobs import Blobs, is_passing
from modelwire._chunking import ShortFileError, chunks_of
from modelwire._scan import SourceFile
from modelwire._tasks import task_group
from modelwire.digests import chunk_id, content_text
from modelwire.errors import ChunkMissingError, ModelwireError, SourceChangedError, TicketExpiredError
from modelwire.types import Entry, TransferStats
from modelwire.wire import MIB, Buffer, Limits

CALL_DATA = 16 * MIB
"""Bytes of chunks in one WriteChunks call: what a cut can cost."""

SENDERS = 3
"""Groups under way: one being asked about while two are on the wire."""

_BATCH_DATA = 8 * MIB
_BATCH_CHUNKS = 2048
_BATCH_FILES = 512

Chunk = tuple[bytes, Buffer]


@dataclass
class _Hashed:
    """Is a file that was read to its end."""

    source: SourceFile
    recipe: list[tuple[bytes, int]] = field(default_factory=list)
    digest: str = ""


@dataclass
class _Batch:
    """Is what one turn of the reading thread brings: some chunks, and the files that ended in it."""

    chunks: list[Chunk] = field(default_factory=list)
    files: list[_Hashed] = field(default_factory=list)
    size: int = 0


class Uploader:
    """Sends the files of one version under one write ticket."""

    def __init__(self, blobs: Blobs, executor: Executor, stats: TransferStats, advanced: Callable[[int], None]) -> None:
        """Takes what it needs; `advanced` is told the bytes that need no more work, as they come to need none."""
        self._blobs, self._executor, self._stats, self._advanced = blobs, executor, stats, advanced
        self._limits = Limits()
        self._known: set[bytes] = set()
        self._gathered: list[Chunk] = []
        self._gathered_size = 0

    async def send(self, sources: Sequence[SourceFile], kept: Sequence[Entry] = ()) -> tuple[list[Entry], str]:
        """Makes all files durable at the blob service; returns all entries, and the receipt of their bundle.

        Args:
            sources: The files to read.
            kept: Entries of an earlier version that go into the bundle as they are.

        Raises:
            SourceChangedError: A file changed while it was read; never a mixture of two contents.
        """
        self._limits = await self._blobs.limits()
        files: list[_Hashed] = []
        async with task_group() as group:
            groups: asyncio.Queue[list[Chunk] | None] = asyncio.Queue(1)
            for _ in range(SENDERS):
                group.create_task(self._send_groups(groups))
            async for batch in self._batches(sources):
                files += batch.files
                for some in self._group(batch):
                    await groups.put(some)
            if self._gathered:
                await groups.put(self._gathered)
            for _ in range(SENDERS):
                await groups.put(None)
        blob_ids = await self._commit(files)
        entries = [
            Entry(file.source.path, file.source.size, file.digest, blob_id)
            for file, blob_id in zip(files, blob_ids, strict=True)
        ]
        entries += kept
        distinct = list(dict.fromkeys(entry.blob_id for entry in entries))
        sealed = await self._blobs.seal_bundle(distinct, self._limits.max_batch_items)
        self._stats.files += len(entries)
        self._stats.size += sum(entry.size for entry in entries)
        self._stats.deduplicated_bytes += sum(entry.size for entry in kept)
        return entries, sealed.receipt

    def _group(self, batch: _Batch) -> Iterator[list[Chunk]]:
        """Yields groups of chunks for one call each; what is left waits for the next batch."""
        fresh = 0
        for chunk in batch.chunks:
            digest, size = chunk[0], len(chunk[1])
            if digest in self._known:
                continue
            self._known.add(digest)
            fresh += size
            if self._gathered_size + size > CALL_DATA or len(self._gathered) >= self._limits.max_batch_items:
                yield self._gathered
                self._gathered, self._gathered_size = [], 0
            self._gathered.append(chunk)
            self._gathered_size += size
        self._count_present(batch.size - fresh)

    async def _batches(self, sources: Sequence[SourceFile]) -> AsyncIterator[_Batch]:
        """Yields batches; the next one is read while the last one is worked on."""
        loop = asyncio.get_running_loop()
        reading = _read_batches(sources)
        following = loop.run_in_executor(self._executor, next, reading, None)
        try:
            while (batch := await asyncio.shield(following)) is not None:
                following = loop.run_in_executor(self._executor, next, reading, None)
                yield batch
        finally:
            await asyncio.wait([following])  # the thread owns the generator until it is done
            following.exception()
            reading.close()  # closes the file that is open

    async def _send_groups(self, groups: asyncio.Queue[list[Chunk] | None]) -> None:
        while (group := await groups.get()) is not None:
            await self._send_group(group)

    async def _send_group(self, group: list[Chunk]) -> None:
        """Sends what the service lacks of a group, until all of it is durable; what arrived before a cut is not sent again."""
        backoff = self._blobs.channel.backoff()
        renewed = False
        unsent = await self._missing(group)
        total = sum(len(data) for _, data in unsent)
        self._count_present(sum(len(data) for _, data in group) - total)
        while unsent:
            metadata = self._blobs.metadata
            try:
                answer = await self._blobs.write_chunks(unsent, self._count_sent)
            except TicketExpiredError:
                if renewed:
                    raise  # the clocks of the services disagree: another ticket would be no better
                await self._blobs.renew_ticket(metadata)
                renewed = True
            except ModelwireError as error:
                if not is_passing(error):
                    raise
                await self._blobs.channel.pause(backoff, error)
            else:
                self._stats.sent_chunks += len(unsent)
                self._stats.duplicate_bytes += answer.duplicate_bytes
                break
            unsent = await self._missing(unsent)
        self._advanced(total)

    async def _missing(self, group: list[Chunk]) -> list[Chunk]:
        missing = await self._blobs.find_missing([digest for digest, _ in group])
        return [chunk for chunk in group if chunk[0] in missing]

    def _count_present(self, size: int) -> None:
        self._stats.deduplicated_bytes += size
        self._advanced(size)

    def _count_sent(self, size: int) -> None:
        self._stats.sent_bytes += size

    async def _commit(self, files: Sequence[_Hashed]) -> list[bytes]:
        blob_ids: list[bytes] = []
        size = self._limits.max_batch_items
        for first in range(0, len(files), size):
            some = files[first : first + size]
            try:
                blob_ids += await self._blobs.commit_blobs([file.recipe for file in some], size)
            except ChunkMissingError as error:
                message = f"the blob service lost a chunk between two calls; log again ({error})"
                raise ChunkMissingError(message, **error.facts) from None
        return blob_ids


def _read_batches(sources: Sequence[SourceFile]) -> Generator[_Batch, None, None]:
    """Reads, cuts and hashes files; each element is one turn of a worker thread."""
    batch = _Batch()
    for source in sources:
        file = _Hashed(source)
        hasher = blake3()
        descriptor = os.open(source.local, os.O_RDONLY | os.O_CLOEXEC)
        try:
            source.check_unchanged(os.fstat(descriptor))
            for data in chunks_of(descriptor, source.size):
                digest = chunk_id(data)
                if len(data) < source.size:
                    hasher.update(data)
                file.recipe.append((digest, len(data)))
                batch.chunks.append((digest, data))
                batch.size += len(data)
                if batch.size >= _BATCH_DATA or len(batch.chunks) >= _BATCH_CHUNKS:
                    yield batch
                    batch = _Batch()
            source.check_unchanged(os.fstat(descriptor))
        except ShortFileError:
            raise SourceChangedError(f"{source.local} shrank while it was being logged; nothing was committed") from None
        finally:
            os.close(descriptor)
        # A file of one chunk hashes to its chunk's id: no need to hash it twice.
        only = file.recipe[0][0] if len(file.recipe) == 1 else hasher.digest()
        file.digest = content_text(only)
        batch.files.append(file)
        if len(batch.files) >= _BATCH_FILES:
            yield batch
            batch = _Batch()
    if batch.files or batch.chunks:
        yield batch
