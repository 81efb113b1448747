"""Between the catalog's plain values and the messages on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from modelwire.api.metadata.v1 import lineage_service_pb2 as lineage_pb
from modelwire.api.metadata.v1 import resources_pb2 as pb
from modelwire.api.metadata.v1 import run_service_pb2 as run_pb
from modelwire.errors import RequestInvalidError
from modelwire.names import DEFAULT_ENTITY, DEFAULT_PROJECT, version_number
from modelwire_server.metadata.lineage import Direction, EdgeKind
from modelwire_server.metadata.records import (
    CollectionRecord,
    Entry,
    MemberName,
    RunName,
    RunRecord,
    RunState,
    VersionRecord,
)
from modelwire_server.metadata.references import CollectionName, Reference, parse, parse_collection
from modelwire_server.metadata.runs import ResumePolicy

_RUN_STATES = {
    RunState.RUNNING: pb.RUN_STATE_RUNNING,
    RunState.FINISHED: pb.RUN_STATE_FINISHED,
    RunState.FAILED: pb.RUN_STATE_FAILED,
    RunState.CRASHED: pb.RUN_STATE_CRASHED,
}
_END_STATES = {
    pb.RUN_STATE_UNSPECIFIED: RunState.FINISHED,
    pb.RUN_STATE_FINISHED: RunState.FINISHED,
    pb.RUN_STATE_FAILED: RunState.FAILED,
    pb.RUN_STATE_CRASHED: RunState.CRASHED,
}
_POLICIES = {
    run_pb.RESUME_POLICY_UNSPECIFIED: ResumePolicy.ALLOW,
    run_pb.RESUME_POLICY_ALLOW: ResumePolicy.ALLOW,
    run_pb.RESUME_POLICY_MUST: ResumePolicy.MUST,
    run_pb.RESUME_POLICY_NEVER: ResumePolicy.NEVER,
}
_DIRECTIONS = {
    lineage_pb.LINEAGE_DIRECTION_UNSPECIFIED: Direction.BOTH,
    lineage_pb.LINEAGE_DIRECTION_BOTH: Direction.BOTH,
    lineage_pb.LINEAGE_DIRECTION_UPSTREAM: Direction.UPSTREAM,
    lineage_pb.LINEAGE_DIRECTION_DOWNSTREAM: Direction.DOWNSTREAM,
}
_EDGES = {
    EdgeKind.LOGGED: lineage_pb.EDGE_KIND_LOGGED,
    EdgeKind.USED: lineage_pb.EDGE_KIND_USED,
    EdgeKind.LINKED: lineage_pb.EDGE_KIND_LINKED,
}


def end_state(state: pb.RunState.ValueType) -> RunState:
    """Reads how a run ended."""
    if state not in _END_STATES:
        raise RequestInvalidError("a run ends as FINISHED, FAILED or CRASHED", field="state")
    return _END_STATES[state]


def resume_policy(policy: run_pb.ResumePolicy.ValueType) -> ResumePolicy:
    """Reads a resume policy."""
    if policy not in _POLICIES:
        raise RequestInvalidError("resume_policy has no such value", field="resume_policy")
    return _POLICIES[policy]


def direction(value: lineage_pb.LineageDirection.ValueType) -> Direction:
    """Reads which way to walk."""
    if value not in _DIRECTIONS:
        raise RequestInvalidError("direction has no such value", field="direction")
    return _DIRECTIONS[value]


def edge_kind(kind: EdgeKind) -> lineage_pb.EdgeKind.ValueType:
    """Writes what an edge means."""
    return _EDGES[kind]


def reference(message: pb.Reference) -> Reference:
    """Parses a reference."""
    return parse(message.text, message.default_entity, message.default_project)


def collection_reference(message: pb.Reference) -> CollectionName:
    """Parses a reference to a whole collection."""
    return parse_collection(message.text, message.default_entity, message.default_project)


def run_name(message: pb.RunName) -> RunName:
    """Reads a run's name, with the defaults filled in."""
    return RunName(message.entity or DEFAULT_ENTITY, message.project or DEFAULT_PROJECT, message.run_id)


def optional_run(message: pb.RunName, given: bool) -> RunName | None:
    """Reads the run that a call is made under, if any."""
    return run_name(message) if given and message.run_id else None


def expected_number(text: str, given: bool) -> int | bool | None:
    """Reads `expected_current`: a number, None for nowhere, False for not given."""
    if not given:
        return False
    number = version_number(text)
    if text and number is None:
        raise RequestInvalidError('expected_current must be "vN" or empty', field="expected_current")
    return number


def run_message(run: RunRecord) -> pb.Run:
    """Writes a run."""
    return pb.Run(
        run_id=run.name.run_id,
        entity=run.name.entity,
        project=run.name.project,
        display_name=run.display_name,
        state=_RUN_STATES[run.state],
        config_json=run.config,
        summary_json=run.summary,
        notes=run.notes,
        tags=run.tags,
        group=run.group,
        job_type=run.job_type,
        create_time=_time(run.created_at),
        finish_time=None if run.finished_at is None else _time(run.finished_at),
        resumed=run.resumed,
    )


def version_message(version: VersionRecord) -> pb.Version:
    """Writes a version at one of its places."""
    run = version.logged_by
    return pb.Version(
        id=version.public_id,
        name=_member_name(version.name),
        source=_member_name(version.source),
        is_link=version.is_link,
        type=version.type,
        state=pb.VERSION_STATE_DELETED if version.deleted else pb.VERSION_STATE_COMMITTED,
        manifest_digest=version.manifest_digest,
        size=version.size,
        file_count=version.file_count,
        aliases=version.aliases,
        tags=version.tags,
        metadata_json=version.metadata,
        description=version.description,
        ttl_seconds=version.ttl_seconds,
        create_time=_time(version.created_at),
        logged_by=pb.RunName(entity=run.entity, project=run.project, run_id=run.run_id) if run else None,
        link_time=_time(version.linked_at) if version.is_link else None,
    )


def artifact_message(record: CollectionRecord) -> pb.Artifact:
    """Writes an artifact."""
    return pb.Artifact(
        entity=record.name.entity,
        project=record.name.project,
        name=record.name.name,
        type=record.type,
        description=record.description,
        create_time=_time(record.created_at),
        version_count=record.member_count,
    )


def registered_model_message(record: CollectionRecord) -> pb.RegisteredModel:
    """Writes a registered model."""
    return pb.RegisteredModel(
        entity=record.name.entity,
        name=record.name.name,
        description=record.description,
        tags=record.tags,
        create_time=_time(record.created_at),
        link_count=record.member_count,
    )


def entries(messages: Sequence[pb.ManifestEntry]) -> list[Entry]:
    """Reads entries; one without content has neither blob nor URI and is refused by the manifest."""
    found = []
    for message in messages:
        if message.HasField("stored"):
            stored = message.stored
            found.append(Entry(message.path, message.size, stored.content_digest, stored.blob_id))
        else:
            there = message.referenced
            found.append(Entry(message.path, message.size, uri=there.uri, etag=there.etag, object_version=there.object_version))
    return found


def entry_message(entry: Entry) -> pb.ManifestEntry:
    """Writes an entry."""
    if entry.blob_id is not None:
        stored = pb.StoredContent(content_digest=entry.content_digest or "", blob_id=entry.blob_id)
        return pb.ManifestEntry(path=entry.path, size=entry.size, stored=stored)
    there = pb.ReferencedContent(uri=entry.uri or "", etag=entry.etag or "", object_version=entry.object_version or "")
    return pb.ManifestEntry(path=entry.path, size=entry.size, referenced=there)


def ticket_message(token: str, addresses: Sequence[str], end: float) -> pb.Ticket:
    """Writes a ticket; `end` in seconds since 1970."""
    return pb.Ticket(token=token, blob_addresses=addresses, expire_time=_time(int(end * 1_000_000)))


def _member_name(name: MemberName) -> pb.MemberName:
    where = name.collection
    return pb.MemberName(entity=where.entity, project=where.project, collection=where.name, version=name.number)


def _time(micros: int) -> Timestamp:
    time = Timestamp()
    time.FromMicroseconds(micros)
    return time
