"""The asyncio client: the source of everything that users can do."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from modelwire._messages import Where
from modelwire._session import Session
from modelwire.async_run import AsyncRun
from modelwire.async_version import AsyncModelVersion
from modelwire.errors import UsageError
from modelwire.names import alias_list
from modelwire.settings import Settings
from modelwire.types import ArtifactInfo, Lineage, RegisteredModelInfo, RunInfo

Item = TypeVar("Item")


class AsyncClient:
    """Is a connection to a modelwire installation.

        async with modelwire.AsyncClient() as client:
            async with client.run(project="mnist-experiments") as run:
                version = await run.log_model("./model.h5", name="MNIST")

    A process may use it on one event loop only: that is a limit of grpc.aio.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        entity: str | None = None,
        project: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Reads the settings; connects at the first call.

        Args:
            address: host:port of the metadata service.
            entity: Who the work belongs to, where a call does not say.
            project: The piece of work, where a call does not say.
            settings: All settings at once; the other arguments go before it.
        """
        given = {"address": address, "entity": entity, "project": project}
        base = settings or Settings.load(**given)
        self.settings = base.model_copy(update={key: value for key, value in given.items() if value is not None})
        self._session = Session(self.settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    # ── Runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        project: str | None = None,
        entity: str | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        id: str | None = None,  # noqa: A002 - the name that users of W&B know
        notes: str | None = None,
        tags: Sequence[str] | None = None,
        group: str | None = None,
        job_type: str | None = None,
        resume: str | None = None,
    ) -> AsyncRun:
        """Makes a run, which begins on `async with` or `await run.start()`.

        Args:
            project, entity: Where the run belongs; both come into being on first use.
            config: Its inputs.
            name: The name that people see; the server makes one up otherwise.
            id: Its id; the server makes one up otherwise.
            notes, tags, group, job_type: What it can be found by.
            resume: "must", "never" or "allow": what to do when `id` exists.
        """
        settings = self.settings
        return AsyncRun(
            self._session,
            Where(entity or settings.entity, project or settings.project),
            id or settings.run_id,
            name=name or settings.name,
            config=config,
            notes=notes,
            tags=tuple(tags) if tags is not None else settings.tags,
            group=group or settings.group,
            job_type=job_type or settings.job_type,
            resume=resume,
        )

    # ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def artifact(self, name: str) -> AsyncModelVersion:
        """Returns the version that a reference names: `[[entity/]project/]name[:alias or vN]`.

        Raises:
            NotFoundError: Something in the reference does not exist; the error's class says what.
        """
        return AsyncModelVersion(self._session, await self._session.catalog.get_version(self._session.where, name))

    async def artifacts(self, name: str, tags: Sequence[str] = ()) -> list[AsyncModelVersion]:
        """Returns the versions of an artifact that have all of `tags`, the newest first."""
        found = await _all(lambda token: self._session.catalog.list_versions(self._session.where, name, 1000, token, tags=tags))
        return [AsyncModelVersion(self._session, version) for version in found]

    async def artifact_collections(self, project: str | None = None, type: str = "") -> list[ArtifactInfo]:  # noqa: A002
        """Returns the artifacts of a project by name."""
        where = Where(self.settings.entity, project or self.settings.project)
        return await _all(lambda token: self._session.catalog.list_artifacts(where, 1000, token, type_=type))

    async def runs(self, project: str | None = None) -> list[RunInfo]:
        """Returns the runs of a project, the newest first."""
        where = Where(self.settings.entity, project or self.settings.project)
        return await _all(lambda token: self._session.catalog.list_runs(where, 1000, token))

    async def run_info(self, path: str) -> RunInfo:
        """Returns one run: `[[entity/]project/]id`."""
        where, run_id = self._split_run(path)
        return await self._session.catalog.get_run(where, run_id)

    async def registered_model(self, name: str) -> RegisteredModelInfo:
        """Returns one registered model."""
        return await self._session.catalog.get_registered_model(self.settings.entity, name)

    async def registered_models(self, name_contains: str = "") -> list[RegisteredModelInfo]:
        """Returns registered models by name."""
        entity = self.settings.entity
        return await _all(
            lambda token: self._session.catalog.list_registered_models(entity, 1000, token, name_contains=name_contains)
        )

    async def links(self, registered_model: str) -> list[AsyncModelVersion]:
        """Returns the links of a registered model, the newest first."""
        entity = self.settings.entity
        found = await _all(lambda token: self._session.catalog.list_links(entity, registered_model, 1000, token))
        return [AsyncModelVersion(self._session, link) for link in found]

    async def lineage(self, start: str, direction: str = "both", depth: int = 10) -> Lineage:
        """Walks the graph of runs and versions from a version, or from a run written `run:[[entity/]project/]id`.

        Args:
            start: Where to begin.
            direction: "upstream", "downstream" or "both".
            depth: How many edges from the start.
        """
        if start.startswith("run:"):
            where, run_id = self._split_run(start.removeprefix("run:"))
            return await self._session.catalog.get_lineage(where, run_id=run_id, direction=direction, depth=depth)
        return await self._session.catalog.get_lineage(self._session.where, reference=start, direction=direction, depth=depth)

    async def download(self, name: str, root: str | os.PathLike[str] | None = None) -> Path:
        """Downloads a version without recording that it was used; returns its file or folder."""
        return await (await self.artifact(name)).download(root)

    async def link(self, name: str, registered_model_name: str, aliases: Sequence[str] | str = ()) -> AsyncModelVersion:
        """Links the version that a reference names to a registered model; returns the link."""
        names = alias_list(aliases)
        link, _ = await self._session.catalog.link_version(
            self._session.where, name, registered_model_name, aliases=names, require_model=True
        )
        return AsyncModelVersion(self._session, link)

    def _split_run(self, path: str) -> tuple[Where, str]:
        *front, run_id = path.split("/")
        if len(front) > 2 or not run_id:  # noqa: PLR2004 - entity and project
            raise UsageError(f"{path!r} is not [[entity/]project/]id")
        project = front[-1] if front else self.settings.project
        return Where(front[0] if len(front) > 1 else self.settings.entity, project), run_id


async def _all(page: Callable[[str], Awaitable[tuple[list[Item], str]]]) -> list[Item]:
    found, token = await page("")
    while token:
        more, token = await page(token)
        found += more
    return found
