"""A pack store in a folder of a local disk."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelwire.wire import MIB, Buffer
from modelwire_server.blob.packs import PackMissingError

RESERVE = 16 * MIB
"""Bytes of the disk that packs never take: without them not even a run could be finished."""

_NAME = re.compile(r"[0-9a-f]{8,64}")
_SUFFIX = ".pack"
_IOV_MAX = 1024
_OPEN_READERS = 64


class LocalPackStore:
    """Keeps each pack as `<first two characters>/<name>.pack` below `root`."""

    def __init__(self, root: Path, max_pack_size: int = 256 * MIB) -> None:
        self.max_pack_size = max_pack_size
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._readers = _Descriptors(self._path)

    def create(self, name: str) -> LocalOpenPack:
        """Begins a pack."""
        path = self._path(name)
        path.parent.mkdir(exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        return LocalOpenPack(name, path, os.open(path, flags, 0o600))

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Reads `size` bytes."""
        with self._readers.lend(name) as descriptor:
            data = os.pread(descriptor, size, offset)
            while len(data) < size:  # a read may be cut short by a signal, or by the end of the pack
                more = os.pread(descriptor, size - len(data), offset + len(data))
                if not more:
                    raise PackMissingError(name)
                data += more
        return data

    def delete(self, name: str) -> None:
        """Deletes a pack."""
        self._readers.forget(name)
        self._path(name).unlink(missing_ok=True)

    def list(self) -> Iterable[tuple[str, int]]:
        """Lists all packs; other files are not ours and are passed over."""
        for path in self._root.glob(f"??/*{_SUFFIX}"):
            if _NAME.fullmatch(path.stem):
                yield path.stem, path.stat().st_size

    def truncate(self, name: str, size: int) -> None:
        """Cuts a pack to `size` bytes."""
        descriptor = os.open(self._path(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def shutdown(self) -> None:
        """Closes the descriptors kept for reading."""
        self._readers.close()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a pack name")
        return self._root / name[:2] / f"{name}{_SUFFIX}"


class LocalOpenPack:
    """Is a growing pack file."""

    def __init__(self, name: str, path: Path, descriptor: int) -> None:
        self.name, self.size = name, 0
        self._path, self._descriptor = path, descriptor
        self._named = False

    def append(self, parts: Sequence[Buffer]) -> int:
        """Appends `parts` in a row; leaves the last `RESERVE` bytes of the disk to the databases."""
        room = os.fstatvfs(self._descriptor)
        if room.f_bavail * room.f_frsize < RESERVE + sum(map(len, parts)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        offset = self.size
        end = offset
        for start in range(0, len(parts), _IOV_MAX):
            end = self._write(parts[start : start + _IOV_MAX], end)
        self.size = end
        return offset

    def _write(self, parts: Sequence[Buffer], at: int) -> int:
        wanted = sum(map(len, parts))
        written = os.pwritev(self._descriptor, parts, at)
        if written < wanted:  # rare: a nearly full disk, or a signal
            rest = memoryview(b"".join(parts))[written:]
            while rest:
                count = os.pwrite(self._descriptor, rest, at + wanted - len(rest))
                rest = rest[count:]
        return at + wanted

    def sync(self) -> None:
        """Syncs the data, and the folders once: a file that no folder names is lost with the power."""
        _sync_data(self._descriptor)
        if not self._named:
            _sync_folder(self._path.parent)
            _sync_folder(self._path.parent.parent)
            self._named = True

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


class _Descriptors:
    """Keeps the most recently read packs open; one in use is closed by its last reader."""

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        self._path_of = path_of
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Shared] = OrderedDict()

    @contextmanager
    def lend(self, name: str) -> Iterator[int]:
        with self._lock:
            shared = self._open.get(name)
            if shared is None:
                try:
                    shared = _Shared(os.open(self._path_of(name), os.O_RDONLY | os.O_CLOEXEC))
                except FileNotFoundError:
                    raise PackMissingError(name) from None
                self._open[name] = shared
                if len(self._open) > _OPEN_READERS:
                    self._open.popitem(last=False)[1].retire()
            self._open.move_to_end(name)
            shared.users += 1
        try:
            yield shared.descriptor
        finally:
            with self._lock:
                shared.users -= 1
                if shared.retired and not shared.users:
                    os.close(shared.descriptor)

    def forget(self, name: str) -> None:
        with self._lock:
            if shared := self._open.pop(name, None):
                shared.retire()

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._open.popitem()[1].retire()


class _Shared:
    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.users, self.retired = descriptor, 0, False

    def retire(self) -> None:
        self.retired = True
        if not self.users:
            os.close(self.descriptor)


_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
