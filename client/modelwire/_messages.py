"""Between the messages of the metadata services and plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from modelwire.api.metadata.v1 import lineage_service_pb2 as lineage_pb
from modelwire.api.metadata.v1 import resources_pb2 as pb
from modelwire.types import ArtifactInfo, LineageEdge, LineageNode, PlaceInfo, RegisteredModelInfo, RunInfo, VersionInfo


@dataclass(frozen=True)
class Where:
    """Says what fills the parts that a reference leaves out."""

    entity: str
    project: str


@dataclass(frozen=True)
class TicketInfo:
    """Is a signed ticket and where to show it."""

    token: str
    blob_addresses: tuple[str, ...]


def json_text(value: Mapping[str, Any] | None) -> str:
    """Writes a JSON object; empty when there is none."""
    return json.dumps(dict(value), ensure_ascii=False, allow_nan=False) if value else ""


def run_name(where: Where, run_id: str) -> pb.RunName:
    """Writes a run's name."""
    return pb.RunName(entity=where.entity, project=where.project, run_id=run_id)


def reference_message(where: Where, text: str) -> pb.Reference:
    """Writes a reference with what fills it up."""
    return pb.Reference(text=text, default_entity=where.entity, default_project=where.project)


def time_value(time: Timestamp) -> datetime:
    """Reads a time, in UTC."""
    return time.ToDatetime(UTC)


def ticket_value(ticket: pb.Ticket) -> TicketInfo:
    """Reads a ticket."""
    return TicketInfo(ticket.token, tuple(ticket.blob_addresses))


def run_value(run: pb.Run) -> RunInfo:
    """Reads a run."""
    return RunInfo(
        id=run.run_id,
        entity=run.entity,
        project=run.project,
        name=run.display_name,
        state=pb.RunState.Name(run.state).removeprefix("RUN_STATE_").lower(),
        config=json.loads(run.config_json or "{}"),
        summary=json.loads(run.summary_json or "{}"),
        notes=run.notes,
        tags=tuple(run.tags),
        group=run.group,
        job_type=run.job_type,
        created_at=time_value(run.create_time),
        finished_at=time_value(run.finish_time) if run.HasField("finish_time") else None,
        resumed=run.resumed,
    )


def place_value(name: pb.MemberName) -> PlaceInfo:
    """Reads a place of a version."""
    return PlaceInfo(name.entity, name.project, name.collection, name.version)


def version_value(version: pb.Version) -> VersionInfo:
    """Reads a version."""
    run = version.logged_by
    return VersionInfo(
        id=version.id,
        place=place_value(version.name),
        source=place_value(version.source),
        is_link=version.is_link,
        type=version.type,
        state=pb.VersionState.Name(version.state).removeprefix("VERSION_STATE_").lower(),
        digest=version.manifest_digest,
        size=version.size,
        file_count=version.file_count,
        aliases=tuple(version.aliases),
        tags=tuple(version.tags),
        metadata=json.loads(version.metadata_json or "{}"),
        description=version.description,
        ttl=version.ttl_seconds or None,
        created_at=time_value(version.create_time),
        logged_by=(run.entity, run.project, run.run_id) if version.HasField("logged_by") else None,
    )


def artifact_value(artifact: pb.Artifact) -> ArtifactInfo:
    """Reads an artifact."""
    return ArtifactInfo(
        artifact.entity,
        artifact.project,
        artifact.name,
        artifact.type,
        artifact.description,
        time_value(artifact.create_time),
        artifact.version_count,
    )


def registered_model_value(model: pb.RegisteredModel) -> RegisteredModelInfo:
    """Reads a registered model."""
    return RegisteredModelInfo(
        model.entity, model.name, model.description, tuple(model.tags), time_value(model.create_time), model.link_count
    )


def node_value(node: lineage_pb.LineageNode) -> LineageNode:
    """Reads a node of a lineage."""
    if node.WhichOneof("kind") == "run":
        return LineageNode(node.id, node.depth, run=run_value(node.run))
    return LineageNode(node.id, node.depth, version=version_value(node.version))


def edge_value(edge: lineage_pb.LineageEdge) -> LineageEdge:
    """Reads an edge of a lineage."""
    kind = lineage_pb.EdgeKind.Name(edge.kind).removeprefix("EDGE_KIND_").lower()
    return LineageEdge(edge.from_id, edge.to_id, kind)
