"""The rules of the registry: collections whose members are links. A link copies nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.errors import ProjectNotFoundError, ReferenceInvalidError, RequestInvalidError
from modelwire.names import REGISTRY_PROJECT, check_artifact_name, check_tag
from modelwire_server.metadata import aliases as alias_rules
from modelwire_server.metadata.collections import get_collection, list_collections, make_collection
from modelwire_server.metadata.lookup import ensure_project, find_collection, find_member, load_members
from modelwire_server.metadata.records import CollectionRecord, Page, RunName, VersionRecord
from modelwire_server.metadata.references import LATEST, CollectionName, Reference
from modelwire_server.metadata.runs import MAX_TAGS, MAX_TEXT, find_active_run
from modelwire_server.metadata.tables import collections, members
from modelwire_server.metadata.versions import (
    add_member,
    check_model,
    remove,
    set_aliases,
)

COLLECTION_TYPE = "registered-model"


async def link(
    connection: AsyncConnection,
    reference: Reference,
    entity: str,
    registered_model: str,
    names: Sequence[str],
    run: RunName | None,
    *,
    require_model: bool,
) -> tuple[VersionRecord, bool]:
    """Links a version to a registered model; returns the link and whether it is new.

    A version that is linked already keeps its number; the aliases are given to it, `latest` too.

    Raises:
        NotAModelError: `require_model`, and the version's type is not a model's.
    """
    check_artifact_name(registered_model, "registered model name")
    names = alias_rules.check_aliases(names)
    version = await find_member(connection, reference)
    if require_model:
        check_model(version)
    run_id = await find_active_run(connection, run)
    project_id = await ensure_project(connection, entity or version.source.collection.entity, REGISTRY_PROJECT)
    collection_id = await connection.scalar(
        select(collections.c.id).where(
            collections.c.project_id == project_id,
            collections.c.name == registered_model,
            collections.c.deleted_at.is_(None),
        )
    )
    if collection_id is None:
        collection_id = await make_collection(connection, project_id, registered_model, COLLECTION_TYPE)
    member_id = await connection.scalar(
        select(members.c.id).where(
            members.c.collection_id == collection_id,
            members.c.version_id == version.version_id,
            members.c.deleted_at.is_(None),
        )
    )
    created = member_id is None
    if member_id is None:
        member_id = await add_member(connection, collection_id, version.version_id, is_link=True, run_id=run_id)
    await alias_rules.give(connection, collection_id, member_id, [LATEST, *names], run_id=run_id)
    return (await load_members(connection, [member_id]))[0], created


async def unlink(connection: AsyncConnection, reference: Reference, *, delete_aliases: bool) -> VersionRecord:
    """Removes a link; the source is not touched."""
    _check_is_link(reference)
    return await remove(connection, reference, delete_aliases=delete_aliases)


async def set_link_aliases(
    connection: AsyncConnection,
    reference: Reference,
    add: Sequence[str],
    take: Sequence[str],
    expected: int | bool | None = False,
) -> VersionRecord:
    """Gives aliases to a link and takes aliases from it."""
    _check_is_link(reference)
    return await set_aliases(connection, reference, add, take, expected)


async def list_models(connection: AsyncConnection, entity: str, contains: str, page: Page) -> list[CollectionRecord]:
    """Lists registered models by name; an entity that never linked anything has none."""
    conditions = [func.lower(collections.c.name).contains(contains.lower(), autoescape=True)] if contains else []
    try:
        return await list_collections(connection, entity, REGISTRY_PROJECT, page, *conditions)
    except ProjectNotFoundError:
        return []


async def change_model(
    connection: AsyncConnection, name: CollectionName, description: str | None, tags: Sequence[str] | None
) -> CollectionRecord:
    """Changes the fields of a registered model that are set."""
    if description is not None and len(description) > MAX_TEXT:
        raise RequestInvalidError(f"a description has at most {MAX_TEXT} characters", field="description")
    if tags is not None and len(tags) > MAX_TAGS:
        raise RequestInvalidError(f"a registered model has at most {MAX_TAGS} tags", field="tags")
    values = {} if description is None else {"description": description}
    if tags is not None:
        values["tags"] = json.dumps([check_tag(tag) for tag in dict.fromkeys(tags)], ensure_ascii=False)
    row_id = await find_collection(connection, name)
    if values:
        await connection.execute(update(collections).where(collections.c.id == row_id).values(**values))
    return await get_collection(connection, name)


def _check_is_link(reference: Reference) -> None:
    if not reference.collection.in_registry:
        message = f"{reference} is not a link; a link is named {REGISTRY_PROJECT}/<name>:<alias or version>"
        raise ReferenceInvalidError(message, reference=str(reference))
