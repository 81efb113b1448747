"""modelwire lineage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from modelwire.cli.output import Entity, Json, Project, connect, print_json
from modelwire.types import Lineage, LineageNode

Direction = Literal["both", "upstream", "downstream"]

_ARROWS = {
    ("logged", False): "logged by",
    ("logged", True): "logged",
    ("used", False): "used",
    ("used", True): "used by",
    ("linked", False): "link to",
    ("linked", True): "linked as",
}


def lineage(
    start: Annotated[str, typer.Argument(help="The reference of a version, or run:[[entity/]project/]id.")],
    direction: Annotated[Direction, typer.Option(help="Which way to walk.")] = "both",
    depth: Annotated[int, typer.Option(min=1, max=100, help="How many steps from the start.")] = 10,
    project: Project = None,
    entity: Entity = None,
    json: Json = False,
) -> None:
    """Shows where a model came from and where it went."""
    with connect(entity, project) as client:
        found = client.lineage(start, direction, depth)
    if json:
        print_json(_document(found))
    else:
        Console(soft_wrap=True, highlight=False).print(_tree(found))


def _document(found: Lineage) -> dict[str, Any]:
    nodes = [
        {"id": node.id, "depth": node.depth, "kind": "run" if node.run else "version", "label": _label(node)}
        for node in found.nodes
    ]
    return {"nodes": nodes, "edges": [{"from": one.source, "to": one.target, "kind": one.kind} for one in found.edges]}


def _tree(found: Lineage) -> Tree:
    """Draws the graph as a tree from its first node: each node once, below the node that led to it."""
    nodes = {node.id: node for node in found.nodes}
    start = found.nodes[0].id
    root = Tree(Text(_label(nodes[start]), style="bold"))
    branches = {start: root}
    waiting = [start]
    while waiting:
        here = waiting.pop(0)
        for edge in found.edges:
            for there, onward in ((edge.target, True), (edge.source, False)):
                other = edge.source if onward else edge.target
                if other == here and there in nodes and there not in branches:
                    how = _ARROWS[edge.kind, onward]
                    branches[there] = branches[here].add(Text(f"{how} {_label(nodes[there])}"))
                    waiting.append(there)
    return root


def _label(node: LineageNode) -> str:
    if node.run is not None:
        return f"run {node.run.path} ({node.run.name}, {node.run.state})"
    assert node.version is not None
    aliases = f" [{', '.join(node.version.aliases)}]" if node.version.aliases else ""
    return f"{node.version.place.qualified_name}{aliases}"
