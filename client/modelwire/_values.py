"""Turns what users attach to runs and versions into JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import PurePath
from typing import Any

from modelwire.errors import MetadataInvalidError


def json_object(values: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """Returns a mapping as JSON values: tuples and arrays become lists, NaN becomes null.

    Raises:
        MetadataInvalidError: A key is no text, or a value is infinite or of a kind that JSON does not have.
    """
    return {_key(key, what): _value(value, f"{what}[{key!r}]") for key, value in (values or {}).items()}


def _key(key: Any, what: str) -> str:
    if not isinstance(key, str):
        raise MetadataInvalidError(f"{what}: key {key!r} must be text", field=what)
    return key


def _value(value: Any, what: str) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise MetadataInvalidError(f"{what} is infinite, which JSON cannot say", field=what)
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return json_object(value, what)
    if isinstance(value, (datetime, date, PurePath)):
        return value.isoformat() if isinstance(value, date) else str(value)
    if callable(getattr(value, "tolist", None)):  # arrays and scalars of numpy, torch and their kin
        return _value(value.tolist(), what)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Iterator)):
        return [_value(one, what) for one in value]
    raise MetadataInvalidError(f"{what} is a {type(value).__name__}, which JSON cannot say", field=what)
