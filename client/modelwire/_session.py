"""What runs and versions are made of: the connections, the cache, and the moving of bytes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from modelwire._blobs import Blobs
from modelwire._cache import ContentCache
from modelwire._catalog import Catalog
from modelwire._channel import ServiceChannel, Tickets, check_address
from modelwire._download import Downloader
from modelwire._messages import TicketInfo, Where
from modelwire._progress import progress
from modelwire._scan import SourceFile, scan
from modelwire._upload import Uploader
from modelwire.errors import UsageError
from modelwire.memory import keep_large_buffers
from modelwire.remote_file import AsyncRemoteFile
from modelwire.settings import Settings
from modelwire.types import Entry, TransferStats, VersionInfo

Answer = TypeVar("Answer")

THREADS = 3
"""Worker threads that read, hash and write. More than one per stream costs speed on few cores."""


class Session:
    """Holds the connections of one client; connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        keep_large_buffers()
        self.settings = settings
        self.where = Where(settings.entity, settings.project)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="modelwire")
        self._channel: ServiceChannel | None = None
        self._blob_channels: dict[str, ServiceChannel] = {}
        self._cache: ContentCache | None = None
        self._cache_opened = False
        self._cache_lock = threading.Lock()
        self._closed = False

    async def close(self) -> None:
        """Closes the connections."""
        self._closed = True
        channels = [channel for channel in (self._channel, *self._blob_channels.values()) if channel is not None]
        self._channel, self._blob_channels = None, {}
        for channel in channels:
            await channel.close()
        if self._cache is not None:
            self._cache.close()
        self._cache, self._cache_opened = None, False
        self._executor.shutdown(wait=False)

    @property
    def catalog(self) -> Catalog:
        """The calls of the metadata service; raises UsageError once the client is closed."""
        if self._closed:
            raise UsageError("the client is closed; make another one")
        if self._channel is None:
            self._channel = ServiceChannel(self.settings.address, "metadata", self.settings.timeout)
        return Catalog(self._channel)

    async def scan(self, path: str | os.PathLike[str]) -> list[SourceFile]:
        """Finds the files that a path means; blocks no loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, scan, path)

    async def upload(
        self,
        sources: Sequence[SourceFile],
        kept: Sequence[Entry],
        name: str,
        ticket: TicketInfo,
        renew: Callable[[], Awaitable[TicketInfo]],
    ) -> tuple[list[Entry], str, TransferStats]:
        """Makes files durable at the blob service; returns their entries, the receipt, and what it took."""
        stats = TransferStats()
        total = sum(source.size for source in sources)
        with progress(f"log {name}", total, quiet=self.settings.quiet) as advanced:
            uploader = Uploader(self._blobs(ticket, renew), self._executor, stats, advanced)
            entries, receipt = await uploader.send(sources, kept)
        return entries, receipt, stats

    async def fetch(
        self,
        version: VersionInfo,
        entries: Sequence[Entry],
        root: Path,
        ticket: TicketInfo | None,
    ) -> TransferStats:
        """Puts the files of a version below `root`; returns what it took."""
        stats = TransferStats()
        cache = await asyncio.get_running_loop().run_in_executor(self._executor, self._open_cache)
        with progress(f"use {version.source.name}", sum(e.size for e in entries), quiet=self.settings.quiet) as advanced:
            blobs = await self._reading(version, ticket)
            await Downloader(blobs, cache, self._executor, stats, advanced).fetch(entries, root)
        return stats

    async def open(self, version: VersionInfo, entry: Entry) -> AsyncRemoteFile:
        """Opens a file of a version over the network."""
        blobs = await self._reading(version, None)
        [recipe] = await blobs.recipes([entry.blob_id])
        return AsyncRemoteFile(blobs, entry, recipe)

    async def in_thread(self, work: Callable[..., Answer], *args: object) -> Answer:
        """Runs what blocks in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    async def _reading(self, version: VersionInfo, ticket: TicketInfo | None) -> Blobs:
        where, reference = Where(version.place.entity, version.place.project), version.place.qualified_name

        async def renew() -> TicketInfo:
            fresh = (await self.catalog.use_version(where, reference))[1]
            assert fresh is not None
            return fresh

        return self._blobs(ticket or await renew(), renew)

    def _blobs(self, ticket: TicketInfo, renew: Callable[[], Awaitable[TicketInfo]]) -> Blobs:
        async def renewed() -> str:
            return (await renew()).token

        host = self.settings.address.rpartition(":")[0]
        address = check_address(ticket.blob_addresses[0], host)
        if address not in self._blob_channels:
            self._blob_channels[address] = ServiceChannel(address, "blob", self.settings.timeout)
        return Blobs(self._blob_channels[address], Tickets(ticket.token, renewed))

    def _open_cache(self) -> ContentCache | None:
        with self._cache_lock:
            return self._opened_cache()

    def _opened_cache(self) -> ContentCache | None:
        if not self._cache_opened:
            try:
                self._cache = ContentCache(self.settings.cache_dir)
            except OSError:  # a cache that cannot be written costs speed, nothing else
                self._cache = None
            self._cache_opened = True
        return self._cache
