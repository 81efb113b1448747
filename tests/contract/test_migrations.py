"""Migrations end in exactly the tables that tables.py describes, and can be taken back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine

import modelwire_server.blob
import modelwire_server.metadata
from modelwire_server.blob.tables import metadata as blob_tables
from modelwire_server.database import Database
from modelwire_server.metadata.tables import metadata as metadata_tables

Service = tuple[Path, MetaData]

SERVICES: dict[str, Service] = {
    "blob": (Path(modelwire_server.blob.__file__).parent / "migrations", blob_tables),
    "metadata": (Path(modelwire_server.metadata.__file__).parent / "migrations", metadata_tables),
}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    """The migrations of a service, and the tables they should make."""
    return SERVICES[request.param]


@contextmanager
def opened(path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


async def migrate(path: Path, scripts: Path) -> None:
    database = Database(path)
    await database.migrate(scripts)
    await database.close()


def schema(path: Path) -> dict[str, Any]:
    """What SQLite itself knows of every table: columns, keys, indexes with their conditions, rowid or not."""
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(path)) as connection:

        def rows(pragma: str, name: str) -> list[Any]:
            return connection.execute(f"SELECT * FROM pragma_{pragma}(?)", (name,)).fetchall()

        for name, without_rowid in connection.execute("SELECT name, wr FROM pragma_table_list WHERE type = 'table'").fetchall():
            if name == "alembic_version" or name.startswith("sqlite_"):
                continue
            indexes = {}
            for _, index, unique, origin, partial in rows("index_list", name):
                over = tuple(column for _, _, column in rows("index_info", index))
                sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()
                condition = sql[0].partition("WHERE")[2].strip() if sql and sql[0] else ""
                label = index if origin == "c" else origin
                indexes[label, over] = (unique, partial, condition)
            columns = {}
            for _, column, kind, needed, default, key in rows("table_info", name):
                columns[column] = (kind, bool(needed), _bare(default), key)
            links = {(column, target, there) for _, _, target, column, there, *_ in rows("foreign_key_list", name)}
            found[name] = {"columns": columns, "indexes": indexes, "links": links, "without_rowid": bool(without_rowid)}
    return found


def _bare(default: str | None) -> str | None:
    return default.strip("'\"()") if default else default


async def test_migrating_an_empty_database_makes_the_described_tables(service: Service, tmp_path: Path) -> None:
    scripts, tables = service
    await migrate(tmp_path / "db", scripts)
    with opened(tmp_path / "db") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables) == []


async def test_migrated_and_described_tables_are_the_same_to_sqlite(service: Service, tmp_path: Path) -> None:
    scripts, tables = service
    await migrate(tmp_path / "migrated", scripts)
    with opened(tmp_path / "described") as connection:
        tables.create_all(connection)
    assert len(schema(tmp_path / "described")) == len(tables.tables)
    assert schema(tmp_path / "migrated") == schema(tmp_path / "described")


async def test_migrating_twice_changes_nothing(service: Service, tmp_path: Path) -> None:
    scripts, _ = service
    await migrate(tmp_path / "db", scripts)
    before = schema(tmp_path / "db")
    await migrate(tmp_path / "db", scripts)
    assert schema(tmp_path / "db") == before


async def test_all_migrations_can_be_taken_back_and_applied_again(service: Service, tmp_path: Path) -> None:
    scripts, _ = service
    await migrate(tmp_path / "db", scripts)
    before = schema(tmp_path / "db")
    config = Config()
    config.set_main_option("script_location", str(scripts))
    with opened(tmp_path / "db") as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "base")
    assert schema(tmp_path / "db") == {}
    await migrate(tmp_path / "db", scripts)
    assert schema(tmp_path / "db") == before


def test_the_revisions_are_one_line_from_base_to_head(service: Service) -> None:
    config = Config()
    config.set_main_option("script_location", str(service[0]))
    revisions = ScriptDirectory.from_config(config)
    assert len(revisions.get_heads()) == len(revisions.get_bases()) == 1
