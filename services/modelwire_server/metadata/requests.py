"""Makes mutations repeatable: the same request id gives the same answer (invariant I8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from blake3 import blake3
from google.protobuf.message import Message
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.errors import RequestIdReusedError, RequestInvalidError
from modelwire_server.database import Database, now_micros
from modelwire_server.metadata.tables import requests

KEEP_MICROS = 48 * 3600 * 1_000_000
"""How long answers are remembered: longer than any client goes on trying."""

_MAX_ID = 64
_PURGE_ROWS = 50

Answer = TypeVar("Answer", bound=Message)


def body_digest(*messages: Message) -> bytes:
    """Returns what two requests share when they ask the same."""
    hasher = blake3()
    for message in messages:
        hasher.update(message.SerializeToString(deterministic=True))
    return hasher.digest()


class Requests:
    """Runs each mutation once, in one transaction together with the memory of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def once(
        self,
        method: str,
        request_id: str,
        body: bytes,
        answer: type[Answer],
        work: Callable[[AsyncConnection], Awaitable[Answer]],
    ) -> Answer:
        """Returns what `work` answers, or what it answered the first time.

        Raises:
            RequestInvalidError: The id is empty or too long.
            RequestIdReusedError: The id came before with another body or for another method.
        """
        if not 0 < len(request_id) <= _MAX_ID:
            raise RequestInvalidError(f"request_id must be 1 to {_MAX_ID} characters", field="request_id")
        async with self._database.write() as connection:
            found = await connection.execute(select(requests).where(requests.c.id == request_id))
            if row := found.one_or_none():
                if (row.method, row.body) != (method, body):
                    raise RequestIdReusedError(
                        f"request id {request_id!r} was used before for something else; choose a new one",
                        request_id=request_id,
                    )
                return answer.FromString(row.response)
            response = await work(connection)
            await connection.execute(
                insert(requests).values(
                    id=request_id,
                    method=method,
                    body=body,
                    response=response.SerializeToString(),
                    created_at=now_micros(),
                )
            )
            await self._forget(connection)
            return response

    async def _forget(self, connection: AsyncConnection) -> None:
        old = (
            select(requests.c.id)
            .where(requests.c.created_at < now_micros() - KEEP_MICROS)
            .order_by(requests.c.created_at)
            .limit(_PURGE_ROWS)
        )
        await connection.execute(delete(requests).where(requests.c.id.in_(old)))
