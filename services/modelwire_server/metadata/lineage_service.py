"""The face of lineage on the wire."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.api.metadata.v1 import lineage_service_pb2 as pb
from modelwire.errors import RequestInvalidError
from modelwire_server.database import Database
from modelwire_server.metadata import convert, lineage
from modelwire_server.metadata.lineage import Node
from modelwire_server.metadata.lookup import find_member, load_members
from modelwire_server.metadata.records import Page
from modelwire_server.metadata.runs import find_run, load_runs
from modelwire_server.metadata.tables import run_inputs, run_outputs
from modelwire_server.rpc.errors import Context
from modelwire_server.rpc.paging import PageToken, page_size

DEFAULT_PAGE, MAX_PAGE = 50, 1000
DEFAULT_NODES, MAX_NODES = 200, 1000
MAX_WALK = 100_000
"""Nodes that a walk goes over at most, whatever a page token says."""

DEFAULT_DEPTH, MAX_DEPTH = 10, 100


class LineageServicer:
    """Answers the RPCs of `modelwire.api.metadata.v1.LineageService`; lineage_service.proto says what each promises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetLineage(self, request: pb.GetLineageRequest, context: Context) -> pb.GetLineageResponse:
        """Walks the graph from a run or version."""
        depth = page_size(request.max_depth, DEFAULT_DEPTH, MAX_DEPTH)
        size = page_size(request.page_size, DEFAULT_NODES, MAX_NODES)
        async with self._database.read() as connection:
            start = await self._start(connection, request)
            token = PageToken("lineage", start, request.direction, depth)
            [seen] = token.read(request.page_token, int) or [0]
            seen = min(seen, MAX_WALK)
            # A walk has no key to go on from: the nodes of earlier pages are found again, a few queries a level.
            found = await lineage.walk(connection, start, convert.direction(request.direction), depth, seen + size)
            fresh = list(found.nodes)[seen:]
            ids, messages = await self._nodes(connection, found.nodes, set(fresh))
        edges = [
            pb.LineageEdge(from_id=ids[edge.start], to_id=ids[edge.end], kind=convert.edge_kind(edge.kind))
            for edge in found.edges
            if edge.start in messages or edge.end in messages
        ]
        following = "" if found.complete else token.write(seen + len(fresh))
        return pb.GetLineageResponse(nodes=[messages[node] for node in fresh], edges=edges, next_page_token=following)

    async def ListRunVersions(self, request: pb.ListRunVersionsRequest, context: Context) -> pb.ListRunVersionsResponse:
        """Lists the versions that a run used or logged."""
        table = _table(request.role)
        async with self._database.read() as connection:
            run_id = await find_run(connection, convert.run_name(request.run))
            token = PageToken("run versions", run_id, request.role)
            size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
            page = Page(size, token.read(request.page_token, int))
            rows = await lineage.run_members(connection, run_id, table, page)
            versions = await load_members(connection, [place for _, place in rows])
        following = token.write(rows[-1][0]) if len(rows) == size else ""
        return pb.ListRunVersionsResponse(versions=map(convert.version_message, versions), next_page_token=following)

    async def ListVersionRuns(self, request: pb.ListVersionRunsRequest, context: Context) -> pb.ListVersionRunsResponse:
        """Lists the runs that logged or used a version."""
        table = _table(request.role)
        async with self._database.read() as connection:
            version = await find_member(connection, convert.reference(request.reference))
            token = PageToken("version runs", version.version_id, request.role)
            size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
            page = Page(size, token.read(request.page_token, int))
            rows = await lineage.version_runs(connection, version, table, page)
            runs = await load_runs(connection, [run for _, run in rows])
        following = token.write(rows[-1][0]) if len(rows) == size else ""
        return pb.ListVersionRunsResponse(runs=map(convert.run_message, runs), next_page_token=following)

    async def _start(self, connection: AsyncConnection, request: pb.GetLineageRequest) -> Node:
        if request.WhichOneof("start") == "run":
            return Node(True, await find_run(connection, convert.run_name(request.run)))
        version = await find_member(connection, convert.reference(request.reference))
        return Node(False, version.member_id)

    async def _nodes(
        self, connection: AsyncConnection, nodes: dict[Node, int], wanted: set[Node]
    ) -> tuple[dict[Node, str], dict[Node, pb.LineageNode]]:
        run_nodes = [node for node in nodes if node.is_run]
        place_nodes = [node for node in nodes if not node.is_run]
        runs = await load_runs(connection, [node.row_id for node in run_nodes])
        places = await load_members(connection, [node.row_id for node in place_nodes])
        ids: dict[Node, str] = {}
        messages: dict[Node, pb.LineageNode] = {}
        for node, run in zip(run_nodes, runs, strict=True):
            ids[node] = lineage.node_id(run)
            if node in wanted:
                messages[node] = pb.LineageNode(id=ids[node], depth=nodes[node], run=convert.run_message(run))
        for node, place in zip(place_nodes, places, strict=True):
            ids[node] = lineage.node_id(place)
            if node in wanted:
                messages[node] = pb.LineageNode(id=ids[node], depth=nodes[node], version=convert.version_message(place))
        return ids, messages


def _table(role: pb.RunVersionRole.ValueType) -> Table:
    tables = {pb.RUN_VERSION_ROLE_OUTPUT: run_outputs, pb.RUN_VERSION_ROLE_INPUT: run_inputs}
    if role not in tables:
        raise RequestInvalidError("role must be OUTPUT or INPUT", field="role")
    return tables[role]
