"""Files are put below the target folder and nowhere else, whatever stands or was planted there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from modelwire._folder import TargetFolder, digest_of
from modelwire.errors import PathInvalidError
from unit.model_files import everything

CONTENT = b"the right bytes"
RIGHT = blake3(CONTENT).digest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def folder(root: Path) -> Iterator[TargetFolder]:
    target = TargetFolder(root)
    yield target
    target.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    path.chmod(0o444)
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing may touch, with one file."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "victim").write_text("untouched")
    return path


@pytest.mark.parametrize("keep", [True, False])
def test_a_file_is_put_in_its_place_and_folders_are_made(folder: TargetFolder, root: Path, source: Path, keep: bool) -> None:
    folder.place(source, "a/b/model.bin", keep=keep)
    assert everything(root) == {"a": None, "a/b": None, "a/b/model.bin": CONTENT}
    assert source.exists() == keep


@pytest.mark.parametrize("keep", [True, False])
def test_a_file_that_is_there_is_replaced(folder: TargetFolder, root: Path, source: Path, keep: bool) -> None:
    (root / "model.bin").write_bytes(b"old")
    folder.place(source, "model.bin", keep=keep)
    assert everything(root) == {"model.bin": CONTENT}


def test_a_source_that_is_gone_leaves_nothing_behind(folder: TargetFolder, root: Path, tmp_path: Path) -> None:
    for keep in (True, False):
        with pytest.raises(FileNotFoundError):
            folder.place(tmp_path / "nothing", "model.bin", keep=keep)
    assert everything(root) == {}


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a\0b", "C:x", "a\\..\\x"])
def test_a_path_that_leaves_the_folder_is_refused(folder: TargetFolder, root: Path, source: Path, path: str) -> None:
    with pytest.raises(PathInvalidError):
        folder.place(source, path, keep=True)
    with pytest.raises(PathInvalidError):
        folder.digest_of(path, 1)
    assert everything(root.parent) == {"source": CONTENT, "target": None}


# ── What was planted ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keep", [True, False])
def test_a_link_where_the_file_goes_is_replaced_and_never_followed(
    folder: TargetFolder, root: Path, source: Path, outside: Path, keep: bool
) -> None:
    (root / "model.bin").symlink_to(outside / "victim")
    folder.place(source, "model.bin", keep=keep)
    assert (outside / "victim").read_text() == "untouched"
    assert not (root / "model.bin").is_symlink()
    assert (root / "model.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("path", ["a/model.bin", "a/b/c/model.bin", "deep/a/model.bin"])
def test_a_link_where_a_folder_goes_is_refused_and_never_followed(
    folder: TargetFolder, root: Path, source: Path, outside: Path, path: str, keep: bool
) -> None:
    (root / "deep").mkdir()
    for planted in (root / "a", root / "deep" / "a"):
        planted.symlink_to(outside)
    with pytest.raises(PathInvalidError, match="link or file") as refusal:
        folder.place(source, path, keep=keep)
    assert refusal.value.facts["path"]
    assert everything(outside) == {"victim": b"untouched"}
    assert source.exists()


def test_a_link_inside_the_folder_is_not_followed_either(folder: TargetFolder, root: Path, source: Path) -> None:
    (root / "real").mkdir()
    (root / "a").symlink_to("real")
    with pytest.raises(PathInvalidError):
        folder.place(source, "a/model.bin", keep=True)
    assert everything(root / "real") == {}


def test_a_folder_swapped_for_a_link_meanwhile_leads_nowhere(
    folder: TargetFolder, root: Path, source: Path, outside: Path, tmp_path: Path
) -> None:
    folder.place(source, "a/one.bin", keep=True)
    (root / "a").rename(tmp_path / "moved")
    (root / "a").symlink_to(outside)
    folder.place(source, "a/two.bin", keep=True)  # goes where the opened folder went
    assert everything(outside) == {"victim": b"untouched"}
    assert (tmp_path / "moved" / "two.bin").read_bytes() == CONTENT


def test_the_target_itself_may_be_a_link(tmp_path: Path, source: Path, outside: Path) -> None:
    (tmp_path / "linked").symlink_to(outside)
    target = TargetFolder(tmp_path / "linked")
    target.place(source, "model.bin", keep=True)
    target.close()
    assert (outside / "model.bin").read_bytes() == CONTENT


def test_the_digest_of_a_link_or_through_one_is_not_given(
    folder: TargetFolder, root: Path, source: Path, tmp_path: Path
) -> None:
    (root / "link").symlink_to(source)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.bin").write_bytes(CONTENT)
    (root / "a").symlink_to(tmp_path / "elsewhere")
    assert folder.digest_of("link", len(CONTENT)) is None
    assert folder.digest_of("a/model.bin", len(CONTENT)) is None


# ── What stands in the way ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("filled", [True, False])
def test_a_folder_where_a_file_goes_is_refused_and_kept(
    folder: TargetFolder, root: Path, source: Path, keep: bool, filled: bool
) -> None:
    (root / "model.bin").mkdir()
    if filled:
        (root / "model.bin" / "own").write_text("mine")
    before = everything(root)
    with pytest.raises(PathInvalidError, match="is a folder") as refusal:
        folder.place(source, "model.bin", keep=keep)
    assert refusal.value.facts == {"path": "model.bin"}
    assert everything(root) == before
    assert source.exists()


def test_a_file_where_a_folder_goes_is_refused_and_kept(folder: TargetFolder, root: Path, source: Path) -> None:
    (root / "a").write_text("mine")
    with pytest.raises(PathInvalidError, match="link or file"):
        folder.place(source, "a/model.bin", keep=True)
    assert everything(root) == {"a": b"mine"}


# ── Digests ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_digest_of_a_file_is_given_when_its_size_is_right(folder: TargetFolder, source: Path) -> None:
    folder.place(source, "a/model.bin", keep=True)
    assert folder.digest_of("a/model.bin", len(CONTENT)) == RIGHT
    assert folder.digest_of("a/model.bin", len(CONTENT) + 1) is None
    assert folder.digest_of("a/other.bin", len(CONTENT)) is None
    assert folder.digest_of("b/model.bin", len(CONTENT)) is None
    assert folder.digest_of("a", 0) is None


def test_only_a_regular_file_has_a_digest(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert digest_of(descriptor, tmp_path.stat().st_size) is None
    finally:
        os.close(descriptor)
