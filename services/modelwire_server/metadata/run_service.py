"""The face of runs on the wire."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.api.metadata.v1 import run_service_pb2 as pb
from modelwire.names import DEFAULT_ENTITY, DEFAULT_PROJECT
from modelwire_server.database import Database
from modelwire_server.metadata import convert
from modelwire_server.metadata.records import Page
from modelwire_server.metadata.requests import Requests, body_digest
from modelwire_server.metadata.runs import NewRun, RunChanges, RunRules, find_run, load_runs
from modelwire_server.rpc.errors import Context
from modelwire_server.rpc.paging import PageToken, page_size

DEFAULT_PAGE, MAX_PAGE = 50, 1000


class RunServicer:
    """Answers the RPCs of `modelwire.api.metadata.v1.RunService`; run_service.proto says what each promises."""

    def __init__(self, database: Database, rules: RunRules | None = None) -> None:
        self._database, self._rules = database, rules or RunRules()
        self._requests = Requests(database)

    async def CreateRun(self, request: pb.CreateRunRequest, context: Context) -> pb.CreateRunResponse:
        """Begins a run, or takes up one that exists."""
        new = NewRun(
            convert.run_name(request.name),
            request.display_name,
            request.config_json,
            request.notes,
            list(request.tags),
            request.group,
            request.job_type,
            convert.resume_policy(request.resume_policy),
        )

        async def work(connection: AsyncConnection) -> pb.CreateRunResponse:
            run = await self._rules.create(connection, new)
            return pb.CreateRunResponse(run=convert.run_message(run))

        return await self._requests.once("CreateRun", request.request_id, body_digest(request), pb.CreateRunResponse, work)

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """Gives one run."""
        async with self._database.read() as connection:
            row_id = await find_run(connection, convert.run_name(request.name))
            [run] = await load_runs(connection, [row_id])
        return pb.GetRunResponse(run=convert.run_message(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """Lists the runs of a project."""
        entity, project = request.entity or DEFAULT_ENTITY, request.project or DEFAULT_PROJECT
        token = PageToken("runs", entity, project, request.oldest_first)
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        page = Page(size, token.read(request.page_token, int, int), request.oldest_first)
        async with self._database.read() as connection:
            runs = await self._rules.list(connection, entity, project, page)
        following = token.write(runs[-1].created_at, runs[-1].row_id) if len(runs) == size else ""
        return pb.ListRunsResponse(runs=map(convert.run_message, runs), next_page_token=following)

    async def UpdateRun(self, request: pb.UpdateRunRequest, context: Context) -> pb.UpdateRunResponse:
        """Changes the fields that are set."""
        changes = RunChanges(
            request.config_json if request.HasField("config_json") else None,
            request.summary_json if request.HasField("summary_json") else None,
            request.notes if request.HasField("notes") else None,
            list(request.tags.tags) if request.HasField("tags") else None,
            request.display_name if request.HasField("display_name") else None,
        )

        async def work(connection: AsyncConnection) -> pb.UpdateRunResponse:
            run = await self._rules.change(connection, convert.run_name(request.name), changes)
            return pb.UpdateRunResponse(run=convert.run_message(run))

        return await self._requests.once("UpdateRun", request.request_id, body_digest(request), pb.UpdateRunResponse, work)

    async def FinishRun(self, request: pb.FinishRunRequest, context: Context) -> pb.FinishRunResponse:
        """Ends a run."""
        state = convert.end_state(request.state)

        async def work(connection: AsyncConnection) -> pb.FinishRunResponse:
            run = await self._rules.finish(connection, convert.run_name(request.name), state)
            return pb.FinishRunResponse(run=convert.run_message(run))

        return await self._requests.once("FinishRun", request.request_id, body_digest(request), pb.FinishRunResponse, work)
