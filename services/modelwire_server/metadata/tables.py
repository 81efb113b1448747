"""The tables of the catalog. Times are microseconds since 1970 in UTC, by the database's clock.

An artifact and a registered model are both a *collection*: they share numbering, aliases and paging. A *member* is one
place of a version: its own artifact's, or a link's in a registered model.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from modelwire_server.database import Bytes

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

_Id = BigInteger().with_variant(Integer, "sqlite")


def _key(target: str, *, nullable: bool = False) -> Column[int]:
    name = {"entities": "entity", "collections": "collection"}.get(target, target.rstrip("s"))
    return Column(f"{name}_id", _Id, ForeignKey(f"{target}.id"), nullable=nullable)


entities = Table(
    "entities",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", _Id, primary_key=True),
    _key("entities"),
    Column("name", String(128), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("next_run", Integer, nullable=False, server_default="1"),
    UniqueConstraint("entity_id", "name"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", _Id, primary_key=True),
    _key("projects"),
    Column("name", String(128), nullable=False),
    Column("display_name", String(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("config", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("group_name", String(256), nullable=False),
    Column("job_type", String(256), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("heartbeat_at", BigInteger, nullable=False),
    UniqueConstraint("project_id", "name"),
)

collections = Table(
    "collections",
    metadata,
    Column("id", _Id, primary_key=True),
    _key("projects"),
    Column("name", String(128), nullable=False),
    # The artifact's type; "registered-model" for a registered model.
    Column("type", String(128), nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    # The next member's number. Grows only: a number is given once, ever.
    Column("next_number", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("project_id", "name"),
)

versions = Table(
    "versions",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("public_id", String(32), nullable=False, unique=True),
    _key("collections"),
    Column("manifest_digest", String(64), nullable=False),
    Column("domain", String(128), nullable=False),
    Column("bundle", Bytes(32)),
    Column("size", BigInteger, nullable=False),
    Column("file_count", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("ttl_seconds", BigInteger, nullable=False),
    _key("runs", nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Index(
        "uq_versions_live_manifest",
        "collection_id",
        "manifest_digest",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(None, "bundle"),
)

version_tags = Table(
    "version_tags",
    metadata,
    Column("version_id", _Id, ForeignKey("versions.id"), primary_key=True),
    Column("tag", String(128), primary_key=True),
)

manifest_entries = Table(
    "manifest_entries",
    metadata,
    Column("version_id", _Id, ForeignKey("versions.id"), primary_key=True),
    # UTF-8 bytes, so that every database sorts as the canonical form does.
    Column("path", Bytes(1024), primary_key=True),
    Column("size", BigInteger, nullable=False),
    # "blake3:<hex>" for stored content, NULL for a reference.
    Column("content_digest", String(71)),
    Column("blob_id", Bytes(32)),
    Column("uri", Text),
    Column("etag", Text),
    Column("object_version", Text),
    sqlite_with_rowid=False,
)

members = Table(
    "members",
    metadata,
    Column("id", _Id, primary_key=True),
    _key("collections"),
    Column("number", BigInteger, nullable=False),
    _key("versions"),
    Column("is_link", Boolean, nullable=False),
    _key("runs", nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    UniqueConstraint("collection_id", "number"),
    Index(None, "version_id"),
    Index(
        "ix_members_live_number",
        "collection_id",
        "number",
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "uq_members_live_version",
        "collection_id",
        "version_id",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
)

aliases = Table(
    "aliases",
    metadata,
    Column("collection_id", _Id, ForeignKey("collections.id"), primary_key=True),
    Column("name", String(128), primary_key=True),
    _key("members"),
    Index(None, "member_id"),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    Column("id", _Id, primary_key=True),
    _key("collections"),
    Column("name", String(128), nullable=False),
    # Numbers within the collection; NULL means nowhere.
    Column("from_number", BigInteger),
    Column("to_number", BigInteger),
    _key("runs", nullable=True),
    Column("moved_at", BigInteger, nullable=False),
    Index(None, "collection_id", "name", "moved_at"),
)

drafts = Table(
    "drafts",
    metadata,
    Column("id", String(32), primary_key=True),
    _key("projects"),
    Column("name", String(128), nullable=False),
    Column("type", String(128), nullable=False),
    _key("runs", nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("committed_at", BigInteger),
)

run_outputs = Table(
    "run_outputs",
    metadata,
    Column("id", _Id, primary_key=True),
    _key("runs"),
    _key("members"),
    Column("recorded_at", BigInteger, nullable=False),
    UniqueConstraint("run_id", "member_id"),
    Index(None, "member_id"),
)

run_inputs = Table(
    "run_inputs",
    metadata,
    Column("id", _Id, primary_key=True),
    _key("runs"),
    _key("members"),
    Column("recorded_at", BigInteger, nullable=False),
    UniqueConstraint("run_id", "member_id"),
    Index(None, "member_id"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("method", String(64), nullable=False),
    Column("body", Bytes(32), nullable=False),
    Column("response", Bytes(), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at"),
)
