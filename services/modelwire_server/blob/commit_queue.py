"""Makes what was appended to packs durable, for many calls at once.

While one group is being synced the next one gathers, so that many small calls share a sync and a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from modelwire_server.blob.index import ChunkIndex, NewChunk, PackRow
from modelwire_server.blob.packs import OpenPack


@dataclass(eq=False)
class LeasedPack:
    """Is an open pack with its row. One call at a time appends to it; several may wait for its sync."""

    pack: OpenPack
    row: PackRow
    users: int = 0
    failure: OSError | None = None
    """Why a sync failed. What is on disk is unknown then, and a later sync may pretend success: never used again."""


@dataclass(frozen=True)
class _Waiting:
    chunks: Sequence[NewChunk]
    pack: LeasedPack
    done: asyncio.Future[set[int]]

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # a caller that was cancelled asks no more


class CommitQueue:
    """Takes chunks in the order *written → synced → row*, and answers when the rows stand."""

    def __init__(self, index: ChunkIndex, executor: Executor) -> None:
        self._index, self._executor = index, executor
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def commit(self, chunks: Sequence[NewChunk], pack: LeasedPack) -> set[int]:
        """Returns the places in `chunks` of those that the index had before, once all of them are durable.

        Raises:
            OSError: The pack could not be synced; none of the chunks is acknowledged.
        """
        if not chunks:
            return set()
        done: asyncio.Future[set[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(chunks, pack, done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Waits until nothing is left to commit."""
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await self._commit_group(group)
            except BaseException as error:
                for waiting in group:
                    waiting.fail(error)
                if not isinstance(error, Exception):
                    raise

    async def _commit_group(self, group: Sequence[_Waiting]) -> None:
        await asyncio.gather(*map(self._sync, {id(waiting.pack): waiting.pack for waiting in group}.values()))
        synced = []
        for waiting in group:
            if waiting.pack.failure is None:
                synced.append(waiting)
            else:
                waiting.fail(waiting.pack.failure)
        duplicates = await self._index.add_chunks([chunk for waiting in synced for chunk in waiting.chunks])
        first = 0
        for waiting in synced:
            end = first + len(waiting.chunks)
            if not waiting.done.done():
                waiting.done.set_result({place - first for place in duplicates if first <= place < end})
            first = end

    async def _sync(self, leased: LeasedPack) -> None:
        if leased.failure is None:
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, leased.pack.sync)
            except OSError as error:
                leased.failure = error
