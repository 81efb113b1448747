"""The rules of collections: what artifacts and registered models have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire_server.database import now_micros
from modelwire_server.metadata.lookup import find_collection, find_project, load_members
from modelwire_server.metadata.records import CollectionRecord, Page, VersionRecord
from modelwire_server.metadata.references import CollectionName
from modelwire_server.metadata.tables import collections, members, version_tags


async def list_members(
    connection: AsyncConnection, name: CollectionName, page: Page, tags: Sequence[str] = ()
) -> list[VersionRecord]:
    """Lists the versions of a collection by number; `after` is (number,) of the last one seen."""
    collection_id = await find_collection(connection, name)
    rows = select(members.c.id).where(members.c.collection_id == collection_id, members.c.deleted_at.is_(None))
    for tag in dict.fromkeys(tags):
        rows = rows.where(exists().where(version_tags.c.version_id == members.c.version_id, version_tags.c.tag == tag))
    if page.after is not None:
        number = page.after[0]
        rows = rows.where(members.c.number > number if page.oldest_first else members.c.number < number)
    order = members.c.number if page.oldest_first else members.c.number.desc()
    return await load_members(connection, list(await connection.scalars(rows.order_by(order).limit(page.size))))


async def list_collections(
    connection: AsyncConnection, entity: str, project: str, page: Page, *conditions: ColumnElement[bool]
) -> list[CollectionRecord]:
    """Lists the collections of a project by name; `after` is (name,) of the last one seen."""
    project_id = await find_project(connection, entity, project)
    rows = (
        select(collections, _MEMBER_COUNT.label("member_count"))
        .where(collections.c.project_id == project_id, collections.c.deleted_at.is_(None), *conditions)
        .order_by(collections.c.name)
        .limit(page.size)
    )
    if page.after is not None:
        rows = rows.where(collections.c.name > page.after[0])
    return [_collection(row, entity, project) for row in await connection.execute(rows)]


async def get_collection(connection: AsyncConnection, name: CollectionName) -> CollectionRecord:
    """Returns one artifact or registered model."""
    row_id = await find_collection(connection, name)
    rows = await connection.execute(select(collections, _MEMBER_COUNT.label("member_count")).where(collections.c.id == row_id))
    return _collection(rows.one(), name.entity, name.project)


def _collection(row: Row[Any], entity: str, project: str) -> CollectionRecord:
    return CollectionRecord(
        row_id=row.id,
        name=CollectionName(entity, project, row.name),
        type=row.type,
        description=row.description,
        tags=json.loads(row.tags),
        created_at=row.created_at,
        member_count=row.member_count,
    )


_MEMBER_COUNT = (
    select(func.count()).where(members.c.collection_id == collections.c.id, members.c.deleted_at.is_(None)).scalar_subquery()
)


async def make_collection(connection: AsyncConnection, project_id: int, name: str, type_: str) -> int:
    """Makes a collection, or brings back a deleted one, whose numbers go on where they stopped."""
    own = (collections.c.project_id == project_id, collections.c.name == name)
    found = await connection.scalar(select(collections.c.id).where(*own))
    values = {"type": type_, "description": "", "tags": "[]", "created_at": now_micros(), "deleted_at": None}
    if found is not None:
        await connection.execute(update(collections).where(collections.c.id == found).values(**values))
        return int(found)
    row = insert(collections).values(project_id=project_id, name=name, **values).returning(collections.c.id)
    made = await connection.scalar(row)
    assert made is not None
    return int(made)
