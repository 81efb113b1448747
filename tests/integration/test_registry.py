"""Links and lineage over the wire."""

from __future__ import annotations

import pytest

from integration.stubs import Wire, refused, request_id
from modelwire.api.metadata.v1 import artifact_service_pb2 as artifact_pb
from modelwire.api.metadata.v1 import lineage_service_pb2 as lineage_pb
from modelwire.api.metadata.v1 import registry_service_pb2 as pb
from modelwire.api.metadata.v1 import resources_pb2 as resources
from modelwire.api.metadata.v1 import run_service_pb2 as run_pb
from modelwire.errors import (
    AliasMovedError,
    ArtifactNotFoundError,
    NameInvalidError,
    NotAModelError,
    ReferenceInvalidError,
    RegisteredModelNotFoundError,
    RequestInvalidError,
    VersionHasAliasesError,
    VersionLinkedError,
    VersionNotFoundError,
)


@pytest.fixture
def wire(wire: Wire) -> Wire:
    """An entity of the test's own: a registry belongs to an entity."""
    return wire.of(wire.project)


async def link(wire: Wire, text: str, model: str = "R", run: str = "", **more: object) -> pb.LinkVersionResponse:
    request = pb.LinkVersionRequest(request_id=request_id(), reference=wire.ref(text), registered_model=model, **more)  # type: ignore[arg-type]
    if run:
        request.run.CopyFrom(wire.run_name(run))
    return await wire.registry.LinkVersion(request)


async def unlink(wire: Wire, text: str, delete_aliases: bool = False) -> resources.Version:
    request = pb.UnlinkVersionRequest(request_id=request_id(), link=wire.ref(text), delete_aliases=delete_aliases)
    return (await wire.registry.UnlinkVersion(request)).link


async def test_links_count_for_themselves_and_copy_nothing(wire: Wire) -> None:
    source = await wire.log("M", b"a", aliases=["own"], tags=["t"], description="d", metadata_json='{"a": 1}')
    await wire.log("M", b"b")
    await link(wire, "M:v1")
    answer = await link(wire, "M:v0", aliases=["production"])
    made = answer.link
    assert (answer.created, made.is_link) == (True, True)
    assert made.name == resources.MemberName(entity=wire.entity, project="model-registry", collection="R", version=1)
    assert (made.id, made.source, made.manifest_digest) == (source.id, source.name, source.manifest_digest)
    assert (list(made.tags), made.description, made.metadata_json) == (["t"], "d", '{"a": 1}')
    assert list(made.aliases) == ["latest", "production"]
    assert list((await wire.version("M:v0")).aliases) == ["own"]
    for text in ("model-registry/R", "registry/R:v1", f"{wire.entity}/model-registry/R:production"):
        assert await wire.version(text) == made


async def test_a_version_linked_again_keeps_its_number(wire: Wire) -> None:
    for content in (b"a", b"b"):
        await wire.log("M", content)
        await link(wire, "M", aliases=["first"])
    again = await link(wire, "M:v0", aliases=["champion"])
    assert (again.created, again.link.name.version) == (False, 0)
    assert list(again.link.aliases) == ["latest", "champion"]
    assert list((await wire.version("registry/R:v1")).aliases) == ["first"]
    through = await link(wire, "registry/R:v1", "other")
    assert (through.link.name.version, through.link.source.version) == (0, 1)


async def test_unlinking_leaves_the_source(wire: Wire) -> None:
    source = await wire.log("M", b"a")
    await wire.log("M", b"b")
    await link(wire, "M:v0")
    await link(wire, "M:v1", aliases=["best"])
    with refused(VersionHasAliasesError, aliases="best"):
        await unlink(wire, "registry/R:v1")
    assert (await unlink(wire, "registry/R:best", delete_aliases=True)).name.version == 1
    assert (await wire.version("registry/R")).name.version == 0
    with refused(VersionNotFoundError):
        await wire.version("registry/R:v1")
    assert (await wire.version("M:v1")).name.version == 1
    assert (await link(wire, "M:v1")).link.name.version == 2
    with refused(ReferenceInvalidError):
        await unlink(wire, "M:v0")
    by_name = artifact_pb.DeleteVersionRequest(request_id=request_id(), reference=wire.ref("registry/R:v0"))
    await wire.artifacts.DeleteVersion(by_name)
    assert (await wire.version("M:v0")).id == source.id


async def test_a_linked_source_cannot_be_deleted(wire: Wire) -> None:
    await wire.log("M", b"a")
    await wire.log("M", b"b")
    await link(wire, "M:v1", "R")
    await link(wire, "M:v1", "S")
    delete = artifact_pb.DeleteVersionRequest(request_id=request_id(), reference=wire.ref("M:v1"))
    with refused(VersionLinkedError, links=2):
        await wire.artifacts.DeleteVersion(delete)
    with refused(VersionLinkedError):
        await wire.artifacts.DeleteArtifact(artifact_pb.DeleteArtifactRequest(request_id=request_id(), artifact=wire.ref("M")))
    assert [(await wire.version(f"M:v{number}")).name.version for number in (0, 1)] == [0, 1]
    await unlink(wire, "registry/R")
    await unlink(wire, "registry/S")
    await wire.artifacts.DeleteVersion(delete)


async def test_what_cannot_be_linked_makes_no_registered_model(wire: Wire) -> None:
    await wire.log("D", b"a", "dataset")
    with refused(NotAModelError, type="dataset"):
        await link(wire, "D", require_model=True)
    with refused(ArtifactNotFoundError):
        await link(wire, "nothing")
    for wrong in ("a/b", "a b", ""):
        with refused(NameInvalidError):
            await link(wire, "D", wrong)
    with refused(NameInvalidError):
        await link(wire, "D", aliases=["v1"])
    listed = await wire.registry.ListRegisteredModels(pb.ListRegisteredModelsRequest(entity=wire.entity))
    assert not listed.registered_models
    with refused(RegisteredModelNotFoundError):
        await wire.version("registry/R")
    assert (await link(wire, "D")).link.type == "dataset"


async def test_the_registry_of_another_entity_can_be_linked_to(wire: Wire) -> None:
    await wire.log("M", b"a")
    made = (await link(wire, "M", entity=f"{wire.entity}-2")).link
    assert (made.name.entity, made.source.entity) == (f"{wire.entity}-2", wire.entity)


async def test_aliases_of_links_move_as_those_of_versions(wire: Wire) -> None:
    for content in (b"a", b"b"):
        await wire.log("M", content)
        await link(wire, "M")

    async def give(text: str, expected: str | None = None) -> list[str]:
        request = pb.SetLinkAliasesRequest(
            request_id=request_id(), link=wire.ref(text), add=["best"], remove=["latest"], expected_current=expected
        )
        return list((await wire.registry.SetLinkAliases(request)).link.aliases)

    assert await give("registry/R:v0") == ["best"]
    with refused(AliasMovedError, alias="best", actual="v0"):
        await give("registry/R:v1", "")
    assert await give("registry/R:v1", "v0") == ["best"]
    with refused(ReferenceInvalidError):
        await give("M:v0")


async def test_a_registered_model_is_described_and_deleted_with_its_links(wire: Wire) -> None:
    await wire.log("M", b"a")
    await link(wire, "M", aliases=["best"])
    tags = run_pb.TagList(tags=["größe"])
    update = pb.UpdateRegisteredModelRequest(
        request_id=request_id(), entity=wire.entity, name="R", description="模型", tags=tags
    )
    changed = (await wire.registry.UpdateRegisteredModel(update)).registered_model
    assert (changed.description, list(changed.tags), changed.link_count) == ("模型", ["größe"], 1)
    get = pb.GetRegisteredModelRequest(entity=wire.entity, name="R")
    assert (await wire.registry.GetRegisteredModel(get)).registered_model == changed
    delete = pb.DeleteRegisteredModelRequest(request_id=request_id(), entity=wire.entity, name="R")
    with refused(VersionHasAliasesError):
        await wire.registry.DeleteRegisteredModel(delete)
    delete.delete_aliases = True
    assert (await wire.registry.DeleteRegisteredModel(delete)).removed_links == 1
    with refused(RegisteredModelNotFoundError, name="R"):
        await wire.registry.GetRegisteredModel(get)
    assert (await wire.version("M")).name.version == 0
    again = await link(wire, "M")
    assert (again.link.name.version, list(again.link.aliases)) == (1, ["latest"])


# ── Lineage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def graph(wire: Wire) -> Wire:
    """trainer → M:v0 → R:v0 → user, M:v0 → both, R:v0 → both, user → N:v0, M:v0 → later."""
    for run in ("trainer", "both", "user", "later"):
        await wire.start_run(run)
    await wire.log("M", b"a", run="trainer")
    await link(wire, "M")
    await wire.use("M", run="both")
    await wire.use("registry/R", run="both")
    await wire.use("registry/R", run="user")
    await wire.log("N", b"b", run="user")
    await wire.use("M", run="later")
    return wire


def label(node: lineage_pb.LineageNode) -> str:
    return node.run.run_id if node.HasField("run") else f"{node.version.name.collection}:v{node.version.name.version}"


async def lineage(
    wire: Wire, start: str, direction: str = "BOTH", depth: int = 0, size: int = 0
) -> tuple[dict[str, int], set[tuple[str, str, str]]]:
    """Walks all pages; returns the depths of the nodes and the edges (from, to, kind), each seen once."""
    nodes: dict[str, int] = {}
    labels: dict[str, str] = {}
    edges: list[tuple[str, str, str]] = []
    token = ""
    while True:
        request = lineage_pb.GetLineageRequest(
            direction=lineage_pb.LineageDirection.Value(f"LINEAGE_DIRECTION_{direction}"),
            max_depth=depth,
            page_size=size,
            page_token=token,
        )
        if ":" in start or "/" in start:
            request.reference.CopyFrom(wire.ref(start))
        else:
            request.run.CopyFrom(wire.run_name(start))
        answer = await wire.lineage.GetLineage(request)
        for node in answer.nodes:
            assert node.id not in labels
            labels[node.id] = label(node)
            nodes[label(node)] = node.depth
        kinds = lineage_pb.EdgeKind.Name
        edges += [(labels[e.from_id], labels[e.to_id], kinds(e.kind).removeprefix("EDGE_KIND_")) for e in answer.edges]
        token = answer.next_page_token
        if not token:
            assert len(edges) == len(set(edges))
            return nodes, set(edges)


EDGES = {
    ("trainer", "M:v0", "LOGGED"),
    ("M:v0", "R:v0", "LINKED"),
    ("M:v0", "both", "USED"),
    ("R:v0", "both", "USED"),
    ("R:v0", "user", "USED"),
    ("user", "N:v0", "LOGGED"),
    ("M:v0", "later", "USED"),
}


async def test_lineage_is_walked_in_the_direction_asked(graph: Wire) -> None:
    nodes, edges = await lineage(graph, "M:v0")
    assert nodes == {"M:v0": 0, "R:v0": 1, "trainer": 1, "both": 1, "later": 1, "user": 2, "N:v0": 3}
    assert edges == EDGES
    nodes, edges = await lineage(graph, "N:v0", "UPSTREAM")
    assert nodes == {"N:v0": 0, "user": 1, "R:v0": 2, "M:v0": 3, "trainer": 4}
    assert edges == {edge for edge in EDGES if not {"both", "later"} & set(edge)}
    nodes, edges = await lineage(graph, "trainer", "DOWNSTREAM")
    assert nodes == {"trainer": 0, "M:v0": 1, "R:v0": 2, "both": 2, "later": 2, "user": 3, "N:v0": 4}
    assert edges == EDGES
    assert (await lineage(graph, "registry/R", "UPSTREAM"))[0] == {"R:v0": 0, "M:v0": 1, "trainer": 2}


async def test_lineage_ends_at_the_depth_asked(graph: Wire) -> None:
    nodes, edges = await lineage(graph, "N:v0", "UPSTREAM", depth=2)
    assert nodes == {"N:v0": 0, "user": 1, "R:v0": 2}
    assert edges == {("R:v0", "user", "USED"), ("user", "N:v0", "LOGGED")}


async def test_edges_between_the_nodes_at_the_last_depth_are_there_too(graph: Wire) -> None:
    nodes, edges = await lineage(graph, "M:v0", depth=1)
    assert edges == {edge for edge in EDGES if {*edge[:2]} <= nodes.keys()}


@pytest.mark.parametrize("size", range(1, 8))
async def test_the_pages_of_a_lineage_hold_every_node_and_edge_once(graph: Wire, size: int) -> None:
    assert await lineage(graph, "M:v0", size=size) == await lineage(graph, "M:v0")


async def runs_of(wire: Wire, text: str, role: lineage_pb.RunVersionRole.ValueType, size: int = 0) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        request = lineage_pb.ListVersionRunsRequest(reference=wire.ref(text), role=role, page_size=size, page_token=token)
        answer = await wire.lineage.ListVersionRuns(request)
        found += [run.run_id for run in answer.runs]
        token = answer.next_page_token
        if not token:
            return found


async def test_uses_through_links_count_for_the_source(graph: Wire) -> None:
    for text in ("M:v0", "registry/R:v0"):
        assert await runs_of(graph, text, lineage_pb.RUN_VERSION_ROLE_OUTPUT) == ["trainer"]
        assert await runs_of(graph, text, lineage_pb.RUN_VERSION_ROLE_INPUT) == ["both", "user", "later"]
    with refused(RequestInvalidError, field="role"):
        await runs_of(graph, "M", lineage_pb.RUN_VERSION_ROLE_UNSPECIFIED)


@pytest.mark.parametrize("size", [1, 2])
async def test_a_run_that_used_a_version_twice_is_listed_once(graph: Wire, size: int) -> None:
    assert await runs_of(graph, "M:v0", lineage_pb.RUN_VERSION_ROLE_INPUT, size) == ["both", "user", "later"]


async def test_the_versions_of_a_run_are_listed_at_the_place_it_named(graph: Wire) -> None:
    request = lineage_pb.ListRunVersionsRequest(run=graph.run_name("both"), role=lineage_pb.RUN_VERSION_ROLE_INPUT)
    answer = await graph.lineage.ListRunVersions(request)
    assert [(version.name.collection, version.is_link) for version in answer.versions] == [("M", False), ("R", True)]
    request = lineage_pb.ListRunVersionsRequest(run=graph.run_name("user"), role=lineage_pb.RUN_VERSION_ROLE_OUTPUT)
    answer = await graph.lineage.ListRunVersions(request)
    assert [(version.name.collection, version.logged_by.run_id) for version in answer.versions] == [("N", "user")]
