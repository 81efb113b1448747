"""Reasons, exception classes and the comments of the RPCs say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from modelwire import errors
from modelwire.api.common.v1 import errors_pb2
from modelwire.errors import (
    BY_REASON,
    CallTimeoutError,
    InvalidError,
    LocalError,
    ModelwireError,
    NotFoundError,
    ServiceError,
    ServiceUnavailableError,
    error_for,
)
from modelwire.wire import decode_error, encode_error

PROTOS = Path(__file__).resolve().parents[2] / "proto"
REASONS = [name for name in errors_pb2.ErrorReason.keys() if not name.endswith("_UNSPECIFIED")]  # noqa: SIM118 - no dict
CODES = {code.name for code in grpc.StatusCode}

# Made by the client when no service answered at all.
OF_THE_TRANSPORT: tuple[type[ModelwireError], ...] = (ServiceUnavailableError, CallTimeoutError)


def classes(root: type[ModelwireError] = ModelwireError) -> Iterator[type[ModelwireError]]:
    """Every class of the tree."""
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


def reason_comments() -> dict[str, str]:
    """The comment of every reason in errors.proto, on one line."""
    text = (PROTOS / "modelwire/api/common/v1/errors.proto").read_text()
    found = re.findall(r"((?:^ *//.*\n)+) *([A-Z_]+) = \d+;", text, re.MULTILINE)
    return {name: re.sub(r"\s*//\s*", " ", comment).strip() for comment, name in found}


def test_every_reason_has_exactly_one_class() -> None:
    owners: dict[str, list[str]] = {}
    for cls in classes():
        if vars(cls).get("reason"):
            owners.setdefault(cls.reason, []).append(cls.__name__)
    assert {reason: names for reason, names in owners.items() if len(names) > 1} == {}
    assert [reason for reason in REASONS if reason not in owners] == []
    assert {reason: cls.__name__ for reason, cls in BY_REASON.items()} == {reason: names[0] for reason, names in owners.items()}


def test_every_class_with_a_reason_is_in_the_enum_or_the_clients_own() -> None:
    own = [cls for reason, cls in BY_REASON.items() if reason not in REASONS]
    assert [cls.__name__ for cls in own if not issubclass(cls, (LocalError, *OF_THE_TRANSPORT))] == []
    assert [reason for reason in REASONS if issubclass(BY_REASON[reason], LocalError)] == []


def test_a_class_with_a_reason_has_no_class_below_it() -> None:
    assert [cls.__name__ for cls in classes() if cls.reason and cls.__subclasses__()] == []


def test_the_tree_in_the_docstring_names_every_branch() -> None:
    text = errors.__doc__ or ""
    branches = [cls.__name__ for cls in ModelwireError.__subclasses__()]
    assert [name for name in branches if name not in text] == []


@pytest.mark.parametrize("reason", REASONS)
def test_the_comment_of_a_reason_begins_with_the_code_of_its_class(reason: str) -> None:
    code, colon, _ = reason_comments()[reason].partition(":")
    assert (code, colon) == (BY_REASON[reason].code, ":")
    assert code in CODES


@pytest.mark.parametrize("reason", REASONS)
def test_an_error_survives_the_wire_with_its_facts(reason: str) -> None:
    facts = dict.fromkeys(re.findall(r"`(\w+)`", reason_comments()[reason].partition("Facts:")[2]), "ein Wert, 값")
    sent = BY_REASON[reason](f"what happened: {reason} ünd mehr", **facts)
    arrived = decode_error(sent.code, "the transport's own words", encode_error(sent, 1.5 if reason == "OVERLOADED" else None))
    assert type(arrived.error) is BY_REASON[reason]
    assert arrived.error.facts == facts
    assert str(arrived.error) == f"what happened: {reason} ünd mehr"
    assert arrived.retry_after == (1.5 if reason == "OVERLOADED" else None)


def test_the_built_ins_of_the_branches_hold_for_their_leaves() -> None:
    builtins: dict[type[ModelwireError], type[Exception]] = {InvalidError: ValueError, NotFoundError: LookupError}
    assert [cls for root, builtin in builtins.items() for cls in classes(root) if builtin not in cls.__mro__] == []
    for name in ("TYPE_MISMATCH", "NOT_A_MODEL", "TARGET_PATH"):
        assert issubclass(BY_REASON[name], AssertionError)
    assert issubclass(BY_REASON["ENTRY_NOT_FOUND"], KeyError)
    assert issubclass(BY_REASON["DATA_DAMAGED"], OSError)


def test_a_reason_from_a_newer_service_keeps_the_branch_of_its_code() -> None:
    assert isinstance(error_for("NOT_FOUND", "SOMETHING_NEW", "gone", {}), NotFoundError)
    assert isinstance(error_for("INVALID_ARGUMENT", "SOMETHING_NEW", "bad", {}), InvalidError)
    assert isinstance(error_for("CANCELLED", "", "cut", {}), ServiceError)


# ── What the services and RPCs say of their errors ────────────────────────────────────────────────────────────────────


def commented(kind: str) -> list[tuple[str, str]]:
    """(name, comment) of every `service` or `rpc`, comment marks taken off."""
    found = []
    for file in sorted(PROTOS.rglob("*.proto")):
        for comment, name in re.findall(rf"((?:^ *//.*\n)+) *{kind} (\w+)", file.read_text(), re.MULTILINE):
            found.append((name, re.sub(r"^ *// ?", "", comment, flags=re.MULTILINE)))
    return found


DESCRIBED = commented("service") + commented("rpc")
_LISTED = re.compile(r"^ {2}([A-Z]+(?:_[A-Z]+)*) +/ ((?:[A-Z]+(?:_[A-Z]+)*(?:,\s+)?)+)", re.MULTILINE)


def listed(comment: str) -> list[tuple[str, str]]:
    """(code, reason) of every error that a comment lists."""
    return [(code, reason) for code, reasons in _LISTED.findall(comment) for reason in re.findall(r"[A-Z_]+", reasons)]


def test_the_list_of_errors_is_read_over_line_ends() -> None:
    comment = "Errors:\n  NOT_FOUND    / A_B, C_D,\n               E_F     `name`\n  INTERNAL / G_H\n"
    assert listed(comment) == [("NOT_FOUND", "A_B"), ("NOT_FOUND", "C_D"), ("NOT_FOUND", "E_F"), ("INTERNAL", "G_H")]


@pytest.mark.parametrize(("name", "comment"), DESCRIBED, ids=[name for name, _ in DESCRIBED])
def test_the_errors_that_a_comment_lists_exist_with_that_code(name: str, comment: str) -> None:
    assert re.search(r"^Errors(?: of every RPC)?:", comment, re.MULTILINE), f"{name} lists no errors"
    wrong = [(code, reason) for code, reason in listed(comment) if reason not in REASONS or BY_REASON[reason].code != code]
    assert wrong == []


@pytest.mark.parametrize(("name", "comment"), DESCRIBED, ids=[name for name, _ in DESCRIBED])
def test_every_capital_word_of_a_comment_is_a_reason_or_a_code(name: str, comment: str) -> None:
    words = re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", comment)
    assert [word for word in words if word not in REASONS and word not in CODES] == []


def test_every_reason_is_listed_by_some_rpc_or_service() -> None:
    said = {word for _, comment in DESCRIBED for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", comment)}
    said.add("ENTRY_NOT_FOUND")  # raised by the client, which reads the manifest
    assert [reason for reason in REASONS if reason not in said] == []
