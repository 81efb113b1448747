"""Makes the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _key() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Applies the change."""
    op.create_table(
        "domains",
        sa.Column("id", _key(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_domains_name"),
    )
    op.create_table(
        "packs",
        sa.Column("id", _key(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sealed_size", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_packs_name"),
    )
    op.create_table(
        "blobs",
        sa.Column("id", _key(), nullable=False),
        sa.Column("domain_id", _key(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("last_touched", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("blobs", schema=None) as batch_op:
        batch_op.create_index("uq_blobs_domain_id_digest", ["domain_id", "digest"], unique=True)

    op.create_table(
        "bundles",
        sa.Column("id", _key(), nullable=False),
        sa.Column("domain_id", _key(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("blob_count", sa.Integer(), nullable=False),
        sa.Column("last_touched", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("bundles", schema=None) as batch_op:
        batch_op.create_index("uq_bundles_domain_id_digest", ["domain_id", "digest"], unique=True)

    op.create_table(
        "chunks",
        sa.Column("domain_id", _key(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("pack_id", _key(), nullable=False),
        sa.Column("pack_offset", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("last_touched", sa.BigInteger(), nullable=False),
        sa.Column("damaged", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
        ),
        sa.ForeignKeyConstraint(
            ["pack_id"],
            ["packs.id"],
        ),
        sa.PrimaryKeyConstraint("domain_id", "digest"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("chunks", schema=None) as batch_op:
        batch_op.create_index("ix_chunks_pack_id_pack_offset", ["pack_id", "pack_offset"], unique=False)

    op.create_table(
        "bundle_blobs",
        sa.Column("bundle_id", _key(), nullable=False),
        sa.Column("blob_id", _key(), nullable=False),
        sa.ForeignKeyConstraint(
            ["blob_id"],
            ["blobs.id"],
        ),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundles.id"],
        ),
        sa.PrimaryKeyConstraint("bundle_id", "blob_id"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("bundle_blobs", schema=None) as batch_op:
        batch_op.create_index("ix_bundle_blobs_blob_id", ["blob_id"], unique=False)

    op.create_table(
        "recipe_pages",
        sa.Column("blob_id", _key(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["blob_id"],
            ["blobs.id"],
        ),
        sa.PrimaryKeyConstraint("blob_id", "start"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Takes the change back."""
    op.drop_table("recipe_pages")
    with op.batch_alter_table("bundle_blobs", schema=None) as batch_op:
        batch_op.drop_index("ix_bundle_blobs_blob_id")

    op.drop_table("bundle_blobs")
    with op.batch_alter_table("chunks", schema=None) as batch_op:
        batch_op.drop_index("ix_chunks_pack_id_pack_offset")

    op.drop_table("chunks")
    with op.batch_alter_table("bundles", schema=None) as batch_op:
        batch_op.drop_index("uq_bundles_domain_id_digest")

    op.drop_table("bundles")
    with op.batch_alter_table("blobs", schema=None) as batch_op:
        batch_op.drop_index("uq_blobs_domain_id_digest")

    op.drop_table("blobs")
    op.drop_table("packs")
    op.drop_table("domains")
