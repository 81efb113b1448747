"""Runs over the wire: how they begin, change, end and are taken up again."""

from __future__ import annotations

import json

import pytest

from integration.stubs import Wire, refused, request_id
from modelwire.api.metadata.v1 import lineage_service_pb2 as lineage_pb
from modelwire.api.metadata.v1 import resources_pb2 as resources
from modelwire.api.metadata.v1 import run_service_pb2 as run_pb
from modelwire.errors import (
    MetadataInvalidError,
    NameInvalidError,
    RequestInvalidError,
    RunEndedError,
    RunExistsError,
    RunNotFoundError,
)


async def finish(wire: Wire, run_id: str, state: resources.RunState.ValueType = resources.RUN_STATE_FINISHED) -> resources.Run:
    request = run_pb.FinishRunRequest(request_id=request_id(), name=wire.run_name(run_id), state=state)
    return (await wire.runs.FinishRun(request)).run


async def test_a_resume_policy_is_kept(wire: Wire) -> None:
    with refused(RunNotFoundError):
        await wire.start_run("r", resume_policy=run_pb.RESUME_POLICY_MUST)
    first = await wire.start_run("r", resume_policy=run_pb.RESUME_POLICY_NEVER, config_json='{"a": 1, "b": 1}', notes="n")
    assert (first.resumed, first.state) == (False, resources.RUN_STATE_RUNNING)
    with refused(RunExistsError, name="r"):
        await wire.start_run("r", resume_policy=run_pb.RESUME_POLICY_NEVER)
    await finish(wire, "r", resources.RUN_STATE_FAILED)
    for policy in (run_pb.RESUME_POLICY_MUST, run_pb.RESUME_POLICY_ALLOW, run_pb.RESUME_POLICY_UNSPECIFIED):
        again = await wire.start_run("r", resume_policy=policy, config_json='{"b": 2}')
        assert (again.resumed, again.state, again.notes) == (True, resources.RUN_STATE_RUNNING, "n")
        assert json.loads(again.config_json) == {"a": 1, "b": 2}
        assert not again.HasField("finish_time")


@pytest.mark.parametrize("state", ["FINISHED", "FAILED", "CRASHED"])
async def test_an_ended_run_stays_as_it_ended_and_records_nothing(wire: Wire, state: str) -> None:
    ended = resources.RunState.Value(f"RUN_STATE_{state}")
    await wire.start_run("r")
    draft = await wire.begin("M", run="r")
    await wire.log("N", b"a")
    assert (await finish(wire, "r", ended)).state == ended
    assert (await finish(wire, "r", resources.RUN_STATE_FINISHED)).state == ended
    with refused(RunEndedError, name="r", state=state.lower()):
        await wire.begin("M", run="r")
    with refused(RunEndedError):
        await wire.use("N", run="r")
    assert draft.draft_id
    inputs = lineage_pb.ListRunVersionsRequest(run=wire.run_name("r"), role=lineage_pb.RUN_VERSION_ROLE_INPUT)
    assert not (await wire.lineage.ListRunVersions(inputs)).versions
    with refused(RequestInvalidError, field="state"):
        await finish(wire, "r", resources.RUN_STATE_RUNNING)


async def test_a_run_is_changed_field_by_field(wire: Wire) -> None:
    run = await wire.start_run("", notes="ünï", tags=["a"], group="g", job_type="train", config_json='{"lr": 0.1}')
    assert len(run.run_id) == 8
    assert run.display_name.endswith("-1")
    update = run_pb.UpdateRunRequest(request_id=request_id(), name=wire.run_name(run.run_id), summary_json='{"精度": 0.9}')
    changed = (await wire.runs.UpdateRun(update)).run
    expected = resources.Run()
    expected.CopyFrom(run)
    expected.summary_json = '{"精度": 0.9}'
    assert changed == expected == (await wire.runs.GetRun(run_pb.GetRunRequest(name=wire.run_name(run.run_id)))).run
    with refused(MetadataInvalidError, field="config"):
        wrong = run_pb.UpdateRunRequest(request_id=request_id(), name=wire.run_name(run.run_id), config_json="7")
        await wire.runs.UpdateRun(wrong)
    with refused(NameInvalidError, kind="run id"):
        await wire.start_run("a/b")
