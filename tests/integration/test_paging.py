"""Lists come page by page: nothing twice, nothing left out, and a token serves its own list only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from integration.stubs import Wire, refused, request_id
from modelwire.api.metadata.v1 import artifact_service_pb2 as pb
from modelwire.api.metadata.v1 import lineage_service_pb2 as lineage_pb
from modelwire.api.metadata.v1 import registry_service_pb2 as registry_pb
from modelwire.api.metadata.v1 import run_service_pb2 as run_pb
from modelwire.errors import PageTokenInvalidError

COUNT = 7
REVERSED = [f"{number}" for number in reversed(range(COUNT))]
ASCENDING = REVERSED[::-1]

Page = tuple[list[str], str]


async def _versions(wire: Wire, **page: Any) -> Page:
    answer = await wire.artifacts.ListVersions(pb.ListVersionsRequest(artifact=wire.ref("M"), **page))
    return [f"{one.name.version}" for one in answer.versions], answer.next_page_token


async def _artifacts(wire: Wire, **page: Any) -> Page:
    request = pb.ListArtifactsRequest(entity=wire.entity, project=wire.project, type="other", **page)
    answer = await wire.artifacts.ListArtifacts(request)
    return [one.name for one in answer.artifacts], answer.next_page_token


async def _entries(wire: Wire, **page: Any) -> Page:
    answer = await wire.artifacts.ListEntries(pb.ListEntriesRequest(reference=wire.ref("many"), **page))
    return [one.path for one in answer.entries], answer.next_page_token


async def _runs(wire: Wire, **page: Any) -> Page:
    answer = await wire.runs.ListRuns(run_pb.ListRunsRequest(entity=wire.entity, project=wire.project, **page))
    return [one.run_id for one in answer.runs], answer.next_page_token


async def _links(wire: Wire, **page: Any) -> Page:
    request = registry_pb.ListLinksRequest(entity=wire.entity, registered_model="R", **page)
    answer = await wire.registry.ListLinks(request)
    return [f"{one.name.version}" for one in answer.links], answer.next_page_token


async def _registered_models(wire: Wire, **page: Any) -> Page:
    request = registry_pb.ListRegisteredModelsRequest(entity=wire.entity, name_contains="S-", **page)
    answer = await wire.registry.ListRegisteredModels(request)
    return [one.name.removeprefix("s-") for one in answer.registered_models], answer.next_page_token


async def _run_versions(wire: Wire, **page: Any) -> Page:
    role = lineage_pb.RUN_VERSION_ROLE_INPUT
    answer = await wire.lineage.ListRunVersions(lineage_pb.ListRunVersionsRequest(run=wire.run_name("0"), role=role, **page))
    return [f"{one.name.collection}:v{one.name.version}" for one in answer.versions], answer.next_page_token


async def _version_runs(wire: Wire, **page: Any) -> Page:
    role = lineage_pb.RUN_VERSION_ROLE_INPUT
    request = lineage_pb.ListVersionRunsRequest(reference=wire.ref("many"), role=role, **page)
    answer = await wire.lineage.ListVersionRuns(request)
    return [one.run_id for one in answer.runs], answer.next_page_token


async def _lineage(wire: Wire, **page: Any) -> Page:
    request = lineage_pb.GetLineageRequest(reference=wire.ref("many"), max_depth=1, **page)
    answer = await wire.lineage.GetLineage(request)
    return [one.run.run_id for one in answer.nodes if one.HasField("run")], answer.next_page_token


LISTS: dict[str, tuple[Callable[..., Awaitable[Page]], list[str], dict[str, bool]]] = {
    "versions": (_versions, REVERSED, {}),
    "versions-oldest-first": (_versions, ASCENDING, {"oldest_first": True}),
    "artifacts": (_artifacts, ASCENDING, {}),
    "entries": (_entries, ASCENDING, {}),
    "runs": (_runs, REVERSED, {}),
    "runs-oldest-first": (_runs, ASCENDING, {"oldest_first": True}),
    "links": (_links, REVERSED, {}),
    "links-oldest-first": (_links, ASCENDING, {"oldest_first": True}),
    "registered-models": (_registered_models, ASCENDING, {}),
    "run-versions": (_run_versions, ["many:v0", *(f"M:v{number}" for number in range(COUNT))], {}),
    "version-runs": (_version_runs, ASCENDING, {}),
    "lineage": (_lineage, ASCENDING, {}),
}


async def link(wire: Wire, text: str, registered_model: str) -> None:
    request = registry_pb.LinkVersionRequest(
        request_id=request_id(), reference=wire.ref(text), registered_model=registered_model
    )
    await wire.registry.LinkVersion(request)


@pytest.fixture
async def full(wire: Wire) -> Wire:
    """An entity of its own in which every list has seven items, and more that belong to other lists."""
    wire = wire.of(wire.project)
    await wire.log("many", {str(number): b"" for number in range(COUNT)})
    for number in range(COUNT):
        run = str(number)
        await wire.start_run(run)
        await wire.log("M", run.encode())
        await wire.log(run, run.encode(), "other")
        await wire.use("many", run=run)
        await wire.use(f"M:v{number}", run="0")
        await link(wire, f"M:v{number}", "R")
        await link(wire, "M:v0", f"s-{number}")
    return wire


async def walk(page: Callable[..., Awaitable[Page]], wire: Wire, size: int, more: dict[str, bool]) -> list[str]:
    found, token = await page(wire, page_size=size, **more)
    assert len(found) <= size
    while token:
        items, token = await page(wire, page_size=size, page_token=token, **more)
        assert len(items) <= size
        found += items
    return found


async def test_a_walk_over_all_pages_finds_everything_once(full: Wire) -> None:
    for name, (page, expected, more) in LISTS.items():
        for size in (1, 3, COUNT, COUNT + 1, 10_000):
            assert (name, size, await walk(page, full, size, more)) == (name, size, expected)
        assert (await page(full, **more))[0] == expected


async def test_a_token_serves_its_own_list_only(full: Wire) -> None:
    tokens = {name: (await page(full, page_size=2, **more))[1] for name, (page, _, more) in LISTS.items()}
    assert all(tokens.values())
    for name, (page, _, more) in LISTS.items():
        for other, token in {**tokens, "garbage": "x", "base64": "bm9uc2Vuc2U=", "unicode": "ü🙂"}.items():
            if other == name:
                await page(full, page_token=token, **more)
                continue
            with refused(PageTokenInvalidError):
                await page(full, page_token=token, **more)


async def test_a_token_serves_the_same_filters_only(full: Wire) -> None:
    token = (await _versions(full, page_size=2))[1]
    with refused(PageTokenInvalidError):
        await _versions(full, page_token=token, tags=["a"])
    request = pb.ListVersionsRequest(artifact=full.ref("0"), page_token=token)
    with refused(PageTokenInvalidError):
        await full.artifacts.ListVersions(request)


async def test_what_comes_and_goes_while_paging_moves_nothing_else(full: Wire) -> None:
    seen, token = await _versions(full, page_size=3)
    runs, runs_token = await _runs(full, page_size=3)
    names, names_token = await _artifacts(full, page_size=3)
    await full.log("M", b"new")
    await full.start_run("new")
    await full.log("00", b"before the cursor", "other")
    await full.log("33", b"after the cursor", "other")
    await full.artifacts.DeleteVersion(
        pb.DeleteVersionRequest(request_id=request_id(), reference=full.ref("5"), delete_aliases=True)
    )
    rest, _ = await _versions(full, page_size=100, page_token=token)
    assert seen + rest == REVERSED
    rest, _ = await _runs(full, page_size=100, page_token=runs_token)
    assert runs + rest == REVERSED
    rest, _ = await _artifacts(full, page_size=100, page_token=names_token)
    assert names + rest == ["0", "1", "2", "3", "33", "4", "5", "6"]


async def test_the_item_at_the_cursor_may_be_deleted(full: Wire) -> None:
    seen, token = await _links(full, page_size=3)
    link = full.ref(f"model-registry/R:v{seen[-1]}")
    await full.registry.UnlinkVersion(registry_pb.UnlinkVersionRequest(request_id=request_id(), link=link))
    rest, _ = await _links(full, page_size=100, page_token=token)
    assert seen + rest == REVERSED


async def test_versions_are_found_by_all_of_their_tags(wire: Wire) -> None:
    for number, tags in enumerate((["a"], ["a", "b"], ["b"], ["b", "a", "c"])):
        await wire.log("M", str(number).encode(), tags=tags)
    found, token = await _versions(wire, tags=["a", "b"], page_size=1)
    assert (found, bool(token)) == (["3"], True)
    assert (await _versions(wire, tags=["b", "a"], page_token=token))[0] == ["1"]
