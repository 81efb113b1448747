"""Applies the revisions of the blob service's schema; see `modelwire_server.database`."""

from modelwire_server.blob.tables import metadata
from modelwire_server.database import run_migrations

run_migrations(metadata)
