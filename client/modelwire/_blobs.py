"""The blob service as the client sees it: one method per RPC, plain values in and out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from modelwire._channel import Metadata, ServiceChannel, Tickets
from modelwire.api.blob.v1 import blob_service_pb2 as pb
from modelwire.api.blob.v1 import blob_service_pb2_grpc as grpc_pb
from modelwire.errors import ModelwireError, error_for
from modelwire.wire import (
    BLOB_SERVICE,
    Buffer,
    ChunkFrame,
    Limits,
    PieceFrame,
    decode_read_blobs,
    encode_write_chunks,
)

Recipe = Sequence[tuple[bytes, int]]

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class WriteAnswer:
    """Says what became of the chunks of one call."""

    accepted_bytes: int
    duplicate_bytes: int


@dataclass(frozen=True)
class SealedBundle:
    """Is a bundle with the blob service's word that it is durable."""

    bundle_id: bytes
    receipt: str
    size: int


@dataclass(frozen=True)
class ReadRange:
    """Is a stretch of a blob to read; `length` 0 means to its end."""

    blob_id: bytes
    offset: int = 0
    length: int = 0


class Blobs:
    """Makes the calls of the blob service, under one ticket at a time."""

    def __init__(self, channel: ServiceChannel, tickets: Tickets) -> None:
        self.channel, self._tickets = channel, tickets
        self._stub: grpc_pb.BlobServiceAsyncStub = grpc_pb.BlobServiceStub(channel.channel)  # type: ignore[assignment]
        # The two data messages go through the raw codec; see modelwire.wire.
        self._write: Any = channel.channel.stream_unary(
            f"/{BLOB_SERVICE}/WriteChunks", response_deserializer=pb.WriteChunksResponse.FromString
        )
        self._read: Any = channel.channel.unary_stream(
            f"/{BLOB_SERVICE}/ReadBlobs", request_serializer=pb.ReadBlobsRequest.SerializeToString
        )

    async def limits(self) -> Limits:
        """Asks for the server's limits."""
        answer = await self.channel.unary(self._stub.GetCapabilities, pb.GetCapabilitiesRequest(), self._tickets)
        return Limits(**{name: getattr(answer, name) for name in vars(Limits())})

    async def find_missing(self, digests: Sequence[bytes]) -> set[bytes]:
        """Asks which chunks the domain lacks."""
        request = pb.FindMissingChunksRequest(digests=digests)
        return set((await self.channel.unary(self._stub.FindMissingChunks, request, self._tickets)).missing)

    async def write_chunks(self, chunks: Sequence[tuple[bytes, Buffer]], sent: Callable[[int], None]) -> WriteAnswer:
        """Makes one attempt to store chunks, in one call; `sent` is told the bytes of every message.

        Raises:
            ModelwireError: The first chunk that was refused; they are ours, so it is a fault on the way.
        """

        async def messages() -> AsyncIterator[bytes]:
            for frames in _up_to_message(chunks):
                yield encode_write_chunks(frames)
                sent(sum(len(frame.data) for frame in frames))

        async with self.channel.border():
            answer = await self._write(messages(), metadata=self._tickets.metadata)
        for item in answer.rejected:
            raise error_for("INVALID_ARGUMENT", item.reason, item.message, dict(item.facts))
        return WriteAnswer(answer.accepted_bytes, answer.duplicate_bytes)

    async def repeat(self, attempt: Callable[[Metadata], Awaitable[Answer]]) -> Answer:
        """Makes attempts until one succeeds, with a fresh ticket when one has expired."""
        return await self.channel.repeat(attempt, self._tickets)

    @property
    def metadata(self) -> Metadata:
        """The metadata that calls carry now."""
        return self._tickets.metadata

    async def renew_ticket(self, expired: Metadata) -> None:
        """Gets a new ticket in place of the one that has expired."""
        await self._tickets.renew(expired)

    async def commit_blobs(self, recipes: Sequence[Recipe], max_items: int) -> list[bytes]:
        """Makes blobs out of durable chunks; returns their ids.

        Raises:
            ModelwireError: The first recipe that was refused.
        """

        async def attempt(metadata: Metadata) -> pb.CommitBlobsResponse:
            return await self._stub.CommitBlobs(_recipe_messages(recipes, max_items), metadata=metadata)

        answer = await self.channel.repeat(attempt, self._tickets)
        for item in answer.rejected:
            raise error_for("FAILED_PRECONDITION", item.reason, item.message, dict(item.facts))
        return [blob.blob_id for blob in answer.blobs]

    async def seal_bundle(self, blob_ids: Sequence[bytes], max_items: int) -> SealedBundle:
        """Makes the bundle of the distinct blobs."""

        async def attempt(metadata: Metadata) -> pb.SealBundleResponse:
            pages = (blob_ids[first : first + max_items] for first in range(0, len(blob_ids), max_items))
            return await self._stub.SealBundle((pb.SealBundleRequest(blob_ids=page) for page in pages), metadata=metadata)

        answer = await self.channel.repeat(attempt, self._tickets)
        return SealedBundle(answer.bundle_id, answer.receipt, answer.size)

    async def recipes(self, blob_ids: Sequence[bytes]) -> list[Recipe]:
        """Gives the recipes of blobs of the ticket's bundle, unchecked."""

        async def attempt(metadata: Metadata) -> list[list[tuple[bytes, int]]]:
            found: list[list[tuple[bytes, int]]] = [[] for _ in blob_ids]
            async for answer in self._stub.GetRecipes(pb.GetRecipesRequest(blob_ids=blob_ids), metadata=metadata):
                for part in answer.recipes:
                    found[part.blob_index] += [(chunk.digest, chunk.size) for chunk in part.recipe.chunks]
            return found

        return list(await self.channel.repeat(attempt, self._tickets))

    async def read(self, ranges: Sequence[ReadRange]) -> AsyncGenerator[list[PieceFrame], None]:
        """Makes one attempt to read ranges, widened to chunk borders; the bytes are unchecked."""
        request = pb.ReadBlobsRequest(
            ranges=[pb.BlobRange(blob_id=one.blob_id, offset=one.offset, length=one.length) for one in ranges],
            whole_chunks=True,
        )
        async with self.channel.border():
            async for message in self._read(request, metadata=self._tickets.metadata):
                yield decode_read_blobs(message)


def is_passing(error: ModelwireError) -> bool:
    """Tells whether an error may be gone at the next attempt."""
    return error.code == "UNAVAILABLE"


def _up_to_message(chunks: Sequence[tuple[bytes, Buffer]], size: int = 1 << 20) -> Iterator[list[ChunkFrame]]:
    """Groups chunks into messages of about a MiB of data."""
    frames: list[ChunkFrame] = []
    total = 0
    for digest, data in chunks:
        if frames and total + len(data) > size:
            yield frames
            frames, total = [], 0
        frames.append(ChunkFrame(digest, data))
        total += len(data)
    if frames:
        yield frames


def _recipe_messages(recipes: Iterable[Recipe], max_items: int) -> Iterator[pb.CommitBlobsRequest]:
    """Packs recipes into messages of at most `max_items` chunks or parts; long recipes go on in the next message."""
    message = pb.CommitBlobsRequest()
    room = max_items
    for recipe in recipes:
        first = 0
        while True:
            part = recipe[first : first + room]
            first += len(part)
            chunks = [pb.ChunkRef(digest=digest, size=size) for digest, size in part]
            message.recipes.append(pb.Recipe(chunks=chunks, continues=first < len(recipe)))
            room -= max(1, len(part))
            if room <= 0:
                yield message
                message, room = pb.CommitBlobsRequest(), max_items
            if first >= len(recipe):
                break
    if message.recipes:
        yield message
