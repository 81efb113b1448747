"""What the catalog knows, as plain values. Times are microseconds since 1970 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from modelwire_server.metadata.references import CollectionName


class RunState(Enum):
    """Says where a run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"


@dataclass(frozen=True)
class RunName:
    """Names a run."""

    entity: str
    project: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run_id}"


@dataclass(frozen=True)
class RunRecord:
    """Is a run; `row_id` is its row."""

    row_id: int
    name: RunName
    display_name: str
    state: RunState
    config: str
    summary: str
    notes: str
    tags: list[str]
    group: str
    job_type: str
    created_at: int
    finished_at: int | None
    resumed: bool = False


@dataclass(frozen=True)
class MemberName:
    """Names one place of a version."""

    collection: CollectionName
    number: int

    def __str__(self) -> str:
        return f"{self.collection}:v{self.number}"


@dataclass(frozen=True)
class VersionRecord:
    """Is a version at one of its places; `member_id` is that place's row."""

    member_id: int
    collection_id: int
    version_id: int
    public_id: str
    name: MemberName
    source: MemberName
    source_member_id: int
    is_link: bool
    type: str
    deleted: bool
    manifest_digest: str
    domain: str
    bundle: bytes | None
    size: int
    file_count: int
    description: str
    metadata: str
    ttl_seconds: int
    created_at: int
    linked_at: int
    logged_by: RunName | None
    aliases: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CollectionRecord:
    """Is an artifact or a registered model."""

    row_id: int
    name: CollectionName
    type: str
    description: str
    tags: list[str]
    created_at: int
    member_count: int


@dataclass(frozen=True)
class Entry:
    """Is one file of a manifest: stored when it has a `blob_id`, a reference otherwise."""

    path: str
    size: int
    content_digest: str | None = None
    blob_id: bytes | None = None
    uri: str | None = None
    etag: str | None = None
    object_version: str | None = None


@dataclass(frozen=True)
class Page:
    """Says which stretch of a list is wanted: after `after`, at most `size` items."""

    size: int
    after: Sequence[Any] | None = None
    oldest_first: bool = False
