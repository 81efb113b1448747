"""Fetches files: from the target itself, from the cache, or from the blob service in a few streams, every byte checked.

A file on its way is written into a part of its own. After an interruption the chunks in it that are right are found by
hashing them, and not fetched again; there is no journal that could be wrong.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any, TypeVar

from modelwire._blobs import Blobs, ReadRange, Recipe, is_passing
from modelwire._cache import ContentCache, locked
from modelwire._fetching import (
    RESUME_FROM,
    Fetch,
    Place,
    Wanted,
    calls_of,
    discard,
    goes_on,
    hash_on,
    rounds_of,
    sync_data,
    write_all,
)
from modelwire._folder import TargetFolder
from modelwire._tasks import task_group
from modelwire.digests import blob_id, chunk_id
from modelwire.errors import DataDamagedError, ModelwireError, TicketExpiredError
from modelwire.types import Entry, TransferStats
from modelwire.wire import PieceFrame

Answer = TypeVar("Answer")

STREAMS = 3
"""Calls under way: two on the wire while one waits for the disk."""

ROUNDS_AT_ONCE = 2
"""Rounds under way: while one is on the wire the other one is on disk."""

_BUSY_SECONDS = (0.02, 0.2)
_HASH_AHEAD = 3
"""Chunks of the whole file's hash that one message may catch up with."""


class Downloader:
    """Fetches the files of one version under one read ticket."""

    def __init__(
        self,
        blobs: Blobs,
        cache: ContentCache | None,
        executor: Executor,
        stats: TransferStats,
        advanced: Callable[[int], None],
    ) -> None:
        """Takes what it needs; `advanced` is told the bytes that are right on disk, as they come to be."""
        self._blobs, self._cache, self._executor, self._stats, self._advanced = blobs, cache, executor, stats, advanced
        self._keep = cache is not None

    async def fetch(self, entries: Sequence[Entry], root: Path) -> None:
        """Puts all entries below `root`; what is right there already stays untouched.

        Raises:
            DataDamagedError: Stored bytes are gone or changed; the file is not put there.
            PathInvalidError: Something below `root` stands in the way.
        """
        total = sum(entry.size for entry in entries)
        if self._cache is not None and total > self._cache.max_size:
            self._keep = False  # what is in the cache helps, but all of this would not fit
        target = await self._in_thread(TargetFolder, root)
        try:
            rounds = rounds_of(entries)
            async with task_group() as group:
                for _ in range(ROUNDS_AT_ONCE):
                    group.create_task(self._fetch_rounds(rounds, target))
        finally:
            await self._in_thread(target.close)
        self._stats.files += len(entries)
        self._stats.size += sum(entry.size for entry in entries)

    async def _in_thread(self, work: Callable[..., Answer], *args: Any) -> Answer:
        """Runs `work` in a worker thread, to its end even when the caller is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work, *args)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    # ── What need not be fetched ──────────────────────────────────────────────────────────────────────────────────────

    def _reuse(self, entries: Sequence[Entry], target: TargetFolder) -> list[Entry]:
        """Takes what the target or the cache has; returns the rest."""
        lacking = []
        for entry in entries:
            digest = entry.content
            there = target.digest_of(entry.path, entry.size) == digest
            if not there and self._cache is not None and (cached := self._cache.find(digest, entry.size)):
                try:
                    target.place(cached, entry.path, keep=True)
                    there = True
                except FileNotFoundError:  # another process made room meanwhile
                    pass
            if there:
                self._stats.reused_bytes += entry.size
                self._advanced(entry.size)
            else:
                lacking.append(entry)
        return lacking

    # ── One round: some files, all locks held ─────────────────────────────────────────────────────────────────────────

    async def _fetch_rounds(self, rounds: Iterator[list[Entry]], target: TargetFolder) -> None:
        for entries in rounds:  # shared: each task takes the next one
            lacking = await self._in_thread(self._reuse, entries, target)
            while lacking:
                if self._cache is not None and self._keep:
                    await self._in_thread(self._cache.make_room, sum(entry.size for entry in lacking))
                busy = await self._fetch_round(lacking, target)
                if busy:  # another process is at them: take what it fetched, or go on where it stopped
                    await asyncio.sleep(random.uniform(*_BUSY_SECONDS))  # noqa: S311 - no secret
                lacking = await self._in_thread(self._reuse, busy, target)

    async def _fetch_round(self, entries: Sequence[Entry], target: TargetFolder) -> list[Entry]:
        """Fetches files; returns those that another process has in its hands."""
        twins: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            twins[entry.digest].append(entry)
        busy: list[Entry] = []
        with ExitStack() as parts:
            fetches = await self._in_thread(self._open_parts, twins, target, parts, busy)
            await self._learn_recipes(fetches)
            wanted = await self._in_thread(self._resume, fetches)
            await self._fetch_all(wanted)
            busy += await self._in_thread(self._finish, fetches, twins, target)
        return busy

    def _open_parts(
        self, twins: dict[str, list[Entry]], target: TargetFolder, parts: ExitStack, busy: list[Entry]
    ) -> list[Fetch]:
        fetches = []
        for same in twins.values():
            entry = same[0]
            cached = self._cache if self._keep else None
            if entry.size < RESUME_FROM:  # quicker fetched again than looked for
                part = f"{cached.own if cached else target.root}/.{secrets.token_hex(8)}.part"
                descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
                parts.callback(discard, part, descriptor)
            else:
                name = f"{entry.digest.removeprefix('blake3:')}.part"
                path = cached.incoming / name if cached else target.root / f".{name}"
                try:
                    descriptor = parts.enter_context(locked(path))
                except BlockingIOError:
                    busy += same
                    continue
                part = str(path)
            fetches.append(Fetch(entry, part, descriptor, cached=cached is not None))
        return fetches

    async def _learn_recipes(self, fetches: Sequence[Fetch]) -> None:
        recipes = await self._blobs.recipes([fetch.entry.blob_id for fetch in fetches])
        await self._in_thread(self._check_recipes, fetches, recipes)

    def _check_recipes(self, fetches: Sequence[Fetch], recipes: Sequence[Recipe]) -> None:
        for fetch, recipe in zip(fetches, recipes, strict=True):
            if blob_id(recipe) != fetch.entry.blob_id or sum(size for _, size in recipe) != fetch.entry.size:
                raise self._damaged(fetch, "the blob service gave a recipe of something else")
            offset = 0
            for digest, size in recipe:
                fetch.by_offset[offset] = len(fetch.places)
                fetch.places.append(Place(digest, offset, size))
                offset += size
            fetch.written = bytearray(len(recipe))

    def _resume(self, fetches: Sequence[Fetch]) -> list[Wanted]:
        """Finds what earlier attempts left in the parts; returns what is still to come."""
        wanted: list[Wanted] = []
        for fetch in fetches:
            held = os.fstat(fetch.descriptor).st_size if fetch.entry.size >= RESUME_FROM else 0
            right = [self._is_right(fetch, place) for place in fetch.places] if held else [False] * len(fetch.places)
            if held > fetch.entry.size:
                os.ftruncate(fetch.descriptor, fetch.entry.size)
            for place, there in zip(fetch.places, right, strict=True):
                if there:
                    fetch.written[fetch.by_offset[place.offset]] = True
                    self._stats.reused_bytes += place.size
                    self._advanced(place.size)
                elif wanted and goes_on(wanted[-1], fetch, place):
                    wanted[-1] = wanted[-1]._replace(size=wanted[-1].size + place.size)
                else:
                    wanted.append(Wanted(fetch, place.offset, place.size))
        return wanted

    def _is_right(self, fetch: Fetch, place: Place) -> bool:
        data = os.pread(fetch.descriptor, place.size, place.offset)
        return len(data) == place.size and chunk_id(data) == place.digest

    def _finish(self, fetches: Sequence[Fetch], twins: dict[str, list[Entry]], target: TargetFolder) -> list[Entry]:
        """Checks whole files, and gives them their names; returns those that another process threw out of the cache."""
        gone: list[Entry] = []
        for fetch in fetches:
            self._check_content(fetch)
            if fetch.entry.size >= RESUME_FROM:  # a small file that power loss spoils is found out by its digest
                os.fsync(fetch.descriptor)
            source = fetch.part
            if self._cache is not None and fetch.cached:
                source = self._cache.add(fetch.part, fetch.descriptor, fetch.digest)
            else:
                os.fchmod(fetch.descriptor, 0o644)
            *others, last = twins[fetch.entry.digest]
            try:
                for entry in others:
                    target.place(source, entry.path, keep=True)
                target.place(source, last.path, keep=fetch.cached)
            except FileNotFoundError:
                gone += twins[fetch.entry.digest]
        return gone

    def _check_content(self, fetch: Fetch) -> None:
        if len(fetch.places) == 1:  # checked by its chunk id, which is its digest
            right = fetch.places[0].digest == fetch.digest
        else:
            hash_on(fetch, len(fetch.places))
            right = fetch.hasher.digest() == fetch.digest
        if not right:
            os.ftruncate(fetch.descriptor, 0)
            raise self._damaged(fetch, "the content does not match the manifest")

    # ── Streams ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _fetch_all(self, wanted: Sequence[Wanted]) -> None:
        calls = calls_of(wanted)
        async with task_group() as group:
            for _ in range(STREAMS):
                group.create_task(self._fetch_calls(calls))

    async def _fetch_calls(self, calls: Iterator[list[Wanted]]) -> None:
        for call in calls:  # shared by the streams: each takes the next one
            await self._fetch_call(call)
            # To the disk now, while other streams go on, and not all at the end.
            large = {want.fetch.descriptor for want in call if want.fetch.entry.size >= RESUME_FROM}
            if large:
                await self._in_thread(sync_data, large)

    async def _fetch_call(self, call: list[Wanted]) -> None:
        backoff = self._blobs.channel.backoff()
        renewed = False
        while call:
            metadata = self._blobs.metadata
            done = [0] * len(call)
            try:
                async with aclosing(self._checked(call, done)) as messages:
                    async for size in messages:
                        self._stats.received_bytes += size
                        backoff.succeeded()
            except TicketExpiredError:
                if renewed and not any(done):
                    raise  # the clocks of the services disagree: another ticket would be no better
                await self._blobs.renew_ticket(metadata)
                renewed = True
            except DataDamagedError as error:
                raise self._name(error, call) from None
            except ModelwireError as error:
                if not is_passing(error):
                    raise
                await self._blobs.channel.pause(backoff, error)
            call = [
                Wanted(want.fetch, want.offset + count, want.size - count)
                for want, count in zip(call, done, strict=True)
                if count < want.size
            ]

    async def _checked(self, call: Sequence[Wanted], done: list[int]) -> AsyncGenerator[int, None]:
        """Takes in one answer; yields the bytes of each message once they are checked and written.

        A message is checked and written in a worker thread while the next one arrives; no more than that is held.
        """
        loop = asyncio.get_running_loop()
        writing: asyncio.Future[int] | None = None
        ranges = [ReadRange(want.fetch.entry.blob_id, want.offset, want.size) for want in call]
        try:
            async with aclosing(self._blobs.read(ranges)) as messages:
                async for pieces in messages:
                    if writing is not None:
                        yield await asyncio.shield(writing)
                    writing = loop.run_in_executor(self._executor, self._take, call, pieces, done)
            if writing is not None:
                yield await asyncio.shield(writing)
        finally:
            if writing is not None:  # the thread writes into a file that we are about to close
                await asyncio.wait([writing])
                writing.exception()  # what stopped us is told already

    def _take(self, call: Sequence[Wanted], pieces: Sequence[PieceFrame], done: list[int]) -> int:
        """Checks the chunks of a message and writes them. Runs in a worker thread."""
        total = 0
        for index, offset, (data,) in pieces:
            if index >= len(call) or offset != call[index].offset + done[index]:
                raise DataDamagedError("the blob service answered something else than was asked")
            fetch = call[index].fetch
            number = first = fetch.by_offset.get(offset, len(fetch.places))
            at = 0
            while at < len(data):
                place = fetch.places[number] if number < len(fetch.places) else None
                if place is None or chunk_id(data[at : at + place.size]) != place.digest:
                    raise self._damaged(fetch, "bytes arrived that are not what was logged")
                at += place.size
                number += 1
            write_all(fetch.descriptor, data, offset)
            fetch.written[first:number] = b"\1" * (number - first)
            if len(fetch.places) > 1:
                hash_on(fetch, _HASH_AHEAD)
            done[index] += len(data)
            total += len(data)
        self._advanced(total)
        return total

    def _damaged(self, fetch: Fetch, why: str) -> DataDamagedError:
        blob, path = fetch.entry.blob_id.hex(), fetch.entry.path
        return DataDamagedError(f"file {path!r} cannot be used: {why} (blob {blob})", blob=blob, path=path)

    def _name(self, error: DataDamagedError, call: Sequence[Wanted]) -> DataDamagedError:
        """Adds the file's path to what the blob service knows."""
        blob = error.facts.get("blob")
        path = next((want.fetch.entry.path for want in call if want.fetch.entry.blob_id.hex() == blob), None)
        if path is None or "path" in error.facts:
            return error
        return DataDamagedError(f"file {path!r} cannot be used: {error}", **error.facts, path=path)
