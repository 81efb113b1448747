"""The builder of an artifact's next version: files, folders, and what an earlier version had."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from blake3 import blake3

from modelwire._scan import SourceFile, scan
from modelwire._values import json_object
from modelwire.digests import content_text
from modelwire.errors import EntryNotFoundError, ModelPathError, PathTakenError, UsageError
from modelwire.names import check_artifact_name, check_path, check_type
from modelwire.types import Entry
from modelwire.wire import MIB


class Artifact:
    """Gathers what the next version of an artifact will hold. Nothing is sent before it is logged.

        artifact = modelwire.Artifact("mnist", type="dataset")
        artifact.add_dir("data/")
        run.log_artifact(artifact)

    Files are read when the artifact is logged; one that changed since it was added is an error then.

    Attributes:
        name: The artifact: 1 to 128 of A-Z a-z 0-9 _ . -
        type: Its type: 1 to 128 characters without "/" and ":".
        description: Free text.
        metadata: What its makers say of it; JSON values.
    """

    def __init__(
        self,
        name: str,
        type: str,  # noqa: A002 - the name that users of W&B know
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.type = check_artifact_name(name), check_type(type)
        self.description = description
        self.metadata: dict[str, Any] = json_object(metadata, "metadata")
        self._contents: dict[str, SourceFile | Entry] = {}
        self._drafts: Path | None = None

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002, RUF100 - the name that users of W&B know
    ) -> str:
        """Adds a file, under its base name or `name`; returns its path in the version.

        Raises:
            ModelPathError: `local_path` is no file.
            PathInvalidError: `name` cannot be used on every file system.
            PathTakenError: The path has other content already, and `overwrite` is false; also a ValueError.
        """
        if not Path(local_path).is_file():
            raise ModelPathError(f"{os.fspath(local_path)!r} is not a file; add_dir adds folders")
        [source] = scan(local_path)
        return self._add(replace(source, path=check_path(name or source.path)), overwrite=overwrite)

    def add_dir(self, local_path: str | os.PathLike[str], name: str | None = None) -> list[str]:
        """Adds every file below a folder, at the top or below the folder `name`; returns their paths in the version.

        Raises:
            ModelPathError: `local_path` is no folder, or holds no file.
            PathTakenError: A path has other content already; also a ValueError.
        """
        if not Path(local_path).is_dir():
            raise ModelPathError(f"{os.fspath(local_path)!r} is not a folder; add_file adds files")
        prefix = f"{name.strip('/')}/" if name and name.strip("/") else ""
        sources = [replace(source, path=check_path(prefix + source.path)) for source in scan(local_path)]
        return [self._add(source, overwrite=False) for source in sources]

    @contextmanager
    def new_file(self, name: str, mode: str = "w") -> Iterator[IO[Any]]:
        """Opens a new file to write into ("w" for text, "wb" for bytes); it is added at the end of the block.

        Raises:
            PathTakenError: The path is taken already; also a ValueError.
        """
        check_path(name)
        if mode not in {"w", "wb"}:
            raise UsageError(f'mode must be "w" or "wb", not {mode!r}')
        if name in self._contents:
            raise PathTakenError(f"{name!r} is in the artifact already", path=name)
        if self._drafts is None:
            self._drafts = Path(tempfile.mkdtemp(prefix="modelwire-"))
        path = self._drafts / str(len(self._contents)) / Path(name).name
        path.parent.mkdir()
        with path.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        self.add_file(path, name)

    def remove(self, path: str) -> None:
        """Takes a file, or everything below a folder, out again.

        Raises:
            EntryNotFoundError: There is nothing of that path; also a KeyError.
        """
        gone = [one for one in self._contents if one == path or one.startswith(f"{path.rstrip('/')}/")]
        if not gone:
            raise EntryNotFoundError(f"the artifact has no {path!r}", path=path)
        for one in gone:
            del self._contents[one]

    @property
    def paths(self) -> list[str]:
        """The paths so far, sorted as a manifest is."""
        return sorted(self._contents, key=str.encode)

    @property
    def sources(self) -> list[SourceFile]:
        """The files that are to be read."""
        return [one for path in self.paths if isinstance(one := self._contents[path], SourceFile)]

    @property
    def kept(self) -> list[Entry]:
        """The files of an earlier version that stay as they are; they are neither downloaded nor uploaded."""
        return [one for path in self.paths if isinstance(one := self._contents[path], Entry)]

    def keep(self, entries: list[Entry]) -> None:
        """Takes over files of an earlier version."""
        self._contents |= {entry.path: entry for entry in entries}

    def discard_drafts(self) -> None:
        """Removes what `new_file` wrote, once it is logged."""
        if self._drafts is not None:
            shutil.rmtree(self._drafts, ignore_errors=True)
            self._drafts = None

    def _add(self, source: SourceFile, *, overwrite: bool) -> str:
        there = self._contents.get(source.path)
        if there is not None and not overwrite and _digest(there) != _digest(source):
            message = f"{source.path!r} is in the artifact already, with other content; overwrite=True replaces it"
            raise PathTakenError(message, path=source.path)
        if there is None or overwrite:
            self._contents[source.path] = source
        return source.path

    def __repr__(self) -> str:
        return f"<Artifact {self.name} ({self.type}, {len(self._contents)} files)>"


def _digest(content: SourceFile | Entry) -> str:
    if isinstance(content, Entry):
        return content.digest
    hasher = blake3()
    with content.local.open("rb") as file:
        while block := file.read(MIB):
            hasher.update(block)
    return content_text(hasher.digest())
