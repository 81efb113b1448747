"""The rules of the blob service, free of gRPC: what may be stored, and what an answer promises."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modelwire.digests import bundle_id
from modelwire.errors import ModelwireError
from modelwire.wire import ChunkFrame, Limits
from modelwire_server.blob.blob_reader import BlobReader
from modelwire_server.blob.chunk_writer import ChunkWriter, WriteResult
from modelwire_server.blob.index import ChunkIndex
from modelwire_server.blob.packs import PackStore, TruncatablePackStore
from modelwire_server.blob.recipes import RecipeIntake, RecipePart
from modelwire_server.database import Database

log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"
_THREADS = 4


@dataclass(frozen=True)
class CommittedBlob:
    """Is a blob that was committed, or the error that it was refused for."""

    digest: bytes = b""
    size: int = 0
    error: ModelwireError | None = None


class ChunkStore:
    """Stores chunks, blobs and bundles in packs and the index, and reads them back."""

    def __init__(self, store: PackStore, database: Database, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._store = store
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="modelwire-blob")
        self.index = ChunkIndex(database)
        self._writer = ChunkWriter(store, self.index, self._executor, self.limits)
        self.reader = BlobReader(store, self.index, self._executor)

    async def open(self) -> None:
        """Migrates the index and brings it and the packs into agreement. To be called once, before any other call."""
        await self.index.open(_MIGRATIONS)
        await self._reconcile()

    async def close(self) -> None:
        """Makes durable what is under way and releases everything."""
        await self._writer.close()
        self._executor.shutdown()
        self._store.shutdown()
        await self.index.close()

    async def find_missing(self, domain: str, digests: Sequence[bytes]) -> list[bytes]:
        """Returns the chunk ids that the domain lacks, in the order asked; the others are protected from now on."""
        distinct = list(dict.fromkeys(digests))
        present = await self.index.present(await self.index.domain_id(domain), distinct)
        return [digest for digest in distinct if digest not in present]

    async def write_chunks(self, domain: str, messages: AsyncIterator[Sequence[ChunkFrame]]) -> WriteResult:
        """Stores the chunks of one call; see ChunkWriter.write."""
        return await self._writer.write(await self.index.domain_id(domain), messages)

    async def commit_blobs(self, domain: str, messages: AsyncIterator[Sequence[RecipePart]]) -> list[CommittedBlob]:
        """Makes blobs; each is committed or refused on its own. Their chunks are protected from now on."""
        domain_id = await self.index.domain_id(domain)
        loop = asyncio.get_running_loop()
        with RecipeIntake(self.limits.max_blob_size) as intake:
            async for parts in messages:
                wanted = list({digest for part in parts for digest, _ in part.refs})
                present = await self.index.present(domain_id, wanted)
                await loop.run_in_executor(self._executor, intake.take, parts, present)
            await self.index.add_blobs(domain_id, intake)
            return [CommittedBlob(blob.digest, 0 if blob.error else blob.size, blob.error) for blob in intake.blobs]

    async def seal_bundle(self, domain: str, blob_ids: Sequence[bytes]) -> tuple[bytes, int, int]:
        """Makes the bundle of the distinct blobs; returns its id, the sum of their sizes and how many they are.

        Raises:
            BlobNotFoundError: The domain lacks one of them.
        """
        distinct = list(dict.fromkeys(blob_ids))
        digest = await asyncio.get_running_loop().run_in_executor(self._executor, bundle_id, distinct)
        size = await self.index.seal_bundle(await self.index.domain_id(domain), digest, distinct)
        return digest, size, len(distinct)

    async def _reconcile(self) -> None:
        """Drops what no row acknowledges, and marks as damaged what rows promise and packs lack."""
        sizes = dict(await asyncio.to_thread(lambda: list(self._store.list())))
        for pack, end in await self.index.pack_rows():
            size = sizes.pop(pack.name, None)
            if size is None or size < end:
                lost = await self.index.mark_lost(pack, size or 0)
                log.error("data loss: pack %s has %s of %s bytes; %s chunks are gone", pack.name, size or 0, end, lost)
            elif size > end and isinstance(self._store, TruncatablePackStore):
                log.info("pack %s: dropping %s bytes that were never acknowledged", pack.name, size - end)
                await asyncio.to_thread(self._store.truncate, pack.name, end)
            if pack.sealed_size is None:
                await self.index.seal_pack(pack, end)
        for name in sizes:
            log.info("pack %s: deleting it, nothing of it was ever acknowledged", name)
            await asyncio.to_thread(self._store.delete, name)
