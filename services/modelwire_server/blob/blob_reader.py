"""Gives out bytes: from ranges of blobs to few, large reads of packs, every chunk checked before it leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby

from modelwire.digests import chunk_id
from modelwire.errors import DataDamagedError, RangeInvalidError
from modelwire.wire import MIB, PieceFrame, encode_read_blobs
from modelwire_server.blob.index import ChunkIndex, Location, Recipe, StoredBlob
from modelwire_server.blob.packs import PackMissingError, PackStore

log = logging.getLogger(__name__)

MESSAGE_DATA = MIB
"""Bytes of data after which a message is sent."""

_GROUP_CHUNKS = 8192
_LOCATE_CHUNKS = 512


@dataclass(frozen=True)
class BlobRange:
    """Is a stretch of a blob; `length` 0 means to its end."""

    blob_id: bytes
    offset: int
    length: int


@dataclass(frozen=True)
class _Span:
    """Is a range that was found good: bytes `first` to `last` (exclusive) of a blob."""

    index: int
    blob: StoredBlob
    first: int
    last: int


@dataclass(frozen=True)
class _Extent:
    """Is one chunk that a span needs: where it begins in the blob, and what of it is wanted."""

    span: _Span
    digest: bytes
    start: int
    size: int
    skip: int
    take: int


class BlobReader:
    """Reads ranges of the blobs of one bundle."""

    def __init__(self, store: PackStore, index: ChunkIndex, executor: Executor) -> None:
        self._store, self._index, self._executor = store, index, executor

    async def recipes(
        self, domain_id: int, bundle: bytes, blob_ids: Sequence[bytes]
    ) -> AsyncIterator[list[tuple[int, Recipe, bool]]]:
        """Yields lists of (place in `blob_ids`, recipe part, whether it goes on), of a few thousand chunks each."""
        found = await self._index.blobs_in_bundle(await self._index.bundle_row(domain_id, bundle), domain_id, blob_ids)
        spans = [_Span(place, found[blob_id], 0, found[blob_id].size) for place, blob_id in enumerate(blob_ids)]
        async for parts in self._recipe_parts(spans):
            yield [
                (span.index, recipe, start + sum(size for _, size in recipe) < span.blob.size) for span, start, recipe in parts
            ]

    async def read(
        self, domain_id: int, bundle: bytes, ranges: Sequence[BlobRange], whole_chunks: bool
    ) -> AsyncIterator[bytes]:
        """Yields serialised ReadBlobsResponse messages of about `MESSAGE_DATA` bytes of data.

        The next message is read from its pack while the last one is on its way; no more than that is held.

        Raises:
            RangeInvalidError, TicketScopeError: Before the first byte.
            DataDamagedError: Stored bytes are gone or changed.
        """
        bundle_row = await self._index.bundle_row(domain_id, bundle)
        found = await self._index.blobs_in_bundle(bundle_row, domain_id, list({one.blob_id for one in ranges}))
        spans = [_span(place, found[one.blob_id], one) for place, one in enumerate(ranges)]
        loop = asyncio.get_running_loop()
        reading: asyncio.Future[bytes] | None = None
        try:
            async for extents, locations in self._messages(domain_id, spans, whole_chunks):
                following = loop.run_in_executor(self._executor, self._read_message, extents, locations)
                if reading is not None:
                    previous, reading = reading, following
                    yield await previous
                reading = following
            if reading is not None:
                yield await reading
        except _DamagedChunkError as damage:
            digests = {damage.digest, *await self._damaged(domain_id, spans)}
            await self._index.mark_damaged(domain_id, sorted(digests))
            blob, digest = damage.blob.hex(), damage.digest.hex()
            log.error("data loss: chunk %s of blob %s, pack %s", digest, blob, damage.pack)  # noqa: TRY400
            raise DataDamagedError(
                f"the stored bytes of blob {blob} are damaged: chunk {digest} is gone or changed", blob=blob, digest=digest
            ) from None
        finally:
            if reading is not None:
                if not reading.cancel():
                    await asyncio.wait([reading])
                if not reading.cancelled():
                    reading.exception()  # what stopped us is told already

    async def _damaged(self, domain_id: int, spans: Sequence[_Span]) -> list[bytes]:
        """Looks through all that was asked for, so that one upload of the same files mends all of it."""
        loop = asyncio.get_running_loop()
        found: list[bytes] = []
        async for extents, locations in self._messages(domain_id, spans, whole_chunks=True):
            found += await loop.run_in_executor(self._executor, self._find_damaged, extents, locations)
        return found

    def _find_damaged(self, extents: Sequence[_Extent], locations: dict[bytes, Location]) -> list[bytes]:
        found = []
        for extent in extents:
            try:
                for _ in self._chunks([extent], locations):
                    pass
            except _DamagedChunkError as damage:
                found.append(damage.digest)
        return found

    async def _messages(
        self, domain_id: int, spans: Iterable[_Span], whole_chunks: bool
    ) -> AsyncIterator[tuple[list[_Extent], dict[bytes, Location]]]:
        async for parts in self._recipe_parts(spans):
            extents = [extent for part in parts for extent in _extents(*part, whole_chunks)]
            for first in range(0, len(extents), _LOCATE_CHUNKS):
                some = extents[first : first + _LOCATE_CHUNKS]
                locations = await self._index.locate(domain_id, list({extent.digest for extent in some}))
                for message in _cut_messages(some):
                    yield message, locations

    async def _recipe_parts(self, spans: Iterable[_Span]) -> AsyncIterator[list[tuple[_Span, int, Recipe]]]:
        """Yields lists of (span, offset of the part in its blob, recipe part); blobs of few chunks share a query."""
        for many, group in groupby(spans, lambda span: span.blob.chunk_count > _GROUP_CHUNKS):
            if not many:
                async for parts in self._small_recipes(group):
                    yield parts
                continue
            for span in group:
                at = span.first
                while at < span.last:
                    start, recipe = await self._index.page_at(span.blob.row_id, at)
                    yield [(span, start, recipe)]
                    at = start + sum(size for _, size in recipe)

    async def _small_recipes(self, spans: Iterable[_Span]) -> AsyncIterator[list[tuple[_Span, int, Recipe]]]:
        for some in _up_to(spans, _GROUP_CHUNKS):
            recipes = await self._index.whole_recipes(list({span.blob.row_id for span in some if span.blob.chunk_count}))
            yield [(span, 0, recipes.get(span.blob.row_id, ())) for span in some]

    def _read_message(self, extents: Sequence[_Extent], locations: dict[bytes, Location]) -> bytes:
        """Reads, checks and serialises one message. Runs in a worker thread."""
        pieces: list[PieceFrame] = []
        for extent, data in self._chunks(extents, locations):
            part = data[extent.skip : extent.skip + extent.take]
            start = extent.start + extent.skip
            last = pieces[-1] if pieces else None
            if last and last.range_index == extent.span.index and last.offset + sum(map(len, last.data)) == start:
                pieces[-1] = last._replace(data=[*last.data, part])
            else:
                pieces.append(PieceFrame(extent.span.index, start, [part]))
        return encode_read_blobs(pieces)

    def _chunks(self, extents: Sequence[_Extent], locations: dict[bytes, Location]) -> Iterator[tuple[_Extent, memoryview]]:
        for run in _runs(extents, locations):
            pack, offset, _ = run[0][1]
            try:
                stretch = memoryview(self._store.read(pack, offset, sum(location.size for _, location in run)))
            except PackMissingError:
                if len(run) == 1:
                    raise _DamagedChunkError(run[0][0], pack) from None
                for single in run:  # name the chunk that is gone, not its neighbours
                    yield from self._chunks([single[0]], locations)
                continue
            at = 0
            for extent, location in run:
                data = stretch[at : at + location.size]
                at += location.size
                if chunk_id(data) != extent.digest:
                    raise _DamagedChunkError(extent, pack)
                yield extent, data


class _DamagedChunkError(Exception):
    def __init__(self, extent: _Extent, pack: str) -> None:
        super().__init__(extent.digest.hex())
        self.digest, self.blob, self.pack = extent.digest, extent.span.blob.digest, pack


def _span(place: int, blob: StoredBlob, wanted: BlobRange) -> _Span:
    last = wanted.offset + wanted.length if wanted.length else blob.size
    if wanted.offset > blob.size or last > blob.size:
        raise RangeInvalidError(
            f"bytes {wanted.offset} to {last} reach beyond blob {blob.digest.hex()} of {blob.size} bytes",
            blob=blob.digest.hex(),
            size=blob.size,
        )
    return _Span(place, blob, wanted.offset, last)


def _up_to(spans: Iterable[_Span], limit: int) -> Iterator[list[_Span]]:
    some: list[_Span] = []
    total = 0
    for span in spans:
        cost = max(1, span.blob.chunk_count)
        if some and total + cost > limit:
            yield some
            some, total = [], 0
        some.append(span)
        total += cost
    if some:
        yield some


def _extents(span: _Span, start: int, recipe: Recipe, whole_chunks: bool) -> Iterator[_Extent]:
    for digest, size in recipe:
        if start >= span.last:
            return
        if start + size > span.first:
            skip = 0 if whole_chunks else max(0, span.first - start)
            end = size if whole_chunks else min(size, span.last - start)
            yield _Extent(span, digest, start, size, skip, end - skip)
        start += size


def _cut_messages(extents: Sequence[_Extent]) -> Iterator[list[_Extent]]:
    message: list[_Extent] = []
    total = 0
    for extent in extents:
        if message and total + extent.size > MESSAGE_DATA:
            yield message
            message, total = [], 0
        message.append(extent)
        total += extent.size
    if message:
        yield message


def _runs(extents: Sequence[_Extent], locations: dict[bytes, Location]) -> Iterator[list[tuple[_Extent, Location]]]:
    """Groups chunks that lie one after the other in one pack, so that one read fetches them all."""
    run: list[tuple[_Extent, Location]] = []
    for extent in extents:
        location = locations.get(extent.digest)
        if location is None or location.size != extent.size:
            raise _DamagedChunkError(extent, "none")
        if run:
            last = run[-1][1]
            if location.pack != last.pack or location.offset != last.offset + last.size:
                yield run
                run = []
        run.append((extent, location))
    if run:
        yield run
