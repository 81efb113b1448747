"""A pack store in memory: the reference implementation, and the store of tests that need no durability."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from modelwire.wire import MIB, Buffer
from modelwire_server.blob.packs import PackMissingError


class MemoryPackStore:
    """Keeps packs in memory. `sync` promises nothing beyond the life of the process."""

    def __init__(self, max_pack_size: int = 256 * MIB) -> None:
        self.max_pack_size = max_pack_size
        self._packs: dict[str, bytearray] = {}
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def create(self, name: str) -> MemoryOpenPack:
        """Begins a pack."""
        with self._lock:
            if name in self._used:
                raise FileExistsError(name)
            self._used.add(name)
            content = self._packs[name] = bytearray()
        return MemoryOpenPack(name, content, self._lock)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Reads `size` bytes."""
        with self._lock:
            content = self._packs.get(name)
            if content is None or offset + size > len(content):
                raise PackMissingError(name)
            return bytes(memoryview(content)[offset : offset + size])

    def delete(self, name: str) -> None:
        """Deletes a pack."""
        with self._lock:
            self._packs.pop(name, None)

    def list(self) -> Iterable[tuple[str, int]]:
        """Lists all packs."""
        with self._lock:
            return [(name, len(content)) for name, content in self._packs.items()]

    def truncate(self, name: str, size: int) -> None:
        """Cuts a pack to `size` bytes."""
        with self._lock:
            del self._packs[name][size:]

    def shutdown(self) -> None:
        """Holds nothing open."""


class MemoryOpenPack:
    """Is a growing pack in memory."""

    def __init__(self, name: str, content: bytearray, lock: threading.Lock) -> None:
        self.name, self._content, self._lock = name, content, lock

    @property
    def size(self) -> int:
        """Bytes appended so far."""
        return len(self._content)

    def append(self, parts: Sequence[Buffer]) -> int:
        """Appends `parts` in a row."""
        with self._lock:
            offset = len(self._content)
            for part in parts:
                self._content += part
        return offset

    def sync(self) -> None:
        """Has nowhere to sync to."""

    def close(self) -> None:
        """Holds nothing open."""
