"""A run: one execution of a program, and the three calls that it makes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from modelwire._catalog import Description
from modelwire._messages import TicketInfo, Where
from modelwire._scan import SourceFile
from modelwire._session import Session
from modelwire._values import json_object
from modelwire.artifact import Artifact
from modelwire.async_version import AsyncModelVersion
from modelwire.digests import manifest_digest
from modelwire.errors import ModelPathError, ModelwireError, TargetPathError, UsageError
from modelwire.names import REGISTRY_PROJECT, alias_list, check_artifact_name, check_type, default_model_name
from modelwire.run_values import Config, Summary
from modelwire.types import Entry, RunInfo, TransferStats

Value = TypeVar("Value")

HEARTBEAT_SECONDS = 60.0
"""How often a run shows that it lives; the server counts it as crashed after five minutes of silence."""

END_SECONDS = 3.0
"""How long a run whose block raised tries to tell the server so."""

MODEL_TYPE = "model"


class AsyncRun:
    """Is one execution of a program, made by `AsyncClient.run`.

    As a context manager it begins at the start of the block and ends with it: finished, or failed when the block raises.

    Attributes:
        stats: What all transfers of the run took together.
    """

    def __init__(
        self,
        session: Session,
        where: Where,
        run_id: str | None,
        *,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        notes: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        job_type: str | None = None,
        resume: str | None = None,
    ) -> None:
        self._session, self._where, self._wanted_id = session, where, run_id
        self._given: dict[str, Any] = {
            "name": name,
            "config": json_object(config, "config"),
            "notes": notes,
            "tags": tags,
            "group": group,
            "job_type": job_type,
            "resume": resume,
        }
        self._info: RunInfo | None = None
        self._config: Config | None = None
        self._summary: Summary | None = None
        self._pushing: asyncio.Task[RunInfo] | None = None
        self._dirty = False
        self._ended = False
        self._heart: asyncio.Task[None] | None = None
        self.stats = TransferStats()

    async def start(self) -> Self:
        """Begins the run at the server; does nothing when it has begun.

        Raises:
            RunExistsError, RunNotFoundError: The id is taken or missing, against what `resume` says.
        """
        if self._info is None:
            self._info = await self._session.catalog.create_run(self._where, self._wanted_id, **self._given)
            self._config = Config(self._info.config, self._value_changed)
            self._summary = Summary(self._info.summary, self._value_changed)
            self._heart = asyncio.create_task(self._beat())
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.finish()
            return
        # What went wrong in the block is what counts: the end is recorded if that is possible, and soon.
        with suppress(ModelwireError, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self.finish(exit_code=1)

    @property
    def info(self) -> RunInfo:
        """Everything that is known of the run; raises UsageError before it has begun."""
        return self._begun(self._info)

    @property
    def id(self) -> str:
        """The id."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name that people see."""
        return self.info.name

    @property
    def entity(self) -> str:
        """Who it belongs to."""
        return self.info.entity

    @property
    def project(self) -> str:
        """The piece of work it belongs to."""
        return self.info.project

    @property
    def config(self) -> Config:
        """Its inputs: a dictionary with attribute access, which the server sees at once."""
        return self._begun(self._config)

    @property
    def summary(self) -> Summary:
        """Its results: a dictionary with attribute access, which the server sees at once."""
        return self._begun(self._summary)

    async def update(self, name: str | None = None, notes: str | None = None, tags: Sequence[str] | None = None) -> RunInfo:
        """Changes what is given about the run, and sends config and summary; returns the run as the server has it."""
        catalog = self._session.catalog
        values = {"config": dict(self.config), "summary": dict(self.summary)}
        self._info = await catalog.update_run(self._where, self.id, **values, name=name, notes=notes, tags=tags)
        return self._info

    async def log_model(
        self, path: str | os.PathLike[str], name: str | None = None, aliases: Sequence[str] | str | None = None
    ) -> AsyncModelVersion:
        """Uploads a file or folder and publishes it as the next version of `name`.

        Returns once the version is committed. Chunks that the service already holds are not sent; content that the
        artifact already has makes no new version, the aliases move to the version found.

        Args:
            path: A file, or a folder of files.
            name: The artifact; by default `run-<run id>-<base name>`.
            aliases: Aliases besides `latest`.

        Raises:
            ModelPathError: `path` is neither a file nor a folder that holds one.
            NameInvalidError, PathInvalidError, PathConflictError: A name cannot be used.
            TypeMismatchError: `name` exists with another type; also an AssertionError.
            SourceChangedError: A file changed while it was read.
        """
        self._check_active()
        names = alias_list(aliases)
        artifact = self._model_name(path, name)
        return await self._log(await self._session.scan(path), artifact, names)

    async def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,  # noqa: A002 - the name that users of W&B know
        aliases: Sequence[str] | str | None = None,
        tags: Sequence[str] = (),
    ) -> AsyncModelVersion:
        """Publishes what an `Artifact` gathered, or a file or folder, as the next version; any type is allowed.

        Args:
            artifact_or_path: What to log.
            name, type: The artifact and its type; needed with a path only, the type is "unspecified" by default.
            aliases: Aliases besides `latest`.
            tags: Words to find the version by.

        Raises:
            TypeMismatchError: The artifact exists with another type; also an AssertionError.
        """
        self._check_active()
        names = alias_list(aliases)
        if isinstance(artifact_or_path, Artifact):
            artifact = artifact_or_path
            sources, kept = artifact.sources, artifact.kept
        else:
            artifact = Artifact(self._model_name(artifact_or_path, name), type or "unspecified")
            sources, kept = await self._session.scan(artifact_or_path), []
        if not sources and not kept:
            raise ModelPathError(f"artifact {artifact.name!r} has no file; add one first")
        said = Description(artifact.description or "", json_object(artifact.metadata, "metadata"), tuple(tags))
        version = await self._log(sources, artifact.name, names, artifact.type, kept=kept, description=said)
        artifact.discard_drafts()
        return version

    async def use_artifact(
        self,
        name_or_artifact: str | AsyncModelVersion,
        type: str | None = None,  # noqa: A002 - the name that users of W&B know
    ) -> AsyncModelVersion:
        """Records a version of any type as an input of the run and returns its handle; `download` fetches it.

        Raises:
            NotFoundError: Something in the name does not exist; also a LookupError.
            TypeMismatchError: The version is of another type than `type`; also an AssertionError.
        """
        self._check_active()
        name = name_or_artifact if isinstance(name_or_artifact, str) else name_or_artifact.qualified_name
        info, _ = await self._session.catalog.use_version(self._where, name, run_id=self.id, type_=type or "")
        return AsyncModelVersion(self._session, info)

    async def link_artifact(
        self, artifact: str | AsyncModelVersion, target_path: str, aliases: Sequence[str] | str | None = None
    ) -> AsyncModelVersion:
        """Links a version of any type to a registered model; returns the link.

        Args:
            artifact: The version, or its reference.
            target_path: `name`, `registry/name`, `model-registry/name` or `entity/model-registry/name`.
            aliases: Aliases of the link.
        """
        self._check_active()
        reference = artifact if isinstance(artifact, str) else artifact.qualified_name
        entity, target = _split_target(target_path, self.entity)
        link, created = await self._session.catalog.link_version(
            self._where, reference, target, entity=entity, aliases=alias_list(aliases), run_id=self.id
        )
        return AsyncModelVersion(self._session, link, created=created)

    async def use_model(self, name: str) -> Path:
        """Records a model as an input of the run, downloads it, checks every byte, and returns where it is.

        Args:
            name: `[[entity/]project/]name[:alias or vN]`, or `model-registry/name[:…]`.

        Returns:
            The file when the version has one, else the folder, below `<artifact dir>/<source name>:<vN>`.

        Raises:
            NotFoundError: Something in the name does not exist; also a LookupError.
            NotAModelError: The type does not hold the word "model"; also an AssertionError.
            DataDamagedError: Stored bytes are gone or changed.
        """
        version = await self.use_model_version(name)
        return await version.download()

    async def use_model_version(self, name: str) -> AsyncModelVersion:
        """Records a model as an input of the run and returns its handle, without downloading."""
        self._check_active()
        info, _ = await self._session.catalog.use_version(self._where, name, run_id=self.id, require_model=True)
        return AsyncModelVersion(self._session, info, stats=self.stats)

    async def link_model(
        self,
        path: str | os.PathLike[str],
        registered_model_name: str,
        name: str | None = None,
        aliases: Sequence[str] | str | None = None,
    ) -> AsyncModelVersion:
        """Logs a file or folder as `log_model` does and links the version to a registered model; returns the link.

        Everything is checked before anything is logged. Content that `name` has already is linked as it is.

        Args:
            path: A file, or a folder of files.
            registered_model_name: The registered model; it is made when missing.
            name: The artifact to log to; by default `run-<run id>-<base name>`.
            aliases: Aliases of the link; the version in its artifact gets none of them.

        Raises:
            TargetPathError: `registered_model_name` holds a "/"; also an AssertionError.
            NameInvalidError: It holds other characters that it may not.
        """
        _check_target(registered_model_name)
        self._check_active()
        names = alias_list(aliases)
        artifact = self._model_name(path, name)
        version = await self._log(await self._session.scan(path), artifact, [])
        return await self._link(version.qualified_name, registered_model_name, names, version.stats)

    async def link_version(
        self, name: str, registered_model_name: str, aliases: Sequence[str] | str | None = None
    ) -> AsyncModelVersion:
        """Links a version that was logged before to a registered model; returns the link.

        Args:
            name: `[[entity/]project/]name[:alias or vN]`; it may be a link itself.
            registered_model_name: The registered model; it is made when missing.
            aliases: Aliases of the link.
        """
        _check_target(registered_model_name)
        return await self._link(name, registered_model_name, alias_list(aliases), TransferStats())

    async def finish(self, exit_code: int | None = None) -> None:
        """Ends the run: finished, or failed when `exit_code` is not 0. A second call does nothing."""
        if self._info is None or self._ended:
            return
        self._ended = True
        if self._heart is not None:
            self._heart.cancel()
        if self._pushing is not None:
            await self._pushing
        state = "failed" if exit_code else "finished"
        self._info = await self._session.catalog.finish_run(self._where, self.id, state)

    async def _log(
        self,
        sources: Sequence[SourceFile],
        name: str,
        aliases: Sequence[str],
        type_: str = MODEL_TYPE,
        *,
        kept: Sequence[Entry] = (),
        description: Description | None = None,
    ) -> AsyncModelVersion:
        """Uploads files and publishes them: bytes first, names last."""
        self._check_active()
        check_type(type_)
        catalog = self._session.catalog
        draft = await catalog.begin_version(self._where, name, type_, run_id=self.id)
        assert draft.ticket is not None

        async def renew() -> TicketInfo:
            again = await catalog.begin_version(self._where, name, type_, draft_id=draft.id)
            assert again.ticket is not None
            return again.ticket

        entries, receipt, stats = await self._session.upload(sources, kept, name, draft.ticket, renew)
        # The digest guards against a manifest that is cut on its way: a cut stream looks like a shorter one.
        digest = await self._session.in_thread(manifest_digest, [(entry.path, entry.digest) for entry in entries])
        info, created = await catalog.commit_version(
            draft.id, entries, receipt, aliases=aliases, manifest_digest=digest, description=description
        )
        self.stats.add(stats)
        return AsyncModelVersion(self._session, info, stats=stats, created=created)

    async def _link(self, reference: str, target: str, aliases: Sequence[str], stats: TransferStats) -> AsyncModelVersion:
        self._check_active()
        link, created = await self._session.catalog.link_version(
            self._where, reference, target, entity=self.entity, aliases=aliases, run_id=self.id, require_model=True
        )
        return AsyncModelVersion(self._session, link, stats=stats, created=created)

    def _model_name(self, path: str | os.PathLike[str], name: str | None) -> str:
        if name is not None:
            return check_artifact_name(name)
        return default_model_name(self.id, os.path.basename(os.path.abspath(path)))  # noqa: PTH100, PTH119 - follows no link

    def _value_changed(self) -> None:
        """Sends config and summary soon, one call at a time; `finish` waits for the last one and raises what it raised."""
        self._dirty = True
        if self._pushing is None or self._pushing.done():
            self._pushing = asyncio.create_task(self._push())

    async def _push(self) -> RunInfo:
        while self._dirty:
            self._dirty = False
            await self.update()
        return self.info

    def _begun(self, value: Value | None) -> Value:
        if value is None:
            raise UsageError('the run has not begun; use "async with" or await run.start() first')
        return value

    def _check_active(self) -> None:
        if self._ended:
            raise UsageError(f"run {self.id} has ended; begin another one")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await self._session.catalog.update_run(self._where, self.id)
            except ModelwireError:  # the calls that matter will say so themselves
                continue


def _split_target(path: str, entity: str) -> tuple[str, str]:
    *front, name = path.split("/")
    check_artifact_name(name, "registered model name")
    if front in ([], ["registry"], [REGISTRY_PROJECT]):
        return entity, name
    if len(front) == 2 and front[1] in {"registry", REGISTRY_PROJECT} and front[0]:  # noqa: PLR2004 - entity and registry
        return front[0], name
    raise TargetPathError(f"{path!r} is not the path of a registered model: [[entity/]{REGISTRY_PROJECT}/]name")


def _check_target(name: str) -> None:
    if "/" in name:
        raise TargetPathError(f'{name!r} is a path; give the name of a registered model, without "/"')
    check_artifact_name(name, "registered model name")
