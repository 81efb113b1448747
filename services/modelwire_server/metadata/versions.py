"""The rules of artifacts and versions: bytes first, names last."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.errors import (
    DraftClosedError,
    DraftNotFoundError,
    ManifestDigestMismatchError,
    NotAModelError,
    ReceiptInvalidError,
    ReceiptMismatchError,
    RequestInvalidError,
    TypeMismatchError,
    VersionHasAliasesError,
    VersionLinkedError,
)
from modelwire.names import DEFAULT_ENTITY, DEFAULT_PROJECT, check_artifact_name, check_tag, check_type
from modelwire_server.database import now_micros
from modelwire_server.metadata import aliases as alias_rules
from modelwire_server.metadata.collections import make_collection
from modelwire_server.metadata.json_texts import MAX_METADATA_KEYS, check_object
from modelwire_server.metadata.lookup import ensure_run_project, find_collection, find_member, load_members
from modelwire_server.metadata.manifests import Manifest, save_entries
from modelwire_server.metadata.records import RunName, VersionRecord
from modelwire_server.metadata.references import LATEST, CollectionName, Reference
from modelwire_server.metadata.runs import MAX_TAGS, MAX_TEXT, find_active_run
from modelwire_server.metadata.tables import (
    collections,
    drafts,
    entities,
    members,
    projects,
    run_inputs,
    run_outputs,
    version_tags,
    versions,
)

DRAFT_MICROS = 7 * 24 * 3600 * 1_000_000
"""How long a draft may stay open."""

_MAX_SIZE = 1 << 62


@dataclass(frozen=True)
class NewVersion:
    """Is a version to begin."""

    entity: str
    project: str
    artifact: str
    type: str
    run: RunName | None = None
    manifest_digest: str = ""


@dataclass(frozen=True)
class Draft:
    """Is a draft that bytes may be written for."""

    id: str
    domain: str


@dataclass(frozen=True)
class Description:
    """Says what a version's makers say of it; None leaves a field as it is."""

    description: str | None = None
    metadata: str | None = None
    tags: Sequence[str] | None = None
    ttl_seconds: int | None = None

    def checked(self) -> Description:
        """Returns the same with every field found good."""
        if self.description is not None and len(self.description) > MAX_TEXT:
            raise RequestInvalidError(f"a description has at most {MAX_TEXT} characters", field="description")
        if self.ttl_seconds is not None and self.ttl_seconds > _MAX_SIZE // 1_000_000:
            raise RequestInvalidError("ttl_seconds is too large", field="ttl_seconds")
        if self.tags is not None and len(self.tags) > MAX_TAGS:
            raise RequestInvalidError(f"a version has at most {MAX_TAGS} tags", field="tags")
        metadata = None if self.metadata is None else check_object(self.metadata, "metadata", MAX_METADATA_KEYS)
        tags = None if self.tags is None else [check_tag(tag) for tag in dict.fromkeys(self.tags)]
        return Description(self.description, metadata, tags, self.ttl_seconds)


async def begin(connection: AsyncConnection, new: NewVersion) -> Draft | VersionRecord:
    """Opens a draft, or returns the version that has the manifest already, recorded as the run's output.

    Raises:
        TypeMismatchError: The artifact exists with another type.
        RunNotFoundError, RunEndedError: The run cannot log.
    """
    check_artifact_name(new.artifact)
    check_type(new.type)
    entity, project = new.entity or DEFAULT_ENTITY, new.project or DEFAULT_PROJECT
    project_id = await ensure_run_project(connection, entity, project)
    run_id = await find_active_run(connection, new.run)
    collection_id = await _check_collection(connection, project_id, new.artifact, new.type)
    if new.manifest_digest and collection_id is not None:
        found = await _find_content(connection, collection_id, new.manifest_digest)
        if found is not None:
            await alias_rules.give(connection, collection_id, found, [LATEST], run_id=run_id)
            await _record_output(connection, run_id, found)
            return (await load_members(connection, [found]))[0]
    draft_id = secrets.token_hex(16)
    await connection.execute(
        insert(drafts).values(
            id=draft_id, project_id=project_id, name=new.artifact, type=new.type, run_id=run_id, created_at=now_micros()
        )
    )
    return Draft(draft_id, entity)


async def reopen(connection: AsyncConnection, draft_id: str) -> Draft:
    """Returns an open draft, for a new ticket."""
    draft = await _open_draft(connection, draft_id)
    return Draft(draft_id, draft.entity)


@dataclass(frozen=True)
class _OpenDraft:
    project_id: int
    name: str
    type: str
    run_id: int | None
    entity: str


async def _open_draft(connection: AsyncConnection, draft_id: str) -> _OpenDraft:
    rows = await connection.execute(
        select(drafts, entities.c.name.label("entity"), (drafts.c.created_at < now_micros() - DRAFT_MICROS).label("old"))
        .join(projects, projects.c.id == drafts.c.project_id)
        .join(entities, entities.c.id == projects.c.entity_id)
        .where(drafts.c.id == draft_id)
    )
    row = rows.one_or_none()
    if row is None:
        raise DraftNotFoundError(f"there is no draft {draft_id[:64]!r}", draft=draft_id[:64])
    if row.committed_at is not None or row.old:
        why = "has been committed" if row.committed_at is not None else "has expired"
        raise DraftClosedError(f"draft {draft_id} {why}; begin a new version", draft=draft_id)
    return _OpenDraft(row.project_id, row.name, row.type, row.run_id, row.entity)


async def commit(
    connection: AsyncConnection,
    draft_id: str,
    manifest: Manifest,
    receipt: tuple[str, bytes] | None,
    description: Description,
    names: Sequence[str],
    expected_digest: str = "",
) -> tuple[VersionRecord, bool]:
    """Publishes a draft as the next version, or finds the version that has its content; returns it and whether it is new.

    Args:
        receipt: The (domain, bundle) that the blob service vouched for.
        names: Aliases besides `latest`.
        expected_digest: The manifest digest as the writer computed it, or empty.
    """
    names = alias_rules.check_aliases(names)
    description = description.checked()
    if expected_digest and expected_digest != manifest.digest:
        raise ManifestDigestMismatchError(
            f"the entries hash to {manifest.digest}, not to {expected_digest[:64]}",
            digest=expected_digest[:64],
            actual=manifest.digest,
        )
    draft = await _open_draft(connection, draft_id)
    _check_receipt(draft.entity, manifest, receipt)
    collection_id = await _check_collection(connection, draft.project_id, draft.name, draft.type)
    if collection_id is None:
        collection_id = await make_collection(connection, draft.project_id, draft.name, draft.type)
    member_id = await _find_content(connection, collection_id, manifest.digest)
    created = member_id is None
    if member_id is None:
        member_id = await _publish(connection, collection_id, draft, manifest, description)
    await alias_rules.give(connection, collection_id, member_id, [LATEST, *names], run_id=draft.run_id)
    await _record_output(connection, draft.run_id, member_id)
    await connection.execute(update(drafts).where(drafts.c.id == draft_id).values(committed_at=now_micros()))
    return (await load_members(connection, [member_id]))[0], created


def _check_receipt(domain: str, manifest: Manifest, receipt: tuple[str, bytes] | None) -> None:
    if manifest.bundle is None:
        return
    if receipt is None:
        raise ReceiptInvalidError("a manifest of stored files needs a receipt; seal the bundle of its blobs first")
    if receipt[0] != domain:
        raise ReceiptInvalidError("the receipt is for another domain")
    if receipt[1] != manifest.bundle:
        raise ReceiptMismatchError(
            "the receipt covers another bundle than the manifest's blobs",
            bundle=manifest.bundle.hex(),
            actual=receipt[1].hex(),
        )


async def _check_collection(connection: AsyncConnection, project_id: int, name: str, type_: str) -> int | None:
    own = (collections.c.project_id == project_id, collections.c.name == name, collections.c.deleted_at.is_(None))
    found = (await connection.execute(select(collections.c.id, collections.c.type).where(*own))).one_or_none()
    if found is None:
        return None
    if found.type != type_:
        message = f"artifact {name!r} exists with type {found.type!r}, not {type_!r}; choose another name"
        raise TypeMismatchError(message, name=name, type=type_, actual=found.type)
    return int(found.id)


async def _find_content(connection: AsyncConnection, collection_id: int, digest: str) -> int | None:
    return await connection.scalar(
        select(members.c.id)
        .join(versions, versions.c.id == members.c.version_id)
        .where(
            versions.c.collection_id == collection_id,
            versions.c.manifest_digest == digest,
            versions.c.deleted_at.is_(None),
            members.c.collection_id == collection_id,
        )
    )


async def _publish(
    connection: AsyncConnection, collection_id: int, draft: _OpenDraft, manifest: Manifest, description: Description
) -> int:
    version_id = await connection.scalar(
        insert(versions)
        .values(
            public_id=secrets.token_hex(16),
            collection_id=collection_id,
            manifest_digest=manifest.digest,
            domain=draft.entity,
            bundle=manifest.bundle,
            size=manifest.size,
            file_count=len(manifest.entries),
            description=description.description or "",
            metadata=description.metadata or "{}",
            ttl_seconds=description.ttl_seconds or 0,
            run_id=draft.run_id,
            created_at=now_micros(),
        )
        .returning(versions.c.id)
    )
    assert version_id is not None
    await save_entries(connection, version_id, manifest)
    await _set_tags(connection, version_id, description.tags or ())
    return await add_member(connection, collection_id, version_id, is_link=False, run_id=draft.run_id)


async def add_member(
    connection: AsyncConnection, collection_id: int, version_id: int, *, is_link: bool, run_id: int | None
) -> int:
    """Gives a version the next number of a collection; returns the new place's row."""
    following = await connection.scalar(
        update(collections)
        .where(collections.c.id == collection_id)
        .values(next_number=collections.c.next_number + 1)
        .returning(collections.c.next_number)
    )
    assert following is not None
    row = insert(members).values(
        collection_id=collection_id,
        number=following - 1,
        version_id=version_id,
        is_link=is_link,
        run_id=run_id,
        created_at=now_micros(),
    )
    member_id = await connection.scalar(row.returning(members.c.id))
    assert member_id is not None
    return int(member_id)


async def _set_tags(connection: AsyncConnection, version_id: int, tags: Sequence[str]) -> None:
    await connection.execute(delete(version_tags).where(version_tags.c.version_id == version_id))
    if tags:
        await connection.execute(insert(version_tags), [{"version_id": version_id, "tag": tag} for tag in tags])


async def _record_output(connection: AsyncConnection, run_id: int | None, member_id: int) -> None:
    own = (run_outputs.c.run_id == run_id, run_outputs.c.member_id == member_id)
    if run_id is not None and not await connection.scalar(select(exists().where(*own))):
        row = {"run_id": run_id, "member_id": member_id}
        await connection.execute(insert(run_outputs).values(**row, recorded_at=now_micros()))


async def use(
    connection: AsyncConnection, reference: Reference, run: RunName | None, *, require_model: bool, type_: str
) -> VersionRecord:
    """Finds a version and records it as an input of the run; everything is checked before anything is recorded.

    Raises:
        NotAModelError, TypeMismatchError: The version is of another type than the caller needs.
    """
    version = await find_member(connection, reference)
    if require_model:
        check_model(version)
    if type_ and version.type != type_:
        message = f"{version.name} is of type {version.type!r}, not {type_!r}"
        raise TypeMismatchError(message, name=str(version.name), type=type_, actual=version.type)
    run_id = await find_active_run(connection, run)
    own = (run_inputs.c.run_id == run_id, run_inputs.c.member_id == version.member_id)
    if run_id is not None and not await connection.scalar(select(exists().where(*own))):
        row = {"run_id": run_id, "member_id": version.member_id}
        await connection.execute(insert(run_inputs).values(**row, recorded_at=now_micros()))
    return version


def check_model(version: VersionRecord) -> None:
    """Raises NotAModelError when the version's type does not hold the word "model"."""
    if "model" not in version.type.lower():
        message = f'{version.name} is of type {version.type!r}; a model\'s type holds the word "model"'
        raise NotAModelError(message, name=str(version.name), type=version.type)


async def change(connection: AsyncConnection, reference: Reference, changes: Description) -> VersionRecord:
    """Changes the fields of a version that are set."""
    changes = changes.checked()
    version = await find_member(connection, reference)
    values = {
        name: value
        for name, value in (
            ("description", changes.description),
            ("metadata", changes.metadata),
            ("ttl_seconds", changes.ttl_seconds),
        )
        if value is not None
    }
    if values:
        await connection.execute(update(versions).where(versions.c.id == version.version_id).values(**values))
    if changes.tags is not None:
        await _set_tags(connection, version.version_id, changes.tags)
    return (await load_members(connection, [version.member_id]))[0]


async def set_aliases(
    connection: AsyncConnection,
    reference: Reference,
    add: Sequence[str],
    remove: Sequence[str],
    expected: int | bool | None = False,
) -> VersionRecord:
    """Gives aliases to a version and takes aliases from it, in one step."""
    add = alias_rules.check_aliases(add)
    version = await find_member(connection, reference)
    await alias_rules.give(connection, version.collection_id, version.member_id, add, expected=expected)
    await alias_rules.take(connection, version.collection_id, version.member_id, remove)
    return (await load_members(connection, [version.member_id]))[0]


async def remove(connection: AsyncConnection, reference: Reference, *, delete_aliases: bool) -> VersionRecord:
    """Deletes a version, or only the link when the reference names one.

    Raises:
        VersionHasAliasesError: It has aliases besides `latest`.
        VersionLinkedError: The registry links to it.
    """
    version = await find_member(connection, reference)
    await _remove_member(connection, version, delete_aliases=delete_aliases)
    return version


async def _remove_member(connection: AsyncConnection, version: VersionRecord, *, delete_aliases: bool) -> None:
    held = [name for name in version.aliases if name != LATEST]
    if held and not delete_aliases:
        message = f"{version.name} has the aliases {', '.join(held)}; say delete_aliases to delete it all the same"
        raise VersionHasAliasesError(message, aliases=", ".join(held))
    if not version.is_link:
        links = await connection.scalar(
            select(func.count()).where(
                members.c.version_id == version.version_id, members.c.is_link, members.c.deleted_at.is_(None)
            )
        )
        if links:
            message = f"{version.name} is linked in the registry {links} time(s); unlink it first"
            raise VersionLinkedError(message, links=links)
        row = update(versions).where(versions.c.id == version.version_id)
        await connection.execute(row.values(deleted_at=now_micros()))
    await alias_rules.drop_member(connection, version.collection_id, version.member_id)
    await connection.execute(update(members).where(members.c.id == version.member_id).values(deleted_at=now_micros()))


async def remove_collection(connection: AsyncConnection, name: CollectionName, *, delete_aliases: bool) -> int:
    """Deletes an artifact or registered model with all its members; returns how many there were."""
    collection_id = await find_collection(connection, name)
    rows = await connection.scalars(
        select(members.c.id)
        .where(members.c.collection_id == collection_id, members.c.deleted_at.is_(None))
        .order_by(members.c.number)
    )
    doomed = await load_members(connection, list(rows))
    for version in doomed:
        await _remove_member(connection, version, delete_aliases=delete_aliases)
    row = update(collections).where(collections.c.id == collection_id)
    await connection.execute(row.values(deleted_at=now_micros()))
    return len(doomed)
