"""What users hold: plain values, as the services gave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class RunInfo:
    """Is a run as the metadata service knows it."""

    id: str
    entity: str
    project: str
    name: str
    """The name that people see."""
    state: str
    """"running", "finished", "failed" or "crashed"."""
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    notes: str
    tags: tuple[str, ...]
    group: str
    job_type: str
    created_at: datetime
    finished_at: datetime | None = None
    resumed: bool = False

    @property
    def path(self) -> str:
        """entity/project/id."""
        return f"{self.entity}/{self.project}/{self.id}"


@dataclass(frozen=True)
class PlaceInfo:
    """Is one place of a version: in its artifact, or by a link in a registered model."""

    entity: str
    project: str
    collection: str
    number: int

    @property
    def version(self) -> str:
        """The number as people write it: "v3"."""
        return f"v{self.number}"

    @property
    def name(self) -> str:
        """collection:vN."""
        return f"{self.collection}:{self.version}"

    @property
    def qualified_name(self) -> str:
        """entity/project/collection:vN."""
        return f"{self.entity}/{self.project}/{self.name}"


@dataclass(frozen=True)
class VersionInfo:
    """Is a version as the metadata service knows it, seen at one of its places."""

    id: str
    place: PlaceInfo
    source: PlaceInfo
    is_link: bool
    type: str
    state: str
    digest: str
    size: int
    file_count: int
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    description: str
    ttl: int | None
    created_at: datetime
    logged_by: tuple[str, str, str] | None
    """(entity, project, run id) of the run that first logged it."""


@dataclass(frozen=True)
class ArtifactInfo:
    """Is an artifact: a named series of versions."""

    entity: str
    project: str
    name: str
    type: str
    description: str
    created_at: datetime
    version_count: int


@dataclass(frozen=True)
class RegisteredModelInfo:
    """Is a registered model: a named series of links."""

    entity: str
    name: str
    description: str
    tags: tuple[str, ...]
    created_at: datetime
    link_count: int


@dataclass(frozen=True)
class Entry:
    """Is one file of a version.

    Attributes:
        path: Where it lies in the version, with "/" between segments.
        size: Bytes.
        digest: "blake3:" and the hexadecimal BLAKE3-256 of the file's bytes, what `b3sum` prints.
        blob_id: The id that the blob service keeps it under.
    """

    path: str
    size: int
    digest: str
    blob_id: bytes = field(repr=False)

    @property
    def content(self) -> bytes:
        """The digest as 32 bytes."""
        return bytes.fromhex(self.digest.removeprefix("blake3:"))


@dataclass(frozen=True)
class LineageNode:
    """Is a run or a version in a lineage, `depth` edges from the start."""

    id: str
    depth: int
    run: RunInfo | None = None
    version: VersionInfo | None = None


@dataclass(frozen=True)
class LineageEdge:
    """Is one step of the flow: content went from one node to the other. `kind`: "logged", "used" or "linked"."""

    source: str
    target: str
    kind: str


@dataclass(frozen=True)
class Lineage:
    """Is a part of the graph of runs and versions; the start is the first node."""

    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]


@dataclass
class TransferStats:
    """Counts what a transfer moved; all in bytes and pieces.

    Attributes:
        files, size: What was logged or used, in all.
        sent_bytes, sent_chunks: What went over the wire to the blob service, repeats included.
        deduplicated_bytes: What the blob service had already, so that it was not sent.
        duplicate_bytes: What was sent although the blob service had it; only a race or a lost answer makes it so.
        received_bytes: What came over the wire from the blob service.
        reused_bytes: What was right on disk or in the cache already.
    """

    files: int = 0
    size: int = 0
    sent_bytes: int = 0
    sent_chunks: int = 0
    deduplicated_bytes: int = 0
    duplicate_bytes: int = 0
    received_bytes: int = 0
    reused_bytes: int = 0

    def add(self, other: TransferStats) -> None:
        """Adds another transfer's counts."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
