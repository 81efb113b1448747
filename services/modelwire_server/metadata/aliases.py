"""The rules of aliases. An alias names at most one member of a collection; giving it to another moves it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.errors import AliasMovedError
from modelwire.names import check_alias
from modelwire_server.database import now_micros
from modelwire_server.metadata.references import LATEST
from modelwire_server.metadata.tables import alias_moves, aliases, members


def check_aliases(names: Sequence[str]) -> list[str]:
    """Returns the distinct aliases, each found good."""
    return [check_alias(name) for name in dict.fromkeys(names)]


async def give(
    connection: AsyncConnection,
    collection_id: int,
    member_id: int,
    names: Sequence[str],
    *,
    run_id: int | None = None,
    expected: int | bool | None = False,
) -> None:
    """Gives aliases to a member, from wherever they were.

    Args:
        expected: The number of the member that must have them now, None for nowhere, False for anywhere.

    Raises:
        AliasMovedError: One is elsewhere than expected.
    """
    current = await _where(connection, collection_id, names)
    if expected is not False:
        for name in names:
            actual = current.get(name, (None, None))[1]
            if actual != expected:
                shown = "nowhere" if actual is None else f"v{actual}"
                raise AliasMovedError(f"alias {name!r} is at {shown} now", alias=name, actual="" if actual is None else shown)
    number = await connection.scalar(select(members.c.number).where(members.c.id == member_id))
    moving = [name for name in names if current.get(name, (None, None))[0] != member_id]
    if not moving:
        return
    own = aliases.c.collection_id == collection_id
    held = [name for name in moving if name in current]
    fresh = [name for name in moving if name not in current]
    if held:
        await connection.execute(update(aliases).where(own, aliases.c.name.in_(held)).values(member_id=member_id))
    if fresh:
        rows = [{"collection_id": collection_id, "name": name, "member_id": member_id} for name in fresh]
        await connection.execute(insert(aliases), rows)
    await _record(connection, collection_id, [(name, current.get(name, (None, None))[1], number) for name in moving], run_id)


async def take(connection: AsyncConnection, collection_id: int, member_id: int, names: Sequence[str]) -> None:
    """Takes aliases from a member; those that it does not have are passed over."""
    current = await _where(connection, collection_id, names)
    gone = [name for name, (holder, _) in current.items() if holder == member_id]
    if gone:
        own = (aliases.c.collection_id == collection_id, aliases.c.name.in_(gone))
        await connection.execute(delete(aliases).where(*own))
        await _record(connection, collection_id, [(name, current[name][1], None) for name in gone], None)


async def drop_member(connection: AsyncConnection, collection_id: int, member_id: int) -> None:
    """Takes all aliases from a member that is being deleted; `latest` goes to the newest one left."""
    names = list(await connection.scalars(select(aliases.c.name).where(aliases.c.member_id == member_id)))
    await take(connection, collection_id, member_id, names)
    if LATEST in names:
        heir = await connection.scalar(
            select(members.c.id)
            .where(members.c.collection_id == collection_id, members.c.deleted_at.is_(None), members.c.id != member_id)
            .order_by(members.c.number.desc())
            .limit(1)
        )
        if heir is not None:
            await give(connection, collection_id, heir, [LATEST])


async def _where(
    connection: AsyncConnection, collection_id: int, names: Sequence[str]
) -> dict[str, tuple[int | None, int | None]]:
    rows = await connection.execute(
        select(aliases.c.name, members.c.id, members.c.number)
        .join(members, members.c.id == aliases.c.member_id)
        .where(aliases.c.collection_id == collection_id, aliases.c.name.in_(names))
    )
    return {name: (member_id, number) for name, member_id, number in rows}


async def _record(
    connection: AsyncConnection, collection_id: int, moves: Sequence[tuple[str, int | None, int | None]], run_id: int | None
) -> None:
    rows = [
        {"collection_id": collection_id, "name": name, "from_number": old, "to_number": new, "run_id": run_id}
        for name, old, new in moves
    ]
    await connection.execute(insert(alias_moves).values(moved_at=now_micros()), rows)
