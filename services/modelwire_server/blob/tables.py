"""The tables of the chunk index. Everything is keyed by domain first: no answer depends on another domain's rows."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, false

from modelwire_server.database import Bytes

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

_Id = BigInteger().with_variant(Integer, "sqlite")

domains = Table(
    "domains",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
)

packs = Table(
    "packs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # Bytes of the finished pack; NULL while it grows.
    Column("sealed_size", BigInteger),
    Column("created_at", BigInteger, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("domain_id", _Id, ForeignKey("domains.id"), primary_key=True),
    Column("digest", Bytes(32), primary_key=True),
    Column("pack_id", _Id, ForeignKey("packs.id"), nullable=False),
    Column("pack_offset", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    # Protects from collection for the grace period; every answer that relies on the row writes it.
    Column("last_touched", BigInteger, nullable=False),
    # The bytes were found gone or changed: absent to writers, so that the next upload mends them.
    Column("damaged", Boolean, nullable=False, server_default=false()),
    Index(None, "pack_id", "pack_offset"),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("domain_id", _Id, ForeignKey("domains.id"), nullable=False),
    Column("digest", Bytes(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("chunk_count", BigInteger, nullable=False),
    Column("last_touched", BigInteger, nullable=False),
    Index("uq_blobs_domain_id_digest", "domain_id", "digest", unique=True),
)

recipe_pages = Table(
    "recipe_pages",
    metadata,
    Column("blob_id", _Id, ForeignKey("blobs.id"), primary_key=True),
    # Offset in the blob of the page's first byte.
    Column("start", BigInteger, primary_key=True),
    # For each chunk in order: 32 bytes of id, 4 bytes of size, big-endian.
    Column("chunks", Bytes(), nullable=False),
    sqlite_with_rowid=False,
)

bundles = Table(
    "bundles",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("domain_id", _Id, ForeignKey("domains.id"), nullable=False),
    Column("digest", Bytes(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("blob_count", Integer, nullable=False),
    Column("last_touched", BigInteger, nullable=False),
    Index("uq_bundles_domain_id_digest", "domain_id", "digest", unique=True),
)

bundle_blobs = Table(
    "bundle_blobs",
    metadata,
    Column("bundle_id", _Id, ForeignKey("bundles.id"), primary_key=True),
    Column("blob_id", _Id, ForeignKey("blobs.id"), primary_key=True),
    Index(None, "blob_id"),
    sqlite_with_rowid=False,
)
