"""A file of a version, read over the network: only the chunks that are asked for, every one checked."""

from __future__ import annotations

import asyncio
import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from modelwire._blobs import Blobs, ReadRange
from modelwire.digests import blob_id, chunk_id
from modelwire.errors import DataDamagedError
from modelwire.types import Entry
from modelwire.wire import MIB

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_KEPT_CHUNKS = 8


class AsyncRemoteFile:
    """Is a readable, seekable file of a version. One task uses it at a time."""

    def __init__(self, blobs: Blobs, entry: Entry, recipe: Sequence[tuple[bytes, int]]) -> None:
        if blob_id(recipe) != entry.blob_id:
            raise DataDamagedError(f"the blob service gave a recipe of something else for {entry.path!r}", path=entry.path)
        self.name, self.size = entry.path, entry.size
        self._blobs, self._entry, self._recipe = blobs, entry, recipe
        self._starts = [0]
        for _, size in recipe:
            self._starts.append(self._starts[-1] + size)
        self._kept: dict[int, bytes] = {}
        self._at = 0

    def tell(self) -> int:
        """Returns the position, in bytes from the start."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position; beyond the end is allowed, before the start is a ValueError."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the start")
        self._at = base + offset
        return self._at

    async def read(self, size: int | None = -1) -> bytes:
        """Reads up to `size` bytes from the position on; all that is left when it is negative.

        Raises:
            DataDamagedError: Stored bytes are gone or changed.
        """
        end = self.size if size is None or size < 0 else min(self.size, self._at + size)
        if self._at >= end:
            return b""
        first, last = bisect_right(self._starts, self._at) - 1, bisect_right(self._starts, end - 1) - 1
        parts = await self._chunks(first, last)
        start = self._starts[first]
        data = b"".join(parts)[self._at - start : end - start]
        self._at = end
        return data

    async def _chunks(self, first: int, last: int) -> list[bytes]:
        numbers = range(first, last + 1)
        missing = [number for number in numbers if number not in self._kept]
        fetched: dict[int, bytes] = {}
        if missing:
            begin, end = self._starts[missing[0]], self._starts[missing[-1] + 1]
            data = await self._fetch(begin, end)
            for number in range(missing[0], missing[-1] + 1):
                fetched[number] = data[self._starts[number] - begin : self._starts[number + 1] - begin]
            wrong = await asyncio.to_thread(self._find_wrong, fetched)
            if wrong is not None:
                raise DataDamagedError(f"bytes of {self.name!r} arrived that are not what was logged", path=self.name)
        found = [fetched[number] if number in fetched else self._kept[number] for number in numbers]
        self._kept |= fetched
        while len(self._kept) > _KEPT_CHUNKS:
            del self._kept[next(iter(self._kept))]
        return found

    async def _fetch(self, begin: int, end: int) -> bytes:
        async def attempt(metadata: object) -> bytes:
            del metadata  # the ticket's; read() takes it from the same place
            parts: list[bytes | memoryview] = []
            async for pieces in self._blobs.read([ReadRange(self._entry.blob_id, begin, end - begin)]):
                parts += [part for piece in pieces for part in piece.data]
            return b"".join(parts)

        return await self._blobs.repeat(attempt)

    def _find_wrong(self, chunks: dict[int, bytes]) -> int | None:
        return next((number for number, data in chunks.items() if chunk_id(data) != self._recipe[number][0]), None)


class RemoteFile(io.BufferedReader):
    """Is the blocking form of AsyncRemoteFile: a binary file for everything that takes one."""

    def __init__(self, file: AsyncRemoteFile, read: Callable[[AsyncRemoteFile, int], bytes]) -> None:
        super().__init__(_RawRemoteFile(file, read), MIB)


class _RawRemoteFile(io.RawIOBase):
    def __init__(self, file: AsyncRemoteFile, read: Callable[[AsyncRemoteFile, int], bytes]) -> None:
        super().__init__()
        self._file, self._read_from = file, read
        self.name = file.name

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether its position can be moved."""
        return True

    def tell(self) -> int:
        """Returns the position."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position."""
        return self._file.seek(offset, whence)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills a buffer; returns how many bytes it took."""
        view = memoryview(buffer).cast("B")
        data = self._read_from(self._file, len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Reads all that is left."""
        return self._read_from(self._file, -1)
