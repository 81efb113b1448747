"""Finds the files that a path means."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelwire.errors import ModelPathError, PathInvalidError, SourceChangedError
from modelwire.names import check_paths

_FORMS = "a file, or a folder that holds at least one file"


@dataclass(frozen=True)
class SourceFile:
    """Is a file to log, with what tells whether it changes meanwhile."""

    path: str
    """Where it will lie in the version."""
    local: Path
    size: int
    stamp: tuple[int, int, int]
    """Device, inode and modification time in nanoseconds."""

    def check_unchanged(self, now: os.stat_result) -> None:
        """Raises SourceChangedError when the file is not what it was at the scan."""
        if (now.st_size, _stamp(now)) != (self.size, self.stamp):
            raise SourceChangedError(f"{self.local} changed while it was being logged; nothing was committed", path=self.local)


def scan(path: str | os.PathLike[str]) -> list[SourceFile]:
    """Returns the files that `path` means, sorted by their path in the version.

    A file is one entry under its base name; a folder is every file below it. Symbolic links are followed as long as they
    stay inside the folder.

    Raises:
        ModelPathError: `path` is neither a file nor a folder that holds one.
        PathInvalidError: A name cannot be used on every file system, or a link leaves the folder.
    """
    root = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the link that names the file
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise ModelPathError(f"{os.fspath(path)!r} cannot be logged: {error.strerror}; give {_FORMS}") from None
    if stat.S_ISREG(mode):
        found = [_source(_portable(root.name), root, root.stat())]
    elif stat.S_ISDIR(mode):
        real = Path(os.path.realpath(root))
        found = list(_walk(real, "", real, {real}))
    else:
        raise ModelPathError(f"{os.fspath(path)!r} is neither a file nor a folder; give {_FORMS}")
    if not found:
        raise ModelPathError(f"folder {os.fspath(path)!r} holds no file; give {_FORMS}")
    check_paths(file.path for file in found)
    return sorted(found, key=lambda file: file.path.encode())


def _walk(folder: Path, prefix: str, root: Path, above: set[Path]) -> Iterator[SourceFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path, local = prefix + _portable(entry.name), Path(entry.path)
            if entry.is_symlink():
                local = Path(os.path.realpath(entry.path))
                if not local.is_relative_to(root):
                    raise _refuse(entry, path, f"is a link that leaves the folder, to {_shown(str(local))}")
            try:
                status = local.stat()
            except OSError as error:
                raise _refuse(entry, path, f"cannot be logged: {error.strerror}") from None
            if stat.S_ISDIR(status.st_mode):
                if local in above:
                    raise _refuse(entry, path, "is a link to a folder that holds it")
                yield from _walk(local, f"{path}/", root, above | {local})
            elif stat.S_ISREG(status.st_mode):
                yield _source(path, local, status)
            else:
                raise _refuse(entry, path, "is neither a file nor a folder")


def _source(path: str, local: Path, status: os.stat_result) -> SourceFile:
    return SourceFile(path, local, status.st_size, _stamp(status))


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _refuse(entry: os.DirEntry[str], path: str, why: str) -> PathInvalidError:
    return PathInvalidError(f"{_shown(entry.path)} {why}", path=_shown(path))


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


def _portable(name: str) -> str:
    """Returns a file's name in the normal form that manifests use."""
    return unicodedata.normalize("NFC", name)
