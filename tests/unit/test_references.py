"""The grammar of references: `[[entity/]project/]name[:alias or vN]`."""

from __future__ import annotations

import pytest

from modelwire.errors import ReferenceInvalidError
from modelwire_server.metadata.references import CollectionName, Reference, parse, parse_collection

# text → entity, project, name, alias, number; what a text leaves out comes from the caller ("me", "work").
GOOD = {
    "m": ("me", "work", "m", "latest", None),
    "m:latest": ("me", "work", "m", "latest", None),
    "m:best": ("me", "work", "m", "best", None),
    "m:v0": ("me", "work", "m", "v0", 0),
    "m:v12": ("me", "work", "m", "v12", 12),
    "m:v012": ("me", "work", "m", "v012", None),
    "m:V3": ("me", "work", "m", "V3", None),
    "m:two words": ("me", "work", "m", "two words", None),
    "m:프로덕션": ("me", "work", "m", "프로덕션", None),
    "p/m": ("me", "p", "m", "latest", None),
    "p/m:v3": ("me", "p", "m", "v3", 3),
    "e/p/m": ("e", "p", "m", "latest", None),
    "e/p/m:champion": ("e", "p", "m", "champion", None),
    "my project/m": ("me", "my project", "m", "latest", None),
    "프로젝트/m": ("me", "프로젝트", "m", "latest", None),
    "v3": ("me", "work", "v3", "latest", None),
    "model-registry/Digits": ("me", "model-registry", "Digits", "latest", None),
    "model-registry/Digits:production": ("me", "model-registry", "Digits", "production", None),
    "e/model-registry/Digits:v2": ("e", "model-registry", "Digits", "v2", 2),
    "registry/Digits:v2": ("me", "model-registry", "Digits", "v2", 2),
    "e/registry/Digits": ("e", "model-registry", "Digits", "latest", None),
    "registry": ("me", "work", "registry", "latest", None),
    "registry/p/m": ("registry", "p", "m", "latest", None),
}

BAD = [
    "",
    ":",
    ":v3",
    "/",
    "/m",
    "m/",
    "p//m",
    "/p/m",
    "a/b/c/d",
    "a/b/c/d:v1",
    "m:",
    "m:a:b",
    "m::a",
    "m:a/b",
    "e/p/m:a/b",
    "m: a",
    "m:a ",
    "m:\n",
    "m:" + "a" * 129,
    "m" * 129,
    "my model",
    "mödel",
    "m\n",
    "m\0",
    "p#/m",
    "p?/m",
    "p%/m",
    "p\\q/m",
    "e#/p/m",
    " p/m",
    "p /m",
    "p\udc80/m",
    "p" * 129 + "/m",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_reference_is_read(text: str) -> None:
    entity, project, name, alias, number = GOOD[text]
    found = parse(text, "me", "work")
    assert found == Reference(CollectionName(entity, project, name), alias, number, selected=":" in text)
    assert found.collection.in_registry == (project == "model-registry")


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text)[:20])
def test_a_text_that_is_no_reference_is_refused_and_named(text: str) -> None:
    with pytest.raises(ReferenceInvalidError) as refusal:
        parse(text, "me", "work")
    assert refusal.value.facts == {"reference": text[:200]}


@pytest.mark.parametrize("text", GOOD)
def test_a_reference_written_in_full_reads_as_the_same(text: str) -> None:
    found = parse(text, "me", "work")
    again = parse(str(found), "other", "elsewhere")
    assert (again.collection, again.alias, again.number) == (found.collection, found.alias, found.number)
    assert again.selected


def test_without_defaults_of_the_caller_those_of_the_installation_apply() -> None:
    assert parse("m").collection == CollectionName("default", "uncategorized", "m")
    assert parse("p/m").collection == CollectionName("default", "p", "m")
    assert parse("m", "e").collection == CollectionName("e", "uncategorized", "m")


@pytest.mark.parametrize(("entity", "project"), [("a/b", "p"), ("e", "a:b"), ("e", "a#b"), ("e" * 129, "p")])
def test_bad_defaults_are_refused_like_parts_of_the_text(entity: str, project: str) -> None:
    with pytest.raises(ReferenceInvalidError):
        parse("m", entity, project)


@pytest.mark.parametrize("text", ["m", "p/m", "e/p/m", "registry/m", "model-registry/m"])
def test_a_whole_collection_is_named_without_an_alias(text: str) -> None:
    assert parse_collection(text, "me", "work") == parse(text, "me", "work").collection


@pytest.mark.parametrize("text", ["m:latest", "m:v3", "e/p/m:best", "m:", "a/b/c/d"])
def test_a_whole_collection_has_no_alias(text: str) -> None:
    with pytest.raises(ReferenceInvalidError):
        parse_collection(text, "me", "work")
