"""Takes in the recipes of one CommitBlobs call, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import NamedTuple, Self

from blake3 import blake3

from modelwire.digests import DIGEST_SIZE, blob_hasher, recipe_bytes
from modelwire.errors import (
    BlobTooLargeError,
    ChunkMissingError,
    ChunkSizeMismatchError,
    ModelwireError,
    RequestInvalidError,
)
from modelwire.wire import MIB

REF_SIZE = DIGEST_SIZE + 4
"""Bytes of a chunk id and a size, as pages keep them."""

PAGE_CHUNKS = 4096
"""Chunks in one page of a recipe."""

_IN_MEMORY = 4 * MIB


class RecipePart(NamedTuple):
    """Is a stretch of one recipe: (chunk id, size) pairs, and whether a blob begins with it."""

    refs: Sequence[tuple[bytes, int]]
    begins: bool


class PageRow(NamedTuple):
    """Is one page of a recipe: the offset in the blob of its first byte, and its packed pairs."""

    start: int
    chunks: bytes


@dataclass
class NewBlob:
    """Is a blob to be committed, or the error that it is refused for."""

    hasher: blake3
    first: int
    """Where its pairs begin among all pairs of the call."""
    chunk_count: int = 0
    size: int = 0
    error: ModelwireError | None = None

    @property
    def digest(self) -> bytes:
        """The blob id; empty when the blob is refused."""
        return b"" if self.error else self.hasher.digest()


class RecipeIntake:
    """Checks recipes as they come; what it must keep of large ones goes to a temporary file."""

    def __init__(self, max_blob_size: int) -> None:
        self.blobs: list[NewBlob] = []
        self._max_blob_size = max_blob_size
        self._refs = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._refs.close()

    def take(self, parts: Sequence[RecipePart], present: Mapping[bytes, int]) -> None:
        """Takes in the parts of one message; `present` has the sizes of their chunks that are stored."""
        for part in parts:
            if part.begins:
                self.blobs.append(NewBlob(blob_hasher(), self._count))
            blob = self.blobs[-1]
            blob.error = blob.error or self._problem(blob, part.refs, present)
            if blob.error:
                continue
            blob.hasher.update(recipe_bytes(part.refs))
            blob.chunk_count += len(part.refs)
            blob.size += sum(size for _, size in part.refs)
            self._refs.write(b"".join(digest + size.to_bytes(4, "big") for digest, size in part.refs))
            self._count += len(part.refs)

    def pages(self, blob: NewBlob) -> Iterator[PageRow]:
        """Yields the pages of a blob that was not refused."""
        start, place, end = 0, blob.first, blob.first + blob.chunk_count
        while place < end:
            count = min(PAGE_CHUNKS, end - place)
            self._refs.seek(place * REF_SIZE)
            page = self._refs.read(count * REF_SIZE)
            yield PageRow(start, page)
            start += sum(size for _, size in unpack(page))
            place += count

    def _problem(self, blob: NewBlob, refs: Sequence[tuple[bytes, int]], present: Mapping[bytes, int]) -> ModelwireError | None:
        for digest, size in refs:
            stored = present.get(digest)
            text = digest.hex()
            if size == 0:
                return RequestInvalidError("a recipe gives a chunk no bytes", field="size")
            if stored is None:
                return ChunkMissingError(f"chunk {text} is not stored; send it first", digest=text)
            if stored != size:
                message = f"chunk {text} has {stored} bytes, not {size}"
                return ChunkSizeMismatchError(message, digest=text, size=size, stored=stored)
        total, limit = blob.size + sum(size for _, size in refs), self._max_blob_size
        if total > limit:
            return BlobTooLargeError(f"a blob of {total} bytes and more is larger than {limit}", limit=limit)
        return None


def unpack(page: bytes) -> list[tuple[bytes, int]]:
    """Reads the (chunk id, size) pairs of a page."""
    return [
        (page[at : at + DIGEST_SIZE], int.from_bytes(page[at + DIGEST_SIZE : at + REF_SIZE], "big"))
        for at in range(0, len(page), REF_SIZE)
    ]
