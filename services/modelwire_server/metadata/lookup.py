"""Finds what names mean, and says which part of a name is wrong when they mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from sqlalchemy import ColumnElement, Select, Table, and_, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.errors import (
    AliasNotFoundError,
    ArtifactNotFoundError,
    EntityNotFoundError,
    NameInvalidError,
    NotFoundError,
    ProjectNotFoundError,
    RegisteredModelNotFoundError,
    VersionNotFoundError,
)
from modelwire.names import REGISTRY_PROJECT, check_project
from modelwire_server.database import batches, now_micros
from modelwire_server.metadata.records import MemberName, RunName, VersionRecord
from modelwire_server.metadata.references import LATEST, CollectionName, Reference
from modelwire_server.metadata.tables import (
    aliases,
    collections,
    entities,
    members,
    projects,
    runs,
    version_tags,
    versions,
)

_SIMILAR_FROM = 1000
"""Names that are looked through for close ones."""


async def ensure_project(connection: AsyncConnection, entity: str, project: str) -> int:
    """Returns the row of a project; entity and project come into being on first use."""
    check_project(entity, "entity")
    check_project(project)
    entity_id = await _ensure(connection, entities, entities.c.name == entity, name=entity)
    own = and_(projects.c.entity_id == entity_id, projects.c.name == project)
    return await _ensure(connection, projects, own, entity_id=entity_id, name=project)


async def ensure_run_project(connection: AsyncConnection, entity: str, project: str) -> int:
    """Returns the row of a project that may hold runs and artifacts."""
    if project == REGISTRY_PROJECT:
        message = f"{REGISTRY_PROJECT!r} holds registered models; runs and artifacts need another project"
        raise NameInvalidError(message, kind="project", name=project)
    return await ensure_project(connection, entity, project)


async def _ensure(connection: AsyncConnection, table: Table, own: ColumnElement[bool], **values: object) -> int:
    found = await connection.scalar(select(table.c.id).where(own))
    if found is None:
        row = insert(table).values(**values, created_at=now_micros()).returning(table.c.id)
        found = await connection.scalar(row)
    assert found is not None
    return int(found)


async def find_project(connection: AsyncConnection, entity: str, project: str) -> int:
    """Returns the row of a project; raises EntityNotFoundError or ProjectNotFoundError."""
    entity_id = await connection.scalar(select(entities.c.id).where(entities.c.name == entity))
    if entity_id is None:
        names = select(entities.c.name)
        raise await missing(connection, EntityNotFoundError, f"entity {entity!r}", entity, names)
    own = (projects.c.entity_id == entity_id, projects.c.name == project)
    project_id = await connection.scalar(select(projects.c.id).where(*own))
    if project_id is None:
        names = select(projects.c.name).where(projects.c.entity_id == entity_id, projects.c.name != REGISTRY_PROJECT)
        what = f"project {project!r} of entity {entity!r}"
        raise await missing(connection, ProjectNotFoundError, what, project, names)
    return int(project_id)


async def find_collection(connection: AsyncConnection, name: CollectionName) -> int:
    """Returns the row of an artifact or registered model, or raises the error that says what is missing."""
    error = RegisteredModelNotFoundError if name.in_registry else ArtifactNotFoundError
    what = f"registered model {name.name!r}" if name.in_registry else f"artifact {name.name!r} in {name.entity}/{name.project}"
    try:
        project_id = await find_project(connection, name.entity, name.project)
    except ProjectNotFoundError:
        if not name.in_registry:
            raise
        raise RegisteredModelNotFoundError(f"there is no {what} yet", name=name.name, similar="") from None
    live = (collections.c.project_id == project_id, collections.c.deleted_at.is_(None))
    found = await connection.scalar(select(collections.c.id).where(*live, collections.c.name == name.name))
    if found is None:
        raise await missing(connection, error, what, name.name, select(collections.c.name).where(*live))
    return int(found)


async def find_member(connection: AsyncConnection, reference: Reference) -> VersionRecord:
    """Returns the version that a reference names, or raises the error that says what is missing."""
    collection_id = await find_collection(connection, reference.collection)
    live = (members.c.collection_id == collection_id, members.c.deleted_at.is_(None))
    if reference.number is not None:
        found = await connection.scalar(select(members.c.id).where(*live, members.c.number == reference.number))
        if found is None:
            names = select(members.c.number).where(*live).order_by(members.c.number.desc())
            what = f"version {reference.alias} of {reference.collection}"
            raise await missing(connection, VersionNotFoundError, what, reference.alias, names)
    else:
        own = aliases.c.collection_id == collection_id
        found = await connection.scalar(select(aliases.c.member_id).where(own, aliases.c.name == reference.alias))
        if found is None:
            names = select(aliases.c.name).where(own)
            what = f"alias {reference.alias!r} of {reference.collection}"
            raise await missing(connection, AliasNotFoundError, what, reference.alias, names)
    return (await load_members(connection, [int(found)]))[0]


async def missing(
    connection: AsyncConnection,
    error: type[NotFoundError],
    what: str,
    name: str,
    names: Select[tuple[str]] | Select[tuple[int]],
) -> NotFoundError:
    """Makes the error for something that does not exist, with close names that do."""
    known = [f"v{one}" if isinstance(one, int) else str(one) for one in await connection.scalars(names.limit(_SIMILAR_FROM))]
    folded = {one.casefold(): one for one in known}
    close = [folded[one] for one in get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    return error(f"there is no {what}{hint}", name=name, similar=", ".join(close))


_source = members.alias("source")
_source_collection = collections.alias("source_collection")
_source_project = projects.alias("source_project")
_source_entity = entities.alias("source_entity")
_run_project = projects.alias("run_project")
_run_entity = entities.alias("run_entity")

_MEMBERS = (
    select(
        members.c.id,
        members.c.collection_id,
        members.c.version_id,
        members.c.number,
        members.c.is_link,
        members.c.created_at.label("placed_at"),
        members.c.deleted_at,
        collections.c.name.label("collection"),
        projects.c.name.label("project"),
        entities.c.name.label("entity"),
        _source.c.id.label("source_id"),
        _source.c.number.label("source_number"),
        _source_collection.c.name.label("source_collection"),
        _source_collection.c.type,
        _source_project.c.name.label("source_project"),
        _source_entity.c.name.label("source_entity"),
        versions.c.public_id,
        versions.c.manifest_digest,
        versions.c.domain,
        versions.c.bundle,
        versions.c.size,
        versions.c.file_count,
        versions.c.description,
        versions.c.metadata,
        versions.c.ttl_seconds,
        versions.c.created_at,
        runs.c.name.label("run"),
        _run_project.c.name.label("run_project"),
        _run_entity.c.name.label("run_entity"),
    )
    .join(collections, collections.c.id == members.c.collection_id)
    .join(projects, projects.c.id == collections.c.project_id)
    .join(entities, entities.c.id == projects.c.entity_id)
    .join(versions, versions.c.id == members.c.version_id)
    .join(_source, and_(_source.c.version_id == versions.c.id, _source.c.collection_id == versions.c.collection_id))
    .join(_source_collection, _source_collection.c.id == versions.c.collection_id)
    .join(_source_project, _source_project.c.id == _source_collection.c.project_id)
    .join(_source_entity, _source_entity.c.id == _source_project.c.entity_id)
    .outerjoin(runs, runs.c.id == versions.c.run_id)
    .outerjoin(_run_project, _run_project.c.id == runs.c.project_id)
    .outerjoin(_run_entity, _run_entity.c.id == _run_project.c.entity_id)
)


async def load_members(connection: AsyncConnection, member_ids: Sequence[int]) -> list[VersionRecord]:
    """Returns versions at the given places, in the order given. Four queries, however many there are."""
    found: dict[int, VersionRecord] = {}
    for batch in batches(member_ids):
        rows = (await connection.execute(_MEMBERS.where(members.c.id.in_(batch)))).all()
        names = await _grouped(connection, aliases.c.member_id, aliases.c.name, batch)
        tags = await _grouped(connection, version_tags.c.version_id, version_tags.c.tag, [row.version_id for row in rows])
        for row in rows:
            place = MemberName(CollectionName(row.entity, row.project, row.collection), row.number)
            source = CollectionName(row.source_entity, row.source_project, row.source_collection)
            found[row.id] = VersionRecord(
                member_id=row.id,
                collection_id=row.collection_id,
                version_id=row.version_id,
                public_id=row.public_id,
                name=place,
                source=MemberName(source, row.source_number),
                source_member_id=row.source_id,
                is_link=row.is_link,
                type=row.type,
                deleted=row.deleted_at is not None,
                manifest_digest=row.manifest_digest,
                domain=row.domain,
                bundle=row.bundle,
                size=row.size,
                file_count=row.file_count,
                description=row.description,
                metadata=row.metadata,
                ttl_seconds=row.ttl_seconds,
                created_at=row.created_at,
                linked_at=row.placed_at,
                logged_by=RunName(row.run_entity, row.run_project, row.run) if row.run else None,
                aliases=names.get(row.id, []),
                tags=tags.get(row.version_id, []),
            )
    return [found[member_id] for member_id in member_ids]


async def _grouped(
    connection: AsyncConnection, key: ColumnElement[int], value: ColumnElement[str], keys: Sequence[int]
) -> dict[int, list[str]]:
    """Returns the sorted values of each key; `latest` comes first, as people read it."""
    rows = await connection.execute(select(key, value).where(key.in_(keys)).order_by(key, value != LATEST, value))
    found: dict[int, list[str]] = {}
    for one, text in rows:
        found.setdefault(one, []).append(text)
    return found
