"""modelwire use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelwire.cli.output import Entity, Json, Project, connect, print_json


def use(
    reference: Annotated[str, typer.Argument(help="[[entity/]project/]name[:alias or vN], or model-registry/name[:…].")],
    root: Annotated[Path | None, typer.Option("--root", help="Folder to put the files into.")] = None,
    project: Project = None,
    entity: Entity = None,
    json: Json = False,
) -> None:
    """Downloads a model, checks every byte, and prints where it is."""
    with connect(entity, project) as client, client.run(job_type="cli") as run:
        version = run.use_model_version(reference)
        path = version.download(root)
        if json:
            names = {"version": version.version, "qualified_name": version.qualified_name}
            source = {"source_qualified_name": version.source_qualified_name, "received_bytes": version.stats.received_bytes}
            print_json({"path": str(path), **names, **source, "reused_bytes": version.stats.reused_bytes})
        else:
            print(path)
