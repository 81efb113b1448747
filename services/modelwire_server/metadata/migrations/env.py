"""Applies the revisions of the metadata service's schema; see `modelwire_server.database`."""

from modelwire_server.database import run_migrations
from modelwire_server.metadata.tables import metadata

run_migrations(metadata)
