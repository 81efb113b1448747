"""The rules of lineage: runs and versions as a graph whose edges point the way that content flowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from sqlalchemy import Table, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire_server.database import batches
from modelwire_server.metadata.records import Page, RunRecord, VersionRecord
from modelwire_server.metadata.tables import members, run_inputs, run_outputs


class Direction(Enum):
    """Says which way to walk."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"
    BOTH = "both"


class EdgeKind(Enum):
    """Says what an edge means."""

    LOGGED = "logged"
    USED = "used"
    LINKED = "linked"


class Node(NamedTuple):
    """Is a run or a member by its row."""

    is_run: bool
    row_id: int


class Edge(NamedTuple):
    """Is one step of the flow."""

    start: Node
    end: Node
    kind: EdgeKind


@dataclass(frozen=True)
class Walk:
    """Is what was found: nodes with their depths in the order found, and the edges between them."""

    nodes: dict[Node, int]
    edges: list[Edge]
    complete: bool


async def walk(connection: AsyncConnection, start: Node, direction: Direction, depth: int, limit: int) -> Walk:
    """Walks breadth-first until `depth` edges from the start or `limit` nodes. A few queries a level."""
    nodes = {start: 0}
    edges: dict[Edge, None] = {}
    frontier, complete = [start], True
    for level in range(1, depth + 1):
        following: dict[Node, None] = {}
        for edge in await _edges_at(connection, frontier, direction):
            edges[edge] = None
            following |= dict.fromkeys(node for node in edge[:2] if node not in nodes)
        room = limit - len(nodes)
        complete = len(following) <= room
        frontier = sorted(following, key=lambda node: (node.is_run, node.row_id))[:room]
        nodes |= dict.fromkeys(frontier, level)
        if not frontier or not complete:
            break
    # The last nodes lead nowhere new, but to each other.
    edges |= dict.fromkeys(await _edges_at(connection, frontier, direction))
    return Walk(nodes, _inside(edges, nodes), complete)


def _inside(edges: Iterable[Edge], nodes: dict[Node, int]) -> list[Edge]:
    return [edge for edge in edges if edge.start in nodes and edge.end in nodes]


async def _edges_at(connection: AsyncConnection, frontier: Sequence[Node], direction: Direction) -> list[Edge]:
    runs = [node.row_id for node in frontier if node.is_run]
    places = [node.row_id for node in frontier if not node.is_run]
    found: list[Edge] = []
    if direction is not Direction.DOWNSTREAM:
        found += await _run_edges(connection, run_inputs, run_inputs.c.run_id, runs)
        found += await _run_edges(connection, run_outputs, run_outputs.c.member_id, places)
        found += await _link_edges(connection, places, upstream=True)
    if direction is not Direction.UPSTREAM:
        found += await _run_edges(connection, run_outputs, run_outputs.c.run_id, runs)
        found += await _run_edges(connection, run_inputs, run_inputs.c.member_id, places)
        found += await _link_edges(connection, places, upstream=False)
    return found


async def _run_edges(connection: AsyncConnection, table: Table, key: object, row_ids: Sequence[int]) -> list[Edge]:
    found: list[Edge] = []
    for batch in batches(row_ids):
        rows = await connection.execute(
            select(table.c.run_id, table.c.member_id).where(key.in_(batch)).order_by(table.c.id)  # type: ignore[attr-defined]
        )
        for run_id, member_id in rows:
            run, place = Node(True, run_id), Node(False, member_id)
            logged = table is run_outputs
            found.append(Edge(run, place, EdgeKind.LOGGED) if logged else Edge(place, run, EdgeKind.USED))
    return found


_link = members.alias("link")
_LINKS = (
    select(members.c.id, _link.c.id)
    .join(_link, _link.c.version_id == members.c.version_id)
    .where(members.c.is_link.is_(False), _link.c.is_link, _link.c.deleted_at.is_(None))
    .order_by(_link.c.id)
)


async def _link_edges(connection: AsyncConnection, places: Sequence[int], *, upstream: bool) -> list[Edge]:
    key = _link.c.id if upstream else members.c.id
    found: list[Edge] = []
    for batch in batches(places):
        rows = await connection.execute(_LINKS.where(key.in_(batch)))
        found += [Edge(Node(False, source), Node(False, link), EdgeKind.LINKED) for source, link in rows]
    return found


async def run_members(connection: AsyncConnection, run_id: int, table: Table, page: Page) -> list[tuple[int, int]]:
    """Lists (position, place) of the versions of a run, in the order recorded; `after` is (position,)."""
    rows = select(table.c.id, table.c.member_id).where(table.c.run_id == run_id)
    if page.after is not None:
        rows = rows.where(table.c.id > page.after[0])
    return [(position, place) for position, place in await connection.execute(rows.order_by(table.c.id).limit(page.size))]


async def version_runs(connection: AsyncConnection, version: VersionRecord, table: Table, page: Page) -> list[tuple[int, int]]:
    """Lists (position, run) of the runs of a version through any of its places, each once; `after` is (position,)."""
    earlier, earlier_place = table.alias("earlier"), members.alias("earlier_place")
    repeated = exists().where(
        earlier.c.run_id == table.c.run_id,
        earlier.c.id < table.c.id,
        earlier_place.c.id == earlier.c.member_id,
        earlier_place.c.version_id == version.version_id,
    )
    rows = (
        select(table.c.id, table.c.run_id)
        .join(members, members.c.id == table.c.member_id)
        .where(members.c.version_id == version.version_id, ~repeated)
    )
    if page.after is not None:
        rows = rows.where(table.c.id > page.after[0])
    return [(position, run) for position, run in await connection.execute(rows.order_by(table.c.id).limit(page.size))]


def node_id(record: RunRecord | VersionRecord) -> str:
    """Returns the id of a node, the same in every answer."""
    return f"run:{record.name}" if isinstance(record, RunRecord) else f"version:{record.name}"
