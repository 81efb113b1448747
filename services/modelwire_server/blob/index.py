"""The chunk index: which chunks, blobs and bundles a domain has, and where their bytes lie.

A row is written only after its bytes are durable, so that a row is a promise (invariant I2).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

from sqlalchemy import Table, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.errors import BlobNotFoundError, BundleNotFoundError, TicketScopeError
from modelwire_server.blob.recipes import RecipeIntake, unpack
from modelwire_server.blob.tables import blobs, bundle_blobs, bundles, chunks, domains, packs, recipe_pages
from modelwire_server.database import Database, DatabaseLoop, batches, now_micros

GRACE_MICROS = 24 * 3600 * 1_000_000
"""How long an answer of "present" protects from collection."""

_FRESH_MICROS = GRACE_MICROS // 4
_PAGES_AT_ONCE = 100

_BLOB_COLUMNS = (blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.chunk_count)

Recipe = Sequence[tuple[bytes, int]]

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Location(NamedTuple):
    """Says where a chunk's bytes lie."""

    pack: str
    offset: int
    size: int


class StoredBlob(NamedTuple):
    """Is a blob as the index knows it."""

    row_id: int
    digest: bytes
    size: int
    chunk_count: int


@dataclass
class PackRow:
    """Ties a pack in use to its row, which is written together with its first chunk."""

    name: str
    row_id: int | None = None
    sealed_size: int | None = None


@dataclass(frozen=True)
class NewChunk:
    """Is a chunk whose bytes are durable and whose row is not written yet."""

    domain_id: int
    digest: bytes
    pack: PackRow
    offset: int
    size: int


def _on_its_loop(
    method: Callable[Concatenate[ChunkIndex, Given], Coroutine[Any, Any, Answer]],
) -> Callable[Concatenate[ChunkIndex, Given], Coroutine[Any, Any, Answer]]:
    """Runs a method of the index on the index's own loop, whichever loop calls it."""

    @wraps(method)
    async def call(self: ChunkIndex, *given: Given.args, **named: Given.kwargs) -> Answer:
        return await self.loop.run(method(self, *given, **named))

    return cast("Callable[Concatenate[ChunkIndex, Given], Coroutine[Any, Any, Answer]]", call)


class ChunkIndex:
    """Reads and writes the index, on an event loop of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._domains: dict[str, int] = {}
        self.loop = DatabaseLoop()

    async def open(self, migrations: Path) -> None:
        """Brings the schema up to date."""
        await self.loop.run(self._database.migrate(migrations))

    async def close(self) -> None:
        """Closes the database, and ends the loop."""
        await self.loop.run(self._database.close())
        self.loop.close()

    @_on_its_loop
    async def domain_id(self, name: str) -> int:
        """Returns the row of a domain, which comes into being on first use."""
        if name not in self._domains:
            async with self._database.write() as connection:
                found = await connection.scalar(select(domains.c.id).where(domains.c.name == name))
                if found is None:
                    found = await connection.scalar(insert(domains).values(name=name).returning(domains.c.id))
            assert found is not None
            self._domains[name] = found
        return self._domains[name]

    # ── Chunks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @_on_its_loop
    async def present(self, domain_id: int, digests: Sequence[bytes]) -> dict[bytes, int]:
        """Returns the sizes of those chunks that the domain has, and protects them for the grace period."""
        async with self._database.read() as connection:
            found, stale = await self._look(connection, domain_id, digests)
        if not stale:
            return found
        async with self._database.write() as connection:
            for batch in batches(stale):
                kept = await connection.scalars(
                    update(chunks)
                    .where(chunks.c.domain_id == domain_id, chunks.c.digest.in_(batch))
                    .values(last_touched=now_micros())
                    .returning(chunks.c.digest)
                )
                for gone in set(batch) - set(kept):  # collected between the two statements
                    del found[gone]
        return found

    async def _look(
        self, connection: AsyncConnection, domain_id: int, digests: Sequence[bytes]
    ) -> tuple[dict[bytes, int], list[bytes]]:
        found: dict[bytes, int] = {}
        stale: list[bytes] = []
        for batch in batches(digests):
            rows = await connection.execute(
                select(chunks.c.digest, chunks.c.size, chunks.c.last_touched < now_micros() - _FRESH_MICROS).where(
                    chunks.c.domain_id == domain_id, chunks.c.digest.in_(batch), chunks.c.damaged.is_(False)
                )
            )
            for digest, size, old in rows:
                found[digest] = size
                if old:
                    stale.append(digest)
        return found, stale

    @_on_its_loop
    async def add_chunks(self, new: Sequence[NewChunk]) -> set[int]:
        """Writes the rows of durable chunks in one transaction; returns the places in `new` of those that were there."""
        duplicates: set[int] = set()
        packs_used = {id(chunk.pack): chunk.pack for chunk in new}
        rows: dict[int, int] = {}
        async with self._database.write() as connection:
            for key, pack in packs_used.items():
                rows[key] = await self._pack_row(connection, pack)
            groups: dict[int, list[int]] = {}
            for place, chunk in enumerate(new):
                groups.setdefault(chunk.domain_id, []).append(place)
            for domain_id, places in groups.items():
                for batch in batches(places):
                    duplicates |= await self._add_batch(connection, domain_id, new, batch, rows)
        for key, pack in packs_used.items():  # only now: a transaction that failed left no row
            pack.row_id = rows[key]
        return duplicates

    async def _add_batch(
        self, connection: AsyncConnection, domain_id: int, new: Sequence[NewChunk], places: Sequence[int], rows: dict[int, int]
    ) -> set[int]:
        wanted = [new[place].digest for place in places]
        known = await connection.execute(
            select(chunks.c.digest, chunks.c.damaged).where(chunks.c.domain_id == domain_id, chunks.c.digest.in_(wanted))
        )
        seen = dict(known.all())
        inserts, repairs, duplicates = [], [], set()
        for place in places:
            chunk = new[place]
            values = {
                "b_domain": domain_id,
                "b_digest": chunk.digest,
                "pack_id": rows[id(chunk.pack)],
                "pack_offset": chunk.offset,
                "size": chunk.size,
            }
            if chunk.digest not in seen:
                inserts.append(values)
            elif seen[chunk.digest]:
                repairs.append(values)
            else:
                duplicates.add(place)
            seen[chunk.digest] = False
        if inserts:
            row = {"domain_id": bindparam("b_domain"), "digest": bindparam("b_digest"), "last_touched": now_micros()}
            await connection.execute(insert(chunks).values(row), inserts)
        if repairs:
            await connection.execute(
                update(chunks)
                .where(chunks.c.domain_id == bindparam("b_domain"), chunks.c.digest == bindparam("b_digest"))
                .values(damaged=False, last_touched=now_micros()),
                repairs,
            )
        return duplicates

    async def _pack_row(self, connection: AsyncConnection, pack: PackRow) -> int:
        if pack.row_id is not None:
            return pack.row_id
        row = await connection.scalar(insert(packs).values(name=pack.name, created_at=now_micros()).returning(packs.c.id))
        assert row is not None
        return int(row)

    @_on_its_loop
    async def seal_pack(self, pack: PackRow, size: int) -> None:
        """Records the final size of a pack."""
        async with self._database.write() as connection:
            await connection.execute(update(packs).where(packs.c.id == pack.row_id).values(sealed_size=size))

    @_on_its_loop
    async def locate(self, domain_id: int, digests: Sequence[bytes]) -> dict[bytes, Location]:
        """Returns where chunks lie; those without a row are left out."""
        found: dict[bytes, Location] = {}
        async with self._database.read() as connection:
            for batch in batches(digests):
                rows = await connection.execute(
                    select(chunks.c.digest, packs.c.name, chunks.c.pack_offset, chunks.c.size)
                    .join(packs, packs.c.id == chunks.c.pack_id)
                    .where(chunks.c.domain_id == domain_id, chunks.c.digest.in_(batch))
                )
                found |= {digest: Location(pack, offset, size) for digest, pack, offset, size in rows}
        return found

    @_on_its_loop
    async def mark_damaged(self, domain_id: int, digests: Sequence[bytes]) -> None:
        """Marks chunks as damaged: absent to writers, so that the next upload of the same bytes mends them."""
        async with self._database.write() as connection:
            for batch in batches(digests):
                await connection.execute(
                    update(chunks).where(chunks.c.domain_id == domain_id, chunks.c.digest.in_(batch)).values(damaged=True)
                )

    # ── Blobs and bundles ─────────────────────────────────────────────────────────────────────────────────────────────

    @_on_its_loop
    async def add_blobs(self, domain_id: int, intake: RecipeIntake) -> None:
        """Writes the blobs of one call that were not refused, in one transaction; those that were there are protected."""
        new = {blob.digest: blob for blob in intake.blobs if not blob.error}
        async with self._database.write() as connection:
            for batch in batches(list(new)):
                known = await _touch(connection, blobs, domain_id, batch)
                fresh = [digest for digest in batch if digest not in known]
                if not fresh:
                    continue
                rows = [
                    {"domain_id": domain_id, "digest": digest, "size": blob.size, "chunk_count": blob.chunk_count}
                    for digest in fresh
                    for blob in (new[digest],)
                ]
                await connection.execute(insert(blobs).values(last_touched=now_micros()), rows)
                made = await connection.execute(
                    select(blobs.c.digest, blobs.c.id).where(blobs.c.domain_id == domain_id, blobs.c.digest.in_(fresh))
                )
                row_ids = dict(made.all())
                pages = ((row_ids[digest], *page) for digest in fresh for page in intake.pages(new[digest]))
                while some := list(islice(pages, _PAGES_AT_ONCE)):
                    values = [{"blob_id": row, "start": start, "chunks": page} for row, start, page in some]
                    await connection.execute(insert(recipe_pages), values)

    @_on_its_loop
    async def seal_bundle(self, domain_id: int, digest: bytes, blob_ids: Sequence[bytes]) -> int:
        """Writes a bundle of distinct blobs, in one transaction; returns the sum of their sizes.

        Raises:
            BlobNotFoundError: The domain lacks one of them.
        """
        async with self._database.write() as connection:
            found = await _find_blobs(connection, domain_id, blob_ids)
            for blob_id in blob_ids:
                if blob_id not in found:
                    raise BlobNotFoundError(f"no blob {blob_id.hex()}; commit it first", blob=blob_id.hex())
            size = sum(blob.size for blob in found.values())
            if await _touch(connection, bundles, domain_id, [digest]):
                return size
            row_id = await connection.scalar(
                insert(bundles)
                .values(domain_id=domain_id, digest=digest, size=size, blob_count=len(found), last_touched=now_micros())
                .returning(bundles.c.id)
            )
            for batch in batches(sorted(blob.row_id for blob in found.values())):
                await connection.execute(insert(bundle_blobs), [{"bundle_id": row_id, "blob_id": blob} for blob in batch])
        return size

    @_on_its_loop
    async def bundle_row(self, domain_id: int, digest: bytes) -> int:
        """Returns the row of a bundle; raises BundleNotFoundError when the domain lacks it."""
        async with self._database.read() as connection:
            found = await connection.scalar(
                select(bundles.c.id).where(bundles.c.domain_id == domain_id, bundles.c.digest == digest)
            )
        if found is None:
            raise BundleNotFoundError(f"no bundle {digest.hex()}", bundle=digest.hex())
        return int(found)

    @_on_its_loop
    async def blobs_in_bundle(self, bundle_row: int, domain_id: int, digests: Sequence[bytes]) -> dict[bytes, StoredBlob]:
        """Returns blobs of a bundle.

        Raises:
            TicketScopeError: One of them is not of the bundle; whether it exists at all is not told.
        """
        found: dict[bytes, StoredBlob] = {}
        async with self._database.read() as connection:
            for batch in batches(digests):
                rows = await connection.execute(
                    select(*_BLOB_COLUMNS)
                    .join(bundle_blobs, bundle_blobs.c.blob_id == blobs.c.id)
                    .where(
                        bundle_blobs.c.bundle_id == bundle_row,
                        blobs.c.domain_id == domain_id,
                        blobs.c.digest.in_(batch),
                    )
                )
                found |= {blob.digest: blob for blob in map(StoredBlob._make, rows)}
        for digest in digests:
            if digest not in found:
                raise TicketScopeError(f"the ticket does not open blob {digest.hex()}", needed="read", blob=digest.hex())
        return found

    # ── Recipes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @_on_its_loop
    async def whole_recipes(self, blob_rows: Sequence[int]) -> dict[int, Recipe]:
        """Returns recipes by blob row; meant for blobs of few chunks. A blob of none is left out."""
        found: dict[int, list[tuple[bytes, int]]] = {}
        async with self._database.read() as connection:
            for batch in batches(blob_rows):
                rows = await connection.execute(
                    select(recipe_pages.c.blob_id, recipe_pages.c.chunks)
                    .where(recipe_pages.c.blob_id.in_(batch))
                    .order_by(recipe_pages.c.blob_id, recipe_pages.c.start)
                )
                for blob_row, page in rows:
                    found.setdefault(blob_row, []).extend(unpack(page))
        return dict(found)

    @_on_its_loop
    async def page_at(self, blob_row: int, offset: int) -> tuple[int, Recipe]:
        """Returns (start, recipe page) of the page that holds the byte at `offset`."""
        async with self._database.read() as connection:
            row = await connection.execute(
                select(recipe_pages.c.start, recipe_pages.c.chunks)
                .where(recipe_pages.c.blob_id == blob_row, recipe_pages.c.start <= offset)
                .order_by(recipe_pages.c.start.desc())
                .limit(1)
            )
            start, page = row.one()
            return start, unpack(page)

    # ── Packs at start ────────────────────────────────────────────────────────────────────────────────────────────────

    @_on_its_loop
    async def pack_rows(self) -> list[tuple[PackRow, int]]:
        """Returns all packs, each with the end of its last acknowledged byte."""
        end = (
            select(func.coalesce(func.max(chunks.c.pack_offset + chunks.c.size), 0))
            .where(chunks.c.pack_id == packs.c.id)
            .scalar_subquery()
        )
        async with self._database.read() as connection:
            # A sealed pack knows its size; only the few that were growing need the index.
            open_ends = await connection.execute(select(packs.c.id, end).where(packs.c.sealed_size.is_(None)))
            ends = dict(open_ends.all())
            rows = await connection.execute(select(packs.c.name, packs.c.id, packs.c.sealed_size))
            return [(PackRow(name, row_id, sealed), ends.get(row_id, sealed or 0)) for name, row_id, sealed in rows]

    @_on_its_loop
    async def mark_lost(self, pack: PackRow, from_offset: int) -> int:
        """Marks the chunks of a pack that reach beyond `from_offset` as damaged; returns how many."""
        async with self._database.write() as connection:
            lost = await connection.execute(
                update(chunks)
                .where(chunks.c.pack_id == pack.row_id, chunks.c.pack_offset + chunks.c.size > from_offset)
                .values(damaged=True)
            )
            return int(lost.rowcount)


async def _touch(connection: AsyncConnection, table: Table, domain_id: int, digests: Sequence[bytes]) -> set[bytes]:
    """Protects rows for the grace period; returns the digests that have one."""
    mine = (table.c.domain_id == domain_id, table.c.digest.in_(digests))
    await connection.execute(
        update(table).where(*mine, table.c.last_touched < now_micros() - _FRESH_MICROS).values(last_touched=now_micros())
    )
    return set(await connection.scalars(select(table.c.digest).where(*mine)))


async def _find_blobs(connection: AsyncConnection, domain_id: int, digests: Sequence[bytes]) -> dict[bytes, StoredBlob]:
    found: dict[bytes, StoredBlob] = {}
    for batch in batches(digests):
        rows = await connection.execute(select(*_BLOB_COLUMNS).where(blobs.c.domain_id == domain_id, blobs.c.digest.in_(batch)))
        found |= {blob.digest: blob for blob in map(StoredBlob._make, rows)}
    return found
