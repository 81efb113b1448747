"""What the rules for paths let through can be written to a disk, and hostile texts never trip them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwire.errors import NameInvalidError, PathConflictError, PathInvalidError
from modelwire.names import (
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

# Mostly what the rules are about, sometimes anything at all.
tricky = st.sampled_from(
    [*"/\\.: aAbB", "..", "con", "NUL", "é", "e\u0301", "ß", "\u017f", "\u0130", "\0", "\n", "\udc80", "한", "\U0001f642"]
)
texts = st.lists(tricky | st.characters(), max_size=8).map("".join)
paths = st.lists(texts, max_size=4).map("/".join)


def accepted(path: str) -> bool:
    try:
        check_path(path)
    except PathInvalidError as refusal:
        refusal.facts["path"].encode()  # can travel over the wire
        return False
    return True


@given(paths)
def test_an_accepted_path_stays_below_its_folder_on_every_system(path: str) -> None:
    if not accepted(path):
        return
    for flavour in (PurePosixPath, PureWindowsPath):
        whole = flavour("/root") / path
        assert whole.is_relative_to(flavour("/root"))
        assert whole.parts[-len(path.split("/")) :] == tuple(path.split("/"))
        assert ".." not in whole.parts
    assert unicodedata.normalize("NFC", path) == path
    assert Path(path).as_posix() == path


@given(st.lists(paths, min_size=1, max_size=6))
def test_an_accepted_set_of_paths_is_a_tree_of_files_where_case_does_not_count(given_paths: list[str]) -> None:
    try:
        check_paths(given_paths)
    except (PathInvalidError, PathConflictError):
        return
    folded = [unicodedata.normalize("NFC", path.casefold()) for path in given_paths]
    assert len(set(folded)) == len(folded)
    assert [(a, b) for a in folded for b in folded if b.startswith(f"{a}/")] == []


@given(st.lists(paths, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_paths_does_not_change_the_verdict(given_paths: list[str], random: Random) -> None:
    def refused(some: list[str]) -> bool:
        try:
            check_paths(some)
        except (PathInvalidError, PathConflictError):
            return True
        return False

    shuffled = random.sample(given_paths, len(given_paths))
    assert refused(given_paths) == refused(shuffled) == refused(given_paths[::-1])


@pytest.mark.parametrize("check", [check_alias, check_artifact_name, check_project, check_run_id, check_tag, check_type])
@given(text=texts)
def test_a_name_is_taken_as_it_is_or_refused(check: Callable[[str], str], text: str) -> None:
    try:
        taken = check(text)
    except NameInvalidError:
        return
    assert taken == text
    assert 1 <= len(text) <= 128
    text.encode()  # what is taken can be stored and sent


@given(texts, texts)
def test_a_default_name_is_always_a_legal_one(run_id: str, base_name: str) -> None:
    assert check_artifact_name(default_model_name(run_id, base_name))


@given(st.integers(0, 2**31 - 1))
def test_a_version_number_reads_back(number: int) -> None:
    assert version_number(f"v{number}") == number
    with pytest.raises(NameInvalidError):
        check_alias(f"v{number}")
