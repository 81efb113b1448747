"""The metadata service as the client sees it: one method per RPC, plain values in and out."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelwire._channel import ServiceChannel
from modelwire._messages import (
    TicketInfo,
    Where,
    artifact_value,
    edge_value,
    json_text,
    node_value,
    reference_message,
    registered_model_value,
    run_name,
    run_value,
    ticket_value,
    version_value,
)
from modelwire.api.metadata.v1 import artifact_service_pb2 as artifact_pb
from modelwire.api.metadata.v1 import artifact_service_pb2_grpc as artifact_grpc
from modelwire.api.metadata.v1 import lineage_service_pb2 as lineage_pb
from modelwire.api.metadata.v1 import lineage_service_pb2_grpc as lineage_grpc
from modelwire.api.metadata.v1 import registry_service_pb2 as registry_pb
from modelwire.api.metadata.v1 import registry_service_pb2_grpc as registry_grpc
from modelwire.api.metadata.v1 import resources_pb2 as pb
from modelwire.api.metadata.v1 import run_service_pb2 as run_pb
from modelwire.api.metadata.v1 import run_service_pb2_grpc as run_grpc
from modelwire.types import (
    ArtifactInfo,
    Entry,
    Lineage,
    LineageEdge,
    LineageNode,
    RegisteredModelInfo,
    RunInfo,
    VersionInfo,
)

COMMIT_MESSAGE_ENTRIES = 2000
_COMMIT_MESSAGE_BYTES = 2 << 20

RESUME_POLICIES = {
    None: run_pb.RESUME_POLICY_UNSPECIFIED,
    "allow": run_pb.RESUME_POLICY_ALLOW,
    "must": run_pb.RESUME_POLICY_MUST,
    "never": run_pb.RESUME_POLICY_NEVER,
}
_STATES = {"finished": pb.RUN_STATE_FINISHED, "failed": pb.RUN_STATE_FAILED, "crashed": pb.RUN_STATE_CRASHED}
_DIRECTIONS = {
    "both": lineage_pb.LINEAGE_DIRECTION_BOTH,
    "upstream": lineage_pb.LINEAGE_DIRECTION_UPSTREAM,
    "downstream": lineage_pb.LINEAGE_DIRECTION_DOWNSTREAM,
}
_ROLES = {"output": lineage_pb.RUN_VERSION_ROLE_OUTPUT, "input": lineage_pb.RUN_VERSION_ROLE_INPUT}


@dataclass(frozen=True)
class DraftInfo:
    """Is a draft, or the version that makes it needless."""

    id: str
    ticket: TicketInfo | None
    existing: VersionInfo | None = None


@dataclass(frozen=True)
class Description:
    """Says what a version's makers say of it."""

    description: str = ""
    metadata: Mapping[str, Any] | None = None
    tags: Sequence[str] = ()
    ttl_seconds: int = 0


class Catalog:
    """Makes the calls of the metadata services."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._channel = channel
        self._runs: run_grpc.RunServiceAsyncStub = run_grpc.RunServiceStub(channel.channel)  # type: ignore[assignment]
        self._artifacts: artifact_grpc.ArtifactServiceAsyncStub = artifact_grpc.ArtifactServiceStub(channel.channel)  # type: ignore[assignment]
        self._registry: registry_grpc.RegistryServiceAsyncStub = registry_grpc.RegistryServiceStub(channel.channel)  # type: ignore[assignment]
        self._lineage: lineage_grpc.LineageServiceAsyncStub = lineage_grpc.LineageServiceStub(channel.channel)  # type: ignore[assignment]

    # ── Runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_run(
        self,
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
    ) -> RunInfo:
        """Begins a run, or takes up one that exists."""
        request = run_pb.CreateRunRequest(
            request_id=_new_id(),
            name=run_name(where, run_id or ""),
            display_name=name or "",
            config_json=json_text(config),
            notes=notes or "",
            tags=tags,
            group=group or "",
            job_type=job_type or "",
            resume_policy=RESUME_POLICIES[resume],
        )
        return run_value((await self._channel.unary(self._runs.CreateRun, request)).run)

    async def get_run(self, where: Where, run_id: str) -> RunInfo:
        """Gives one run."""
        request = run_pb.GetRunRequest(name=run_name(where, run_id))
        return run_value((await self._channel.unary(self._runs.GetRun, request)).run)

    async def list_runs(
        self, where: Where, page_size: int = 0, page_token: str = "", *, oldest_first: bool = False
    ) -> tuple[list[RunInfo], str]:
        """Lists a page of runs; returns it with the token of the next one."""
        request = run_pb.ListRunsRequest(
            entity=where.entity, project=where.project, page_size=page_size, page_token=page_token, oldest_first=oldest_first
        )
        answer = await self._channel.unary(self._runs.ListRuns, request)
        return [run_value(run) for run in answer.runs], answer.next_page_token

    async def update_run(
        self,
        where: Where,
        run_id: str,
        *,
        config: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
        notes: str | None = None,
        tags: Sequence[str] | None = None,
        name: str | None = None,
    ) -> RunInfo:
        """Changes what is given; with nothing given it is a sign of life."""
        request = run_pb.UpdateRunRequest(
            request_id=_new_id(),
            name=run_name(where, run_id),
            config_json=None if config is None else json_text(config),
            summary_json=None if summary is None else json_text(summary),
            notes=notes,
            tags=None if tags is None else run_pb.TagList(tags=tags),
            display_name=name,
        )
        return run_value((await self._channel.unary(self._runs.UpdateRun, request)).run)

    async def finish_run(self, where: Where, run_id: str, state: str = "finished") -> RunInfo:
        """Ends a run as "finished", "failed" or "crashed"."""
        request = run_pb.FinishRunRequest(request_id=_new_id(), name=run_name(where, run_id), state=_STATES[state])
        return run_value((await self._channel.unary(self._runs.FinishRun, request)).run)

    # ── Artifacts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin_version(
        self,
        where: Where,
        artifact: str,
        type_: str,
        *,
        run_id: str | None = None,
        manifest_digest: str = "",
        draft_id: str = "",
    ) -> DraftInfo:
        """Opens a draft; with `draft_id` gives a new ticket for one that is open."""
        request = artifact_pb.BeginVersionRequest(
            request_id=_new_id(),
            entity=where.entity,
            project=where.project,
            artifact=artifact,
            type=type_,
            run=run_name(where, run_id) if run_id else None,
            manifest_digest=manifest_digest,
            draft_id=draft_id,
        )
        answer = await self._channel.unary(self._artifacts.BeginVersion, request)
        if answer.HasField("existing"):
            return DraftInfo("", None, version_value(answer.existing))
        return DraftInfo(answer.draft_id, ticket_value(answer.ticket))

    async def commit_version(
        self,
        draft_id: str,
        entries: Sequence[Entry],
        receipt: str,
        *,
        aliases: Sequence[str] = (),
        manifest_digest: str = "",
        description: Description | None = None,
    ) -> tuple[VersionInfo, bool]:
        """Publishes a draft; returns the version and whether it is new."""
        said = description or Description()
        first = artifact_pb.CommitVersionRequest(
            request_id=_new_id(),
            draft_id=draft_id,
            receipt=receipt,
            manifest_digest=manifest_digest,
            aliases=aliases,
            tags=said.tags,
            metadata_json=json_text(said.metadata),
            description=said.description,
            ttl_seconds=said.ttl_seconds,
        )

        async def attempt(metadata: object) -> artifact_pb.CommitVersionResponse:
            del metadata
            return await self._artifacts.CommitVersion(_pages(first, entries))

        answer = await self._channel.repeat(attempt)
        return version_value(answer.version), answer.created

    async def get_version(self, where: Where, reference: str) -> VersionInfo:
        """Gives the version that a reference names."""
        request = artifact_pb.GetVersionRequest(reference=reference_message(where, reference))
        return version_value((await self._channel.unary(self._artifacts.GetVersion, request)).version)

    async def list_versions(
        self,
        where: Where,
        artifact: str,
        page_size: int = 0,
        page_token: str = "",
        *,
        tags: Sequence[str] = (),
        oldest_first: bool = False,
    ) -> tuple[list[VersionInfo], str]:
        """Lists a page of an artifact's versions; returns it with the token of the next one."""
        request = artifact_pb.ListVersionsRequest(
            artifact=reference_message(where, artifact),
            tags=tags,
            page_size=page_size,
            page_token=page_token,
            oldest_first=oldest_first,
        )
        answer = await self._channel.unary(self._artifacts.ListVersions, request)
        return [version_value(version) for version in answer.versions], answer.next_page_token

    async def list_artifacts(
        self, where: Where, page_size: int = 0, page_token: str = "", *, type_: str = ""
    ) -> tuple[list[ArtifactInfo], str]:
        """Lists a page of a project's artifacts; returns it with the token of the next one."""
        request = artifact_pb.ListArtifactsRequest(
            entity=where.entity, project=where.project, type=type_, page_size=page_size, page_token=page_token
        )
        answer = await self._channel.unary(self._artifacts.ListArtifacts, request)
        return [artifact_value(artifact) for artifact in answer.artifacts], answer.next_page_token

    async def update_version(
        self,
        where: Where,
        reference: str,
        *,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        ttl_seconds: int | None = None,
    ) -> VersionInfo:
        """Changes what is given about a version."""
        request = artifact_pb.UpdateVersionRequest(
            request_id=_new_id(),
            reference=reference_message(where, reference),
            description=description,
            metadata_json=None if metadata is None else json_text(metadata),
            tags=None if tags is None else run_pb.TagList(tags=tags),
            ttl_seconds=ttl_seconds,
        )
        return version_value((await self._channel.unary(self._artifacts.UpdateVersion, request)).version)

    async def set_aliases(
        self,
        where: Where,
        reference: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        expected_current: str | None = None,
    ) -> VersionInfo:
        """Gives aliases to a version and takes aliases from it."""
        request = artifact_pb.SetAliasesRequest(
            request_id=_new_id(),
            reference=reference_message(where, reference),
            add=add,
            remove=remove,
            expected_current=expected_current,
        )
        return version_value((await self._channel.unary(self._artifacts.SetAliases, request)).version)

    async def delete_version(self, where: Where, reference: str, *, delete_aliases: bool = False) -> VersionInfo:
        """Deletes a version, or a link."""
        request = artifact_pb.DeleteVersionRequest(
            request_id=_new_id(), reference=reference_message(where, reference), delete_aliases=delete_aliases
        )
        return version_value((await self._channel.unary(self._artifacts.DeleteVersion, request)).version)

    async def delete_artifact(self, where: Where, artifact: str, *, delete_aliases: bool = False) -> int:
        """Deletes an artifact; returns how many versions it had."""
        request = artifact_pb.DeleteArtifactRequest(
            request_id=_new_id(), artifact=reference_message(where, artifact), delete_aliases=delete_aliases
        )
        return (await self._channel.unary(self._artifacts.DeleteArtifact, request)).deleted_versions

    async def use_version(
        self, where: Where, reference: str, *, run_id: str | None = None, require_model: bool = False, type_: str = ""
    ) -> tuple[VersionInfo, TicketInfo | None]:
        """Resolves a reference, records the input of the run, and gives a ticket to read."""
        request = artifact_pb.UseVersionRequest(
            request_id=_new_id(),
            reference=reference_message(where, reference),
            run=run_name(where, run_id) if run_id else None,
            require_model=require_model,
            type=type_,
        )
        answer = await self._channel.unary(self._artifacts.UseVersion, request)
        return version_value(answer.version), ticket_value(answer.ticket) if answer.HasField("ticket") else None

    async def list_entries(self, where: Where, reference: str, path_prefix: str = "") -> AsyncIterator[Entry]:
        """Yields the entries of a version by path, page by page."""
        token = ""
        while True:
            request = artifact_pb.ListEntriesRequest(
                reference=reference_message(where, reference), path_prefix=path_prefix, page_size=5000, page_token=token
            )
            answer = await self._channel.unary(self._artifacts.ListEntries, request)
            for entry in answer.entries:
                yield Entry(entry.path, entry.size, entry.stored.content_digest, entry.stored.blob_id)
            if not (token := answer.next_page_token):
                return

    # ── Registry ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def link_version(
        self,
        where: Where,
        reference: str,
        registered_model: str,
        *,
        entity: str = "",
        aliases: Sequence[str] = (),
        run_id: str | None = None,
        require_model: bool = False,
    ) -> tuple[VersionInfo, bool]:
        """Links a version to a registered model; returns the link and whether it is new."""
        request = registry_pb.LinkVersionRequest(
            request_id=_new_id(),
            reference=reference_message(where, reference),
            entity=entity,
            registered_model=registered_model,
            aliases=aliases,
            run=run_name(where, run_id) if run_id else None,
            require_model=require_model,
        )
        answer = await self._channel.unary(self._registry.LinkVersion, request)
        return version_value(answer.link), answer.created

    async def unlink_version(self, where: Where, link: str, *, delete_aliases: bool = False) -> VersionInfo:
        """Removes a link."""
        request = registry_pb.UnlinkVersionRequest(
            request_id=_new_id(), link=reference_message(where, link), delete_aliases=delete_aliases
        )
        return version_value((await self._channel.unary(self._registry.UnlinkVersion, request)).link)

    async def set_link_aliases(
        self,
        where: Where,
        link: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        expected_current: str | None = None,
    ) -> VersionInfo:
        """Gives aliases to a link and takes aliases from it."""
        request = registry_pb.SetLinkAliasesRequest(
            request_id=_new_id(), link=reference_message(where, link), add=add, remove=remove, expected_current=expected_current
        )
        return version_value((await self._channel.unary(self._registry.SetLinkAliases, request)).link)

    async def list_registered_models(
        self, entity: str, page_size: int = 0, page_token: str = "", *, name_contains: str = ""
    ) -> tuple[list[RegisteredModelInfo], str]:
        """Lists a page of registered models; returns it with the token of the next one."""
        request = registry_pb.ListRegisteredModelsRequest(
            entity=entity, name_contains=name_contains, page_size=page_size, page_token=page_token
        )
        answer = await self._channel.unary(self._registry.ListRegisteredModels, request)
        return [registered_model_value(model) for model in answer.registered_models], answer.next_page_token

    async def get_registered_model(self, entity: str, name: str) -> RegisteredModelInfo:
        """Gives one registered model."""
        request = registry_pb.GetRegisteredModelRequest(entity=entity, name=name)
        return registered_model_value((await self._channel.unary(self._registry.GetRegisteredModel, request)).registered_model)

    async def update_registered_model(
        self, entity: str, name: str, *, description: str | None = None, tags: Sequence[str] | None = None
    ) -> RegisteredModelInfo:
        """Changes what is given about a registered model."""
        request = registry_pb.UpdateRegisteredModelRequest(
            request_id=_new_id(),
            entity=entity,
            name=name,
            description=description,
            tags=None if tags is None else run_pb.TagList(tags=tags),
        )
        return registered_model_value(
            (await self._channel.unary(self._registry.UpdateRegisteredModel, request)).registered_model
        )

    async def delete_registered_model(self, entity: str, name: str, *, delete_aliases: bool = False) -> int:
        """Deletes a registered model; returns how many links it had."""
        request = registry_pb.DeleteRegisteredModelRequest(
            request_id=_new_id(), entity=entity, name=name, delete_aliases=delete_aliases
        )
        return (await self._channel.unary(self._registry.DeleteRegisteredModel, request)).removed_links

    async def list_links(
        self, entity: str, name: str, page_size: int = 0, page_token: str = "", *, oldest_first: bool = False
    ) -> tuple[list[VersionInfo], str]:
        """Lists a page of a registered model's links; returns it with the token of the next one."""
        request = registry_pb.ListLinksRequest(
            entity=entity, registered_model=name, page_size=page_size, page_token=page_token, oldest_first=oldest_first
        )
        answer = await self._channel.unary(self._registry.ListLinks, request)
        return [version_value(link) for link in answer.links], answer.next_page_token

    # ── Lineage ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get_lineage(
        self,
        where: Where,
        *,
        reference: str | None = None,
        run_id: str | None = None,
        direction: str = "both",
        depth: int = 0,
    ) -> Lineage:
        """Walks the graph from a version or a run; all pages of it."""
        nodes: list[LineageNode] = []
        edges: dict[LineageEdge, None] = {}
        token = ""
        while True:
            request = lineage_pb.GetLineageRequest(
                reference=None if reference is None else reference_message(where, reference),
                run=None if run_id is None else run_name(where, run_id),
                direction=_DIRECTIONS[direction],
                max_depth=depth,
                page_token=token,
            )
            answer = await self._channel.unary(self._lineage.GetLineage, request)
            nodes += map(node_value, answer.nodes)
            edges |= dict.fromkeys(map(edge_value, answer.edges))
            if not (token := answer.next_page_token):
                return Lineage(tuple(nodes), tuple(edges))

    async def list_run_versions(
        self, where: Where, run_id: str, role: str, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[VersionInfo], str]:
        """Lists a page of the versions that a run logged ("output") or used ("input")."""
        request = lineage_pb.ListRunVersionsRequest(
            run=run_name(where, run_id), role=_ROLES[role], page_size=page_size, page_token=page_token
        )
        answer = await self._channel.unary(self._lineage.ListRunVersions, request)
        return [version_value(version) for version in answer.versions], answer.next_page_token

    async def list_version_runs(
        self, where: Where, reference: str, role: str, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[RunInfo], str]:
        """Lists a page of the runs that logged ("output") or used ("input") a version."""
        request = lineage_pb.ListVersionRunsRequest(
            reference=reference_message(where, reference), role=_ROLES[role], page_size=page_size, page_token=page_token
        )
        answer = await self._channel.unary(self._lineage.ListVersionRuns, request)
        return [run_value(run) for run in answer.runs], answer.next_page_token


def _new_id() -> str:
    return uuid.uuid4().hex


def _pages(first: artifact_pb.CommitVersionRequest, entries: Sequence[Entry]) -> Iterator[artifact_pb.CommitVersionRequest]:
    page = artifact_pb.CommitVersionRequest()
    page.CopyFrom(first)
    total = 0
    for entry in entries:
        stored = pb.StoredContent(content_digest=entry.digest, blob_id=entry.blob_id)
        message = pb.ManifestEntry(path=entry.path, size=entry.size, stored=stored)
        total += message.ByteSize()
        page.entries.append(message)
        if len(page.entries) >= COMMIT_MESSAGE_ENTRIES or total >= _COMMIT_MESSAGE_BYTES:
            yield page
            page, total = artifact_pb.CommitVersionRequest(), 0
    yield page
