"""The rules for names (docs: "Names") and for paths in a manifest, each with a case of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelwire.errors import ManifestInvalidError, NameInvalidError, PathConflictError, PathInvalidError
from modelwire.names import (
    MAX_ENTRIES,
    MAX_PATH_DEPTH,
    alias_list,
    check_alias,
    check_artifact_name,
    check_path,
    check_paths,
    check_project,
    check_run_id,
    check_tag,
    check_type,
    default_model_name,
    version_number,
)

FORBIDDEN_PATHS = {
    "empty": "",
    "absolute": "/model.bin",
    "only a slash": "/",
    "an empty segment": "a//b",
    "a slash at the end": "a/",
    "a dot": ".",
    "a dot as a segment": "a/./b",
    "two dots": "..",
    "leaving the folder": "../model.bin",
    "two dots inside": "a/../b",
    "two dots at the end": "a/..",
    "a backslash": "a\\b",
    "a backslash that leaves": "..\\b",
    "a colon": "a:b",
    "a drive": "C:/model.bin",
    "a NUL": "a\0b",
    "a line feed": "a\nb",
    "a tab": "a\tb",
    "an escape": "a\x1bb",
    "a delete": "a\x7fb",
    "a control of Latin-1": "a\x85b",
    "a line separator": "a\u2028b",
    "a lone surrogate": "a\udc80b",
    "not NFC": "e\u0301clair",
    "a trailing dot": "model.",
    "a trailing dot in a folder": "model./x",
    "a trailing space": "model ",
    "a trailing space in a folder": "model /x",
    "three dots": "...",
    "the device con": "con",
    "the device CON with an ending": "a/CON.txt",
    "the device Nul in a folder's name": "Nul/x",
    "the device aux with two endings": "aux.tar.gz",
    "the device prn": "PRN",
    "the device com1": "com1",
    "the device LPT9.bin": "LPT9.bin",
    "the device com¹": "com¹",
    "the device con before a space and an ending": "con .txt",
    "the device conin$": "CONIN$",
    "a path of 1025 bytes": "/".join(["a" * 204] * 5) + "b",
    "a path of 1026 bytes in 515 characters": "/".join(["é" * 102] * 5) + "é",
    "a segment of 256 bytes": "a" * 256,
    "a segment of 256 bytes in 128 characters": "é" * 128,
    "33 segments": "/".join("a" * 33),
}

GOOD_PATHS = [
    "model.bin",
    "a/b/c",
    ".hidden",
    "a/.hidden",
    "..a",
    "a..b",
    " leading space",
    "with space.txt",
    "가중치/모델.bin",
    "éclair",
    "\U0001f642",
    "console",
    "com10",
    "nullable",
    "aconite/con-x",
    "a" * 255,
    "é" * 127,
    "/".join(["a" * 204] * 5),
    "/".join("a" * MAX_PATH_DEPTH),
    "50%#?&*|<>\"'",
]


@pytest.mark.parametrize("what", FORBIDDEN_PATHS)
def test_a_forbidden_path_is_refused_and_named(what: str) -> None:
    path = FORBIDDEN_PATHS[what]
    with pytest.raises(PathInvalidError) as refusal:
        check_path(path)
    shown = refusal.value.facts["path"]
    assert shown == path[:200].encode("utf-8", "backslashreplace").decode()
    shown.encode()


@pytest.mark.parametrize("what", FORBIDDEN_PATHS)
def test_a_manifest_with_one_forbidden_path_is_refused(what: str) -> None:
    with pytest.raises(PathInvalidError):
        check_paths(["good.bin", FORBIDDEN_PATHS[what]])


@pytest.mark.parametrize("path", GOOD_PATHS, ids=lambda path: path[:20])
def test_a_good_path_is_taken_as_it_is(path: str) -> None:
    assert len(path.encode()) <= 1024
    assert check_path(path) is path


def test_the_long_cases_are_just_beyond_the_limits() -> None:
    assert len(FORBIDDEN_PATHS["a path of 1025 bytes"].encode()) == 1025
    assert len(FORBIDDEN_PATHS["a path of 1026 bytes in 515 characters"].encode()) == 1026
    assert FORBIDDEN_PATHS["33 segments"].count("/") == MAX_PATH_DEPTH


CONFLICTS = {
    "twice the same": ["a", "b", "a"],
    "differ in case": ["Model.bin", "model.BIN"],
    "differ in a folder's case": ["A/x", "a/X"],
    "equal after full case folding": ["straße", "STRASSE"],
    "a file and a folder": ["a", "a/b"],
    "a folder and a file": ["a/b", "a"],
    "a file and a folder far below": ["a/b", "a/b/c/d"],
    "a file and a folder but for case": ["A", "a/b"],
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_paths_that_cannot_both_exist_everywhere_are_refused(what: str) -> None:
    paths = CONFLICTS[what]
    with pytest.raises(PathConflictError) as refusal:
        check_paths(paths)
    assert {refusal.value.facts["path"], refusal.value.facts["other"]} <= set(paths)


def test_paths_that_are_only_alike_are_taken() -> None:
    check_paths(["a", "ab/c", "a.b", "a-b/c", "b/a", "b/b/a", "b/bb"])


def test_a_manifest_has_an_entry_and_not_too_many() -> None:
    with pytest.raises(ManifestInvalidError):
        check_paths([])
    check_paths(f"{number:x}" for number in range(MAX_ENTRIES))
    with pytest.raises(ManifestInvalidError) as refusal:
        check_paths(f"{number:x}" for number in range(MAX_ENTRIES + 1))
    assert refusal.value.facts == {"limit": str(MAX_ENTRIES)}


# ── Names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

RULES: dict[str, tuple[Callable[[str], str], list[str], list[str]]] = {
    "artifact name": (
        check_artifact_name,
        ["a", "MNIST", "A-Z_a.z-09", "..", "-", "v3", "a" * 128],
        ["", "a" * 129, "a b", "a/b", "a:b", "é", "a\n", "a+b", "a@b"],
    ),
    "type": (
        check_type,
        ["model", "my model", "데이터", "t" * 128, "a.b-c"],
        ["", "t" * 129, "a/b", "a:b", "a\nb", "a\0b"],
    ),
    "alias": (
        check_alias,
        ["latest", "best", "v", "v1x", "V3", "vv1", "prod eu", "é", "a" * 128],
        ["", "a/b", "a:b", "v0", "v3", "v007", "v99999999999999999999", " a", "a ", "a\n", "a\rb", "a" * 129],
    ),
    "tag": (
        check_tag,
        ["a", "two words", "a-b_c 1 2 3", "단어 둘", "t" * 128],
        ["", " a", "a ", "two  spaces", "a,b", "a.b", "a/b", "a\tb", "a\n", "t" * 129],
    ),
    "project": (
        check_project,
        ["p", "mnist-experiments", "with space", "프로젝트", "a.b", "p" * 128],
        ["", "p" * 129, *(f"a{char}b" for char in "/\\#?%:\r\n"), "a\0b", "a\udc80", " a", "a "],
    ),
    "run id": (
        check_run_id,
        ["abc12345", "A.b-c_d", "with space", "r" * 128],
        ["", "r" * 129, " a", "a ", *(f"a{char}b" for char in ":;,#?/'\n")],
    ),
}
GOOD = [(kind, name) for kind, (_, good, _) in RULES.items() for name in good]
BAD = [(kind, name) for kind, (_, _, bad) in RULES.items() for name in bad]


@pytest.mark.parametrize(("kind", "name"), GOOD, ids=[f"{kind}-{name[:15]!r}" for kind, name in GOOD])
def test_a_good_name_is_taken_as_it_is(kind: str, name: str) -> None:
    assert RULES[kind][0](name) is name


@pytest.mark.parametrize(("kind", "name"), BAD, ids=[f"{kind}-{name[:15]!r}" for kind, name in BAD])
def test_a_bad_name_is_refused_with_its_kind(kind: str, name: str) -> None:
    with pytest.raises(NameInvalidError) as refusal:
        RULES[kind][0](name)
    assert kind in refusal.value.facts["kind"]
    assert refusal.value.facts["name"] == name[:200]


@pytest.mark.parametrize(
    ("text", "number"),
    [("v0", 0), ("v3", 3), ("v2147483647", 2**31 - 1)],
)
def test_v_and_digits_mean_a_number(text: str, number: int) -> None:
    assert version_number(text) == number


@pytest.mark.parametrize("text", ["v2147483648", "v03", "v", "3", "V3", "v-1", "v1 ", "v\u0663", "latest", "v" + "9" * 5000])
def test_anything_else_means_no_number(text: str) -> None:
    assert version_number(text) is None


def test_aliases_are_given_as_a_text_or_a_list_and_latest_applies_anyway() -> None:
    assert alias_list(None) == alias_list(()) == alias_list("latest") == []
    assert alias_list("best") == ["best"]
    assert alias_list(["b", "latest", "a", "b"]) == ["b", "a"]
    with pytest.raises(NameInvalidError):
        alias_list(["best", "v1"])


def test_a_default_name_is_legal_whatever_the_file_is_called() -> None:
    assert default_model_name("abc12345", "model.h5") == "run-abc12345-model.h5"
    assert default_model_name("abc12345", "my model (1).h5") == "run-abc12345-my_model_1_.h5"
    assert len(default_model_name("abc12345", "x" * 500)) == 128
