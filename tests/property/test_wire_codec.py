"""The raw codec is byte for byte the generated code, both ways, and never trips over hostile bytes."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from modelwire.api.blob.v1.blob_service_pb2 import ReadBlobsResponse, WriteChunksRequest
from modelwire.errors import MessageMalformedError
from modelwire.wire import (
    ChunkFrame,
    PieceFrame,
    decode_read_blobs,
    decode_write_chunks,
    encode_read_blobs,
    encode_write_chunks,
)

Pieces = list[tuple[int, int, bytes]]

payloads = st.binary(max_size=300) | st.sampled_from([b"x" * 127, b"x" * 128, b"y" * 16_383, b"y" * 16_384, b"z" * 70_000])
chunk_lists = st.lists(st.tuples(st.binary(max_size=40), payloads), max_size=8)
uint32, uint64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
piece_lists = st.lists(st.tuples(uint32, uint64, st.lists(payloads, max_size=3)), max_size=8)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, kind: int, value: Any) -> bytes:
    """One field of protocol buffers' wire format."""
    body = varint(value) if kind == 0 else varint(len(value)) + value if kind == 2 else value
    return varint(number << 3 | kind) + body


numbers = st.integers(1, 5) | st.integers(1, 2**29 - 1)
fields = st.one_of(
    st.builds(field, numbers, st.just(0), uint64),
    st.builds(field, numbers, st.just(1), st.binary(min_size=8, max_size=8)),
    st.builds(field, numbers, st.just(2), st.binary(max_size=20)),
    st.builds(field, numbers, st.just(5), st.binary(min_size=4, max_size=4)),
)
inner_messages = st.lists(fields, max_size=6).map(b"".join)
wrapped = inner_messages.map(lambda body: field(1, 2, body))
others = fields.filter(lambda one: not one.startswith(b"\x0a"))  # field 1 with arbitrary bytes may hold groups
outer_messages = st.lists(others | wrapped, max_size=6).map(b"".join)


def chunks_by_codec(message: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return [(bytes(digest), bytes(data)) for digest, data in decode_write_chunks(message)]
    except MessageMalformedError:
        return None


def chunks_by_protobuf(message: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return [(chunk.digest, chunk.data) for chunk in WriteChunksRequest.FromString(message).chunks]
    except DecodeError:
        return None


def pieces_by_codec(message: bytes) -> Pieces | None:
    try:
        return [(index, offset, b"".join(data)) for index, offset, data in decode_read_blobs(message)]
    except MessageMalformedError:
        return None


def pieces_by_protobuf(message: bytes) -> Pieces | None:
    try:
        return [(piece.range_index, piece.offset, piece.data) for piece in ReadBlobsResponse.FromString(message).pieces]
    except DecodeError:
        return None


@given(chunk_lists)
def test_write_chunks_is_byte_for_byte_the_generated_code_both_ways(chunks: list[tuple[bytes, bytes]]) -> None:
    generated = WriteChunksRequest()
    for digest, data in chunks:
        generated.chunks.add(digest=digest, data=data)
    message = generated.SerializeToString()
    assert encode_write_chunks(ChunkFrame(digest, memoryview(data)) for digest, data in chunks) == message
    assert chunks_by_codec(message) == chunks


@given(piece_lists)
def test_read_blobs_is_byte_for_byte_the_generated_code_both_ways(pieces: list[tuple[int, int, list[bytes]]]) -> None:
    generated = ReadBlobsResponse()
    for index, offset, data in pieces:
        generated.pieces.add(range_index=index, offset=offset, data=b"".join(data))
    message = generated.SerializeToString()
    assert encode_read_blobs(PieceFrame(*piece) for piece in pieces) == message
    assert pieces_by_codec(message) == [(index, offset, b"".join(data)) for index, offset, data in pieces]


@given(outer_messages)
def test_unknown_fields_and_other_wire_types_are_passed_over_as_protobuf_does(message: bytes) -> None:
    chunks, pieces = chunks_by_codec(message), pieces_by_codec(message)
    assert chunks is not None
    assert pieces is not None
    assert chunks == chunks_by_protobuf(message)
    assert pieces == pieces_by_protobuf(message)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_parse_or_are_refused_and_what_parses_is_what_protobuf_reads(message: bytes) -> None:
    chunks, pieces = chunks_by_codec(message), pieces_by_codec(message)  # no other exception
    if (generated := chunks_by_protobuf(message)) is not None and chunks is not None:
        assert chunks == generated
    if (read := pieces_by_protobuf(message)) is not None and pieces is not None:
        assert pieces == read


@given(chunk_lists, st.data())
def test_a_spoilt_message_parses_or_is_refused(chunks: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    message = bytearray(encode_write_chunks(ChunkFrame(*chunk) for chunk in chunks))
    for _ in range(data.draw(st.integers(0, 4))):
        if message:
            message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    spoilt = bytes(message[: data.draw(st.integers(0, len(message)))])
    mine, generated = chunks_by_codec(spoilt), chunks_by_protobuf(spoilt)
    if mine is not None and generated is not None:
        assert mine == generated
