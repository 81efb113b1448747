"""The config and the summary of a run: dictionaries that the server sees at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from modelwire._values import json_object
from modelwire.errors import ConfigLockedError


class Summary(MutableMapping[str, Any]):
    """Is the results of a run, with attribute access: `run.summary.accuracy = 0.9`."""

    _kind = "summary"
    _values: dict[str, Any]
    _changed: Callable[[], None]

    def __init__(self, values: Mapping[str, Any], changed: Callable[[], None]) -> None:
        """Takes the values so far; `changed` is called after every change."""
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_changed", changed)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._change({key: value})

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._changed()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(f"the {self._kind} has no {key!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __repr__(self) -> str:
        return repr(self._values)

    def update(self, *given: Any, **more: Any) -> None:
        """Changes several values in one step."""
        self._change({**dict(*given), **more})

    def _change(self, values: Mapping[str, Any]) -> None:
        self._values.update(json_object(values, self._kind))
        self._changed()


class Config(Summary):
    """Is the inputs of a run, with attribute access. A value that is set stays, unless `allow_val_change` says otherwise."""

    _kind = "config"

    def update(self, *given: Any, allow_val_change: bool = False, **more: Any) -> None:
        """Adds several values in one step.

        Raises:
            ConfigLockedError: A key has another value already, and `allow_val_change` is false.
        """
        self._set({**dict(*given), **more}, allow_val_change=allow_val_change)

    def _change(self, values: Mapping[str, Any]) -> None:
        self._set(values, allow_val_change=False)

    def _set(self, values: Mapping[str, Any], *, allow_val_change: bool) -> None:
        fresh = json_object(values, self._kind)
        for key, value in fresh.items():
            if not allow_val_change and key in self._values and self._values[key] != value:
                message = f"config {key!r} is {self._values[key]!r}; to make it {value!r}, say allow_val_change=True"
                raise ConfigLockedError(message, key=key)
        self._values.update(fresh)
        self._changed()
