"""The handle of a version."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from modelwire._folder import TargetFolder
from modelwire._messages import Where
from modelwire._session import Session
from modelwire.artifact import Artifact
from modelwire.errors import ContentChangedError, EntryNotFoundError
from modelwire.names import alias_list
from modelwire.remote_file import AsyncRemoteFile
from modelwire.types import Entry, RunInfo, TransferStats, VersionInfo


class VersionFacts:
    """Holds what is known of a version without asking anybody."""

    _info: VersionInfo

    @property
    def info(self) -> VersionInfo:
        """Everything at once, as the metadata service gave it."""
        return self._info

    @property
    def id(self) -> str:
        """The id, the same at every place of the version."""
        return self._info.id

    @property
    def name(self) -> str:
        """collection:vN, at the place it was asked for by."""
        return self._info.place.name

    @property
    def collection(self) -> str:
        """The artifact's or registered model's name."""
        return self._info.place.collection

    @property
    def version(self) -> str:
        """vN, at the place it was asked for by."""
        return self._info.place.version

    @property
    def entity(self) -> str:
        """Who it belongs to."""
        return self._info.place.entity

    @property
    def project(self) -> str:
        """The project; "model-registry" for a link."""
        return self._info.place.project

    @property
    def qualified_name(self) -> str:
        """entity/project/collection:vN."""
        return self._info.place.qualified_name

    @property
    def source_name(self) -> str:
        """collection:vN in the artifact that it was logged to."""
        return self._info.source.name

    @property
    def source_version(self) -> str:
        """VN in the artifact that it was logged to."""
        return self._info.source.version

    @property
    def source_qualified_name(self) -> str:
        """entity/project/collection:vN in the artifact that it was logged to."""
        return self._info.source.qualified_name

    @property
    def is_link(self) -> bool:
        """Whether it was asked for through the registry."""
        return self._info.is_link

    @property
    def type(self) -> str:
        """The artifact's type."""
        return self._info.type

    @property
    def state(self) -> str:
        """What became of it: committed or deleted."""
        return self._info.state

    @property
    def digest(self) -> str:
        """The manifest digest, hexadecimal."""
        return self._info.digest

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return self._info.size

    @property
    def file_count(self) -> int:
        """How many files it has."""
        return self._info.file_count

    @property
    def aliases(self) -> list[str]:
        """The aliases at the place it was asked for by."""
        return list(self._info.aliases)

    @property
    def tags(self) -> list[str]:
        """Words to find it by."""
        return list(self._info.tags)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What its makers say of it."""
        return self._info.metadata

    @property
    def description(self) -> str:
        """Free text."""
        return self._info.description

    @property
    def ttl(self) -> int | None:
        """Seconds from creation until it may be deleted; None means never."""
        return self._info.ttl

    @property
    def created_at(self) -> datetime:
        """When it was committed, in UTC."""
        return self._info.created_at

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.qualified_name}>"


class AsyncModelVersion(VersionFacts):
    """Is the handle of a committed version; what talks to a service is a coroutine.

    Attributes:
        stats: What logging or downloading it through this handle took.
        created: Whether logging made the version; False when the content was there already.
    """

    def __init__(
        self, session: Session, info: VersionInfo, *, stats: TransferStats | None = None, created: bool = False
    ) -> None:
        self._session, self._info = session, info
        self.stats = stats or TransferStats()
        self.created = created

    async def wait(self, timeout: float | None = None) -> Self:  # noqa: ARG002, ASYNC109 - the same as the blocking one's
        """Returns at once: an asyncio handle exists only once its version is committed."""
        return self

    async def files(self, path_prefix: str = "") -> list[Entry]:
        """Lists the files of the version by path: all, one file, or those below a folder."""
        return [entry async for entry in self._session.catalog.list_entries(self._here, self.qualified_name, path_prefix)]

    async def get_entry(self, path: str) -> Entry:
        """Returns one file of the version.

        Raises:
            EntryNotFoundError: There is no such file; also a KeyError.
        """
        for entry in await self.files(path):
            if entry.path == path:
                return entry
        raise EntryNotFoundError(f"{self.name} has no file {path!r}", path=path)

    async def download(self, root: str | os.PathLike[str] | None = None, path_prefix: str = "") -> Path:
        """Puts the files below `root`, checks every byte, and returns the file when there is one, else the folder.

        What is right on disk already is not fetched again. `root` defaults to `<artifact dir>/<source name>:<vN>`.

        Raises:
            EntryNotFoundError: `path_prefix` is neither a file nor a folder of the version; also a KeyError.
            DataDamagedError: Stored bytes are gone or changed; no such file is put there.
        """
        folder = self._folder(root)
        entries = await self.files(path_prefix)
        if not entries:
            raise EntryNotFoundError(f"{self.name} has nothing at {path_prefix!r}", path=path_prefix)
        self.stats.add(await self._session.fetch(self._info, entries, folder, None))
        return folder / entries[0].path if self.file_count == 1 else folder

    async def open(self, path: str) -> AsyncRemoteFile:
        """Opens a file of the version over the network: readable, seekable, every chunk checked.

        Raises:
            EntryNotFoundError: There is no such file; also a KeyError.
        """
        return await self._session.open(self._info, await self.get_entry(path))

    async def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Checks that the files below `root` are the version's, every byte; files that it does not have do not matter.

        Raises:
            ContentChangedError: One is missing or changed; also a ValueError.
        """
        folder = self._folder(root)
        wrong = await self._session.in_thread(_changed_files, folder, await self.files())
        if wrong:
            shown = ", ".join(map(repr, wrong[:5])) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")  # noqa: PLR2004
            raise ContentChangedError(f"{folder} is not {self.name}: {shown} missing or changed", path=wrong[0])

    async def checkout(self, root: str | os.PathLike[str] | None = None) -> Path:
        """Makes the folder `root` hold the version and nothing else; returns it. Other files below it are removed."""
        folder = self._folder(root)
        entries = await self.files()
        await self._session.in_thread(_remove_others, folder, {entry.path for entry in entries})
        self.stats.add(await self._session.fetch(self._info, entries, folder, None))
        return folder

    async def new_draft(self) -> Artifact:
        """Returns a builder that holds the version's files, to change some and log it as the next version.

        What stays is neither downloaded nor uploaded again.
        """
        draft = Artifact(self._info.source.collection, self.type, self.description, self.metadata)
        draft.keep(await self.files())
        return draft

    async def update(
        self,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        ttl: int | None = None,
    ) -> Self:
        """Changes what is given; the content never changes. A ttl of 0 means never."""
        self._info = await self._session.catalog.update_version(
            self._here, self.qualified_name, description=description, metadata=metadata, tags=tags, ttl_seconds=ttl
        )
        return self

    async def set_aliases(
        self, add: Sequence[str] | str = (), remove: Sequence[str] | str = (), expected_current: str | None = None
    ) -> Self:
        """Gives aliases to the version, from wherever they were, and takes aliases from it, in one step.

        Raises:
            AliasMovedError: An alias in `add` is not at `expected_current` ("vN", or "" for nowhere).
        """
        change = self._session.catalog.set_link_aliases if self.is_link else self._session.catalog.set_aliases
        drop = [remove] if isinstance(remove, str) else list(remove)
        self._info = await change(
            self._here, self.qualified_name, add=alias_list(add), remove=drop, expected_current=expected_current
        )
        return self

    async def delete(self, delete_aliases: bool = False) -> None:
        """Deletes the version, or only the link when this is one. The number is not used again.

        Raises:
            VersionHasAliasesError: It has aliases besides `latest`, and `delete_aliases` is false.
            VersionLinkedError: The registry links to it.
        """
        remove = self._session.catalog.unlink_version if self.is_link else self._session.catalog.delete_version
        self._info = await remove(self._here, self.qualified_name, delete_aliases=delete_aliases)

    async def unlink(self) -> None:
        """Removes the link, with its aliases; the source is not touched."""
        self._info = await self._session.catalog.unlink_version(self._here, self.qualified_name, delete_aliases=True)

    async def link(self, target: str, aliases: Sequence[str] | str = ()) -> AsyncModelVersion:
        """Links the version to a registered model; returns the link."""
        link, _ = await self._session.catalog.link_version(self._here, self.qualified_name, target, aliases=alias_list(aliases))
        return AsyncModelVersion(self._session, link)

    async def logged_by(self) -> RunInfo | None:
        """Returns the run that first logged the content; None when no run did."""
        if self._info.logged_by is None:
            return None
        entity, project, run_id = self._info.logged_by
        return await self._session.catalog.get_run(Where(entity, project), run_id)

    async def used_by(self) -> list[RunInfo]:
        """Returns the runs that used the version, through links too."""
        found: list[RunInfo] = []
        token = ""
        while True:
            more, token = await self._session.catalog.list_version_runs(self._here, self.qualified_name, "input", 1000, token)
            found += more
            if not token:
                return found

    def _folder(self, root: str | os.PathLike[str] | None) -> Path:
        return Path(root) if root is not None else self._session.settings.artifact_dir / self.source_name

    @property
    def _here(self) -> Where:
        return Where(self.entity, self.project)


def _changed_files(root: Path, entries: Sequence[Entry]) -> list[str]:
    """Returns the paths of entries that are not below `root` as they should be."""
    if not root.is_dir():
        return [entry.path for entry in entries]
    folder = TargetFolder(root)
    try:
        return [entry.path for entry in entries if folder.digest_of(entry.path, entry.size) != entry.content]
    finally:
        folder.close()


def _remove_others(root: Path, wanted: AbstractSet[str]) -> None:
    """Removes what is below `root` and not wanted, links as links, and folders that become empty."""
    for here, folders, files in os.walk(root, topdown=False):
        for name in (*files, *folders):
            path = Path(here, name)
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.is_symlink() or path.relative_to(root).as_posix() not in wanted:
                path.unlink()
