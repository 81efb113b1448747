"""The rules of manifests: which lists of files are good, and how they are kept."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.digests import bundle_id, content_text, is_content_text, manifest_digest, reference_text
from modelwire.errors import DigestMalformedError, ManifestInvalidError
from modelwire.names import check_paths
from modelwire_server.database import batches
from modelwire_server.metadata.records import Entry, Page
from modelwire_server.metadata.tables import manifest_entries

_MAX_SIZE = 1 << 62
_MAX_URI = 64 * 1024


class Manifest:
    """Is a list of entries that was found good; sorted by path, with its digest and its bundle.

    Raises:
        PathInvalidError, PathConflictError, ManifestInvalidError, DigestMalformedError: The list is not good.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        check_paths(entry.path for entry in entries)
        for entry in entries:
            _check_entry(entry)
        self.entries = sorted(entries, key=lambda entry: entry.path.encode())
        self.digest = manifest_digest((entry.path, _digest_text(entry)) for entry in self.entries)
        self.size = sum(entry.size for entry in self.entries)
        stored = [entry.blob_id for entry in self.entries if entry.blob_id is not None]
        self.bundle = bundle_id(stored) if stored else None


def _check_entry(entry: Entry) -> None:
    if entry.size >= _MAX_SIZE:
        raise ManifestInvalidError(f"entry {entry.path!r} has an impossible size", path=entry.path)
    if entry.blob_id is not None:
        if not is_content_text(entry.content_digest or ""):
            message = f"entry {entry.path!r}: content_digest must be {content_text(b'')!r} and 64 hexadecimal digits"
            raise DigestMalformedError(message, actual=len(entry.content_digest or ""))
        if len(entry.blob_id) != 32:  # noqa: PLR2004 - the size of a digest
            raise DigestMalformedError(f"entry {entry.path!r}: blob_id must be 32 bytes", actual=len(entry.blob_id))
    elif not entry.uri or len(entry.uri) > _MAX_URI:
        raise ManifestInvalidError(f"entry {entry.path!r} has no content", path=entry.path)


def _digest_text(entry: Entry) -> str:
    if entry.blob_id is not None:
        assert entry.content_digest is not None
        return entry.content_digest
    return reference_text(entry.uri or "", entry.object_version or entry.etag or "")


async def save_entries(connection: AsyncConnection, version_id: int, manifest: Manifest) -> None:
    """Writes the entries of a new version."""
    for batch in batches(manifest.entries):
        rows = [{"version_id": version_id, **vars(entry), "path": entry.path.encode()} for entry in batch]
        await connection.execute(insert(manifest_entries), rows)


async def list_entries(connection: AsyncConnection, version_id: int, prefix: str, page: Page) -> list[Entry]:
    """Lists the entries of a version by path; `prefix` is a file or a folder, `after` is (path,) of the last one seen."""
    path = manifest_entries.c.path
    rows = select(manifest_entries).where(manifest_entries.c.version_id == version_id).order_by(path).limit(page.size)
    if prefix := prefix.rstrip("/"):
        folder = f"{prefix}/".encode()
        rows = rows.where((path == prefix.encode()) | ((path >= folder) & (path < folder[:-1] + b"0")))  # "0" follows "/"
    if page.after is not None:
        rows = rows.where(path > page.after[0].encode())
    return [
        Entry(row.path.decode(), row.size, row.content_digest, row.blob_id, row.uri, row.etag, row.object_version)
        for row in await connection.execute(rows)
    ]
