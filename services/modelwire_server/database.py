"""SQL plumbing that both services share: one writer at a time on SQLite, many readers, migrations, one clock."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
from alembic import context
from alembic.config import Config
from sqlalchemy import BigInteger, Connection, Dialect, LargeBinary, MetaData, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SQL_BATCH = 1000
"""Rows or ids in one statement: few enough that building it never holds the event loop for long."""

_READERS = 4
_BUSY_SECONDS = 60

Item = TypeVar("Item")


class Bytes(LargeBinary):
    """Is a column of bytes that go to the driver and come back as they are: the default wraps every value once more."""

    def bind_processor(self, dialect: Dialect) -> None:
        """Needs none."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Needs none."""


class now_micros(FunctionElement[int]):  # noqa: N801 - reads as the SQL function that it is
    """Is the database's clock: microseconds since 1970 in UTC. Expiry is decided by no other clock."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_micros, "sqlite")
def _now_sqlite(_element: now_micros, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


@compiles(now_micros, "postgresql")
def _now_postgresql(_element: now_micros, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


class Database:
    """Opens transactions on one SQLite file.

    Writers queue up here instead of at SQLite's busy timeout, which is neither fair nor quick; `BEGIN IMMEDIATE` makes
    a writing transaction see the state that it will change. `synchronous=FULL` makes a commit survive power loss.
    """

    def __init__(self, path: Path) -> None:
        url = f"sqlite+aiosqlite:///{path}"
        self._writer = _engine(url, "BEGIN IMMEDIATE", pool_size=1)
        self._readers = _engine(url, "BEGIN", pool_size=_READERS)
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that sees one state and changes nothing."""
        async with self._readers.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that is committed at the end of the block, or rolled back by an exception."""
        async with self._writing, self._writer.begin() as connection:
            yield connection

    async def migrate(self, scripts: Path) -> None:
        """Brings the schema to the newest revision found in `scripts`."""

        def upgrade(connection: Connection) -> None:
            config = Config()
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")

        async with self._writing, self._writer.connect() as connection:
            await connection.run_sync(upgrade)
            await connection.commit()

    async def close(self) -> None:
        """Closes all connections."""
        await self._readers.dispose()
        await self._writer.dispose()


class DatabaseLoop:
    """Is an event loop in a thread of its own, for a database beside streams of data.

    A transaction hops between loop and driver a dozen times; on a loop that also carries streams every hop waits for a
    few MiB to be copied. Here it hops among its own, and the caller waits once.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="modelwire-database", daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, Item]) -> Item:
        """Runs `work` on this loop; from this loop itself, simply awaits it."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _engine(url: str, begin: str, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=pool_size, max_overflow=0, pool_timeout=_BUSY_SECONDS, connect_args={"timeout": _BUSY_SECONDS}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # we write BEGIN ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16384"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def run_migrations(tables: MetaData) -> None:
    """Is the body of every alembic `env.py`: applies the revisions on the connection that `migrate` opened."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=tables, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def batches(items: Sequence[Item], size: int = SQL_BATCH) -> Iterator[Sequence[Item]]:
    """Cuts a sequence into pieces that fit into one statement."""
    return (items[start : start + size] for start in range(0, len(items), size))


def is_full(error: BaseException) -> bool:
    """Tells whether a database error means that the disk has no room."""
    cause = getattr(error, "orig", error)
    return isinstance(cause, sqlite3.OperationalError) and "disk is full" in str(cause)
