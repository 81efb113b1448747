"""The content cache: files by the BLAKE3 of their bytes, shared by all processes of a user.

    content/<first two digits>/<digest>    whole files, read-only, never written again
    incoming/<digest>.part                 large files on their way; whoever writes one holds its lock
    incoming/<random>.process/             small files on their way, of one process that holds the folder's lock

A name appears in `content` only by the rename of a whole, checked file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelwire._folder import digest_of

SHARE_OF_FREE_DISK = 0.2
_LOOKS = 20
"""How often a full turn of the cache is counted: other processes fill it too."""

_PROCESS = ".process"
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
        self._made: set[str] = set()
        self._counting = threading.Lock()
        self._held: int | None = None  # bytes at the last look
        self._uncounted = 0  # bytes that we brought since
        self.max_size = int(shutil.disk_usage(root).free * SHARE_OF_FREE_DISK) if max_size is None else max_size
        self._clean()
        # Locked before it has the name that others look for: none of them ever finds it unlocked.
        name = secrets.token_hex(8)
        making = self.incoming / f".{name}"
        making.mkdir()
        self._own_lock = os.open(making, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._own_lock, fcntl.LOCK_EX)
        self.own = making.rename(self.incoming / f"{name}{_PROCESS}")

    def close(self) -> None:
        """Removes the folder of this process."""
        shutil.rmtree(self.own, ignore_errors=True)
        os.close(self._own_lock)

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

    def add(self, part: str, descriptor: int, digest: bytes) -> str:
        """Takes in a whole, checked file, open as `descriptor`, under its final name; returns where it is."""
        text = digest.hex()
        folder = f"{self._content}/{text[:2]}"
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - strings: this is called for every small file
            self._made.add(folder)
        path = f"{folder}/{text}"
        os.fchmod(descriptor, 0o444)
        os.rename(part, path)  # noqa: PTH104
        return path

    def make_room(self, size: int) -> None:
        """Sees to it that `size` bytes more fit into the cache; looks through it only once in a while."""
        with self._counting:
            self._uncounted += size
            if self._held is None or self._uncounted > self.max_size // _LOOKS or self._held + self._uncounted > self.max_size:
                self.shrink(self._uncounted)

    def shrink(self, reserve: int = 0) -> int:
        """Removes the least recently used files until the cache is within its size; returns the bytes removed.

        Args:
            reserve: Bytes that are to come.
        """
        found = []
        for path in self._content.glob("??/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        held = sum(size for _, size, _ in found)
        removed = 0
        for _, size, path in sorted(found):
            if held - removed + reserve <= self.max_size:
                break
            path.unlink(missing_ok=True)
            removed += size
        self._held, self._uncounted = held - removed + reserve, 0
        return removed

    def _path(self, digest: bytes) -> Path:
        text = digest.hex()
        return self._content / text[:2] / text

    def _clean(self) -> None:
        """Removes what a crash left: parts that nobody holds and nobody took up again for a week."""
        for part in self.incoming.glob("*.part"):
            with suppress(OSError), locked(part) as descriptor:
                status = os.fstat(descriptor)
                if _now(self.incoming) - status.st_mtime > _STALE_SECONDS:
                    part.unlink()
        for folder in self.incoming.glob(f"*{_PROCESS}"):
            with suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(descriptor)


def _now(folder: Path) -> float:
    """Returns the file system's own time, to compare with its files'."""
    probe = folder / f".clock-{os.getpid()}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def locked(part: Path) -> Iterator[int]:
    """Opens a part for reading and writing, alone; it is made when it is missing.

    Raises:
        BlockingIOError: Somebody else has it. Nobody waits in here: a waiting thread is one that cannot work.
    """
    while True:
        descriptor = os.open(part, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The part may just have been finished and renamed away: then begin again.
            if _is_still(part, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_still(part: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), part.stat())
    except FileNotFoundError:
        return False
