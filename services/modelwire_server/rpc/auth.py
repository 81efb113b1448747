"""Tickets and receipts: the two signed strings that pass between the services, always carried by the client.

Both are JWTs signed with HMAC-SHA-256 under a key set that both services hold. `kid` names the key, so that keys can be
rotated: add the new key, make it active, remove the old one when the longest life has passed.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from modelwire.errors import (
    ReceiptExpiredError,
    ReceiptInvalidError,
    SettingsError,
    TicketExpiredError,
    TicketInvalidError,
    TicketMissingError,
    TicketScopeError,
)
from modelwire.wire import BLOB_AUDIENCE, METADATA_AUDIENCE

ALGORITHM = "HS256"
TICKET_SECONDS = 3600
RECEIPT_SECONDS = 6 * 3600
"""Less than the grace period of the collector, so that a valid receipt never names collected bytes."""

_KEY_BYTES = 32


@dataclass(frozen=True)
class Ticket:
    """Says what its bearer may do at the blob service.

    Attributes:
        domain: The tenancy unit that everything is limited to.
        action: "write" or "read".
        bundle: The bundle that a read ticket opens; None on a write ticket.
    """

    domain: str
    action: str
    bundle: bytes | None = None

    def require(self, action: str) -> None:
        """Raises TicketScopeError when the ticket is for something else."""
        if self.action != action:
            raise TicketScopeError(f"this call needs a {action} ticket, not a {self.action} ticket", needed=action)


@dataclass(frozen=True)
class Receipt:
    """Says that a bundle of a domain is durable."""

    domain: str
    bundle: bytes


class KeySet:
    """Holds the keys that tickets and receipts are signed with, by their ids."""

    def __init__(self, active: str, keys: dict[str, bytes]) -> None:
        if active not in keys or any(len(key) < _KEY_BYTES for key in keys.values()):
            raise SettingsError(f"a key set needs its active key, and keys of at least {_KEY_BYTES} bytes")
        self.active, self.keys = active, keys

    @classmethod
    def load_or_create(cls, path: Path) -> KeySet:
        """Reads the key file; makes one, for its owner's eyes only, when there is none.

        Two processes may start at once: whoever links the file first wins, and both read what is there then.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            text = json.dumps({"active": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}})
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> KeySet:
        """Reads the key file.

        Raises:
            SettingsError: It is missing, readable by others, or not a key set.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise SettingsError(f"the key file {path} is readable by others; make it mode 0600")
            content = json.loads(path.read_text())
            keys = {kid: base64.b64decode(key, validate=True) for kid, key in content["keys"].items()}
            return cls(content["active"], keys)
        except (OSError, ValueError, KeyError, AttributeError, TypeError, binascii.Error) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"the key file {path} cannot be used: {error}") from error


class Signer:
    """Signs and checks tickets and receipts; `clock` gives seconds since 1970."""

    def __init__(self, keys: KeySet, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._clock = keys, clock

    def write_ticket(self, domain: str, seconds: int = TICKET_SECONDS) -> tuple[str, float]:
        """Makes a ticket to write into `domain`; returns it with the time of its end."""
        return self._sign(BLOB_AUDIENCE, seconds, dom=domain, act="write")

    def read_ticket(self, domain: str, bundle: bytes, seconds: int = TICKET_SECONDS) -> tuple[str, float]:
        """Makes a ticket to read the blobs of one bundle; returns it with the time of its end."""
        return self._sign(BLOB_AUDIENCE, seconds, dom=domain, act="read", bun=bundle.hex())

    def receipt(self, domain: str, bundle: bytes, seconds: int = RECEIPT_SECONDS) -> str:
        """Makes the receipt of a durable bundle."""
        return self._sign(METADATA_AUDIENCE, seconds, dom=domain, bun=bundle.hex())[0]

    def check_ticket(self, authorization: str | None) -> Ticket:
        """Reads the value of an `authorization` header.

        Raises:
            TicketMissingError, TicketInvalidError, TicketExpiredError: As their names say.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TicketMissingError("this call needs a ticket: authorization: Bearer <ticket>")
        try:
            claims = self._open(token.strip(), BLOB_AUDIENCE)
            bundle = bytes.fromhex(claims["bun"]) if claims["act"] == "read" else None
            return Ticket(str(claims["dom"]), str(claims["act"]), bundle)
        except jwt.ExpiredSignatureError:
            raise TicketExpiredError("the ticket has expired; ask the metadata service for a new one") from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
            raise TicketInvalidError("the ticket was not signed by this installation's metadata service") from None

    def check_receipt(self, token: str) -> Receipt:
        """Reads a receipt.

        Raises:
            ReceiptInvalidError, ReceiptExpiredError: As their names say.
        """
        try:
            claims = self._open(token, METADATA_AUDIENCE)
            return Receipt(str(claims["dom"]), bytes.fromhex(claims["bun"]))
        except jwt.ExpiredSignatureError:
            raise ReceiptExpiredError("the receipt has expired; seal the bundle again") from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
            raise ReceiptInvalidError("the receipt was not signed by this installation's blob service") from None

    def _sign(self, audience: str, seconds: int, **claims: str) -> tuple[str, float]:
        end = self._clock() + seconds
        key = self._keys.keys[self._keys.active]
        headers = {"kid": self._keys.active}
        return jwt.encode({"aud": audience, "exp": end, **claims}, key, ALGORITHM, headers), end

    def _open(self, token: str, audience: str) -> dict[str, Any]:
        kid = jwt.get_unverified_header(token).get("kid")
        if kid not in self._keys.keys:
            raise jwt.InvalidTokenError("unknown key")
        options: Any = {"require": ["exp", "aud"], "verify_exp": False}
        claims = jwt.decode(token, self._keys.keys[kid], [ALGORITHM], options, audience=audience)
        if float(claims["exp"]) <= self._clock():
            raise jwt.ExpiredSignatureError
        return claims
