"""A header that lies costs nothing: the file is cut by its content, and its bytes come together again."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from modelwire._containers import MAX_HEADER, tensor_borders
from unit.model_files import MIB, cut_up, gguf_bytes, gguf_text, noise, safetensors_bytes, zip_bytes

BODY = noise(5 * MIB)
HALF = len(BODY) // 2


def tensor(first: object, last: object) -> dict[str, object]:
    return {"t": {"dtype": "U8", "shape": [1], "data_offsets": [first, last]}}


def lying_zip(**changes: int) -> bytes:
    """A zip whose end record says something else."""
    data = bytearray(zip_bytes({"a": BODY[:HALF], "b": BODY[HALF:]})[0])
    end = data.rfind(b"PK\x05\x06")
    places = {"entries_here": ("<H", 8), "entries": ("<H", 10), "size": ("<I", 12), "offset": ("<I", 16)}
    for name, value in changes.items():
        form, at = places[name]
        struct.pack_into(form, data, end + at, value)
    return bytes(data)


def zip_entry(at: int, form: str, value: int) -> bytes:
    """A zip whose first directory entry has another value at an offset."""
    data = bytearray(zip_bytes({"a": BODY[:HALF], "b": BODY[HALF:]})[0])
    struct.pack_into(form, data, data.find(b"PK\x01\x02") + at, value)
    return bytes(data)


def gguf_head(tensors: int, pairs: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest + BODY


GGUF, _ = gguf_bytes({"a": BODY[:HALF], "b": BODY[HALF:]})
ZIP, _ = zip_bytes({"a": BODY[:HALF], "b": BODY[HALF:]})
KEY = gguf_text("key")

DOUBTFUL = {
    "safetensors: a length beyond the file": safetensors_bytes({}, BODY, length=len(BODY) * 2),
    "safetensors: the largest length there is": safetensors_bytes({}, BODY, length=2**64 - 1),
    "safetensors: a length beyond the limit": safetensors_bytes({}, BODY, length=MAX_HEADER + 1),
    "safetensors: a length that cuts the header": safetensors_bytes(tensor(0, 10), BODY, length=20),
    "safetensors: an offset below zero": safetensors_bytes(tensor(-1, 10), BODY),
    "safetensors: an end before its start": safetensors_bytes(tensor(10, 5), BODY),
    "safetensors: an end beyond the file": safetensors_bytes(tensor(0, len(BODY) + 1), BODY),
    "safetensors: an offset beyond 64 bits": safetensors_bytes(tensor(0, 2**200), BODY),
    "safetensors: a number of 10000 digits": safetensors_bytes(b'{"t":{"data_offsets":[0,' + b"9" * 10_000 + b"]}}", BODY),
    "safetensors: offsets as texts": safetensors_bytes(tensor("0", "10"), BODY),
    "safetensors: offsets as fractions": safetensors_bytes(tensor(0.0, 10.0), BODY),
    "safetensors: offsets as truth values": safetensors_bytes(tensor(False, True), BODY),
    "safetensors: one offset": safetensors_bytes({"t": {"data_offsets": [1]}}, BODY),
    "safetensors: three offsets": safetensors_bytes({"t": {"data_offsets": [1, 2, 3]}}, BODY),
    "safetensors: no offsets": safetensors_bytes({"t": {}}, BODY),
    "safetensors: a tensor that is a list": safetensors_bytes({"t": [1, 2]}, BODY),
    "safetensors: a tensor that is nothing": safetensors_bytes({"t": None}, BODY),
    "safetensors: not UTF-8": safetensors_bytes(b'{"\xff\xfe": 1}', BODY),
    "safetensors: not JSON": safetensors_bytes(b"{nothing like it}", BODY),
    "safetensors: nested 200000 deep": safetensors_bytes(b'{"t":' * 200_000 + b"1" + b"}" * 200_000, BODY),
    "safetensors: lists nested 200000 deep": safetensors_bytes(b'{"t":' + b"[" * 200_000 + b"]" * 200_000 + b"}", BODY),
    "gguf: cut in its first numbers": b"GGUF" + b"\x03\0\0",
    "gguf: another version": gguf_head(1, 0, version=99),
    "gguf: more tensors than can be": gguf_head(2**64 - 1, 0),
    "gguf: more pairs than can be": gguf_head(0, 2**64 - 1),
    "gguf: tensors that are not there": gguf_head(900_000, 0),
    "gguf: a key longer than the file": gguf_head(0, 1, struct.pack("<Q", 2**63)),
    "gguf: a value of no known kind": gguf_head(0, 1, KEY + struct.pack("<I", 77)),
    "gguf: an array of a kind unknown": gguf_head(0, 1, KEY + struct.pack("<IIQ", 9, 77, 1)),
    "gguf: an array of arrays": gguf_head(0, 1, KEY + struct.pack("<IIQ", 9, 9, 2**60)),
    "gguf: an array larger than the file": gguf_head(0, 1, KEY + struct.pack("<IIQ", 9, 10, 2**62)),
    "gguf: an array of more texts than fit": gguf_head(0, 1, KEY + struct.pack("<IIQ", 9, 8, 2**62)),
    "gguf: a tensor of 2^32 dimensions": gguf_head(1, 0, gguf_text("t") + struct.pack("<I", 2**32 - 1)),
    "gguf: an alignment of zero": gguf_head(0, 1, gguf_text("general.alignment") + struct.pack("<II", 4, 0)),
    "gguf: an alignment beyond reason": gguf_head(0, 1, gguf_text("general.alignment") + struct.pack("<II", 4, 2**31)),
    "gguf: an offset beyond the file": gguf_bytes({"a": BODY}, offsets=[2**63])[0],
    "gguf: cut in the middle of the header": GGUF[:60],
    "zip: no end": ZIP[:-30],
    "zip: only a beginning": b"PK\x03\x04" + BODY,
    "zip: an end record cut short": ZIP[:-1],
    "zip: a directory larger than the file": lying_zip(size=2**30),
    "zip: a directory at the end of the world": lying_zip(offset=2**32 - 2),
    "zip: a directory elsewhere": lying_zip(offset=5),
    "zip: an entry that needs a later zip": zip_entry(6, "<B", 99),
    "zip: an entry larger than the file": zip_entry(20, "<I", 2**32 - 2),
    "zip: an entry whose header is beyond the file": zip_entry(42, "<I", 2**32 - 2),
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_a_doubtful_header_gives_no_borders_and_the_bytes_are_reproduced(what: str, tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(DOUBTFUL[what])
    descriptor = os.open(file, os.O_RDONLY)
    try:
        assert tensor_borders(descriptor, len(DOUBTFUL[what])) is None
    finally:
        os.close(descriptor)
    chunks = cut_up(file)
    assert b"".join(chunks) == DOUBTFUL[what]
    assert all(1 <= len(chunk) <= 2 * MIB for chunk in chunks)


LYING_BUT_HARMLESS = {
    "safetensors: tensors that overlap": safetensors_bytes({f"t{n}": tensor(n, len(BODY))["t"] for n in range(50)}, BODY),
    "safetensors: a tensor of no bytes": safetensors_bytes(tensor(7, 7), BODY),
    "safetensors: an empty header": safetensors_bytes({}, BODY),
    "safetensors: bytes behind the last tensor": safetensors_bytes(tensor(0, 10), BODY),
    "gguf: tensors that overlap": gguf_bytes({"a": BODY[:HALF], "b": BODY[HALF:]}, offsets=[5, 3])[0],
    "gguf: no tensor": gguf_head(0, 0),
    "zip: fewer entries than there are": lying_zip(entries_here=1, entries=1),
    "zip: more entries than there are": lying_zip(entries_here=7, entries=7),
    "zip: bytes before the first entry": b"PK\x03\x04" + b"junk" * 10 + ZIP,
    "zip: a comment that looks like an end": ZIP[:-2] + struct.pack("<H", 22) + b"PK\x05\x06" + b"\0" * 18,
    "zip: an entry's header pointing into data": zip_entry(42, "<I", 1000),
    "zip: an entry of another size": zip_entry(20, "<I", 17),
}


@pytest.mark.parametrize("what", LYING_BUT_HARMLESS)
def test_a_header_that_lies_within_the_file_reproduces_the_bytes(what: str, tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(LYING_BUT_HARMLESS[what])
    chunks = cut_up(file)
    assert b"".join(chunks) == LYING_BUT_HARMLESS[what]
    assert all(1 <= len(chunk) <= 2 * MIB for chunk in chunks)


@pytest.mark.parametrize("data", [GGUF, ZIP, safetensors_bytes(tensor(0, len(BODY)), BODY)], ids=["gguf", "zip", "safetensors"])
def test_a_file_cut_anywhere_reproduces_its_bytes(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model"
    for end in [*range(0, 150, 7), 200, MIB + 1, len(data) - 50, len(data) - 22, len(data) - 1]:
        file.write_bytes(data[:end])
        assert b"".join(cut_up(file)) == data[:end]
