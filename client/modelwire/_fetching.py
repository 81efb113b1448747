"""Files on their way: what is known of each, and how many of them make a round or a call."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from blake3 import blake3

from modelwire.types import Entry
from modelwire.wire import MIB

SEGMENT = 64 * MIB
"""Bytes of one call for a large file."""

RESUME_FROM = 4 * MIB
"""Files below this size are quicker fetched again than looked for."""

_ROUND_FILES = 256
_ROUND_DATA = 512 * MIB
_CALL_RANGES = 1024


class Place(NamedTuple):
    """Says where a chunk lies in its file."""

    digest: bytes
    offset: int
    size: int


@dataclass(eq=False)
class Fetch:
    """Is a file on its way."""

    entry: Entry
    part: str
    descriptor: int
    cached: bool
    """Whether the file goes into the cache, and from there to its place."""
    places: list[Place] = field(default_factory=list)
    by_offset: dict[int, int] = field(default_factory=dict)
    """The number of the chunk that begins at an offset."""
    written: bytearray = field(default_factory=bytearray)
    """For each chunk, whether it is in the part and right."""
    hasher: blake3 = field(default_factory=blake3)
    hashed: int = 0
    """How many chunks from the start went into `hasher`."""
    hashing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def digest(self) -> bytes:
        """The content digest, 32 bytes."""
        return self.entry.content


class Wanted(NamedTuple):
    """Is a stretch of whole chunks of one file that is to be fetched."""

    fetch: Fetch
    offset: int
    size: int


def hash_on(fetch: Fetch, most: int) -> None:
    """Hashes up to `most` chunks further in the file, as far as they are there; one thread at a time."""
    if not fetch.hashing.acquire(blocking=False):
        return
    try:
        for number in range(fetch.hashed, min(fetch.hashed + most, len(fetch.places))):
            if not fetch.written[number]:
                return
            place = fetch.places[number]
            fetch.hasher.update(os.pread(fetch.descriptor, place.size, place.offset))
            fetch.hashed += 1
    finally:
        fetch.hashing.release()


def sync_data(descriptors: Iterable[int]) -> None:
    """Brings what was written to the disk."""
    for descriptor in descriptors:
        getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync


def discard(part: str, descriptor: int) -> None:
    """Closes a small file's part; what has not got its name by now is thrown away."""
    os.close(descriptor)
    with suppress(FileNotFoundError):
        os.unlink(part)  # noqa: PTH108


def goes_on(last: Wanted, fetch: Fetch, place: Place) -> bool:
    """Tells whether a chunk can be fetched in one stretch with the last one."""
    return last.fetch is fetch and last.offset + last.size == place.offset and last.size + place.size <= SEGMENT


def rounds_of(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Cuts a version into rounds of so many files that their locks and recipes are no burden."""
    some: list[Entry] = []
    total = 0
    for entry in entries:
        if some and (len(some) >= _ROUND_FILES or total + entry.size > _ROUND_DATA):
            yield some
            some, total = [], 0
        some.append(entry)
        total += entry.size
    if some:
        yield some


def calls_of(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Groups stretches into calls of about a segment."""
    call: list[Wanted] = []
    total = 0
    for want in wanted:
        if call and (total + want.size > SEGMENT or len(call) >= _CALL_RANGES):
            yield call
            call, total = [], 0
        call.append(want)
        total += want.size
    if call:
        yield call


def write_all(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    """Writes all of `data`, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
