"""Files get into the target folder by clone, link or copy, from several threads, with few descriptors open."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3

from modelwire._folder import _FICLONE, TargetFolder
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


def can_clone(folder: Path) -> bool:
    """Whether the file system of a folder has reflinks."""
    origin, copy = folder / ".clone-origin", folder / ".clone-copy"
    origin.write_bytes(b"x" * 4096)
    try:
        with origin.open("rb") as read, copy.open("wb") as write:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
    except OSError:
        return False
    else:
        return True
    finally:
        origin.unlink()
        copy.unlink()


def test_a_kept_source_is_linked_where_it_cannot_be_cloned(folder: TargetFolder, root: Path, source: Path) -> None:
    folder.place(source, "model.bin", keep=True)
    assert source.samefile(root / "model.bin") is not can_clone(root)
    assert (root / "model.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["model.bin", "a/model.bin"])
def test_putting_one_source_in_one_place_twice_leaves_that_file_alone(
    folder: TargetFolder, root: Path, source: Path, path: str
) -> None:
    folder.place(source, path, keep=True)
    before = everything(root)
    folder.place(source, path, keep=True)
    assert everything(root) == before


def other_file_system(tmp_path: Path) -> Path | None:
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK) and shared.stat().st_dev != tmp_path.stat().st_dev:
        return shared / f"modelwire-test-{os.getpid()}"
    return None


def test_a_kept_source_on_another_file_system_is_copied(folder: TargetFolder, root: Path, tmp_path: Path) -> None:
    away = other_file_system(tmp_path)
    if away is None:
        pytest.skip("there is one file system only")
    away.write_bytes(CONTENT * 1000)
    try:
        folder.place(away, "a/model.bin", keep=True)
        assert (root / "a" / "model.bin").read_bytes() == away.read_bytes()
        assert (root / "a" / "model.bin").stat().st_dev == root.stat().st_dev
    finally:
        away.unlink()
    assert everything(root) == {"a": None, "a/model.bin": CONTENT * 1000}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_leaves_no_file_open(tmp_path: Path, source: Path) -> None:
    before = open_files()
    target = TargetFolder(tmp_path / "target")
    for number in range(100):
        target.place(source, f"f{number}/model.bin", keep=True)
    with pytest.raises(PathInvalidError):
        target.place(source, "f1/model.bin/x", keep=True)
    target.close()
    assert open_files() == before


def test_several_threads_may_put_files_at_once(folder: TargetFolder, root: Path, source: Path) -> None:
    paths = [f"f{number % 90}/deep/{number}.bin" for number in range(600)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: folder.place(source, path, keep=True), paths))
    assert {name for name, content in everything(root).items() if content == CONTENT} == set(paths)


def test_more_folders_than_are_kept_open_are_written_and_read(folder: TargetFolder, root: Path, source: Path) -> None:
    paths = [f"f{number}/deep/er/model.bin" for number in range(150)]
    before = open_files()
    for path in paths:
        folder.place(source, path, keep=True)
    assert open_files() - before < 80
    assert {folder.digest_of(path, len(CONTENT)) for path in paths} == {RIGHT}
