"""Log, use and link as users do it: over the wire, with real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import modelwire
from modelwire.errors import (
    AliasNotFoundError,
    ArtifactNotFoundError,
    EntityNotFoundError,
    ModelPathError,
    NameInvalidError,
    PathConflictError,
    PathInvalidError,
    ProjectNotFoundError,
    TargetPathError,
    VersionNotFoundError,
)


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_a_file_comes_back_byte_for_byte(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(7_000_001))
    async with client.run() as run:
        version = await run.log_model(source, name="MNIST")
        path = await run.use_model("MNIST:latest")
    assert version.name == "MNIST:v0"
    assert path == client.settings.artifact_dir / "MNIST:v0" / "model.bin"
    assert path.read_bytes() == source.read_bytes()


async def test_a_folder_of_nested_files_comes_back_byte_for_byte(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model"
    files = {"a.bin": os.urandom(10), "deep/er/b.bin": os.urandom(3_000_000), "empty": b"", "한글/🙂": b"script"}
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    (source / "no-files-here").mkdir()
    async with client.run() as run:
        await run.log_model(f"{source}/", name="folder")
        path = await run.use_model("folder")
    assert path == client.settings.artifact_dir / "folder:v0"
    assert contents(path) == files


async def test_an_empty_file_is_a_model_too(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    async with client.run() as run:
        await run.log_model(tmp_path / "empty", name="empty")
        path = await run.use_model("empty:v0")
    assert path.read_bytes() == b""


async def test_the_same_content_makes_no_version_and_sends_nothing(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(3_000_000))
    async with client.run() as run:
        first = await run.log_model(source, name="M")
        again = await run.log_model(source, name="M", aliases=["best"])
    assert (first.created, again.created) == (True, False)
    assert again.name == "M:v0"
    assert again.stats.sent_bytes == 0
    assert again.stats.deduplicated_bytes == 3_000_000
    assert again.aliases == ["latest", "best"]


async def test_content_seen_before_moves_the_aliases_back(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    async with client.run() as run:
        for content in (b"one", b"two", b"one"):
            source.write_bytes(content)
            version = await run.log_model(source, name="M")
    assert version.name == "M:v0"
    assert (await client.artifact("M:latest")).name == "M:v0"
    assert [one.name for one in await client.artifacts("M")] == ["M:v1", "M:v0"]


async def test_the_default_name_is_made_of_the_run_and_the_file(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "my model (1).bin"
    source.write_bytes(b"x")
    async with client.run(id="abc12345") as run:
        version = await run.log_model(source)
    assert version.collection == "run-abc12345-my_model_1_.bin"


async def test_a_link_has_numbers_and_aliases_of_its_own(client: modelwire.AsyncClient, tmp_path: Path, project: str) -> None:
    source = tmp_path / "model.bin"
    registered = f"Digits-{project}"[:100]
    async with client.run() as run:
        for content in (b"one", b"two"):
            source.write_bytes(content)
            link = await run.link_model(source, registered, name="M", aliases=["production"])
        again = await run.link_model(source, registered, name="M", aliases=["champion"])
        path = await run.use_model(f"model-registry/{registered}:production")
    assert link.name == f"{registered}:v1"
    assert link.is_link
    assert link.source_name == "M:v1"
    assert again.name == link.name
    assert again.aliases == ["latest", "champion", "production"]
    assert (await client.artifact("M:v1")).aliases == ["latest"]
    assert path == client.settings.artifact_dir / "M:v1" / "model.bin"


async def test_a_used_model_that_was_changed_on_disk_is_put_right(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"right" * 1000)
    async with client.run() as run:
        await run.log_model(source, name="M")
        path = await run.use_model("M")
        path.chmod(0o644)
        path.write_bytes(b"wrong" * 1000)
        assert (await run.use_model("M")).read_bytes() == source.read_bytes()


async def test_a_file_that_is_right_on_disk_is_not_fetched(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(2_000_000))
    async with client.run() as run:
        await run.log_model(source, name="M")
        await run.use_model("M")
        received = run.stats.received_bytes
        version = await run.use_model_version("M")
        await version.download()
        assert run.stats.received_bytes == received == 2_000_000


async def test_stray_files_do_not_change_the_answer(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"x")
    async with client.run() as run:
        await run.log_model(source, name="M")
        path = await run.use_model("M")
        (path.parent / "stray").write_bytes(b"y")
        assert await run.use_model("M") == path


@pytest.mark.parametrize(
    ("reference", "error", "hint"),
    [
        ("MNITS", ArtifactNotFoundError, "MNIST"),
        ("MNIST:bset", AliasNotFoundError, "best"),
        ("MNIST:v7", VersionNotFoundError, "v0"),
        ("no-such-project/MNIST", ProjectNotFoundError, "no-such-project"),
        ("nobody/project/MNIST", EntityNotFoundError, "nobody"),
    ],
)
async def test_an_unknown_name_says_which_part_is_wrong(
    client: modelwire.AsyncClient, tmp_path: Path, reference: str, error: type[LookupError], hint: str
) -> None:
    (tmp_path / "m").write_bytes(b"x")
    async with client.run() as run:
        await run.log_model(tmp_path / "m", name="MNIST", aliases="best")
        with pytest.raises(error, match=hint) as raised:
            await run.use_model(reference)
    assert isinstance(raised.value, LookupError)


async def test_a_type_that_is_no_model_is_refused_before_anything_is_recorded(
    client: modelwire.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(b"x")
    async with client.run() as run:
        await run._log(await client._session.scan(tmp_path / "m"), "data", [], type_="dataset")
        with pytest.raises(AssertionError, match="dataset"):
            await run.use_model("data")
        with pytest.raises(AssertionError, match="dataset"):
            await run.link_model(tmp_path / "m", "Digits", name="data")
    assert await (await client.artifact("data")).used_by() == []


@pytest.mark.parametrize("what", ["missing", "folder"])
async def test_a_path_that_holds_no_file_is_refused(client: modelwire.AsyncClient, tmp_path: Path, what: str) -> None:
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    async with client.run() as run:
        with pytest.raises(ModelPathError, match="give a file, or a folder"):
            await run.log_model(tmp_path / what, name="M")


async def test_wrong_names_are_refused_before_anything_is_logged(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")
    async with client.run() as run:
        with pytest.raises(NameInvalidError):
            await run.log_model(tmp_path / "m", name="a/b")
        with pytest.raises(NameInvalidError):
            await run.log_model(tmp_path / "m", name="M", aliases=["v3"])
        with pytest.raises(TargetPathError) as raised:
            await run.link_model(tmp_path / "m", "registry/Digits", name="M")
        with pytest.raises(ValueError, match="registered model"):
            await run.link_model(tmp_path / "m", "Dig its", name="M")
    assert isinstance(raised.value, AssertionError)
    assert await client.artifact_collections() == []


async def test_links_inside_a_folder_are_followed_and_links_out_of_it_refused(
    client: modelwire.AsyncClient, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "real").write_bytes(b"content")
    (source / "same").symlink_to("real")
    async with client.run() as run:
        await run.log_model(source, name="M")
        path = await run.use_model("M")
        assert contents(path) == {"real": b"content", "same": b"content"}
        (tmp_path / "outside").write_bytes(b"secret")
        (source / "out").symlink_to(tmp_path / "outside")
        with pytest.raises(PathInvalidError, match="leaves the folder"):
            await run.log_model(source, name="M")


async def test_names_that_differ_only_in_case_are_refused(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "Model.bin").write_bytes(b"1")
    (source / "model.bin").write_bytes(b"2")
    async with client.run() as run:
        with pytest.raises(PathConflictError, match="case"):
            await run.log_model(source, name="M")


async def test_lineage_tells_who_logged_and_who_used(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")
    async with client.run() as trainer:
        version = await trainer.log_model(tmp_path / "m", name="M")
    async with client.run() as user:
        await user.use_model("M")
        await user.log_model(tmp_path / "m", name="N")
    logged_by, used_by = await version.logged_by(), await version.used_by()
    assert logged_by is not None
    assert (logged_by.id, logged_by.state) == (trainer.id, "finished")
    assert [run.id for run in used_by] == [user.id]
    graph = await client.lineage("N", direction="upstream")
    labels = [node.id.rpartition("/")[2] for node in graph.nodes]
    assert labels == ["N:v0", user.id, "M:v0", trainer.id]
    assert {edge.kind for edge in graph.edges} == {"logged", "used"}


async def test_a_run_fails_with_its_block(client: modelwire.AsyncClient) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client.run(id="failing1") as run:
            _ = 1 / 0
    assert run.info.state == "failed"
    assert (await client.run_info("failing1")).state == "failed"
