"""modelwire ls."""

from __future__ import annotations

from typing import Annotated

import typer

from modelwire.cli.output import Entity, Json, Project, connect, count_text, print_json, print_rows, size_text, version_document
from modelwire.client import Client, ModelVersion
from modelwire.names import REGISTRY_PROJECT

_REGISTRY = {"registry", REGISTRY_PROJECT}


def ls(
    name: Annotated[
        str | None, typer.Argument(help='An artifact, "registry", or registry/<name>; empty for a project.')
    ] = None,
    project: Project = None,
    entity: Entity = None,
    json: Json = False,
) -> None:
    """Lists the artifacts of a project, the versions of an artifact, or what the registry has."""
    with connect(entity, project) as client:
        if name is None:
            _artifacts(client, json=json)
        elif name in _REGISTRY:
            _registered_models(client, json=json)
        elif name.partition("/")[0] in _REGISTRY:
            _versions(client.links(name.partition("/")[2]), json=json)
        else:
            _versions(client.artifacts(name), json=json)


def _artifacts(client: Client, *, json: bool) -> None:
    found = client.artifact_collections()
    if json:
        print_json([{**vars(one), "created_at": one.created_at.isoformat()} for one in found])
    else:
        print_rows([(one.name, one.type, count_text(one.version_count, "version")) for one in found])


def _registered_models(client: Client, *, json: bool) -> None:
    found = client.registered_models()
    if json:
        print_json([{**vars(one), "created_at": one.created_at.isoformat()} for one in found])
    else:
        print_rows([(one.name, count_text(one.link_count, "link"), one.description) for one in found])


def _versions(found: list[ModelVersion], *, json: bool) -> None:
    if json:
        print_json([version_document(one) for one in found])
    else:
        print_rows(
            [
                (
                    one.name,
                    size_text(one.size),
                    count_text(one.file_count, "file"),
                    one.created_at.strftime("%Y-%m-%d %H:%M"),
                    one.source_qualified_name if one.is_link else "",
                    ", ".join(one.aliases),
                )
                for one in found
            ]
        )
