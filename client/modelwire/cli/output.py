"""What the verbs share: their options, the client that they make, and how they print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from modelwire.async_version import VersionFacts
from modelwire.client import Client
from modelwire.settings import Settings
from modelwire.types import RunInfo

Entity = Annotated[str | None, typer.Option("--entity", "-e", help="Who the work belongs to.")]
Project = Annotated[str | None, typer.Option("--project", "-p", help="The piece of work.")]
Alias = Annotated[list[str] | None, typer.Option("--alias", "-a", help="Alias to give; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def connect(entity: str | None, project: str | None, *, quiet: bool = False) -> Client:
    """Makes the client that a verb works with."""
    return Client(settings=Settings.load(entity=entity, project=project, quiet=quiet or None))


def print_json(document: Any) -> None:
    """Prints one JSON document, in any script as it is."""
    print(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def print_rows(rows: list[tuple[str, ...]]) -> None:
    """Prints rows in columns as wide as they need to be."""
    if rows:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size_text(size: int) -> str:
    """Writes a number of bytes for people."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - the step between binary units
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def count_text(count: int, what: str) -> str:
    """Writes a number of things for people."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def version_document(version: VersionFacts) -> dict[str, Any]:
    """Writes a version as JSON values."""
    run = version.info.logged_by
    return {
        "id": version.id,
        "name": version.name,
        "version": version.version,
        "qualified_name": version.qualified_name,
        "source_qualified_name": version.source_qualified_name,
        "is_link": version.is_link,
        "type": version.type,
        "state": version.state,
        "digest": version.digest,
        "size": version.size,
        "file_count": version.file_count,
        "aliases": version.aliases,
        "tags": version.tags,
        "metadata": version.metadata,
        "description": version.description,
        "ttl": version.ttl,
        "created_at": version.created_at.isoformat(),
        "logged_by": "/".join(run) if run else None,
    }


def run_document(run: RunInfo) -> dict[str, Any]:
    """Writes a run as JSON values."""
    document: Mapping[str, Any] = vars(run)
    return {
        **document,
        "path": run.path,
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
    }
