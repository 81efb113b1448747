"""The raw codec and the form of an error on the wire, case by case."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2

from modelwire.api.blob.v1.blob_service_pb2 import GetCapabilitiesResponse, ReadBlobsResponse, WriteChunksRequest
from modelwire.errors import (
    ChunkMissingError,
    InternalFaultError,
    MessageMalformedError,
    NotFoundError,
    OverloadedError,
    ServiceUnavailableError,
)
from modelwire.wire import (
    ERROR_DOMAIN,
    MIB,
    ChunkFrame,
    Limits,
    PieceFrame,
    decode_error,
    decode_read_blobs,
    decode_write_chunks,
    encode_error,
    encode_read_blobs,
    encode_write_chunks,
)

DECODERS: list[Callable[[bytes], object]] = [decode_write_chunks, decode_read_blobs]

MALFORMED = {
    "a key without a value": b"\x08",
    "a length without bytes": b"\x0a\x05abc",
    "a length beyond 64 bits": b"\x0a" + b"\xff" * 10 + b"\x01",
    "a length close to 64 bits": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "a number that never ends": b"\x08" + b"\x80" * 20,
    "field number zero": b"\x02\x00",
    "half of a fixed64": b"\x11\x00\x00\x00",
    "half of a fixed32": b"\x15\x00",
    "the beginning of a group": b"\x0b\x0c",
    "the end of a group": b"\x0c",
    "wire type 6": b"\x0e\x00",
    "wire type 7": b"\x0f\x00",
}


def test_chunks_are_written_as_the_generated_code_writes_them() -> None:
    chunks = [(b"d" * 32, b"x" * size) for size in (1, 127, 128, 16_384, MIB)]
    generated = WriteChunksRequest()
    for digest, data in chunks:
        generated.chunks.add(digest=digest, data=data)
    assert encode_write_chunks(ChunkFrame(*chunk) for chunk in chunks) == generated.SerializeToString()


def test_pieces_of_several_buffers_are_one_field() -> None:
    pieces = [PieceFrame(0, 0, (b"ab", memoryview(b"cd"))), PieceFrame(2**32 - 1, 2**64 - 1, (b"",)), PieceFrame(3, 0, ())]
    generated = ReadBlobsResponse()
    generated.pieces.add(range_index=0, offset=0, data=b"abcd")
    generated.pieces.add(range_index=2**32 - 1, offset=2**64 - 1)
    generated.pieces.add(range_index=3)
    assert encode_read_blobs(pieces) == generated.SerializeToString()


def test_no_chunks_and_no_pieces_are_no_bytes() -> None:
    assert encode_write_chunks([]) == encode_read_blobs([]) == b""
    assert decode_write_chunks(b"") == []
    assert decode_read_blobs(b"") == []


def test_payloads_are_views_into_the_message_not_copies() -> None:
    message = encode_write_chunks([ChunkFrame(b"d" * 32, b"x" * 1000)])
    (chunk,) = decode_write_chunks(message)
    assert isinstance(chunk.data, memoryview)
    assert chunk.data.obj is message
    answer = encode_read_blobs([PieceFrame(1, 2, (b"y" * 1000,))])
    (piece,) = decode_read_blobs(answer)
    (part,) = piece.data
    assert isinstance(part, memoryview)
    assert part.obj is answer


def test_the_last_of_a_repeated_single_field_counts() -> None:
    inner = b"\x0a\x01a\x12\x01b\x0a\x01c\x12\x01d"
    message = b"\x0a" + bytes([len(inner)]) + inner
    assert decode_write_chunks(message) == [ChunkFrame(memoryview(b"c"), memoryview(b"d"))]
    generated = WriteChunksRequest.FromString(message)
    assert (generated.chunks[0].digest, generated.chunks[0].data) == (b"c", b"d")


def test_a_known_field_of_another_wire_type_is_passed_over_as_unknown() -> None:
    inner = b"\x08\x07\x15\x01\x02\x03\x04"  # the digest as a number, the data as fixed32
    message = b"\x08\x05\x0a" + bytes([len(inner)]) + inner
    (chunk,) = decode_write_chunks(message)
    generated = WriteChunksRequest.FromString(message)
    assert (bytes(chunk.digest), bytes(chunk.data)) == (b"", b"") == (generated.chunks[0].digest, generated.chunks[0].data)


@pytest.mark.parametrize("last", [0x01, 0x02, 0x7F])
def test_a_number_beyond_its_type_is_cut_as_protobuf_cuts_it(last: int) -> None:
    number = b"\xff" * 9 + bytes([last])
    message = b"\x0a\x16" + b"\x08" + number + b"\x10" + number
    (generated,) = ReadBlobsResponse.FromString(message).pieces
    (piece,) = decode_read_blobs(message)
    assert (piece.range_index, piece.offset) == (generated.range_index, generated.offset)


@pytest.mark.parametrize("decode", DECODERS, ids=["WriteChunksRequest", "ReadBlobsResponse"])
@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_bytes_are_refused_outside_and_inside(decode: Callable[[bytes], object], what: str) -> None:
    message = MALFORMED[what]
    with pytest.raises(MessageMalformedError):
        decode(message)
    with pytest.raises(MessageMalformedError):
        decode(b"\x0a" + bytes([len(message)]) + message)


@pytest.mark.parametrize("decode", DECODERS, ids=["WriteChunksRequest", "ReadBlobsResponse"])
def test_a_message_cut_anywhere_inside_its_last_field_is_refused(decode: Callable[[bytes], object]) -> None:
    inner = b"\x0a\x03abc\x12\x80\x01" + b"x" * 128 + b"\x1a\x01z"
    message = b"\x0a\x8b\x01" + inner
    assert len(inner) == 139
    decode(message)
    for end in range(1, len(message)):
        with pytest.raises(MessageMalformedError):
            decode(message[:end])


def test_the_limits_have_the_names_that_the_service_announces() -> None:
    announced = set(GetCapabilitiesResponse.DESCRIPTOR.fields_by_name) - {"digest_function", "domain", "server_version"}
    assert set(vars(Limits())) == announced
    assert (Limits().max_chunk_size, Limits().max_call_data, Limits().max_blob_size) == (2 * MIB, 64 * MIB, 5 * 2**40)
    assert (Limits().max_batch_items, Limits().max_bundle_blobs) == (4096, 200_000)


# ── Errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_is_one_status_with_one_error_info() -> None:
    status = status_pb2.Status.FromString(encode_error(ChunkMissingError("no such chunk", digest="ab" * 32)))
    info = error_details_pb2.ErrorInfo()
    assert len(status.details) == 1
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (code_pb2.FAILED_PRECONDITION, "no such chunk")
    assert (info.reason, info.domain, dict(info.metadata)) == ("CHUNK_MISSING", ERROR_DOMAIN, {"digest": "ab" * 32})


def test_a_delay_travels_as_retry_info() -> None:
    arrived = decode_error("UNAVAILABLE", "", encode_error(OverloadedError("busy"), 0.25))
    assert isinstance(arrived.error, OverloadedError)
    assert arrived.retry_after == 0.25
    assert decode_error("UNAVAILABLE", "", encode_error(OverloadedError("busy"))).retry_after is None


def test_an_error_fits_into_a_trailer_whatever_its_texts() -> None:
    encoded = encode_error(InternalFaultError("m" * 100_000, incident="i" * 100_000))
    assert len(encoded) < 4096
    assert decode_error("INTERNAL", "", encoded).error.facts == {"incident": "i" * 512}


@pytest.mark.parametrize("details", [None, b"", b"\xff\xfe garbage", b"\x08"], ids=["none", "empty", "garbage", "cut"])
def test_a_status_without_readable_details_keeps_its_code_and_message(details: bytes | None) -> None:
    arrived = decode_error("NOT_FOUND", "what the proxy said", details)
    assert type(arrived.error) is NotFoundError
    assert str(arrived.error) == "what the proxy said"
    assert arrived.error.facts == {}


def test_a_reason_of_another_domain_means_nothing_here() -> None:
    info = error_details_pb2.ErrorInfo(reason="CHUNK_MISSING", domain="googleapis.com")
    detail = AnyMessage()
    detail.Pack(info)
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="elsewhere", details=[detail])
    assert type(decode_error("UNAVAILABLE", "", status.SerializeToString()).error) is ServiceUnavailableError
