"""What a pack store must do. A pack is an append-only container of chunks: a file on disk, one object on S3.

Calls block; the chunk store makes them from worker threads. Digests are checked above, once for every store.
`modelwire_server.testing.PackStoreContract` holds a new store to these promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from modelwire.wire import Buffer


class PackMissingError(Exception):
    """Says that a pack, or the range asked of it, is not in the store. Its argument is the pack's name."""


class OpenPack(Protocol):
    """Is a pack that grows. One thread uses it at a time."""

    @property
    def name(self) -> str:
        """The name that it was created under."""
        ...

    @property
    def size(self) -> int:
        """Bytes appended so far."""
        ...

    def append(self, parts: Sequence[Buffer]) -> int:
        """Appends `parts` in a row; returns the offset of the first byte. Not durable before `sync`.

        Raises:
            OSError: Nothing of this append may be used; earlier ones stand.
        """
        ...

    def sync(self) -> None:
        """Makes everything appended so far survive kill -9 and power loss, the pack's own name included."""
        ...

    def close(self) -> None:
        """Releases what is held open; the pack grows no more. What was synced stays."""
        ...


class PackStore(Protocol):
    """Keeps packs by name. A name is used once, ever."""

    max_pack_size: int
    """Bytes after which a pack should be closed and another begun."""

    def create(self, name: str) -> OpenPack:
        """Begins a pack.

        Raises:
            FileExistsError: The name is taken.
        """
        ...

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Reads `size` bytes. May be called while the pack grows, for what was synced.

        Raises:
            PackMissingError: The pack, or a part of the range, is not there.
        """
        ...

    def delete(self, name: str) -> None:
        """Deletes a pack; one that is not there is passed over. Reads under way may go on."""
        ...

    def list(self) -> Iterable[tuple[str, int]]:
        """Lists (name, size) of all packs."""
        ...

    def shutdown(self) -> None:
        """Releases what the store itself holds open."""
        ...


@runtime_checkable
class TruncatablePackStore(Protocol):
    """Is a store that can cut an unacknowledged tail off a pack."""

    def truncate(self, name: str, size: int) -> None:
        """Cuts a pack to `size` bytes, durably."""
        ...
