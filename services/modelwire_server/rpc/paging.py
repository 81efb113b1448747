"""Opaque page tokens for keyset paging: a token carries the last key seen, and what list it belongs to."""

from __future__ import annotations

import base64
import json
from hashlib import blake2b
from typing import Any

from modelwire.errors import PageTokenInvalidError


def page_size(asked: int, default: int, most: int) -> int:
    """Returns how many items a page may hold."""
    return min(asked or default, most)


_MOST = 2**63


class PageToken:
    """Makes and reads the tokens of one list; `scope` is everything that the list was filtered by."""

    def __init__(self, *scope: object) -> None:
        self._scope = blake2b(repr(scope).encode(), digest_size=8).hexdigest()

    def write(self, *key: int | str) -> str:
        """Writes the key of the last item of a page."""
        return base64.urlsafe_b64encode(json.dumps([self._scope, *key]).encode()).decode()

    def read(self, token: str, *kinds: type) -> list[Any] | None:
        """Reads the key back; None for the first page.

        Raises:
            PageTokenInvalidError: The token is not of this list.
        """
        if not token:
            return None
        try:
            scope, *key = json.loads(base64.urlsafe_b64decode(token.encode()))
        except (ValueError, TypeError, RecursionError):
            scope, key = None, []
        fits = [type(part) for part in key] == list(kinds) and all(part < _MOST for part in key if isinstance(part, int))
        if scope != self._scope or not fits:
            raise PageTokenInvalidError("the page token does not belong to this list; begin again without one")
        return list(key)
