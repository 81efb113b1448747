"""modelwire show."""

from __future__ import annotations

from typing import Annotated

import typer

from modelwire.cli.output import Entity, Json, Project, connect, print_json, print_rows, size_text, version_document

_SHOWN_FILES = 50


def show(
    reference: Annotated[str, typer.Argument(help="[[entity/]project/]name[:alias or vN], or model-registry/name[:…].")],
    project: Project = None,
    entity: Entity = None,
    json: Json = False,
) -> None:
    """Shows a version: its facts, its files, who logged and who used it."""
    with connect(entity, project) as client:
        version = client.artifact(reference)
        files, users = version.files(), version.used_by()
    document = version_document(version)
    if json:
        document["files"] = [{"path": one.path, "size": one.size, "digest": one.digest} for one in files]
        document["used_by"] = [run.path for run in users]
        print_json(document)
        return
    facts = {**document, "size": size_text(version.size), "used_by": [run.path for run in users]}
    for name, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        if text not in ("", None, {}):
            print(f"{name + ':':24}{text}")
    print()
    print_rows([(one.path, size_text(one.size), one.digest[:23]) for one in files[:_SHOWN_FILES]])
    if len(files) > _SHOWN_FILES:
        print(f"… and {len(files) - _SHOWN_FILES} more; --json lists all")
