"""One event loop in one thread, for everything blocking: grpc.aio may be used on one loop per process only."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from modelwire.errors import UsageError

Answer = TypeVar("Answer")

CLEAN_UP_SECONDS = 10.0
"""How long a cancelled call may take to put things in order."""


class LoopThread:
    """Runs coroutines for callers in other threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Runs a coroutine to its end; Ctrl-C cancels it, waits for its clean-up, and is raised again."""
        try:
            loop = self._started()
        except UsageError:
            work.close()
            raise
        made: Future[asyncio.Task[Answer]] = Future()
        result: Future[Answer] = Future()

        async def follow() -> None:
            task = asyncio.ensure_future(work)
            made.set_result(task)
            try:
                result.set_result(await task)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the caller
                result.set_exception(error)

        asyncio.run_coroutine_threadsafe(follow(), loop)
        try:
            return result.result()
        except BaseException:
            if not result.done():
                loop.call_soon_threadsafe(made.result().cancel)
                wait([result], CLEAN_UP_SECONDS)
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is not None and self._process != os.getpid():
                raise UsageError("modelwire was used before this process was forked; spawn worker processes instead")
            if self._loop is None:
                self._process = os.getpid()
                self._loop = _new_loop()
                threading.Thread(target=self._loop.run_forever, name="modelwire-loop", daemon=True).start()
            return self._loop


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - an extra, used when it is there
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


LOOP = LoopThread()
