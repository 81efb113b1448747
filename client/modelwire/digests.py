"""The canonical forms: what the ids of chunks, blobs, bundles and manifests are made of.

All digests are BLAKE3-256. Text test vectors for writers in other languages are in tests/vectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from blake3 import blake3

from modelwire.errors import DigestMalformedError

DIGEST_SIZE = 32
"""Bytes in a digest."""

_CONTENT_DIGEST = re.compile(r"blake3:[0-9a-f]{64}")


def chunk_id(data: bytes | memoryview) -> bytes:
    """Returns the id of a chunk: the BLAKE3-256 of its bytes. Releases the GIL."""
    return blake3(data).digest()


def blob_hasher() -> blake3:
    """Returns a hasher that becomes a blob's id when it is given its whole recipe as `recipe_bytes`."""
    return blake3(b"modelwire.blob.v1\n")


def recipe_bytes(recipe: Iterable[tuple[bytes, int]]) -> bytes:
    """Writes (chunk id, size) pairs in their canonical form."""
    return b"".join(digest + size.to_bytes(8, "big") for digest, size in recipe)


def blob_id(recipe: Iterable[tuple[bytes, int]]) -> bytes:
    """Returns the id of the blob that `recipe`, its (chunk id, size) pairs in order, makes up."""
    hasher = blob_hasher()
    hasher.update(recipe_bytes(recipe))
    return hasher.digest()


def bundle_id(blob_ids: Iterable[bytes]) -> bytes:
    """Returns the id of the bundle of the distinct `blob_ids`."""
    return blake3(b"modelwire.bundle.v1\n" + b"".join(sorted(set(blob_ids)))).digest()


def manifest_digest(entries: Iterable[tuple[str, str]]) -> str:
    """Returns the hexadecimal digest of a manifest of (path, digest text) pairs, which need not be sorted."""
    hasher = blake3(b"modelwire.manifest.v1\n")
    for path, text in sorted((path.encode(), text.encode()) for path, text in entries):
        hasher.update(path + b"\0" + text + b"\n")
    return hasher.hexdigest()


def content_text(digest: bytes) -> str:
    """Writes the digest of a file's bytes as the text that manifests carry."""
    return f"blake3:{digest.hex()}"


def reference_text(uri: str, etag: str) -> str:
    """Writes the digest text of a reference; `etag` may be an ETag or an object's version."""
    return f"ref:{uri}@{etag}"


def is_content_text(text: str) -> bool:
    """Tells whether `text` is "blake3:" and 64 lower-case hexadecimal digits."""
    return _CONTENT_DIGEST.fullmatch(text) is not None


def check_digest(digest: bytes | memoryview, what: str) -> bytes:
    """Returns `digest` as bytes when it has the right length.

    Raises:
        DigestMalformedError: It does not; `what` names the field in the message.
    """
    if len(digest) != DIGEST_SIZE:
        raise DigestMalformedError(f"{what} must be {DIGEST_SIZE} bytes, not {len(digest)}", actual=len(digest))
    return bytes(digest)
