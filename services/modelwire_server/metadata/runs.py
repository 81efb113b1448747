"""The rules of runs."""

from __future__ import annotations

import json
import random
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.errors import RequestInvalidError, RunEndedError, RunExistsError, RunNotFoundError
from modelwire.names import DEFAULT_ENTITY, DEFAULT_PROJECT, check_run_id, check_tag
from modelwire_server.database import batches, now_micros
from modelwire_server.metadata.json_texts import check_object
from modelwire_server.metadata.lookup import ensure_run_project, find_project, missing
from modelwire_server.metadata.records import Page, RunName, RunRecord, RunState
from modelwire_server.metadata.run_names import display_name
from modelwire_server.metadata.tables import entities, projects, runs

SILENCE_MICROS = 5 * 60 * 1_000_000
"""A running run that gave no sign of life for so long counts as crashed; a later sign revives it."""

MAX_TEXT = 64 * 1024
MAX_SHORT_TEXT = 256
MAX_TAGS = 256

_ID_ALPHABET = string.ascii_lowercase + string.digits


class ResumePolicy(Enum):
    """Says what to do when the id of a new run is taken."""

    ALLOW = "allow"
    MUST = "must"
    NEVER = "never"


@dataclass(frozen=True)
class NewRun:
    """Is a run to begin; empty texts are filled in or stay empty."""

    name: RunName
    display_name: str = ""
    config: str = ""
    notes: str = ""
    tags: Sequence[str] = ()
    group: str = ""
    job_type: str = ""
    resume: ResumePolicy = ResumePolicy.ALLOW


@dataclass(frozen=True)
class RunChanges:
    """Holds the fields of a run to change; None leaves a field as it is."""

    config: str | None = None
    summary: str | None = None
    notes: str | None = None
    tags: Sequence[str] | None = None
    display_name: str | None = None


@dataclass
class RunRules:
    """Begins, finds, changes and ends runs; `rng` makes up display names."""

    rng: random.Random = field(default_factory=random.Random)

    async def create(self, connection: AsyncConnection, new: NewRun) -> RunRecord:
        """Begins a run, or takes up one that exists.

        Raises:
            RunExistsError: It exists and the policy is NEVER.
            RunNotFoundError: It does not and the policy is MUST.
        """
        _check_texts(new.notes, new.display_name, new.group, new.job_type)
        config, tags = check_object(new.config, "config"), _tags(new.tags)
        entity, project = new.name.entity or DEFAULT_ENTITY, new.name.project or DEFAULT_PROJECT
        if new.name.run_id:
            check_run_id(new.name.run_id)
        project_id = await ensure_run_project(connection, entity, project)
        run_id = new.name.run_id or "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
        found = await connection.scalar(select(runs.c.id).where(runs.c.project_id == project_id, runs.c.name == run_id))
        if found is not None:
            if new.resume is ResumePolicy.NEVER:
                raise RunExistsError(f"run {run_id!r} exists already in {entity}/{project}", name=run_id)
            return await self._resume(connection, int(found), new)
        if new.resume is ResumePolicy.MUST:
            raise RunNotFoundError(f"there is no run {run_id!r} in {entity}/{project} to resume", name=run_id, similar="")
        number = await connection.scalar(
            update(projects)
            .where(projects.c.id == project_id)
            .values(next_run=projects.c.next_run + 1)
            .returning(projects.c.next_run)
        )
        assert number is not None
        row_id = await connection.scalar(
            insert(runs)
            .values(
                project_id=project_id,
                name=run_id,
                display_name=new.display_name or display_name(number - 1, self.rng),
                state=RunState.RUNNING.value,
                config=config,
                summary="{}",
                notes=new.notes,
                tags=tags,
                group_name=new.group,
                job_type=new.job_type,
                created_at=now_micros(),
                heartbeat_at=now_micros(),
            )
            .returning(runs.c.id)
        )
        assert row_id is not None
        return (await load_runs(connection, [row_id]))[0]

    async def _resume(self, connection: AsyncConnection, row_id: int, new: NewRun) -> RunRecord:
        given = {
            "display_name": new.display_name,
            "notes": new.notes,
            "group_name": new.group,
            "job_type": new.job_type,
            "tags": _tags(new.tags) if new.tags else "",
        }
        before = (await load_runs(connection, [row_id]))[0]
        config = json.loads(before.config) | json.loads(check_object(new.config, "config"))
        await connection.execute(
            update(runs)
            .where(runs.c.id == row_id)
            .values(
                state=RunState.RUNNING.value,
                finished_at=None,
                heartbeat_at=now_micros(),
                config=json.dumps(config, ensure_ascii=False),
                **{column: value for column, value in given.items() if value},
            )
        )
        return replace((await load_runs(connection, [row_id]))[0], resumed=True)

    async def change(self, connection: AsyncConnection, name: RunName, changes: RunChanges) -> RunRecord:
        """Changes the fields that are set, and counts as a sign of life while the run goes on."""
        _check_texts(changes.notes or "", changes.display_name or "")
        values: dict[str, Any] = {"heartbeat_at": now_micros()}
        if changes.config is not None:
            values["config"] = check_object(changes.config, "config")
        if changes.summary is not None:
            values["summary"] = check_object(changes.summary, "summary")
        if changes.tags is not None:
            values["tags"] = _tags(changes.tags)
        if changes.notes is not None:
            values["notes"] = changes.notes
        if changes.display_name:
            values["display_name"] = changes.display_name
        row_id = await find_run(connection, name)
        await connection.execute(update(runs).where(runs.c.id == row_id).values(**values))
        return (await load_runs(connection, [row_id]))[0]

    async def finish(self, connection: AsyncConnection, name: RunName, state: RunState) -> RunRecord:
        """Ends a run; one that has ended stays as it is."""
        row_id = await find_run(connection, name)
        await connection.execute(
            update(runs)
            .where(runs.c.id == row_id, runs.c.state == RunState.RUNNING.value)
            .values(state=state.value, finished_at=now_micros())
        )
        return (await load_runs(connection, [row_id]))[0]

    async def list(self, connection: AsyncConnection, entity: str, project: str, page: Page) -> list[RunRecord]:
        """Lists the runs of a project by creation; `after` is (creation, row) of the last one seen."""
        project_id = await find_project(connection, entity, project)
        rows = select(runs.c.id).where(runs.c.project_id == project_id)
        key = tuple_(runs.c.created_at, runs.c.id)
        if page.after is not None:
            after = tuple_(*page.after)
            rows = rows.where(key > after if page.oldest_first else key < after)
        order = [part if page.oldest_first else part.desc() for part in (runs.c.created_at, runs.c.id)]
        found = await connection.scalars(rows.order_by(*order).limit(page.size))
        return await load_runs(connection, list(found))


async def find_run(connection: AsyncConnection, name: RunName) -> int:
    """Returns the row of a run; raises EntityNotFoundError, ProjectNotFoundError or RunNotFoundError."""
    entity, project = name.entity or DEFAULT_ENTITY, name.project or DEFAULT_PROJECT
    project_id = await find_project(connection, entity, project)
    own = runs.c.project_id == project_id
    found = await connection.scalar(select(runs.c.id).where(own, runs.c.name == name.run_id))
    if found is None:
        what = f"run {name.run_id!r} in {entity}/{project}"
        raise await missing(connection, RunNotFoundError, what, name.run_id, select(runs.c.name).where(own))
    return int(found)


async def find_active_run(connection: AsyncConnection, name: RunName | None) -> int | None:
    """Returns the row of the run that a call is made under; raises RunEndedError when the run has ended."""
    if name is None:
        return None
    row_id = await find_run(connection, name)
    state = await connection.scalar(select(runs.c.state).where(runs.c.id == row_id))
    if state != RunState.RUNNING.value:
        raise RunEndedError(
            f"run {name.run_id!r} has ended ({state}); nothing more can be recorded", name=name.run_id, state=state
        )
    await connection.execute(update(runs).where(runs.c.id == row_id).values(heartbeat_at=now_micros()))
    return row_id


_STATE = case(
    (and_(runs.c.state == RunState.RUNNING.value, runs.c.heartbeat_at < now_micros() - SILENCE_MICROS), RunState.CRASHED.value),
    else_=runs.c.state,
)


def _select_runs(where: ColumnElement[bool]) -> Select[Any]:
    return (
        select(runs, _STATE.label("shown_state"), projects.c.name.label("project"), entities.c.name.label("entity"))
        .join(projects, projects.c.id == runs.c.project_id)
        .join(entities, entities.c.id == projects.c.entity_id)
        .where(where)
    )


async def load_runs(connection: AsyncConnection, row_ids: Sequence[int]) -> list[RunRecord]:
    """Returns runs in the order given."""
    found: dict[int, RunRecord] = {}
    for batch in batches(row_ids):
        for row in await connection.execute(_select_runs(runs.c.id.in_(batch))):
            found[row.id] = RunRecord(
                row_id=row.id,
                name=RunName(row.entity, row.project, row.name),
                display_name=row.display_name,
                state=RunState(row.shown_state),
                config=row.config,
                summary=row.summary,
                notes=row.notes,
                tags=json.loads(row.tags),
                group=row.group_name,
                job_type=row.job_type,
                created_at=row.created_at,
                finished_at=row.finished_at,
            )
    return [found[row_id] for row_id in row_ids]


def _tags(tags: Sequence[str]) -> str:
    if len(tags) > MAX_TAGS:
        raise RequestInvalidError(f"a run has at most {MAX_TAGS} tags", field="tags")
    return json.dumps([check_tag(tag) for tag in dict.fromkeys(tags)], ensure_ascii=False)


def _check_texts(notes: str, *short: str) -> None:
    if len(notes) > MAX_TEXT:
        raise RequestInvalidError(f"notes are longer than {MAX_TEXT} characters", field="notes")
    if any(len(text) > MAX_SHORT_TEXT for text in short):
        raise RequestInvalidError(f"names, group and job_type have at most {MAX_SHORT_TEXT} characters", field="name")
