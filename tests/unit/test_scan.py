"""What a path means: which files, under which names, and what is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from modelwire._scan import scan
from modelwire.errors import ModelPathError, PathConflictError, PathInvalidError, SourceChangedError


def make(root: Path, *names: str) -> None:
    """Files of those names, each holding its name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def found(root: Path) -> dict[str, str]:
    """Path in the version → content, in the order of the scan."""
    return {source.path: source.local.read_text() for source in scan(root)}


def test_a_file_is_one_entry_under_its_base_name(tmp_path: Path) -> None:
    make(tmp_path, "deep/model.bin")
    (source,) = scan(tmp_path / "deep" / "model.bin")
    assert (source.path, source.local, source.size) == ("model.bin", tmp_path / "deep" / "model.bin", len("deep/model.bin"))


def test_a_folder_is_every_file_below_it_by_the_bytes_of_its_path(tmp_path: Path) -> None:
    names = ["a/b", "a-b", "a.b", "Z", "\uff5e", "\U0001f642", "a/c/d", "zero"]
    make(tmp_path, *names)
    (tmp_path / "no-files-here" / "none").mkdir(parents=True)
    assert list(found(tmp_path)) == sorted(names, key=str.encode)
    assert found(tmp_path) == {name: name for name in names}


def test_an_empty_file_and_a_hidden_one_count(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    (source,) = scan(tmp_path)
    assert (source.path, source.size) == (".hidden", 0)


def test_a_path_may_be_a_text_relative_or_end_in_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "m/a")
    monkeypatch.chdir(tmp_path)
    for path in ("m", "m/", "./m/../m", f"{tmp_path}/m//", Path("m")):
        assert [source.path for source in scan(path)] == ["a"]


def test_a_decomposed_name_becomes_its_composed_form(tmp_path: Path) -> None:
    make(tmp_path, "e\u0301/o\u0308.bin")
    assert found(tmp_path) == {"é/ö.bin": "e\u0301/o\u0308.bin"}
    assert [source.path for source in scan(tmp_path / "e\u0301" / "o\u0308.bin")] == ["ö.bin"]


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/a", "b")
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert found(tmp_path) == {"b": "b", "c": "b", "linked/a": "real/a", "real/a": "real/a"}


def test_a_link_that_is_the_path_itself_is_followed_and_gives_its_own_name(tmp_path: Path) -> None:
    make(tmp_path, "real/a", "real/b")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "file.bin").symlink_to("real/a")
    assert list(found(tmp_path / "folder")) == ["a", "b"]
    assert found(tmp_path / "file.bin") == {"file.bin": "real/a"}


@pytest.mark.parametrize("target", ["../outside", "../outside/secret", "/etc/hostname", "../m-sibling/x"])
def test_a_link_that_leaves_the_folder_is_refused(target: str, tmp_path: Path) -> None:
    make(tmp_path, "m/a", "outside/secret", "m-sibling/x")
    (tmp_path / "m" / "link").symlink_to(target)
    with pytest.raises(PathInvalidError, match="leaves the folder") as refusal:
        scan(tmp_path / "m")
    assert refusal.value.facts == {"path": "link"}


def test_a_link_that_leaves_the_folder_by_another_link_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "m/a", "outside/secret")
    (tmp_path / "m" / "one").symlink_to("two")
    (tmp_path / "m" / "two").symlink_to("../outside/secret")
    with pytest.raises(PathInvalidError, match="leaves the folder"):
        scan(tmp_path / "m")


@pytest.mark.parametrize("target", [".", "..", "../../m", "../deep"])
def test_a_link_to_a_folder_that_holds_it_is_refused(target: str, tmp_path: Path) -> None:
    make(tmp_path, "m/deep/a")
    (tmp_path / "m" / "deep" / "link").symlink_to(target)
    with pytest.raises(PathInvalidError, match="a link to a folder that holds it") as refusal:
        scan(tmp_path / "m")
    assert refusal.value.facts == {"path": "deep/link"}


@pytest.mark.parametrize("target", ["nothing-here", "link"], ids=["dangling", "itself"])
def test_a_link_to_nothing_is_refused_by_name(target: str, tmp_path: Path) -> None:
    make(tmp_path, "m/a")
    (tmp_path / "m" / "link").symlink_to(target)
    with pytest.raises((PathInvalidError, ModelPathError)) as refusal:
        scan(tmp_path / "m")
    assert "link" in str(refusal.value)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_neither_file_nor_folder_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "m/a")
    monkeypatch.chdir(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo("special")
        else:
            listener.bind("special")
        with pytest.raises(PathInvalidError, match="neither a file nor a folder"):
            scan(tmp_path / "m")
        with pytest.raises(ModelPathError, match="neither a file nor a folder"):
            scan(tmp_path / "m" / "special")


def test_a_path_that_is_not_there_is_refused_with_the_forms_that_are_taken(tmp_path: Path) -> None:
    with pytest.raises(ModelPathError, match="a file, or a folder that holds at least one file"):
        scan(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelPathError, match="holds no file"):
        scan(tmp_path / "empty")
    assert issubclass(ModelPathError, ValueError)


@pytest.mark.parametrize("name", ["a\\b", "a:b", "con", "model.", "a\nb", os.fsdecode(b"not-utf8-\xff")])
def test_a_name_that_not_every_file_system_has_is_refused(name: str, tmp_path: Path) -> None:
    make(tmp_path, "m/good")
    (tmp_path / "m" / name).touch()
    for path in (tmp_path / "m", tmp_path / "m" / name):
        with pytest.raises(PathInvalidError):
            scan(path)


def test_names_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "Model", "model")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system ignores case")
    with pytest.raises(PathConflictError):
        scan(tmp_path)


def test_a_file_that_changes_after_the_scan_is_noticed(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (source,) = scan(tmp_path)
    source.check_unchanged((tmp_path / "a").stat())
    status = (tmp_path / "a").stat()
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(SourceChangedError):
        source.check_unchanged((tmp_path / "a").stat())
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    source.check_unchanged((tmp_path / "a").stat())
    with (tmp_path / "a").open("a") as file:
        file.write("more")
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceChangedError) as refusal:
        source.check_unchanged((tmp_path / "a").stat())
    assert refusal.value.facts == {"path": str(tmp_path / "a")}


def test_a_file_that_is_replaced_after_the_scan_is_noticed(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    source = scan(tmp_path)[0]
    status = (tmp_path / "a").stat()
    os.utime(tmp_path / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "b").replace(tmp_path / "a")
    with pytest.raises(SourceChangedError):
        source.check_unchanged((tmp_path / "a").stat())
