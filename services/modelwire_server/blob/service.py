"""The blob service's face on the wire: translate, call the chunk store, translate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from modelwire import wire
from modelwire.api.blob.v1 import blob_service_pb2 as pb
from modelwire.digests import check_digest
from modelwire.errors import BatchTooLargeError, ModelwireError, OverloadedError, RequestInvalidError
from modelwire_server.blob.blob_reader import BlobRange
from modelwire_server.blob.chunk_store import ChunkStore
from modelwire_server.blob.recipes import RecipePart
from modelwire_server.rpc.auth import Signer, Ticket
from modelwire_server.rpc.errors import Context
from modelwire_server.rpc.host import HostedService, hosted_service

MAX_STREAMS = 16
"""Calls that move data at one time; each holds a few MiB."""

MAX_WAITING = 512
"""Calls that may wait for their turn; they hold no data yet."""


class BlobServicer:
    """Answers the RPCs of `modelwire.api.blob.v1.BlobService`; blob_service.proto says what each promises."""

    def __init__(self, store: ChunkStore, signer: Signer, server_version: str) -> None:
        self._store, self._signer, self._server_version = store, signer, server_version
        self._limits = store.limits
        self._streams = asyncio.Semaphore(MAX_STREAMS)
        self._waiting = 0

    def hosted(self) -> HostedService:
        """Returns the service with its handlers."""
        # Raw bytes on the two data messages: payloads are not copied, and a malformed one is answered with its reason.
        return hosted_service(
            pb.DESCRIPTOR.services_by_name["BlobService"],
            self,
            WriteChunks={"request_deserializer": None},
            ReadBlobs={"response_serializer": None},
        )

    async def GetCapabilities(self, request: pb.GetCapabilitiesRequest, context: Context) -> pb.GetCapabilitiesResponse:
        """Announces the limits."""
        ticket = self._ticket(context)
        return pb.GetCapabilitiesResponse(
            **vars(self._limits),
            digest_function="blake3-256",
            domain=ticket.domain,
            server_version=self._server_version,
        )

    async def FindMissingChunks(self, request: pb.FindMissingChunksRequest, context: Context) -> pb.FindMissingChunksResponse:
        """Says which chunks the domain lacks."""
        ticket = self._ticket(context, "write")
        digests = self._digests(request.digests, "a chunk id")
        return pb.FindMissingChunksResponse(missing=await self._store.find_missing(ticket.domain, digests))

    async def WriteChunks(self, request_iterator: AsyncIterator[bytes], context: Context) -> pb.WriteChunksResponse:
        """Stores chunks."""
        ticket = self._ticket(context, "write")
        async with self._stream():
            messages = (wire.decode_write_chunks(message) async for message in request_iterator)
            result = await self._store.write_chunks(ticket.domain, messages)
        return pb.WriteChunksResponse(
            accepted=result.accepted,
            accepted_bytes=result.accepted_bytes,
            duplicates=result.duplicates,
            duplicate_bytes=result.duplicate_bytes,
            rejected=[_rejected(index, error) for index, error in result.rejected],
        )

    async def CommitBlobs(
        self, request_iterator: AsyncIterator[pb.CommitBlobsRequest], context: Context
    ) -> pb.CommitBlobsResponse:
        """Makes blobs out of durable chunks."""
        ticket = self._ticket(context, "write")
        async with self._stream():
            results = await self._store.commit_blobs(ticket.domain, self._recipe_parts(request_iterator))
        return pb.CommitBlobsResponse(
            blobs=[pb.CommittedBlob(blob_id=made.digest, size=made.size) for made in results],
            rejected=[_rejected(place, made.error) for place, made in enumerate(results) if made.error],
        )

    async def SealBundle(
        self, request_iterator: AsyncIterator[pb.SealBundleRequest], context: Context
    ) -> pb.SealBundleResponse:
        """Makes a bundle and signs its receipt."""
        ticket = self._ticket(context, "write")
        blob_ids: list[bytes] = []
        async for request in request_iterator:
            blob_ids += self._digests(request.blob_ids, "a blob id")
            _hold("blobs in one bundle", len(blob_ids), self._limits.max_bundle_blobs)
        digest, size, count = await self._store.seal_bundle(ticket.domain, blob_ids)
        receipt = self._signer.receipt(ticket.domain, digest)
        return pb.SealBundleResponse(bundle_id=digest, receipt=receipt, size=size, blob_count=count)

    async def GetRecipes(self, request: pb.GetRecipesRequest, context: Context) -> AsyncIterator[pb.GetRecipesResponse]:
        """Gives recipes of blobs of the ticket's bundle."""
        ticket, bundle = self._read_ticket(context)
        blob_ids = self._digests(request.blob_ids, "a blob id")
        domain_id = await self._store.index.domain_id(ticket.domain)
        async with self._stream():
            async for parts in self._store.reader.recipes(domain_id, bundle, blob_ids):
                yield pb.GetRecipesResponse(
                    recipes=[
                        pb.BlobRecipe(
                            blob_index=place,
                            recipe=pb.Recipe(
                                chunks=[pb.ChunkRef(digest=digest, size=size) for digest, size in recipe], continues=more
                            ),
                        )
                        for place, recipe, more in parts
                    ]
                )

    async def ReadBlobs(self, request: pb.ReadBlobsRequest, context: Context) -> AsyncIterator[bytes]:
        """Reads ranges of blobs of the ticket's bundle."""
        ticket, bundle = self._read_ticket(context)
        _hold("ranges in one call", len(request.ranges), self._limits.max_batch_items)
        ranges = [BlobRange(check_digest(one.blob_id, "a blob id"), one.offset, one.length) for one in request.ranges]
        domain_id = await self._store.index.domain_id(ticket.domain)
        async with self._stream():
            async for message in self._store.reader.read(domain_id, bundle, ranges, request.whole_chunks):
                yield message

    def _ticket(self, context: Context, action: str | None = None) -> Ticket:
        metadata = dict(context.invocation_metadata() or ())
        ticket = self._signer.check_ticket(str(metadata.get("authorization", "")))
        if action:
            ticket.require(action)
        return ticket

    def _read_ticket(self, context: Context) -> tuple[Ticket, bytes]:
        ticket = self._ticket(context, "read")
        assert ticket.bundle is not None
        return ticket, ticket.bundle

    def _digests(self, digests: Sequence[bytes], what: str) -> list[bytes]:
        _hold("ids in one message", len(digests), self._limits.max_batch_items)
        return [check_digest(digest, what) for digest in digests]

    async def _recipe_parts(self, requests: AsyncIterator[pb.CommitBlobsRequest]) -> AsyncIterator[list[RecipePart]]:
        count, continued = 0, False
        async for request in requests:
            items = max(len(request.recipes), sum(len(recipe.chunks) for recipe in request.recipes))
            _hold("items in one message", items, self._limits.max_batch_items)
            parts = []
            for recipe in request.recipes:
                count += not continued
                _hold("blobs in one call", count, self._limits.max_batch_items)
                refs = [(check_digest(chunk.digest, "a chunk id"), chunk.size) for chunk in recipe.chunks]
                parts.append(RecipePart(refs, begins=not continued))
                continued = recipe.continues
            yield parts
        if continued:
            raise RequestInvalidError("the last recipe says that it goes on, but the call ends", field="continues")

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[None]:
        """Waits for a place among the calls that move data."""
        if self._streams.locked() and self._waiting >= MAX_WAITING:
            raise OverloadedError("the blob service has too many calls waiting; try again")
        self._waiting += 1
        try:
            await self._streams.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._streams.release()


def _hold(what: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise BatchTooLargeError(f"{actual} {what} are more than {limit}", limit=limit, actual=actual)


def _rejected(index: int, error: ModelwireError) -> pb.RejectedItem:
    return pb.RejectedItem(index=index, reason=error.reason, message=str(error), facts=error.facts)
