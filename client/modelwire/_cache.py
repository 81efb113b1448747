"""The content cache: files by the BLAKE3 of their bytes, shared by all processes of a user.

    content/<first two digits>/<digest>    whole files, read-only, never written again
    incoming/<digest>.part                 files on their way; whoever writes one holds its lock

A name appears in `content` only by the rename of a whole, checked file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelwire._folder import digest_of

SHARE_OF_FREE_DISK = 0.2
_STALE_SECONDS = 7 * 24 * 3600


class ContentCache:
    """Keeps whole files by content. Blocks; meant for worker threads.

    Args:
        root: The cache's folder.
        max_size: Bytes that it may hold; None means a fifth of what the disk has free now.
    """

    def __init__(self, root: Path, max_size: int | None = None) -> None:
        self._content, self.incoming = root / "content", root / "incoming"
        self._content.mkdir(parents=True, exist_ok=True)
        self.incoming.mkdir(parents=True, exist_ok=True)
        self.max_size = int(shutil.disk_usage(root).free * SHARE_OF_FREE_DISK) if max_size is None else max_size
        self._clean()

    def find(self, digest: bytes, size: int) -> Path | None:
        """Returns the file of that content when it is there and right; one that is wrong is thrown away."""
        path = self._path(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            right = digest_of(descriptor, size) == digest
            if right:
                os.utime(descriptor)  # least recently used goes first
        except PermissionError:
            pass
        finally:
            os.close(descriptor)
        if not right:
            path.unlink(missing_ok=True)
        return path if right else None

    def add(self, part: Path, digest: bytes) -> Path:
        """Takes in a whole, checked file of `incoming` under its final name; returns where it is."""
        path = self._path(digest)
        path.parent.mkdir(exist_ok=True)
        part.chmod(0o444)
        part.replace(path)
        return path

    def shrink(self) -> int:
        """Removes the least recently used files until the cache is within its size; returns the bytes removed."""
        found = []
        for path in self._content.glob("??/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in found) - self.max_size
        removed = 0
        for _, size, path in sorted(found):
            if removed >= excess:
                break
            path.unlink(missing_ok=True)
            removed += size
        return removed

    def _path(self, digest: bytes) -> Path:
        text = digest.hex()
        return self._content / text[:2] / text

    def _clean(self) -> None:
        """Removes what a crash left: parts that nobody holds and nobody took up again for a week."""
        for part in self.incoming.glob("*.part"):
            with suppress(OSError), locked(part, wait=False) as descriptor:
                status = os.fstat(descriptor)
                if _now(self.incoming) - status.st_mtime > _STALE_SECONDS:
                    part.unlink()


def _now(folder: Path) -> float:
    """Returns the file system's own time, to compare with its files'."""
    probe = folder / f".clock-{os.getpid()}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def locked(part: Path, *, wait: bool = True) -> Iterator[int]:
    """Opens a part for reading and writing, alone; it is made when it is missing.

    Raises:
        BlockingIOError: Another process has it, and `wait` is false.
    """
    while True:
        descriptor = os.open(part, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # While we waited, the part may have been finished and renamed away: then begin again.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), part.stat()):
                    yield descriptor
                    return
        finally:
            os.close(descriptor)
