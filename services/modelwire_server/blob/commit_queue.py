"""Makes what was appended to packs durable, for many calls at once.

While one group is being synced the next one gathers, so that many small calls share a sync and a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from modelwire_server.blob.index import ChunkIndex, NewChunk
from modelwire_server.blob.packs import OpenPack


@dataclass(frozen=True)
class _Waiting:
    chunks: Sequence[NewChunk]
    packs: Sequence[OpenPack]
    done: asyncio.Future[set[int]]


class CommitQueue:
    """Takes chunks in the order *written → synced → row*, and answers when the rows stand."""

    def __init__(self, index: ChunkIndex, executor: Executor) -> None:
        self._index, self._executor = index, executor
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def commit(self, chunks: Sequence[NewChunk], packs: Sequence[OpenPack]) -> set[int]:
        """Returns the places in `chunks` of those that the index had before, once all of them are durable."""
        if not chunks:
            return set()
        done: asyncio.Future[set[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(chunks, packs, done))
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
                await self._sync({id(pack): pack for waiting in group for pack in waiting.packs}.values())
                duplicates = await self._index.add_chunks([chunk for waiting in group for chunk in waiting.chunks])
            except BaseException as error:
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
                        waiting.done.exception()  # a caller that was cancelled asks no more
                if not isinstance(error, Exception):
                    raise
                continue
            first = 0
            for waiting in group:
                end = first + len(waiting.chunks)
                if not waiting.done.done():
                    waiting.done.set_result({place - first for place in duplicates if first <= place < end})
                first = end

    async def _sync(self, packs: Iterable[OpenPack]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._executor, pack.sync) for pack in packs))
