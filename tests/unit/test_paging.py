"""Page tokens carry the last key seen, and belong to one list with its filters."""

from __future__ import annotations

import base64
import json

import pytest

from modelwire.errors import PageTokenInvalidError
from modelwire_server.rpc.paging import PageToken, page_size


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (50, 50), (1000, 1000), (1001, 1000), (2**32 - 1, 1000)])
def test_a_page_has_the_size_asked_for_up_to_the_most(asked: int, given: int) -> None:
    assert page_size(asked, 50, 1000) == given


@pytest.mark.parametrize("key", [(0,), (2**63 - 1,), (-1,), ("name",), ("한글 \U0001f642", 3), (1, "a", 2)])
def test_a_key_reads_back(key: tuple[int | str, ...]) -> None:
    token = PageToken("runs", "me", 3)
    assert token.read(token.write(*key), *map(type, key)) == list(key)


def test_the_first_page_has_no_key() -> None:
    assert PageToken("runs").read("", int) is None


def test_a_token_is_opaque_text_that_fits_anywhere() -> None:
    token = PageToken("artifacts", "me").write("name" * 30, 5)
    assert token.isascii()
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


SCOPE = ("versions", 17, ("a", "b"), False)
OTHERS: list[tuple[object, ...]] = [
    ("artifacts", 17, ("a", "b"), False),
    ("versions", 18, ("a", "b"), False),
    ("versions", "17", ("a", "b"), False),
    ("versions", 17, ("a",), False),
    ("versions", 17, ("a", "b"), True),
    ("versions", 17),
    (),
]


@pytest.mark.parametrize("scope", OTHERS, ids=str)
def test_a_token_of_another_list_or_other_filters_is_refused(scope: tuple[object, ...]) -> None:
    token = PageToken(*SCOPE).write(5)
    assert PageToken(*SCOPE).read(token, int) == [5]
    with pytest.raises(PageTokenInvalidError):
        PageToken(*scope).read(token, int)


def test_the_same_list_made_again_reads_the_token() -> None:
    assert PageToken(*SCOPE).write(5) == PageToken(*SCOPE).write(5)


def coded(value: object) -> str:
    """A token that says what it likes."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def scope_digest() -> str:
    (digest, _) = json.loads(base64.urlsafe_b64decode(PageToken(*SCOPE).write(5)))
    return str(digest)


GARBAGE = {
    "no base64": "!!!!",
    "not ASCII": "é",
    "a lone surrogate": "\udc80",
    "wrong padding": "abc",
    "no JSON": base64.urlsafe_b64encode(b"{nothing").decode(),
    "no UTF-8": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "a number": coded(5),
    "nothing": coded(None),
    "an empty list": coded([]),
    "an object": coded({"a": 1}),
    "a text": coded("text"),
    "no key": coded([scope_digest()]),
    "a key of another kind": coded([scope_digest(), "5"]),
    "a truth value for a number": coded([scope_digest(), True]),
    "a fraction for a number": coded([scope_digest(), 5.0]),
    "one part too many": coded([scope_digest(), 5, 5]),
    "a nested key": coded([scope_digest(), [5]]),
    "another scope": coded(["0" * 16, 5]),
    "nested 100000 deep": base64.urlsafe_b64encode(b"[" * 100_000 + b"]" * 100_000).decode(),
    "a number of 10000 digits": base64.urlsafe_b64encode(b"[" + b"9" * 10_000 + b"]").decode(),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_token_that_was_not_made_here_is_refused(what: str) -> None:
    with pytest.raises(PageTokenInvalidError):
        PageToken(*SCOPE).read(GARBAGE[what], int)


def test_a_number_too_large_for_the_database_is_refused() -> None:
    with pytest.raises(PageTokenInvalidError):
        PageToken(*SCOPE).read(coded([scope_digest(), 2**64]), int)
