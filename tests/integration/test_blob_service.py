"""The blob service over the wire, as a client with generated code uses it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from integration.stubs import Wire, auth, digest, refused
from modelwire import digests
from modelwire.api.blob.v1 import blob_service_pb2 as pb
from modelwire.api.blob.v1 import blob_service_pb2_grpc
from modelwire.errors import (
    BatchTooLargeError,
    BlobNotFoundError,
    DigestMalformedError,
    MessageMalformedError,
    RangeInvalidError,
    RequestInvalidError,
    TicketScopeError,
)
from modelwire.wire import BLOB_SERVICE, MIB
from modelwire_server.testing import RunningServices

METADATA_SERVICES = [f"modelwire.api.metadata.v1.{name}Service" for name in ("Artifact", "Lineage", "Registry", "Run")]


@pytest.fixture
def token(wire: Wire) -> str:
    """A write ticket."""
    return wire.signer.write_ticket(wire.entity)[0]


async def test_capabilities_tell_the_limits_and_the_domain(wire: Wire, token: str) -> None:
    answer = await wire.blobs.GetCapabilities(pb.GetCapabilitiesRequest(), metadata=auth(token))
    assert (answer.max_chunk_size, answer.preferred_chunk_size, answer.max_message_data) == (2 * MIB, MIB, 2 * MIB)
    assert (answer.max_call_data, answer.max_call_chunks, answer.max_batch_items) == (64 * MIB, 8192, 4096)
    assert (answer.max_blob_size, answer.max_bundle_blobs) == (5 << 40, 200_000)
    assert (answer.digest_function, answer.domain) == ("blake3-256", wire.entity)
    assert answer.server_version


async def test_missing_chunks_come_in_the_order_asked_and_once(wire: Wire, token: str) -> None:
    stored, one, two = os.urandom(10), os.urandom(32), os.urandom(32)
    await wire.put(token, stored)
    assert await wire.missing(token, two, digest(stored), one, two, one) == [two, one]
    assert await wire.missing(token) == []


async def test_more_ids_than_announced_are_refused(wire: Wire, token: str) -> None:
    assert len(await wire.missing(token, *(os.urandom(32) for _ in range(4096)))) == 4096
    with refused(BatchTooLargeError, limit=4096, actual=4097):
        await wire.missing(token, *(os.urandom(32) for _ in range(4097)))
    with refused(DigestMalformedError, actual=31):
        await wire.missing(token, os.urandom(31))


async def test_a_refused_chunk_is_named_by_its_index_and_the_rest_goes_on(wire: Wire, token: str) -> None:
    good = [os.urandom(size) for size in (1, 1000, 2 * MIB)]
    large = os.urandom(2 * MIB + 1)
    answer = await wire.write(
        token,
        [(digest(good[0]), good[0]), (digest(b"something else"), b"corrupted"), (digest(good[1]), good[1])],
        [(digest(large), large)],
        [(digest(b""), b""), (digest(b"short")[:31], b"short")],
        [(digest(good[2]), good[2])],
    )
    assert (answer.accepted, answer.accepted_bytes) == (3, 1001 + 2 * MIB)
    assert [(item.index, item.reason) for item in answer.rejected] == [
        (1, "CHUNK_CORRUPTED"),
        (3, "CHUNK_TOO_LARGE"),
        (4, "CHUNK_EMPTY"),
        (5, "DIGEST_MALFORMED"),
    ]
    corrupted, oversized, _, malformed = (dict(item.facts) for item in answer.rejected)
    assert corrupted == {"digest": digest(b"something else").hex(), "actual": digest(b"corrupted").hex()}
    assert oversized == {"size": str(len(large)), "limit": str(2 * MIB)}
    assert malformed == {"actual": "31"}
    refused_ids = [digest(b"something else"), digest(b"corrupted"), digest(large)]
    assert await wire.missing(token, *refused_ids, *map(digest, good)) == refused_ids


async def test_chunks_that_were_there_are_counted_as_duplicates(wire: Wire, token: str) -> None:
    old, new = os.urandom(100), os.urandom(50)
    await wire.put(token, old)
    answer = await wire.write(token, [(digest(old), old), (digest(new), new)], [(digest(new), new)])
    assert (answer.accepted, answer.accepted_bytes) == (3, 200)
    assert (answer.duplicates, answer.duplicate_bytes) == (2, 150)


async def test_a_message_of_more_than_2_mib_is_refused_and_what_came_before_is_kept(wire: Wire, token: str) -> None:
    first, *rest = (os.urandom(MIB) for _ in range(4))
    with refused(BatchTooLargeError, limit=2 * MIB, actual=3 * MIB):
        await wire.write(token, [(digest(first), first)], [(digest(one), one) for one in rest])
    assert await wire.missing(token, digest(first), *map(digest, rest)) == [digest(one) for one in rest]


async def test_a_call_of_more_than_64_mib_is_refused(wire: Wire, token: str) -> None:
    data = os.urandom(2 * MIB)
    message = pb.WriteChunksRequest(chunks=[pb.Chunk(digest=digest(data), data=data)])
    assert (await wire.blobs.WriteChunks(iter([message] * 32), metadata=auth(token))).accepted_bytes == 64 * MIB
    with refused(BatchTooLargeError, limit=64 * MIB, actual=66 * MIB):
        await wire.blobs.WriteChunks(iter([message] * 33), metadata=auth(token))


async def test_a_call_of_more_than_8192_chunks_is_refused(wire: Wire, token: str) -> None:
    many = [(digest(data), data) for data in (os.urandom(8) for _ in range(8193))]
    assert (await wire.write(token, many[:4096], many[4096:8192])).accepted == 8192
    with refused(BatchTooLargeError, limit=8192, actual=8193):
        await wire.write(token, many[:4096], many[4096:])


async def test_bytes_that_are_no_message_are_refused_as_malformed(wire: Wire, token: str) -> None:
    raw: Any = wire.bytes.stream_unary(f"/{BLOB_SERVICE}/WriteChunks")
    for message in (b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05ab", b"\x0b", b"\x00", b"\xff" * 11):
        with refused(MessageMalformedError):
            await raw(iter([message]), metadata=auth(token))


@pytest.mark.parametrize(
    "rpc", ["GetCapabilities", "FindMissingChunks", "CommitBlobs", "SealBundle", "GetRecipes", "ReadBlobs"]
)
async def test_bytes_that_are_no_request_are_refused_as_malformed(wire: Wire, token: str, rpc: str) -> None:
    method = pb.DESCRIPTOR.services_by_name["BlobService"].methods_by_name[rpc]
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(wire.bytes, kind)(f"/{BLOB_SERVICE}/{rpc}")
    request = iter([b"\x0a\x05ab"]) if method.client_streaming else b"\x0a\x05ab"
    with refused(MessageMalformedError):
        answer = call(request, metadata=auth(token))
        if method.server_streaming:
            _ = [message async for message in answer]
        else:
            await answer


async def test_recipes_become_blobs_with_the_canonical_id(wire: Wire, token: str) -> None:
    blob = await wire.put(token, b"one" * 100, b"two", b"one" * 100)
    assert blob.blob_id == digests.blob_id(blob.recipe)
    empty = await wire.put(token)
    assert empty.blob_id == digests.blob_id([])


async def test_a_recipe_goes_on_over_several_messages(wire: Wire, token: str) -> None:
    blob = await wire.put(token, *(os.urandom(3) for _ in range(10_000)))
    assert blob.blob_id == digests.blob_id(blob.recipe)
    part = pb.CommitBlobsRequest(recipes=[pb.Recipe(continues=True)])
    with refused(RequestInvalidError, field="continues"):
        await wire.blobs.CommitBlobs(iter([part]), metadata=auth(token))


async def test_a_refused_recipe_is_named_and_the_others_are_committed(wire: Wire, token: str) -> None:
    data = os.urandom(100)
    await wire.put(token, data)
    known, lacking = digest(data), os.urandom(32)
    good = [(known, 100), (known, 100)]
    answer = await wire.commit_blobs(token, [(known, 100), (lacking, 5)], good, [(known, 99)], [], [(known, 0)])
    assert [(item.index, item.reason) for item in answer.rejected] == [
        (0, "CHUNK_MISSING"),
        (2, "CHUNK_SIZE_MISMATCH"),
        (4, "REQUEST_INVALID"),
    ]
    assert dict(answer.rejected[0].facts) == {"digest": lacking.hex()}
    assert dict(answer.rejected[1].facts) == {"digest": known.hex(), "size": "99", "stored": "100"}
    assert [(blob.blob_id, blob.size) for blob in answer.blobs] == [
        (b"", 0),
        (digests.blob_id(good), 200),
        (b"", 0),
        (digests.blob_id([]), 0),
        (b"", 0),
    ]
    with refused(BlobNotFoundError):
        await wire.seal(token, digests.blob_id([(known, 100), (lacking, 5)]))


async def test_more_recipes_or_chunks_than_announced_are_refused(wire: Wire, token: str) -> None:
    with refused(BatchTooLargeError, limit=4096, actual=4097):
        await wire.commit_blobs(token, *([] for _ in range(4097)))
    recipe = pb.Recipe(chunks=[pb.ChunkRef(digest=os.urandom(32), size=1) for _ in range(4097)])
    with refused(BatchTooLargeError, limit=4096, actual=4097):
        await wire.blobs.CommitBlobs(iter([pb.CommitBlobsRequest(recipes=[recipe])]), metadata=auth(token))


async def test_sealing_counts_repeats_once_and_names_a_missing_blob(wire: Wire, token: str) -> None:
    blobs = [await wire.put(token, os.urandom(size)) for size in (10, 20)]
    ids = [blob.blob_id for blob in blobs]
    sealed = await wire.seal(token, *ids, *reversed(ids))
    assert sealed.bundle_id == digests.bundle_id(ids)
    assert (sealed.size, sealed.blob_count) == (30, 2)
    again = await wire.seal(token, *reversed(ids))
    assert (again.bundle_id, again.size) == (sealed.bundle_id, 30)
    lacking = os.urandom(32)
    with refused(BlobNotFoundError, blob=lacking.hex()):
        await wire.seal(token, ids[0], lacking)
    with refused(DigestMalformedError):
        await wire.seal(token, b"short")


async def test_recipes_come_in_the_order_asked_and_long_ones_in_parts(wire: Wire) -> None:
    contents = [[os.urandom(3) for _ in range(count)] for count in (10_000, 0, 2, 5000)]
    blobs, token = await wire.bundle(*contents)
    order = [2, 0, 1, 2, 3]
    request = pb.GetRecipesRequest(blob_ids=[blobs[number].blob_id for number in order])
    answers = [answer async for answer in wire.blobs.GetRecipes(request, metadata=auth(token))]
    assert all(answer.ByteSize() < 4 * MIB for answer in answers)
    parts = [part for answer in answers for part in answer.recipes]
    assert [part.blob_index for part in parts] == sorted(part.blob_index for part in parts)
    for place, number in enumerate(order):
        own = [part.recipe for part in parts if part.blob_index == place]
        assert [(ref.digest, ref.size) for recipe in own for ref in recipe.chunks] == blobs[number].recipe
        assert [recipe.continues for recipe in own] == [True] * (len(own) - 1) + [False]
    assert len([part for part in parts if part.blob_index == 1]) > 1
    with refused(TicketScopeError):
        _ = [one async for one in wire.blobs.GetRecipes(pb.GetRecipesRequest(blob_ids=[bytes(32)]), metadata=auth(token))]


def joined(messages: list[pb.ReadBlobsResponse], index: int) -> tuple[int, bytes]:
    """Where the pieces of a range begin, and their bytes; fails when they are not in a row."""
    pieces = [piece for message in messages for piece in message.pieces if piece.range_index == index]
    assert all(one.offset + len(one.data) == two.offset for one, two in pairwise(pieces))
    return (pieces[0].offset if pieces else 0), b"".join(piece.data for piece in pieces)


async def test_a_range_is_clipped_or_widened_to_whole_chunks(wire: Wire) -> None:
    [blob], token = await wire.bundle([os.urandom(1000), os.urandom(500), os.urandom(2000)])
    ranges = [(blob.blob_id, 0, 0), (blob.blob_id, 1200, 400), (blob.blob_id, 3499, 1), (blob.blob_id, 3500, 0)]
    messages = await wire.read(token, *ranges)
    expected = [(0, blob.content), (1200, blob.content[1200:1600]), (3499, blob.content[3499:]), (0, b"")]
    assert [joined(messages, index) for index in range(4)] == expected
    wide = await wire.read(token, *ranges, whole_chunks=True)
    content = blob.content
    assert [joined(wide, index) for index in range(3)] == [(0, content), (1000, content[1000:]), (1500, content[1500:])]


async def test_a_range_of_a_huge_recipe_is_found(wire: Wire) -> None:
    [blob], token = await wire.bundle([os.urandom(3) for _ in range(10_000)])
    messages = await wire.read(token, (blob.blob_id, 15_001, 14_000), (blob.blob_id, 0, 4))
    assert joined(messages, 0) == (15_001, blob.content[15_001:29_001])
    assert joined(messages, 1) == (0, blob.content[:4])


async def test_large_blobs_come_in_messages_that_any_client_takes(wire: Wire) -> None:
    [blob], token = await wire.bundle([os.urandom(2 * MIB) for _ in range(3)])
    messages = await wire.read(token, (blob.blob_id, 0, 0), (blob.blob_id, 0, 0))
    assert joined(messages, 0) == joined(messages, 1) == (0, blob.content)
    assert all(sum(len(piece.data) for piece in message.pieces) <= 2 * MIB for message in messages)
    indexes = [piece.range_index for message in messages for piece in message.pieces]
    assert indexes == sorted(indexes)


async def test_many_small_blobs_share_a_message(wire: Wire) -> None:
    blobs, token = await wire.bundle(*([os.urandom(64)] for _ in range(200)))
    messages = await wire.read(token, *((blob.blob_id, 0, 0) for blob in blobs))
    assert len(messages) == 1
    assert [joined(messages, index) for index in range(200)] == [(0, blob.content) for blob in blobs]


async def test_a_range_beyond_its_blob_is_refused(wire: Wire) -> None:
    [blob, empty], token = await wire.bundle([b"12345"], [])
    for offset, length in ((6, 0), (0, 6), (5, 1), (2**63, 2**63), (2**64 - 1, 1)):
        with refused(RangeInvalidError, blob=blob.blob_id.hex(), size=5):
            await wire.read(token, (blob.blob_id, 0, 0), (blob.blob_id, offset, length))
    assert await wire.read(token, (empty.blob_id, 0, 0)) == []
    with refused(RangeInvalidError, size=0):
        await wire.read(token, (empty.blob_id, 0, 1))
    with refused(BatchTooLargeError, limit=4096, actual=4097):
        await wire.read(token, *[(blob.blob_id, 0, 0)] * 4097)


async def test_compressed_messages_are_refused(services: RunningServices, token: str) -> None:
    async with grpc.aio.insecure_channel(services.blob_address, compression=grpc.Compression.Gzip) as channel:
        stub: Any = blob_service_pb2_grpc.BlobServiceStub(channel)
        request = pb.FindMissingChunksRequest(digests=[bytes(32)] * 1000)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.FindMissingChunks(request, metadata=auth(token))
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_and_reflection_answer_on_both_ports(wire: Wire) -> None:
    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    channels: list[tuple[Any, list[str]]] = [(wire.names, METADATA_SERVICES), (wire.bytes, [BLOB_SERVICE])]
    for channel, names in channels:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", *names):
            state = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert state.status == health_pb2.HealthCheckResponse.SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        [answer] = [answer async for answer in reflection.ServerReflectionInfo(ask())]
        assert {*names, "grpc.health.v1.Health"} <= {service.name for service in answer.list_services_response.service}
