"""Cuts files into chunks. Cutting is the writer's choice: the server takes any cut within its limits.

* Containers of tensors are cut where their tensors begin and end, and inside a tensor every MiB from its start, so that a
  tensor is found again wherever it moves. Small neighbours share a chunk.
* Other files above 4 MiB are cut by content: FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking", IEEE
  TPDS 2020), at 256 KiB / 1 MiB / 2 MiB.
* The rest is cut every MiB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from pyfastcdc import FastCDC

from modelwire._containers import tensor_borders
from modelwire.wire import MIB, Buffer

PIECE = MIB
SMALL = 256 * 1024
"""Neighbours below this size share a chunk."""

CONTENT_DEFINED_ABOVE = 4 * MIB
_MIN_CUT, _AVERAGE_CUT, _MAX_CUT = SMALL, MIB, 2 * MIB
_BLOCK = 8 * MIB


class ShortFileError(Exception):
    """Says that a file ended before its size; it changed meanwhile."""


def chunks_of(descriptor: int, size: int) -> Iterator[Buffer]:
    """Yields the chunks of an open file in order, from its start. Blocks; meant for a worker thread.

    Raises:
        ShortFileError: The file is shorter than `size`.
    """
    borders = tensor_borders(descriptor, size) if size > PIECE else None
    if borders:
        yield from _read_pieces(descriptor, tensor_pieces(size, borders))
    elif size > CONTENT_DEFINED_ABOVE:
        yield from _read_by_content(descriptor, size)
    else:
        yield from _read_pieces(descriptor, fixed_pieces(size))


def fixed_pieces(size: int) -> Iterator[int]:
    """Yields the sizes of pieces of a MiB, the last one shorter."""
    whole, rest = divmod(size, PIECE)
    yield from (PIECE for _ in range(whole))
    if rest:
        yield rest


def tensor_pieces(size: int, borders: Sequence[int]) -> Iterator[int]:
    """Yields the sizes of the pieces of a file with the given borders (ascending, without 0 and `size`)."""
    group = start = 0
    for end in (*borders, size):
        length = end - start
        if group and (length >= SMALL or group + length > PIECE):
            yield group
            group = 0
        if length >= SMALL:
            yield from fixed_pieces(length)
        else:
            group += length
        start = end
    if group:
        yield group


def _read_pieces(descriptor: int, pieces: Iterator[int]) -> Iterator[bytes]:
    offset = 0
    for size in pieces:
        yield _read(descriptor, size, offset)
        offset += size


def _read_by_content(descriptor: int, size: int) -> Iterator[Buffer]:
    cutter = FastCDC(_AVERAGE_CUT, min_size=_MIN_CUT, max_size=_MAX_CUT)
    offset, rest = 0, b""
    while offset < size or rest:
        block = _read(descriptor, min(_BLOCK, size - offset), offset)
        offset += len(block)
        window = memoryview(rest + block if rest else block)
        cuts = [(chunk.offset, chunk.length) for chunk in cutter.cut_buf(window)]
        if offset < size:
            cuts.pop()  # the last cut may lie elsewhere once more is seen
        done = 0
        for at, length in cuts:
            yield window[at : at + length]
            done = at + length
        rest = bytes(window[done:])


def _read(descriptor: int, size: int, offset: int) -> bytes:
    data = os.pread(descriptor, size, offset)
    while len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            raise ShortFileError
        data += more
    return data
