"""modelwire link."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelwire.cli.output import Alias, Entity, Json, Project, connect, print_json, version_document


def link(
    what: Annotated[str, typer.Argument(help="File or folder to log and link, or the reference of a version.")],
    registered_model: Annotated[str, typer.Argument(help="Registered model to link to; it is made when missing.")],
    name: Annotated[str | None, typer.Option("--name", "-n", help="Artifact to log a path to.")] = None,
    alias: Alias = None,
    project: Project = None,
    entity: Entity = None,
    json: Json = False,
) -> None:
    """Links a model to a registered model; a path is logged first."""
    with connect(entity, project) as client, client.run(job_type="cli") as run:
        if Path(what).exists():
            made = run.link_model(what, registered_model, name, alias)
        else:
            made = run.link_version(what, registered_model, alias)
        if json:
            print_json(version_document(made))
        else:
            print(f"linked {made.qualified_name} -> {made.source_qualified_name}")
