"""Checks the JSON texts that users attach to runs and versions."""

from __future__ import annotations

import json
from typing import Any

from modelwire.errors import MetadataInvalidError

MAX_BYTES = 1 << 20
MAX_METADATA_KEYS = 100


def check_object(text: str, field: str, max_keys: int | None = None) -> str:
    """Returns `text`, or "{}" when it is empty, when it is a JSON object within the limits.

    Raises:
        MetadataInvalidError: It is not.
    """
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise MetadataInvalidError(f"{field} is larger than {MAX_BYTES} bytes of JSON", field=field)
    try:
        value = json.loads(text or "{}", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MetadataInvalidError(f"{field} is not JSON: {error}", field=field) from None
    if not isinstance(value, dict):
        raise MetadataInvalidError(f"{field} must be a JSON object", field=field)
    if max_keys is not None and len(value) > max_keys:
        raise MetadataInvalidError(f"{field} has {len(value)} top-level keys, more than {max_keys}", field=field)
    return text or "{}"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
