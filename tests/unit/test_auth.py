"""Tickets and receipts open what they name, for as long as they say, and only when our key signed them."""

from __future__ import annotations

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest

from modelwire.errors import (
    ModelwireError,
    ReceiptExpiredError,
    ReceiptInvalidError,
    SettingsError,
    TicketExpiredError,
    TicketInvalidError,
    TicketMissingError,
    TicketScopeError,
)
from modelwire.wire import BLOB_AUDIENCE, METADATA_AUDIENCE
from modelwire_server.rpc.auth import RECEIPT_SECONDS, TICKET_SECONDS, KeySet, Receipt, Signer, Ticket

NOW = 1_800_000_000.0
BUNDLE = bytes(range(32))
KEY, OTHER_KEY = b"k" * 48, b"o" * 32


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> Signer:
    return Signer(KeySet("k1", {"k1": KEY}), clock)


def bearer(token: str) -> str:
    return f"Bearer {token}"


def forged(claims: dict[str, Any] | None = None, key: bytes = KEY, algorithm: str = "HS256", **headers: Any) -> str:
    """A read ticket with claims that are right but for what is given."""
    right = {"aud": BLOB_AUDIENCE, "exp": NOW + 60, "dom": "d", "act": "read", "bun": BUNDLE.hex()}
    merged = {name: value for name, value in (right | (claims or {})).items() if value is not None}
    return jwt.encode(merged, key, algorithm, {"kid": "k1", **headers})


def unsigned(audience: str, kid: object = "k1", **header: str) -> str:
    """A token with no signature at all."""
    claims = {"aud": audience, "exp": NOW + 60, "dom": "d", "act": "read", "bun": BUNDLE.hex()}
    parts = [{"typ": "JWT", "kid": kid, **header}, claims]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def forgeries(audience: str, other: str) -> dict[str, str]:
    """Tokens for an audience, each wrong in one way."""

    def wrong(key: bytes = KEY, algorithm: str = "HS256", kid: str | None = "k1", **claims: Any) -> str:
        return forged({"aud": audience, **claims}, key, algorithm, kid=kid)

    return {
        "signed with another key": wrong(OTHER_KEY),
        "an unknown kid": wrong(kid="k2"),
        "an empty kid": wrong(kid=""),
        "a kid that is a number": unsigned(audience, 7, alg="HS256"),
        "a kid that is a list": unsigned(audience, ["k1"], alg="HS256"),
        "no signature, alg none": unsigned(audience, alg="none"),
        "no signature, alg None": unsigned(audience, alg="None"),
        "no signature, alg HS256": unsigned(audience, alg="HS256"),
        "no signature, no alg": unsigned(audience),
        "another algorithm with the same key": wrong(KEY, "HS384"),
        "another audience": wrong(aud=other),
        "no audience": wrong(aud=None),
        "no end": wrong(exp=None),
        "an end that is no number": wrong(exp="never"),
        "an end that is a list": wrong(exp=[NOW + 60]),
        "no domain": wrong(dom=None),
        "no bundle": wrong(bun=None),
        "a bundle that is not hexadecimal": wrong(bun="xyz"),
        "a bundle that is a number": wrong(bun=7),
        "no token": "abc",
        "three empty parts": "..",
        "not ASCII": "é.é.é",
        "very long": "a" * 100_000,
    }


TICKETS = forgeries(BLOB_AUDIENCE, METADATA_AUDIENCE) | {"no action": forged({"act": None})}
RECEIPTS = forgeries(METADATA_AUDIENCE, BLOB_AUDIENCE)


def test_a_ticket_says_what_it_was_made_for(signer: Signer) -> None:
    write, end = signer.write_ticket("d")
    assert signer.check_ticket(bearer(write)) == Ticket("d", "write", None)
    assert end == NOW + TICKET_SECONDS
    read, end = signer.read_ticket("d", BUNDLE, 5)
    assert signer.check_ticket(f"bearer  {read} ") == Ticket("d", "read", BUNDLE)
    assert end == NOW + 5


def test_a_receipt_says_what_it_was_made_for(signer: Signer) -> None:
    assert signer.check_receipt(signer.receipt("d", BUNDLE)) == Receipt("d", BUNDLE)


def test_a_ticket_is_for_one_action(signer: Signer) -> None:
    Ticket("d", "write").require("write")
    with pytest.raises(TicketScopeError) as refusal:
        Ticket("d", "read", BUNDLE).require("write")
    assert refusal.value.facts == {"needed": "write"}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "token"])
def test_a_call_without_a_ticket_is_told_so(signer: Signer, header: str | None) -> None:
    with pytest.raises(TicketMissingError):
        signer.check_ticket(header)


def test_a_ticket_ends_at_its_end(signer: Signer, clock: Clock) -> None:
    token, end = signer.write_ticket("d")
    clock.now = end - 0.001
    assert signer.check_ticket(bearer(token)).domain == "d"
    clock.now = end
    with pytest.raises(TicketExpiredError):
        signer.check_ticket(bearer(token))


def test_a_receipt_ends_at_its_end_before_the_grace_period_does(signer: Signer, clock: Clock) -> None:
    token = signer.receipt("d", BUNDLE)
    clock.now += RECEIPT_SECONDS - 1
    assert signer.check_receipt(token).bundle == BUNDLE
    clock.now += 1
    with pytest.raises(ReceiptExpiredError):
        signer.check_receipt(token)
    assert RECEIPT_SECONDS < 24 * 3600


@pytest.mark.parametrize("what", TICKETS)
def test_a_forged_ticket_is_refused(signer: Signer, what: str) -> None:
    assert signer.check_ticket(bearer(forged())) == Ticket("d", "read", BUNDLE)
    with pytest.raises(TicketInvalidError):
        signer.check_ticket(bearer(TICKETS[what]))


@pytest.mark.parametrize("what", RECEIPTS)
def test_a_forged_receipt_is_refused(signer: Signer, what: str) -> None:
    assert signer.check_receipt(forged({"aud": METADATA_AUDIENCE})) == Receipt("d", BUNDLE)
    with pytest.raises(ReceiptInvalidError):
        signer.check_receipt(RECEIPTS[what])


def test_a_ticket_with_one_character_changed_is_refused(signer: Signer) -> None:
    token, _ = signer.write_ticket("d")
    for at in range(0, len(token) - 1, 5):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(ModelwireError) as refusal:
            signer.check_ticket(bearer(changed))
        assert refusal.value.code == "UNAUTHENTICATED"


def test_a_receipt_is_no_ticket_and_a_ticket_no_receipt(signer: Signer) -> None:
    with pytest.raises(TicketInvalidError):
        signer.check_ticket(bearer(signer.receipt("d", BUNDLE)))
    for token in (signer.write_ticket("d")[0], signer.read_ticket("d", BUNDLE)[0]):
        with pytest.raises(ReceiptInvalidError):
            signer.check_receipt(token)


# ── Keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_rotated_without_refusing_what_is_under_way(clock: Clock) -> None:
    before = Signer(KeySet("k1", {"k1": KEY}), clock)
    both = Signer(KeySet("k2", {"k1": KEY, "k2": OTHER_KEY}), clock)
    after = Signer(KeySet("k2", {"k2": OTHER_KEY}), clock)
    old, new = before.write_ticket("d")[0], both.write_ticket("d")[0]
    assert jwt.get_unverified_header(new)["kid"] == "k2"
    assert both.check_ticket(bearer(old)) == both.check_ticket(bearer(new)) == after.check_ticket(bearer(new))
    for signer, token in ((before, new), (after, old)):
        with pytest.raises(TicketInvalidError):
            signer.check_ticket(bearer(token))


@pytest.mark.parametrize(("active", "keys"), [("k2", {"k1": KEY}), ("k1", {"k1": b"k" * 31}), ("k1", {}), ("k1", {"k1": b""})])
def test_a_key_set_without_its_active_key_or_with_a_short_one_is_refused(active: str, keys: dict[str, bytes]) -> None:
    with pytest.raises(SettingsError):
        KeySet(active, keys)


def test_a_key_file_is_made_once_for_its_owners_eyes_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    made = KeySet.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]
    again = KeySet.load_or_create(path)
    assert (again.active, again.keys) == (made.active, made.keys)
    assert KeySet.load_or_create(tmp_path / "other.json").keys != made.keys


def test_services_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: KeySet.load_or_create(tmp_path / "keys.json").keys["k1"], range(32)))
    assert len(set(keys)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_file_that_others_can_touch_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeySet.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match="0600"):
        KeySet.load(path)


NO_KEY_SETS = ["", "{}", "[]", "null", '{"active": "k1", "keys": {}}', '{"active": "k1", "keys": ["k1"]}', "\xff not json"]
BAD_KEYS = ["not base64!", 5, None, base64.b64encode(b"short").decode()]


@pytest.mark.parametrize("text", [*NO_KEY_SETS, *(json.dumps({"active": "k1", "keys": {"k1": key}}) for key in BAD_KEYS)])
def test_a_key_file_that_is_no_key_set_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text, "latin-1")
    path.chmod(0o600)
    with pytest.raises(SettingsError):
        KeySet.load(path)


def test_a_key_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        KeySet.load(tmp_path / f"nothing-{os.getpid()}")
