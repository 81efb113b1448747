"""The blocking calls: one line each over the asyncio client, which is the source of what they do."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from modelwire._loop import LOOP
from modelwire.artifact import Artifact
from modelwire.async_client import AsyncClient
from modelwire.async_run import AsyncRun
from modelwire.async_version import AsyncModelVersion, VersionFacts
from modelwire.errors import ModelwireError, UsageError
from modelwire.remote_file import RemoteFile
from modelwire.run_values import Config, Summary
from modelwire.settings import Settings
from modelwire.types import ArtifactInfo, Entry, Lineage, RegisteredModelInfo, RunInfo, TransferStats


class ModelVersion(VersionFacts):
    """Is the handle of a committed version."""

    def __init__(self, version: AsyncModelVersion) -> None:
        self._async = version

    @property
    def _info(self) -> Any:  # type: ignore[override]
        return self._async.info

    @property
    def stats(self) -> TransferStats:
        """What logging or downloading it through this handle took."""
        return self._async.stats

    @property
    def created(self) -> bool:
        """Whether logging made the version; False when the content was there already."""
        return self._async.created

    def wait(self, timeout: float | None = None) -> Self:
        """Returns once the version is committed."""
        LOOP.run(self._async.wait(timeout))
        return self

    def files(self, path_prefix: str = "") -> list[Entry]:
        """Lists the files of the version by path; see AsyncModelVersion.files."""
        return LOOP.run(self._async.files(path_prefix))

    def get_entry(self, path: str) -> Entry:
        """Returns one file of the version; see AsyncModelVersion.get_entry."""
        return LOOP.run(self._async.get_entry(path))

    def download(self, root: str | os.PathLike[str] | None = None, path_prefix: str = "") -> Path:
        """Puts the files below `root`; see AsyncModelVersion.download."""
        return LOOP.run(self._async.download(root, path_prefix))

    def open(self, path: str) -> RemoteFile:
        """Opens a file of the version over the network; see AsyncModelVersion.open."""
        remote = LOOP.run(self._async.open(path))
        return RemoteFile(remote, lambda file, size: LOOP.run(file.read(size)))

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Checks that the files below `root` are the version's; see AsyncModelVersion.verify."""
        LOOP.run(self._async.verify(root))

    def checkout(self, root: str | os.PathLike[str] | None = None) -> Path:
        """Makes the folder `root` hold the version and nothing else; see AsyncModelVersion.checkout."""
        return LOOP.run(self._async.checkout(root))

    def new_draft(self) -> Artifact:
        """Returns a builder that holds the version's files; see AsyncModelVersion.new_draft."""
        return LOOP.run(self._async.new_draft())

    def update(
        self,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        ttl: int | None = None,
    ) -> Self:
        """Changes what is given; see AsyncModelVersion.update."""
        LOOP.run(self._async.update(description, metadata, tags, ttl))
        return self

    def set_aliases(
        self, add: Sequence[str] | str = (), remove: Sequence[str] | str = (), expected_current: str | None = None
    ) -> Self:
        """Gives and takes aliases in one step; see AsyncModelVersion.set_aliases."""
        LOOP.run(self._async.set_aliases(add, remove, expected_current))
        return self

    def delete(self, delete_aliases: bool = False) -> None:
        """Deletes the version, or only the link when this is one; see AsyncModelVersion.delete."""
        LOOP.run(self._async.delete(delete_aliases))

    def unlink(self) -> None:
        """Removes the link; see AsyncModelVersion.unlink."""
        LOOP.run(self._async.unlink())

    def link(self, target: str, aliases: Sequence[str] | str = ()) -> ModelVersion:
        """Links the version to a registered model; returns the link."""
        return ModelVersion(LOOP.run(self._async.link(target, aliases)))

    def logged_by(self) -> RunInfo | None:
        """Returns the run that first logged the content."""
        return LOOP.run(self._async.logged_by())

    def used_by(self) -> list[RunInfo]:
        """Returns the runs that used the version, through links too."""
        return LOOP.run(self._async.used_by())


class Run:
    """Is one execution of a program, made by `modelwire.init` or `Client.run`."""

    def __init__(self, run: AsyncRun, owned: Client | None = None) -> None:
        self._async, self._owned = run, owned
        run._value_changed = self._push_values  # type: ignore[method-assign]  # noqa: SLF001 - the same run, seen from a thread

    def start(self) -> Self:
        """Begins the run at the server; does nothing when it has begun."""
        LOOP.run(self._async.start())
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            LOOP.run(self._async.__aexit__(kind, error, trace))
        finally:
            self._forget()

    @property
    def info(self) -> RunInfo:
        """Everything that is known of the run."""
        return self._async.info

    @property
    def id(self) -> str:
        """The id."""
        return self._async.id

    @property
    def name(self) -> str:
        """The name that people see."""
        return self._async.name

    @property
    def entity(self) -> str:
        """Who it belongs to."""
        return self._async.entity

    @property
    def project(self) -> str:
        """The piece of work it belongs to."""
        return self._async.project

    @property
    def config(self) -> Config:
        """Its inputs: a dictionary with attribute access, which the server sees at once."""
        return self._async.config

    @property
    def summary(self) -> Summary:
        """Its results: a dictionary with attribute access, which the server sees at once."""
        return self._async.summary

    def update(self, name: str | None = None, notes: str | None = None, tags: Sequence[str] | None = None) -> RunInfo:
        """Changes what is given about the run; see AsyncRun.update."""
        return LOOP.run(self._async.update(name, notes, tags))

    @property
    def stats(self) -> TransferStats:
        """What all transfers of the run took together."""
        return self._async.stats

    def log_model(
        self, path: str | os.PathLike[str], name: str | None = None, aliases: Sequence[str] | str | None = None
    ) -> ModelVersion:
        """Uploads a file or folder and publishes it as the next version of `name`; see AsyncRun.log_model."""
        return ModelVersion(LOOP.run(self._async.log_model(path, name, aliases)))

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,  # noqa: A002 - the name that users of W&B know
        aliases: Sequence[str] | str | None = None,
        tags: Sequence[str] = (),
    ) -> ModelVersion:
        """Publishes what an `Artifact` gathered, or a file or folder; see AsyncRun.log_artifact."""
        return ModelVersion(LOOP.run(self._async.log_artifact(artifact_or_path, name, type, aliases, tags)))

    def use_artifact(
        self,
        name_or_artifact: str | ModelVersion,
        type: str | None = None,  # noqa: A002 - the name that users of W&B know
    ) -> ModelVersion:
        """Records a version of any type as an input of the run; see AsyncRun.use_artifact."""
        return ModelVersion(LOOP.run(self._async.use_artifact(_reference(name_or_artifact), type)))

    def link_artifact(
        self, artifact: str | ModelVersion, target_path: str, aliases: Sequence[str] | str | None = None
    ) -> ModelVersion:
        """Links a version of any type to a registered model; see AsyncRun.link_artifact."""
        return ModelVersion(LOOP.run(self._async.link_artifact(_reference(artifact), target_path, aliases)))

    def use_model(self, name: str) -> Path:
        """Records a model as an input, downloads it and returns where it is; see AsyncRun.use_model."""
        return LOOP.run(self._async.use_model(name))

    def use_model_version(self, name: str) -> ModelVersion:
        """Records a model as an input of the run and returns its handle, without downloading."""
        return ModelVersion(LOOP.run(self._async.use_model_version(name)))

    def link_model(
        self,
        path: str | os.PathLike[str],
        registered_model_name: str,
        name: str | None = None,
        aliases: Sequence[str] | str | None = None,
    ) -> ModelVersion:
        """Logs a file or folder and links the version to a registered model; see AsyncRun.link_model."""
        return ModelVersion(LOOP.run(self._async.link_model(path, registered_model_name, name, aliases)))

    def link_version(self, name: str, registered_model_name: str, aliases: Sequence[str] | str | None = None) -> ModelVersion:
        """Links a version that was logged before to a registered model; see AsyncRun.link_version."""
        return ModelVersion(LOOP.run(self._async.link_version(name, registered_model_name, aliases)))

    def finish(self, exit_code: int | None = None) -> None:
        """Ends the run: finished, or failed when `exit_code` is not 0. A second call does nothing."""
        try:
            LOOP.run(self._async.finish(exit_code))
        finally:
            self._forget()

    def _push_values(self) -> None:
        LOOP.run(self._async.update())

    def _forget(self) -> None:
        _ACTIVE.forget(self)
        if self._owned is not None:
            self._owned.close()


def _reference(version: str | ModelVersion) -> str:
    return version if isinstance(version, str) else version.qualified_name


class Client:
    """Is a blocking connection to a modelwire installation; see AsyncClient."""

    def __init__(
        self,
        address: str | None = None,
        *,
        entity: str | None = None,
        project: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Reads the settings; connects at the first call."""
        self._async = AsyncClient(address, entity=entity, project=project, settings=settings)

    @property
    def settings(self) -> Settings:
        """What the client was told."""
        return self._async.settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        LOOP.run(self._async.close())

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
    ) -> Run:
        """Makes a run, which begins on `with` or `run.start()`; see AsyncClient.run."""
        return Run(self._async.run(project, entity, config, name, id, notes, tags, group, job_type, resume))

    def artifact(self, name: str) -> ModelVersion:
        """Returns the version that a reference names."""
        return ModelVersion(LOOP.run(self._async.artifact(name)))

    def artifacts(self, name: str, tags: Sequence[str] = ()) -> list[ModelVersion]:
        """Returns the versions of an artifact that have all of `tags`, the newest first."""
        return [ModelVersion(version) for version in LOOP.run(self._async.artifacts(name, tags))]

    def artifact_collections(self, project: str | None = None, type: str = "") -> list[ArtifactInfo]:  # noqa: A002
        """Returns the artifacts of a project by name."""
        return LOOP.run(self._async.artifact_collections(project, type))

    def runs(self, project: str | None = None) -> list[RunInfo]:
        """Returns the runs of a project, the newest first."""
        return LOOP.run(self._async.runs(project))

    def run_info(self, path: str) -> RunInfo:
        """Returns one run: `[[entity/]project/]id`."""
        return LOOP.run(self._async.run_info(path))

    def registered_model(self, name: str) -> RegisteredModelInfo:
        """Returns one registered model."""
        return LOOP.run(self._async.registered_model(name))

    def registered_models(self, name_contains: str = "") -> list[RegisteredModelInfo]:
        """Returns registered models by name."""
        return LOOP.run(self._async.registered_models(name_contains))

    def links(self, registered_model: str) -> list[ModelVersion]:
        """Returns the links of a registered model, the newest first."""
        return [ModelVersion(link) for link in LOOP.run(self._async.links(registered_model))]

    def lineage(self, start: str, direction: str = "both", depth: int = 10) -> Lineage:
        """Walks the graph of runs and versions; see AsyncClient.lineage."""
        return LOOP.run(self._async.lineage(start, direction, depth))

    def download(self, name: str, root: str | os.PathLike[str] | None = None) -> Path:
        """Downloads a version without recording that it was used; returns its file or folder."""
        return LOOP.run(self._async.download(name, root))

    def link(self, name: str, registered_model_name: str, aliases: Sequence[str] | str = ()) -> ModelVersion:
        """Links the version that a reference names to a registered model; returns the link."""
        return ModelVersion(LOOP.run(self._async.link(name, registered_model_name, aliases)))


# ── The active run, for the functions of the module ───────────────────────────────────────────────────────────────────


class _Active:
    """Knows the runs that `init` began and nobody finished yet; the last one is the active one."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._watching = False
        self._exit_code = 0
        self._process = 0

    def add(self, run: Run) -> None:
        if not self._watching:
            self._watch()
        self._runs.append(run)

    def forget(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)

    @property
    def last(self) -> Run | None:
        return self._runs[-1] if self._runs else None

    def _watch(self) -> None:
        """Finishes forgotten runs at exit: as failed when an exception that nobody caught ends the program."""
        self._watching = True
        self._process = os.getpid()
        atexit.register(self._finish_all)
        before = sys.excepthook

        def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            self._exit_code = 1
            before(kind, error, trace)

        sys.excepthook = note

    def _finish_all(self) -> None:
        if os.getpid() != self._process:
            return  # a forked child: the runs are its parent's
        for run in list(self._runs):
            try:
                run.finish(self._exit_code)
            except ModelwireError as error:
                print(f"modelwire: run {run.id} could not be finished: {error}", file=sys.stderr)  # noqa: T201


_ACTIVE = _Active()


def init(
    project: str | None = None,
    entity: str | None = None,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    id: str | None = None,  # noqa: A002 - the name that users of W&B know
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    group: str | None = None,
    job_type: str | None = None,
    dir: str | os.PathLike[str] | None = None,  # noqa: A002
    mode: str | None = None,
    resume: str | None = None,
) -> Run:
    """Begins a run and makes it the active one; see AsyncClient.run. A run that nobody finishes is finished at exit.

    Args:
        dir: Folder below which the run keeps its local files.
        mode: "online"; there is no other mode yet.
    """
    client = Client(settings=Settings.load(entity=entity, project=project, dir=dir, mode=mode))
    made = client._async.run(project, entity, config, name, id, notes, tags, group, job_type, resume)  # noqa: SLF001
    run = Run(made, owned=client)
    run.start()
    _ACTIVE.add(run)
    if not client.settings.quiet:
        print(f"modelwire: run {run.name} ({run.info.path}) at {client.settings.address}", file=sys.stderr)  # noqa: T201
    return run


def active_run() -> Run:
    """Returns the run that `init` began last; raises UsageError when there is none."""
    if (run := _ACTIVE.last) is None:
        raise UsageError("no run is active; call modelwire.init() first")
    return run


def log_model(
    path: str | os.PathLike[str], name: str | None = None, aliases: Sequence[str] | str | None = None
) -> ModelVersion:
    """Logs a model under the active run; see Run.log_model."""
    return active_run().log_model(path, name, aliases)


def use_model(name: str) -> Path:
    """Uses a model under the active run; see Run.use_model."""
    return active_run().use_model(name)


def link_model(
    path: str | os.PathLike[str],
    registered_model_name: str,
    name: str | None = None,
    aliases: Sequence[str] | str | None = None,
) -> ModelVersion:
    """Links a model under the active run; see Run.link_model."""
    return active_run().link_model(path, registered_model_name, name, aliases)


def log_artifact(
    artifact_or_path: Artifact | str | os.PathLike[str],
    name: str | None = None,
    type: str | None = None,  # noqa: A002 - the name that users of W&B know
    aliases: Sequence[str] | str | None = None,
    tags: Sequence[str] = (),
) -> ModelVersion:
    """Logs an artifact under the active run; see Run.log_artifact."""
    return active_run().log_artifact(artifact_or_path, name, type, aliases, tags)


def use_artifact(
    name_or_artifact: str | ModelVersion,
    type: str | None = None,  # noqa: A002 - the name that users of W&B know
) -> ModelVersion:
    """Uses an artifact under the active run; see Run.use_artifact."""
    return active_run().use_artifact(name_or_artifact, type)


def link_artifact(artifact: str | ModelVersion, target_path: str, aliases: Sequence[str] | str | None = None) -> ModelVersion:
    """Links an artifact under the active run; see Run.link_artifact."""
    return active_run().link_artifact(artifact, target_path, aliases)


def finish(exit_code: int | None = None) -> None:
    """Ends the active run; does nothing when there is none."""
    if (run := _ACTIVE.last) is not None:
        run.finish(exit_code)
