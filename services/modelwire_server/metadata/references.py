"""The grammar of references, parsed here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from modelwire.errors import NameInvalidError, ReferenceInvalidError
from modelwire.names import (
    DEFAULT_ENTITY,
    DEFAULT_PROJECT,
    REGISTRY_PROJECT,
    check_artifact_name,
    check_project,
    version_number,
)

LATEST = "latest"
_REGISTRY_SHORT = "registry"
_MOST_PARTS = 3
_LONGEST_ALIAS = 128


@dataclass(frozen=True)
class CollectionName:
    """Names a collection; in a registry when `project` is "model-registry"."""

    entity: str
    project: str
    name: str

    @property
    def in_registry(self) -> bool:
        """Whether it is a registered model."""
        return self.project == REGISTRY_PROJECT

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.name}"


@dataclass(frozen=True)
class Reference:
    """Names one place of a version: by `number`, or by `alias` when that is None."""

    collection: CollectionName
    alias: str
    number: int | None
    selected: bool
    """Whether the text named an alias or version at all."""

    def __str__(self) -> str:
        return f"{self.collection}:{self.alias}"


def parse(text: str, entity: str = "", project: str = "") -> Reference:
    """Parses `[[entity/]project/]name[:alias or vN]`; no alias means `latest`.

    Raises:
        ReferenceInvalidError: The text does not follow the grammar.
    """
    path, colon, alias = text.partition(":")
    parts = path.split("/")
    if not path or len(parts) > _MOST_PARTS or not all(parts):
        raise _refuse(text, "it must be [[entity/]project/]name[:alias or vN]")
    if colon and (not alias or "/" in alias or ":" in alias or alias != alias.strip() or len(alias) > _LONGEST_ALIAS):
        raise _refuse(text, 'what follows the first ":" must be one alias or version')
    *front, name = parts
    project = front[-1] if front else project or DEFAULT_PROJECT
    entity = front[0] if len(front) > 1 else entity or DEFAULT_ENTITY
    if project == _REGISTRY_SHORT and len(parts) > 1:
        project = REGISTRY_PROJECT
    try:
        check_project(entity, "entity")
        check_project(project)
        check_artifact_name(name)
    except NameInvalidError as error:
        raise _refuse(text, str(error)) from None
    alias = alias or LATEST
    return Reference(CollectionName(entity, project, name), alias, version_number(alias), bool(colon))


def parse_collection(text: str, entity: str = "", project: str = "") -> CollectionName:
    """Parses a reference that may not name an alias or version."""
    reference = parse(text, entity, project)
    if reference.selected:
        raise _refuse(text, "a whole artifact is meant here; leave out the alias or version")
    return reference.collection


def _refuse(text: str, why: str) -> ReferenceInvalidError:
    return ReferenceInvalidError(f"reference {text[:200]!r} cannot be read: {why}", reference=text[:200])
