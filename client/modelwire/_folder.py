"""Writes files below one folder and nowhere else.

The folder is opened once; every step below it goes from descriptor to descriptor without following a link, so that a
link planted in the folder, before or meanwhile, leads nowhere.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from modelwire.errors import PathInvalidError
from modelwire.names import check_path
from modelwire.wire import MIB

_FICLONE = 0x40049409
_OPEN_FOLDERS = 64
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TargetFolder:
    """Is a folder that a version's files are put into. Blocks; several worker threads may use it at once."""

    def __init__(self, root: Path) -> None:
        """Opens `root`, which is made when it is missing."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folders: dict[str, int] = {}
        self._lock = threading.Lock()
        self._reflinks = True

    def close(self) -> None:
        """Closes what is open."""
        while self._folders:
            os.close(self._folders.popitem()[1])
        os.close(self._root)

    def digest_of(self, path: str, size: int) -> bytes | None:
        """Returns the BLAKE3-256 of a file that is there with that size; None when there is none."""
        try:
            with self._located(path, make=False) as (folder, name):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        try:
            return digest_of(descriptor, size)
        finally:
            os.close(descriptor)

    def place(self, source: Path | str, path: str, *, keep: bool) -> None:
        """Puts a whole file under its final name in one step.

        Args:
            source: The file. It must not change any more.
            path: Where it goes, "/" between segments.
            keep: Whether `source` stays: it is then cloned, linked or copied, in this order; else it is moved.

        Raises:
            FileNotFoundError: `source` is gone.
            PathInvalidError: Something in the folder stands in the way.
        """
        with self._located(path, make=True) as (folder, name):
            if not keep:
                self._rename(str(source), None, name, folder, path)
                return
            draft = f".{secrets.token_hex(8)}.part"
            try:
                if not self._clone(source, draft, folder):
                    _link_or_copy(source, draft, folder)
                self._rename(draft, folder, name, folder, path)
            finally:  # left over after a failure, or when both names are links to one file: then rename does nothing
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)

    def _clone(self, source: Path | str, draft: str, folder: int) -> bool:
        if not self._reflinks:
            return False
        with _opened(source) as origin:
            copy = os.open(draft, _NEW_FILE, 0o644, dir_fd=folder)
            try:
                fcntl.ioctl(copy, _FICLONE, origin)
            except OSError:
                self._reflinks = False
                os.unlink(draft, dir_fd=folder)
                return False
            finally:
                os.close(copy)
        return True

    def _rename(self, source: str, source_folder: int | None, name: str, folder: int, path: str) -> None:
        try:
            os.rename(source, name, src_dir_fd=source_folder, dst_dir_fd=folder)
        except IsADirectoryError:
            message = f"{self.root / path} is a folder, but the version has a file there; remove it and repeat"
            raise PathInvalidError(message, path=path) from None

    @contextmanager
    def _located(self, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """Yields the descriptor of the folder that `path` lies in, and its last segment."""
        parent, _, name = check_path(path).rpartition("/")
        known = self._folders.get(parent) if parent else self._root
        if known is not None:
            yield known, name
            return
        descriptor = self._walk(parent, path, make=make)
        with self._lock:  # the first ones stay open: what is left of a version mostly lies in them
            kept = parent not in self._folders and len(self._folders) < _OPEN_FOLDERS
            if kept:
                self._folders[parent] = descriptor
        try:
            yield descriptor, name
        finally:
            if not kept:
                os.close(descriptor)

    def _walk(self, parent: str, path: str, *, make: bool) -> int:
        descriptor = os.dup(self._root)
        for segment in parent.split("/"):
            above = descriptor
            try:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(segment, dir_fd=above)
                descriptor = os.open(segment, _FOLDER, dir_fd=above)
            except OSError as error:
                if make and error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    message = f"{self.root / parent} is not a folder of its own (a link or file); remove it and repeat"
                    raise PathInvalidError(message, path=path) from None
                raise
            finally:
                os.close(above)
        return descriptor


def _link_or_copy(source: Path | str, draft: str, folder: int) -> None:
    try:
        os.link(source, draft, dst_dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        with _opened(source) as origin:
            copy = os.open(draft, _NEW_FILE, 0o644, dir_fd=folder)
            with open(origin, "rb", closefd=False) as reader, open(copy, "wb") as writer:  # noqa: PTH123
                shutil.copyfileobj(reader, writer, 8 * MIB)


def digest_of(descriptor: int, size: int) -> bytes | None:
    """Returns the BLAKE3-256 of an open regular file of that size; None when it is not one."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        return None
    hasher, offset = blake3(), 0
    while offset < size and (data := os.pread(descriptor, MIB, offset)):
        hasher.update(data)
        offset += len(data)
    return hasher.digest()


@contextmanager
def _opened(path: Path | str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
