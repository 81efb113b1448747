"""Reads where the tensors of a model file lie, so that the file can be cut there.

Headers are untrusted: bounded in length, every number checked. On any doubt the answer is None, and the file is cut by
its content instead; a wrong answer could cost dedupe, never correctness.

Sources: the safetensors format (huggingface/safetensors, README "Format"); GGUF (ggml-org/ggml, docs/gguf.md);
APPNOTE.TXT 6.3 for zip.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Sequence

from modelwire.wire import MIB

MAX_HEADER = 32 * MIB
MAX_BORDERS = 1_000_000

_MAX_ZIP_ENTRIES = 100_000
_ZIP_END = b"PK\x05\x06"
_GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_STRING, _GGUF_ARRAY = 8, 9
_GGUF_MAX_DIMS = 8


class _DoubtfulError(Exception):
    """Says that a header is not what it should be."""


# All that a lying header can make the readers below run into.
_DOUBTS = (
    _DoubtfulError,
    ArithmeticError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


def tensor_borders(descriptor: int, size: int) -> list[int] | None:
    """Returns the offsets at which a model file should be cut, without 0 and the end; None when it is no such file.

    Args:
        descriptor: The open file; its position is neither used nor moved.
        size: The file's size in bytes.
    """
    magic = os.pread(descriptor, 9, 0)
    reader: Callable[[int, int], Sequence[int]] | None = None
    if magic[:4] == b"GGUF":
        reader = _gguf
    elif magic[:4] == b"PK\x03\x04":
        reader = _zip
    elif magic[8:9] == b"{" and int.from_bytes(magic[:8], "little") <= min(MAX_HEADER, size):
        reader = _safetensors
    if reader is None:
        return None
    try:
        borders = reader(descriptor, size)
    except _DOUBTS:
        return None
    if len(borders) > MAX_BORDERS:
        return None
    return sorted({border for border in borders if 0 < border < size})


def _safetensors(descriptor: int, size: int) -> list[int]:
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    header = json.loads(os.pread(descriptor, length, 8))
    start = 8 + length
    borders = [start]
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        first, last = tensor["data_offsets"]
        if type(first) is not int or type(last) is not int or not 0 <= first <= last <= size - start:
            raise _DoubtfulError
        borders += [start + first, start + last]
    return borders


class _Cursor:
    """Reads a bounded header from front to back."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._data = os.pread(descriptor, min(size, MAX_HEADER), 0)
        self.at = 0

    def take(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return int(value)

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise _DoubtfulError

    def text(self) -> bytes:
        length = self.take("Q")
        start = self.at
        self.skip(length)
        return self._data[start : self.at]


def _gguf(descriptor: int, size: int) -> list[int]:
    cursor = _Cursor(descriptor, size)
    cursor.skip(4)
    if cursor.take("I") not in {2, 3}:
        raise _DoubtfulError
    tensors, pairs = cursor.take("Q"), cursor.take("Q")
    if tensors > MAX_BORDERS or pairs > MAX_BORDERS:
        raise _DoubtfulError
    alignment = 32
    for _ in range(pairs):
        key, kind = cursor.text(), cursor.take("I")
        if key == b"general.alignment" and kind == 4:  # noqa: PLR2004 - uint32
            alignment = cursor.take("I")
        else:
            _skip_gguf_value(cursor, kind)
    offsets = []
    for _ in range(tensors):
        cursor.text()
        dims = cursor.take("I")
        if dims > _GGUF_MAX_DIMS:
            raise _DoubtfulError
        cursor.skip(8 * dims + 4)
        offsets.append(cursor.take("Q"))
    if not 0 < alignment <= MIB:
        raise _DoubtfulError
    start = -(-cursor.at // alignment) * alignment
    if any(offset > size - start for offset in offsets):
        raise _DoubtfulError
    return [start, *(start + offset for offset in offsets)]


def _skip_gguf_value(cursor: _Cursor, kind: int) -> None:
    if kind == _GGUF_STRING:
        cursor.text()
    elif kind == _GGUF_ARRAY:
        inner, count = cursor.take("I"), cursor.take("Q")
        if inner == _GGUF_STRING:
            if count > MAX_HEADER // 8:
                raise _DoubtfulError
            for _ in range(count):
                cursor.text()
        else:
            cursor.skip(_GGUF_SIZES[inner] * count)
    else:
        cursor.skip(_GGUF_SIZES[kind])


def _zip(descriptor: int, size: int) -> list[int]:
    tail = os.pread(descriptor, 22 + 0xFFFF, max(0, size - 22 - 0xFFFF))
    end = tail.rfind(_ZIP_END)
    if end == -1 or len(tail) - end < 22:  # noqa: PLR2004 - size of the end record
        raise _DoubtfulError
    (entries, directory) = struct.unpack_from("<HI", tail, end + 10)
    if directory > MAX_HEADER or entries > _MAX_ZIP_ENTRIES:
        raise _DoubtfulError
    borders = []
    with zipfile.ZipFile(_Window(descriptor, size)) as archive:
        members = archive.infolist()
        if len(members) > _MAX_ZIP_ENTRIES:
            raise _DoubtfulError
        for member in members:
            # The local header's padding moves with the entry; its data does not change: cut between them.
            lengths = os.pread(descriptor, 4, member.header_offset + 26)
            name, extra = struct.unpack("<HH", lengths)
            data = member.header_offset + 30 + name + extra
            if data + member.compress_size > size:
                raise _DoubtfulError
            borders += [member.header_offset, data, data + member.compress_size]
    return borders


class _Window(io.RawIOBase):
    """Shows a descriptor as a file of its own position, so that the real one is not moved."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size, self._at = descriptor, size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._size - self._at if size is None or size < 0 else size
        data = os.pread(self._descriptor, max(0, min(wanted, MAX_HEADER)), self._at)
        self._at += len(data)
        return data
