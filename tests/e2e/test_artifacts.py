"""Artifacts of any type: the builder, the handle, and drafts of earlier versions."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import modelwire
from command_line import CommandLine
from modelwire.errors import (
    ContentChangedError,
    EntryNotFoundError,
    ModelPathError,
    NotFoundError,
    PathTakenError,
    SourceChangedError,
    TargetPathError,
    TypeMismatchError,
    VersionHasAliasesError,
    VersionLinkedError,
)

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three files."""
    root = tmp_path / "data"
    for name, content in (("train.csv", b"1,2"), ("test.csv", b"3,4"), ("images/one.png", b"png" * 1000)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


async def test_an_artifact_holds_what_was_added_to_it(client: modelwire.AsyncClient, folder: Path, tmp_path: Path) -> None:
    artifact = modelwire.Artifact("data", type="dataset", description="small", metadata={"rows": 2, "shape": (1, 2)})
    artifact.add_dir(folder, name="raw")
    assert artifact.add_file(folder / "train.csv", name="copy.csv") == "copy.csv"
    with artifact.new_file("notes/한글.txt") as file:
        file.write("written here")
    artifact.remove("raw/images")
    async with client.run() as run:
        version = await run.log_artifact(artifact, aliases=["first"], tags=["clean"])
        used = await run.use_artifact("data:first", type="dataset")
        path = await used.download()
    assert [entry.path for entry in await version.files()] == ["copy.csv", "notes/한글.txt", "raw/test.csv", "raw/train.csv"]
    assert (path / "notes" / "한글.txt").read_text(encoding="utf-8") == "written here"
    assert (version.type, version.description, version.tags) == ("dataset", "small", ["clean"])
    assert version.metadata == {"rows": 2, "shape": [1, 2]}
    assert [one.id for one in await version.used_by()] == [run.id]
    assert artifact._drafts is None


async def test_a_path_with_other_content_is_replaced_only_on_purpose(folder: Path) -> None:
    artifact = modelwire.Artifact("data", type="dataset")
    artifact.add_file(folder / "train.csv", name="x")
    artifact.add_file(folder / "train.csv", name="x")
    with pytest.raises(PathTakenError, match="overwrite") as raised:
        artifact.add_file(folder / "test.csv", name="x")
    assert isinstance(raised.value, ValueError)
    artifact.add_file(folder / "test.csv", name="x", overwrite=True)
    assert [source.local.name for source in artifact.sources] == ["test.csv"]
    with pytest.raises(EntryNotFoundError):
        artifact.remove("y")
    with pytest.raises(ModelPathError):
        artifact.add_dir(folder / "train.csv")
    with pytest.raises(ModelPathError):
        artifact.add_file(folder)


async def test_a_file_that_changes_after_it_was_added_is_an_error(client: modelwire.AsyncClient, folder: Path) -> None:
    artifact = modelwire.Artifact("data", type="dataset")
    artifact.add_dir(folder)
    (folder / "train.csv").write_bytes(b"changed")
    async with client.run() as run:
        with pytest.raises(SourceChangedError, match=r"train\.csv"):
            await run.log_artifact(artifact)


async def test_a_draft_of_a_version_moves_only_what_changes(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    for name in ("large", "small", "gone"):
        (source / name).write_bytes(os.urandom(3 * MIB if name == "large" else 100))
    async with client.run() as run:
        version = await run.log_artifact(source, name="M", type="model")
        draft = await version.new_draft()
        draft.remove("gone")
        (tmp_path / "fresh").write_bytes(b"fresh")
        draft.add_file(tmp_path / "fresh", name="small", overwrite=True)
        following = await run.log_artifact(draft)
        path = await following.download(tmp_path / "out")
    assert following.name == "M:v1"
    assert (following.stats.sent_bytes, following.file_count) == (5, 2)
    assert (path / "large").read_bytes() == (source / "large").read_bytes()
    assert (path / "small").read_bytes() == b"fresh"


async def test_types_are_kept_apart(client: modelwire.AsyncClient, folder: Path) -> None:
    async with client.run() as run:
        await run.log_artifact(folder, name="data", type="dataset")
        with pytest.raises(TypeMismatchError, match="dataset"):
            await run.log_model(folder, name="data")
        with pytest.raises(TypeMismatchError):
            await run.use_artifact("data", type="model")


async def test_a_part_of_a_version_is_downloaded_by_its_folder_or_file(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "data"
    for name in ("some-prefix/a", "some-prefix/b/c", "some-prefix-two.txt", "other"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    async with client.run() as run:
        version = await run.log_artifact(source, name="data", type="dataset")
        path = await version.download(tmp_path / "part", path_prefix="some-prefix")
    assert sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()) == [
        "some-prefix/a",
        "some-prefix/b/c",
    ]
    assert (await version.get_entry("other")).size == 5
    with pytest.raises(KeyError):
        await version.get_entry("some-prefix")


async def test_a_folder_is_verified_and_checked_out(client: modelwire.AsyncClient, folder: Path, tmp_path: Path) -> None:
    async with client.run() as run:
        version = await run.log_artifact(folder, name="data", type="dataset")
        root = await version.download(tmp_path / "root")
    await version.verify(root)
    (root / "stray" / "deep").mkdir(parents=True)
    (root / "stray" / "deep" / "file").write_text("not ours")
    (root / "link").symlink_to(folder)
    await version.verify(root)
    (root / "train.csv").unlink()
    (root / "train.csv").write_text("changed")
    with pytest.raises(ContentChangedError, match=r"train\.csv"):
        await version.verify(root)
    await version.checkout(root)
    await version.verify(root)
    assert sorted(path.name for path in root.iterdir()) == ["images", "test.csv", "train.csv"]
    assert (folder / "train.csv").read_bytes() == b"1,2"


async def test_a_file_is_read_over_the_network_where_it_is_asked_for(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    content = os.urandom(9 * MIB + 5)
    (tmp_path / "model.bin").write_bytes(content)
    async with client.run() as run:
        version = await run.log_model(tmp_path / "model.bin", name="M")
    file = await version.open("model.bin")
    assert await file.read(10) == content[:10]
    assert file.seek(-7, io.SEEK_END) == len(content) - 7
    assert await file.read() == content[-7:]
    assert await file.read() == b""
    file.seek(3 * MIB - 3)
    assert await file.read(3 * MIB) == content[3 * MIB - 3 : 6 * MIB - 3]
    assert file.tell() == 6 * MIB - 3
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-1)
    with pytest.raises(KeyError):
        await version.open("missing")


async def test_the_rules_of_deleting(client: modelwire.AsyncClient, tmp_path: Path, project: str) -> None:
    source = tmp_path / "m"
    async with client.run() as run:
        versions = []
        for content in (b"0", b"1", b"2"):
            source.write_bytes(content)
            versions.append(await run.log_model(source, name="M", aliases=["best"]))
        link = await run.link_artifact(versions[1], f"registry/R-{project}"[:100], aliases="prod")
    with pytest.raises(VersionHasAliasesError, match="best"):
        await versions[2].delete()
    await versions[2].delete(delete_aliases=True)
    assert (await client.artifact("M:latest")).name == "M:v1"
    with pytest.raises(VersionLinkedError):
        await (await client.artifact("M:v1")).delete()
    await link.unlink()
    await (await client.artifact("M:v1")).delete()
    with pytest.raises(NotFoundError):
        await client.artifact("M:v1")
    async with client.run() as run:
        source.write_bytes(b"3")
        assert (await run.log_model(source, name="M")).name == "M:v3"


async def test_the_path_of_a_registered_model_is_checked(client: modelwire.AsyncClient, folder: Path) -> None:
    async with client.run() as run:
        version = await run.log_artifact(folder, name="data", type="dataset")
        for target in ("a/b", "x/y/z/name", "/registry/name"):
            with pytest.raises(TargetPathError):
                await run.link_artifact(version, target)


def test_the_blocking_calls_do_the_same(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a" * 3_000_000)
    out = cli.python("""
import modelwire
with modelwire.init(project="p") as run:
    artifact = modelwire.Artifact("data", type="dataset")
    artifact.add_file("a.bin")
    version = modelwire.log_artifact(artifact)
    with version.open("a.bin") as file:
        file.seek(2_999_990)
        print(file.read(), file.read())
    link = modelwire.link_artifact(version, "Data")
    print(modelwire.use_artifact(link).download().name, link.qualified_name)
    draft = version.new_draft()
    with draft.new_file("b.txt") as file:
        file.write("b")
    print(run.log_artifact(draft).wait().name)
""").out
    assert out == "b'aaaaaaaaaa' b''\na.bin default/model-registry/Data:v0\ndata:v1\n"
