"""modelwire log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelwire.cli.output import Alias, Entity, Json, Project, connect, count_text, print_json, size_text, version_document


def log(
    path: Annotated[Path, typer.Argument(help="File or folder to log.")],
    name: Annotated[str | None, typer.Option("--name", "-n", help="Artifact to log to.")] = None,
    alias: Alias = None,
    project: Project = None,
    entity: Entity = None,
    json: Json = False,
) -> None:
    """Logs a file or folder as the next version of a model."""
    with connect(entity, project) as client, client.run(job_type="cli") as run:
        version = run.log_model(path, name, alias)
        stats = version.stats
        if json:
            counts = {"sent_bytes": stats.sent_bytes, "deduplicated_bytes": stats.deduplicated_bytes}
            print_json({**version_document(version), "created": version.created, **counts})
            return
        moved = f"{size_text(stats.sent_bytes)} sent, {size_text(stats.deduplicated_bytes)} there already"
        made = "logged" if version.created else "unchanged:"
        files = count_text(version.file_count, "file")
        print(f"{made} {version.qualified_name}  ({files}, {size_text(version.size)}; {moved})")
