"""The rules for names and for paths in a manifest, checked by the server and by the client."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from modelwire.errors import ManifestInvalidError, NameInvalidError, PathConflictError, PathInvalidError

DEFAULT_ENTITY = "default"
DEFAULT_PROJECT = "uncategorized"
REGISTRY_PROJECT = "model-registry"
"""The project part that means an entity's registry."""

MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255
MAX_PATH_DEPTH = 32
MAX_ENTRIES = 200_000

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_VERSION = re.compile(r"v(0|[1-9][0-9]*)")
_VERSION_LIKE = re.compile(r"v[0-9]+")
_TAG = re.compile(r"[\w-]+( [\w-]+)*")
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_MAX_VERSION = 2**31


def _refuse(kind: str, name: str, rule: str) -> NameInvalidError:
    return NameInvalidError(f"{kind} {name[:200]!r} is not allowed: {rule}", kind=kind, name=name[:200])


def check_artifact_name(name: str, kind: str = "artifact name") -> str:
    """Returns `name` when it may name an artifact or a registered model; raises NameInvalidError otherwise."""
    if not _NAME.fullmatch(name):
        raise _refuse(kind, name, "it must be 1 to 128 of the characters A-Z a-z 0-9 _ . -")
    return name


def check_type(name: str) -> str:
    """Returns `name` when it may be an artifact's type; raises NameInvalidError otherwise."""
    if not 1 <= len(name) <= 128 or "/" in name or ":" in name or not _storable(name):
        raise _refuse("artifact type", name, 'it must be 1 to 128 characters without "/" and ":"')
    return name


def check_alias(name: str) -> str:
    """Returns `name` when it may be given as an alias; raises NameInvalidError otherwise."""
    if not 1 <= len(name) <= 128 or "/" in name or ":" in name or name != name.strip() or not _storable(name):
        raise _refuse("alias", name, 'it must be 1 to 128 characters without "/", ":" and outer white space')
    if _VERSION_LIKE.fullmatch(name):
        raise _refuse("alias", name, '"v" and digits always mean a version number')
    return name


def alias_list(aliases: Sequence[str] | str | None) -> list[str]:
    """Returns the distinct aliases that a user gave, each found good; `latest` applies anyway and is passed over."""
    given = [aliases] if isinstance(aliases, str) else list(aliases or ())
    return [check_alias(alias) for alias in dict.fromkeys(given) if alias != "latest"]


def check_tag(name: str) -> str:
    """Returns `name` when it may be a tag; raises NameInvalidError otherwise."""
    if not 1 <= len(name) <= 128 or not _TAG.fullmatch(name):
        raise _refuse("tag", name, 'it must be words of letters, digits, "_" and "-", with single spaces between them')
    return name


def check_project(name: str, kind: str = "project") -> str:
    """Returns `name` when it may name a project or an entity; raises NameInvalidError otherwise."""
    forbidden = any(char in r"/\#?%:" for char in name)
    if not 1 <= len(name) <= 128 or forbidden or name != name.strip() or not _storable(name):
        raise _refuse(kind, name, r"it must be 1 to 128 characters without / \ # ? % : and line breaks")
    return name


def check_address(text: str, what: str = "address") -> str:
    """Returns `text` when it is host:port, the host possibly empty; raises NameInvalidError otherwise."""
    host, colon, port = text.rpartition(":")
    odd = "/" in host or host != host.strip() or (":" in host and not host.startswith("["))
    if not colon or odd or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise _refuse(what, text, 'it must be host:port, for example "127.0.0.1:7700"')
    return text


def check_run_id(name: str) -> str:
    """Returns `name` when it may be a run's id; raises NameInvalidError otherwise."""
    forbidden = any(char in ":;,#?/'\\" for char in name)
    if not 1 <= len(name) <= 128 or forbidden or name != name.strip() or not _storable(name):
        raise _refuse("run id", name, "it must be 1 to 128 characters without : ; , # ? / ' \\ and outer white space")
    return name


def _storable(text: str) -> bool:
    return not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)


def version_number(text: str) -> int | None:
    """Returns the number that `text` means as a version ("v3" → 3), or None when it is an alias."""
    match = _VERSION.fullmatch(text)
    if match is None or len(text) > 11:
        return None
    number = int(match[1])
    return number if number < _MAX_VERSION else None


def default_model_name(run_id: str, base_name: str) -> str:
    """Returns the name of a model logged without one: `run-<run id>-<base name>`, made legal and cut to 128."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", f"run-{run_id}-{base_name}")[:128]


def check_path(path: str) -> str:
    """Returns `path` when a manifest may name it on every file system.

    Raises:
        PathInvalidError: It is absolute, empty, escaping, too long or not portable.
    """
    problem = _path_problem(path)
    if problem:
        shown = path[:200].encode("utf-8", "backslashreplace").decode()
        raise PathInvalidError(f"path {shown!r} is not allowed in a manifest: {problem}", path=shown)
    return path


def _path_problem(path: str) -> str | None:
    if not path:
        return "it is empty"
    if not _storable(path):
        return "it holds control characters or is not valid Unicode"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    if path.startswith("/"):
        return "it is absolute"
    if "\\" in path or ":" in path:
        return "it holds a backslash or colon"
    if not unicodedata.is_normalized("NFC", path):
        return "it is not in Unicode normal form C"
    segments = path.split("/")
    if len(segments) > MAX_PATH_DEPTH:
        return f"it is deeper than {MAX_PATH_DEPTH} segments"
    return next((problem for segment in segments if (problem := _segment_problem(segment))), None)


def _segment_problem(segment: str) -> str | None:
    if segment in {"", ".", ".."}:
        return 'it has an empty, "." or ".." segment'
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return f"it has a segment longer than {MAX_SEGMENT_BYTES} bytes"
    if segment[-1] in ". ":
        return "it has a segment that ends in a dot or space"
    if _DEVICE.fullmatch(segment):
        return "it has a segment that Windows keeps for a device"
    return None


def check_paths(paths: Iterable[str]) -> None:
    """Checks the paths of one whole manifest, each alone and against all others.

    Raises:
        PathInvalidError: One of them is not allowed.
        PathConflictError: Two are equal, equal but for case, or one is a folder of another.
        ManifestInvalidError: There are none, or more than `MAX_ENTRIES`.
    """
    folded: dict[str, str] = {}
    for path in paths:
        check_path(path)
        key = unicodedata.normalize("NFC", path.casefold())
        if key in folded:
            raise _conflict(path, folded[key], "name the same file" if path == folded[key] else "differ only in case")
        folded[key] = path
        if len(folded) > MAX_ENTRIES:
            raise ManifestInvalidError(f"a version holds at most {MAX_ENTRIES} entries", limit=MAX_ENTRIES)
    if not folded:
        raise ManifestInvalidError("a version needs at least one entry", limit=MAX_ENTRIES)
    for key, path in folded.items():
        end = key.find("/")
        while end != -1:
            if (other := folded.get(key[:end])) is not None:
                raise _conflict(path, other, "make one a file and a folder at once")
            end = key.find("/", end + 1)


def _conflict(path: str, other: str, why: str) -> PathConflictError:
    return PathConflictError(f"paths {path[:200]!r} and {other[:200]!r} {why}", path=path[:200], other=other[:200])
