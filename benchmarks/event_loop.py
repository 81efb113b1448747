"""Watches an event loop: how late it is, and what it does meanwhile."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")

BEAT_SECONDS = 0.005
BLOCKED_SECONDS = 0.1
SLOW_SECONDS = 0.05
_FRAMES = 12


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs a coroutine on the loop that the product would use: uvloop's when it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        return asyncio.run(work)
    return uvloop.run(work)


class LoopMonitor:
    """Measures the running loop by a task that sleeps 5 ms, and by a thread that looks when the task is late.

    * `late`: the worst overshoot of the sleep. Counts everything: callbacks, waiting for the interpreter's lock, and
      waiting for a processor that other processes have.
    * `busy`: the most processor time that the loop's thread itself took between two beats. Counts only what ran there.
    * `collecting`: the longest garbage collection, which holds up every thread of the process. It begins at whatever line
      makes one object too many, so that this line's stack is seen and means nothing.
    * `stacks`: what the loop's thread ran when it was late by more than 50 ms, with how often it was seen and the
      longest lateness. Without a Python frame below the loop's own it was not running callbacks: it waited for a
      processor or for the interpreter's lock.
    """

    def __init__(self) -> None:
        self._late = self._busy = self._collecting = self._collection_began = 0.0
        self._slow = self._blocked = 0
        self._stacks: Counter[str] = Counter()
        self._worst: dict[str, float] = {}
        self._beat_at = time.monotonic()
        self._stopped = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch the loop that runs now."""
        self._beat_at = time.monotonic()
        self._task = asyncio.create_task(self._beat())
        self._thread = threading.Thread(target=self._watch, args=(threading.get_ident(),), daemon=True)
        self._thread.start()
        gc.callbacks.append(self._collected)

    async def stop(self) -> dict[str, Any]:
        """Ends; returns the findings, times in seconds."""
        assert self._task is not None
        assert self._thread is not None
        await asyncio.sleep(2 * BEAT_SECONDS)  # let the last lateness be seen
        self._task.cancel()
        self._stopped.set()
        gc.callbacks.remove(self._collected)
        await asyncio.to_thread(self._thread.join)
        stacks = [(seen, self._worst[stack], stack) for stack, seen in self._stacks.most_common()]
        return {
            "late": self._late,
            "busy": self._busy,
            "collecting": self._collecting,
            "slow": self._slow,
            "blocked": self._blocked,
            "stacks": stacks,
        }

    def _collected(self, phase: str, _info: dict[str, int]) -> None:
        now = time.monotonic()
        if phase == "start":
            self._collection_began = now
        elif self._collection_began:
            self._collecting = max(self._collecting, now - self._collection_began)

    async def _beat(self) -> None:
        busy = time.thread_time()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now, busy_now = time.monotonic(), time.thread_time()
            late = now - self._beat_at - BEAT_SECONDS
            self._late, self._busy = max(self._late, late), max(self._busy, busy_now - busy)
            self._slow += late > SLOW_SECONDS
            self._blocked += late > BLOCKED_SECONDS
            self._beat_at, busy = now, busy_now

    def _watch(self, loop_thread: int) -> None:
        while not self._stopped.wait(2 * BEAT_SECONDS):
            late = time.monotonic() - self._beat_at - BEAT_SECONDS
            if late > SLOW_SECONDS:
                frame = sys._current_frames().get(loop_thread)  # noqa: SLF001 - documented, for debuggers
                stack = "".join(traceback.format_stack(frame)[-_FRAMES:]) if frame else ""
                self._stacks[stack] += 1
                self._worst[stack] = max(self._worst.get(stack, 0.0), late)
