"""The services on embedded storage: everything in one data folder.

keys.json              the keys of tickets and receipts, mode 0600
metadata/catalog.db    names
blob/index.db          the chunk index
blob/packs/            the bytes
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path

from modelwire.errors import SettingsError
from modelwire.wire import MIB
from modelwire_server.blob.chunk_store import ChunkStore
from modelwire_server.blob.service import BlobServicer
from modelwire_server.blob.stores.local import LocalPackStore
from modelwire_server.database import Database
from modelwire_server.metadata.catalog import Catalog
from modelwire_server.rpc.auth import KeySet, Signer
from modelwire_server.rpc.host import Host

log = logging.getLogger(__name__)

MAX_PACK_SIZE = 256 * MIB


@asynccontextmanager
async def serve_blob(data: Path, address: str, drain_seconds: float = 20.0) -> AsyncIterator[Host]:
    """Runs the blob service for the length of the block, then drains it."""
    with exclusive(data / "blob"):
        signer = Signer(KeySet.load_or_create(data / "keys.json"))
        packs = LocalPackStore(data / "blob" / "packs", MAX_PACK_SIZE)
        store = ChunkStore(packs, Database(data / "blob" / "index.db"))
        try:
            await store.open()
            host = Host(address, [BlobServicer(store, signer, version("modelwire")).hosted()])
            await host.start()
            try:
                yield host
            finally:
                await host.drain(drain_seconds)
        finally:
            await store.close()


@asynccontextmanager
async def serve_metadata(
    data: Path, address: str, blob_addresses: Sequence[str], drain_seconds: float = 20.0
) -> AsyncIterator[Host]:
    """Runs the metadata service for the length of the block, then drains it."""
    with exclusive(data / "metadata"):
        signer = Signer(KeySet.load_or_create(data / "keys.json"))
        catalog = Catalog(Database(data / "metadata" / "catalog.db"), signer, blob_addresses)
        try:
            await catalog.open()
            host = Host(address, catalog.hosted())
            await host.start()
            try:
                yield host
            finally:
                await host.drain(drain_seconds)
        finally:
            await catalog.close()


@asynccontextmanager
async def serve_all(
    data: Path, address: str, blob_address: str, announced: str | None = None, drain_seconds: float = 20.0
) -> AsyncIterator[tuple[Host, Host]]:
    """Runs both services for the length of the block; yields (metadata, blob)."""
    async with AsyncExitStack() as stack:
        blob = await stack.enter_async_context(serve_blob(data, blob_address, drain_seconds))
        announced = announced or announceable(blob.address)
        metadata = await stack.enter_async_context(serve_metadata(data, address, [announced], drain_seconds))
        yield metadata, blob


def announceable(address: str) -> str:
    """Returns what tickets should say of an address: a wildcard host becomes empty, "the host you reached me at"."""
    host, _, port = address.rpartition(":")
    return f":{port}" if host in {"0.0.0.0", "[::]", "*", ""} else address  # noqa: S104 - compared, not bound


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder that one service owns.

    Raises:
        SettingsError: Another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"the data folder {folder.parent} cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            message = f"the data folder {folder.parent} is in use by another modelwire service; choose another with --data"
            raise SettingsError(message) from None
        yield
    finally:
        os.close(descriptor)
