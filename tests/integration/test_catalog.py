"""Names over the wire: request ids, versions, aliases and references."""

from __future__ import annotations

import json
import os

import pytest

from integration.stubs import Draft, Wire, refused, request_id
from modelwire.api.metadata.v1 import artifact_service_pb2 as pb
from modelwire.api.metadata.v1 import lineage_service_pb2 as lineage_pb
from modelwire.api.metadata.v1 import resources_pb2 as resources
from modelwire.api.metadata.v1 import run_service_pb2 as run_pb
from modelwire.errors import (
    AliasMovedError,
    AliasNotFoundError,
    ArtifactNotFoundError,
    DraftClosedError,
    EntityNotFoundError,
    MetadataInvalidError,
    ModelwireError,
    NameInvalidError,
    NotAModelError,
    ProjectNotFoundError,
    ReferenceInvalidError,
    RequestIdReusedError,
    RequestInvalidError,
    RunNotFoundError,
    TypeMismatchError,
    VersionHasAliasesError,
    VersionNotFoundError,
)


async def give(wire: Wire, text: str, *add: str, **more: object) -> resources.Version:
    request = pb.SetAliasesRequest(request_id=request_id(), reference=wire.ref(text), add=add, **more)  # type: ignore[arg-type]
    return (await wire.artifacts.SetAliases(request)).version


async def delete(wire: Wire, text: str, delete_aliases: bool = False) -> resources.Version:
    request = pb.DeleteVersionRequest(request_id=request_id(), reference=wire.ref(text), delete_aliases=delete_aliases)
    return (await wire.artifacts.DeleteVersion(request)).version


async def number(wire: Wire, text: str) -> int:
    return (await wire.version(text)).name.version


# ── Request ids ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repeated_request_gets_the_first_answer(wire: Wire) -> None:
    create = run_pb.CreateRunRequest(request_id=request_id(), name=wire.run_name(""))
    first = await wire.runs.CreateRun(create)
    assert await wire.runs.CreateRun(create) == first
    begin = pb.BeginVersionRequest(request_id=request_id(), project=wire.project, artifact="M", type="model")
    opened = await wire.artifacts.BeginVersion(begin)
    assert await wire.artifacts.BeginVersion(begin) == opened
    blob = await wire.put(opened.ticket.token, os.urandom(10))
    receipt = (await wire.seal(opened.ticket.token, blob.blob_id)).receipt
    draft, own = Draft(opened.draft_id, ""), request_id()
    committed = await wire.commit(draft, [blob.entry("m")], receipt, request_id=own)
    assert committed.created
    assert await wire.commit(draft, [blob.entry("m")], receipt, request_id=own) == committed
    doomed = pb.DeleteVersionRequest(request_id=request_id(), reference=wire.ref("M:v0"))
    deleted = await wire.artifacts.DeleteVersion(doomed)
    assert await wire.artifacts.DeleteVersion(doomed) == deleted


async def test_a_request_id_serves_one_request_only(wire: Wire) -> None:
    own = request_id()
    await wire.runs.CreateRun(run_pb.CreateRunRequest(request_id=own, name=wire.run_name("one")))
    with refused(RequestIdReusedError, request_id=own):
        await wire.runs.CreateRun(run_pb.CreateRunRequest(request_id=own, name=wire.run_name("two")))
    with refused(RequestIdReusedError, request_id=own):
        await wire.runs.UpdateRun(run_pb.UpdateRunRequest(request_id=own, name=wire.run_name("one")))
    with refused(RunNotFoundError):
        await wire.runs.GetRun(run_pb.GetRunRequest(name=wire.run_name("two")))


async def test_a_refused_request_may_be_repeated_under_its_id(wire: Wire) -> None:
    update = run_pb.UpdateRunRequest(request_id=request_id(), name=wire.run_name("later"), notes="n")
    with refused(ProjectNotFoundError):
        await wire.runs.UpdateRun(update)
    await wire.start_run("later")
    assert (await wire.runs.UpdateRun(update)).run.notes == "n"


# ── Versions and aliases ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_numbers_are_never_used_again_and_latest_falls_back(wire: Wire) -> None:
    for content in (b"a", b"b", b"c"):
        await wire.log("M", content)
    assert (await delete(wire, "M:v2")).name.version == 2
    assert await number(wire, "M") == await number(wire, "M:latest") == 1
    with refused(VersionNotFoundError, name="v2"):
        await wire.version("M:v2")
    assert (await wire.log("M", b"d")).name.version == 3
    assert (await wire.log("M", b"c")).name.version == 4
    assert (await wire.log("M", b"a")).name.version == 0
    assert await number(wire, "M") == 0
    await delete(wire, "M:v0")
    assert await number(wire, "M") == 4
    for rest in ("v1", "v3", "v4"):
        await delete(wire, f"M:{rest}")
    with refused(AliasNotFoundError):
        await wire.version("M")
    assert (await wire.log("M", b"e")).name.version == 5


async def test_a_version_with_aliases_is_deleted_only_on_demand(wire: Wire) -> None:
    await wire.log("M", b"a", aliases=["best", "production"])
    with refused(VersionHasAliasesError, aliases="best, production"):
        await delete(wire, "M:best")
    assert await number(wire, "M:best") == 0
    await delete(wire, "M:best", delete_aliases=True)
    with refused(AliasNotFoundError):
        await wire.version("M:best")


async def test_content_that_is_there_already_needs_no_draft(wire: Wire) -> None:
    await wire.start_run("second")
    first = await wire.log("M", b"a")
    await wire.log("M", b"b")
    request = pb.BeginVersionRequest(
        request_id=request_id(),
        project=wire.project,
        artifact="M",
        type="model",
        run=wire.run_name("second"),
        manifest_digest=first.manifest_digest,
    )
    answer = await wire.artifacts.BeginVersion(request)
    assert (answer.draft_id, answer.ticket.token, answer.existing.name.version) == ("", "", 0)
    assert list(answer.existing.aliases) == ["latest"]
    outputs = lineage_pb.ListRunVersionsRequest(run=wire.run_name("second"), role=lineage_pb.RUN_VERSION_ROLE_OUTPUT)
    assert [one.name.version for one in (await wire.lineage.ListRunVersions(outputs)).versions] == [0]


async def test_an_artifact_has_one_type(wire: Wire) -> None:
    early = await wire.begin("M", "dataset")
    await wire.log("M", b"a", "model")
    with refused(TypeMismatchError, type="dataset", actual="model"):
        await wire.begin("M", "dataset")
    blob = await wire.put(early.token, b"b")
    receipt = (await wire.seal(early.token, blob.blob_id)).receipt
    with refused(TypeMismatchError, type="dataset", actual="model"):
        await wire.commit(early, [blob.entry("m")], receipt)
    use = pb.UseVersionRequest(request_id=request_id(), reference=wire.ref("M"), type="dataset")
    with refused(TypeMismatchError, type="dataset", actual="model"):
        await wire.artifacts.UseVersion(use)
    await wire.log("D", b"a", "dataset")
    with refused(NotAModelError, type="dataset"):
        use = pb.UseVersionRequest(request_id=request_id(), reference=wire.ref("D"), require_model=True)
        await wire.artifacts.UseVersion(use)


async def test_a_draft_is_committed_once(wire: Wire) -> None:
    draft = await wire.begin("M")
    blob = await wire.put(draft.token, b"a")
    receipt = (await wire.seal(draft.token, blob.blob_id)).receipt
    await wire.commit(draft, [blob.entry("m")], receipt)
    with refused(DraftClosedError, draft=draft.draft_id):
        await wire.commit(draft, [blob.entry("other")], receipt)
    with refused(DraftClosedError):
        await wire.begin("M", draft_id=draft.draft_id)
    assert (await wire.version("M")).name.version == 0


async def test_an_alias_moves_and_is_at_one_place(wire: Wire) -> None:
    await wire.log("M", b"a", aliases=["best"])
    moved = await wire.log("M", b"b", aliases=["best", "new"])
    assert list(moved.aliases) == ["latest", "best", "new"]
    assert list((await wire.version("M:v0")).aliases) == []
    given = await give(wire, "M:v0", "best", "old", remove=["new", "never-had"])
    assert list(given.aliases) == ["best", "old"]
    assert list((await wire.version("M:v1")).aliases) == ["latest", "new"]
    taken = await give(wire, "M:v1", remove=["new", "best"])
    assert list(taken.aliases) == ["latest"]
    assert await number(wire, "M:best") == 0
    for wrong in ("v3", "v03", "a/b", "a:b", "", " a"):
        with refused(NameInvalidError):
            await give(wire, "M:v0", "fine", wrong)
    with refused(AliasNotFoundError):
        await wire.version("M:fine")


async def test_an_alias_moves_only_from_where_it_is_expected(wire: Wire) -> None:
    await wire.log("M", b"a", aliases=["best"])
    await wire.log("M", b"b")
    with refused(AliasMovedError, alias="best", actual="v0"):
        await give(wire, "M:v1", "best", expected_current="v1")
    with refused(AliasMovedError, alias="best", actual="v0"):
        await give(wire, "M:v1", "best", expected_current="")
    with refused(AliasMovedError, alias="fresh", actual=""):
        await give(wire, "M:v1", "best", "fresh", expected_current="v0")
    assert await number(wire, "M:best") == 0
    await give(wire, "M:v1", "best", expected_current="v0")
    await give(wire, "M:v1", "fresh", expected_current="")
    assert await number(wire, "M:best") == await number(wire, "M:fresh") == 1
    for wrong in ("best", "v01", "1"):
        with refused(RequestInvalidError, field="expected_current"):
            await give(wire, "M:v1", "best", expected_current=wrong)


async def test_what_is_said_of_a_version_changes_and_its_content_does_not(wire: Wire) -> None:
    before = await wire.log("M", b"a", tags=["one", "two words"], metadata_json='{"a": 1}', description="d", ttl_seconds=60)
    assert (list(before.tags), before.metadata_json, before.description) == (["one", "two words"], '{"a": 1}', "d")
    text = 'Ünïcode 模型 🙂 \u2028 "quoted"'
    metadata = json.dumps({"精度": [1.5, None, {"x": "\u0000"}]}, ensure_ascii=False)
    tags = run_pb.TagList(tags=["größe", "größe", "b"])
    update = pb.UpdateVersionRequest(
        request_id=request_id(), reference=wire.ref("M"), description=text, metadata_json=metadata, tags=tags, ttl_seconds=0
    )
    after = (await wire.artifacts.UpdateVersion(update)).version
    assert (after.description, after.metadata_json, after.ttl_seconds) == (text, metadata, 0)
    assert list(after.tags) == ["b", "größe"]
    assert (after.id, after.manifest_digest, after.create_time) == (before.id, before.manifest_digest, before.create_time)
    assert await wire.version("M:v0") == after
    nothing = pb.UpdateVersionRequest(request_id=request_id(), reference=wire.ref("M"))
    assert (await wire.artifacts.UpdateVersion(nothing)).version == after
    clear = pb.UpdateVersionRequest(request_id=request_id(), reference=wire.ref("M"), description="", tags=run_pb.TagList())
    cleared = (await wire.artifacts.UpdateVersion(clear)).version
    assert (cleared.description, list(cleared.tags), cleared.metadata_json) == ("", [], metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        "[1]",
        '"text"',
        "{",
        "{'a': 1}",
        '{"a": Infinity}',
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        json.dumps({str(key): key for key in range(101)}),
        json.dumps({"a": "x" * (1 << 20)}),
    ],
    ids=lambda text: text[:12],
)
async def test_metadata_beyond_the_limits_is_refused(wire: Wire, metadata: str) -> None:
    most = json.dumps({str(key): key for key in range(100)})
    await wire.log("M", b"a", metadata_json=most)
    update = pb.UpdateVersionRequest(request_id=request_id(), reference=wire.ref("M"), metadata_json=metadata)
    with refused(MetadataInvalidError):
        await wire.artifacts.UpdateVersion(update)
    assert (await wire.version("M")).metadata_json == most


async def test_a_deleted_artifact_is_gone_and_goes_on_counting(wire: Wire) -> None:
    await wire.log("M", b"a", aliases=["best"])
    await wire.log("M", b"b")
    request = pb.DeleteArtifactRequest(request_id=request_id(), artifact=wire.ref("M"))
    with refused(VersionHasAliasesError):
        await wire.artifacts.DeleteArtifact(request)
    assert await number(wire, "M:v1") == 1
    request.delete_aliases = True
    assert (await wire.artifacts.DeleteArtifact(request)).deleted_versions == 2
    assert await wire.names_visible() == []
    with refused(ArtifactNotFoundError):
        await wire.version("M:v0")
    again = await wire.log("M", b"a", "dataset")
    assert (again.name.version, again.type, list(again.aliases)) == (2, "dataset", ["latest"])
    with refused(VersionNotFoundError):
        await wire.version("M:v1")


# ── References ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_form_of_a_reference_names_the_same_version(wire: Wire) -> None:
    expected = await wire.log("M.x_1-2", b"a", aliases=["two words", "größe"])
    for front in ("", f"{wire.project}/", f"default/{wire.project}/"):
        for end in ("", ":latest", ":v0", ":two words", ":größe"):
            assert await wire.version(f"{front}M.x_1-2{end}") == expected


@pytest.mark.parametrize("text", ["", ":v0", "M:", "a/b/c/M", "/M", "M/", "a//M", "M:a:b", "M:a/b", "M: a", "M x", "a%b/M"])
async def test_a_text_outside_the_grammar_is_refused(wire: Wire, text: str) -> None:
    await wire.log("M", b"a")
    with refused(ReferenceInvalidError, reference=text):
        await wire.version(text)


@pytest.mark.parametrize(
    ("text", "expected", "facts"),
    [
        ("MNITS", ArtifactNotFoundError, {"name": "MNITS", "similar": "MNIST"}),
        ("MNIST:bset", AliasNotFoundError, {"name": "bset", "similar": "best"}),
        ("MNIST:v1", VersionNotFoundError, {"name": "v1", "similar": "v0"}),
        ("MNIST:v00", AliasNotFoundError, {"name": "v00"}),
        ("nowhere/MNIST", ProjectNotFoundError, {"name": "nowhere"}),
        ("nobody-at-all/p/MNIST", EntityNotFoundError, {"name": "nobody-at-all"}),
    ],
)
async def test_a_reference_to_nothing_says_which_part_is_wrong(
    wire: Wire, text: str, expected: type[ModelwireError], facts: dict[str, str]
) -> None:
    await wire.log("MNIST", b"a", aliases=["best"])
    with refused(expected, **facts):
        await wire.version(text)
