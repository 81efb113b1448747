"""What a manifest may not hold, over the wire; and that a refused one leaves nothing to be seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integration.stubs import Blob, Draft, Wire, digest, refused, request_id
from modelwire.api.metadata.v1 import artifact_service_pb2 as pb
from modelwire.api.metadata.v1.resources_pb2 import ManifestEntry, ReferencedContent, StoredContent
from modelwire.digests import manifest_digest
from modelwire.errors import (
    DigestMalformedError,
    ManifestDigestMismatchError,
    ManifestInvalidError,
    MetadataInvalidError,
    ModelwireError,
    NameInvalidError,
    PathConflictError,
    PathInvalidError,
    RequestInvalidError,
)
from modelwire.names import MAX_ENTRIES

WRONG_PATHS = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../model",
    "a/../model",
    "a/..",
    "./model",
    "a//b",
    "a/",
    "a\\b",
    "c:model",
    "line\nbreak",
    "nul\0",
    "dot.",
    "space ",
    "a /b",
    "CON",
    "a/nul.txt",
    "e\u0301",  # not in normal form C
    "x" * 256,
    "/".join("a" * 33),
    "/".join(["x" * 200] * 6),
]

CONFLICTS = [
    (["a/m", "a/m"], "a/m"),
    (["Model", "model"], "model"),
    (["straße", "STRASSE"], "STRASSE"),
    (["a", "a/b"], "a/b"),
    (["A/c", "a"], "A/c"),
    (["x/y/z", "w", "x/Y"], "x/y/z"),
]


async def prepared(wire: Wire) -> tuple[Draft, Blob, str]:
    """A draft with one durable blob, and the receipt of it."""
    draft = await wire.begin("M")
    blob = await wire.put(draft.token, os.urandom(10))
    return draft, blob, (await wire.seal(draft.token, blob.blob_id)).receipt


async def nothing_is_visible(wire: Wire, draft: Draft, blob: Blob, receipt: str) -> None:
    """Fails when anything was published; the draft is as good as before."""
    assert await wire.names_visible() == []
    committed = await wire.commit(draft, [blob.entry("good")], receipt)
    assert (committed.created, committed.version.name.version) == (True, 0)


@pytest.mark.parametrize("path", WRONG_PATHS, ids=lambda path: ascii(path)[:20])
async def test_a_path_that_could_escape_or_not_be_written_is_refused(wire: Wire, path: str) -> None:
    draft, blob, receipt = await prepared(wire)
    with refused(PathInvalidError, path=path[:200]):
        await wire.commit(draft, [blob.entry("first"), blob.entry(path)], receipt)
    await nothing_is_visible(wire, draft, blob, receipt)


@pytest.mark.parametrize(("paths", "named"), CONFLICTS, ids=lambda value: "+".join(value) if isinstance(value, list) else "")
async def test_paths_that_cannot_both_exist_are_refused(wire: Wire, paths: list[str], named: str) -> None:
    draft, blob, receipt = await prepared(wire)
    with refused(PathConflictError, path=named):
        await wire.commit(draft, map(blob.entry, paths), receipt)
    await nothing_is_visible(wire, draft, blob, receipt)


def stored(blob: Blob, **changed: object) -> ManifestEntry:
    fields: dict[str, object] = {"content_digest": f"blake3:{digest(blob.content).hex()}", "blob_id": blob.blob_id, **changed}
    return ManifestEntry(path="m", size=10, stored=StoredContent(**fields))  # type: ignore[arg-type]


WRONG_ENTRIES: dict[str, tuple[type[ModelwireError], Callable[[Blob], list[ManifestEntry]]]] = {
    "none": (ManifestInvalidError, lambda _: []),
    "without-content": (ManifestInvalidError, lambda _: [ManifestEntry(path="m", size=10)]),
    "without-uri": (ManifestInvalidError, lambda _: [ManifestEntry(path="m", referenced=ReferencedContent(etag="e"))]),
    "impossible-size": (
        ManifestInvalidError,
        lambda _: [ManifestEntry(path="m", size=2**63, referenced=ReferencedContent(uri="s3://a/b"))],
    ),
    "no-digest": (DigestMalformedError, lambda blob: [stored(blob, content_digest="")]),
    "digest-of-another-kind": (DigestMalformedError, lambda blob: [stored(blob, content_digest="sha256:" + "0" * 64)]),
    "digest-in-capitals": (DigestMalformedError, lambda blob: [stored(blob, content_digest="blake3:" + "A" * 64)]),
    "digest-too-short": (DigestMalformedError, lambda blob: [stored(blob, content_digest="blake3:" + "0" * 63)]),
    "digest-with-line-break": (DigestMalformedError, lambda blob: [stored(blob, content_digest="blake3:" + "0" * 64 + "\n")]),
    "no-blob-id": (DigestMalformedError, lambda blob: [stored(blob, blob_id=b"")]),
    "blob-id-too-long": (DigestMalformedError, lambda blob: [stored(blob, blob_id=blob.blob_id + b"0")]),
}


@pytest.mark.parametrize("what", WRONG_ENTRIES)
async def test_an_entry_that_says_nothing_of_its_content_is_refused(wire: Wire, what: str) -> None:
    draft, blob, receipt = await prepared(wire)
    expected, make = WRONG_ENTRIES[what]
    with refused(expected):
        await wire.commit(draft, make(blob), receipt)
    await nothing_is_visible(wire, draft, blob, receipt)


async def test_a_wrong_manifest_digest_is_refused(wire: Wire) -> None:
    draft, blob, receipt = await prepared(wire)
    right = manifest_digest([("m", f"blake3:{digest(blob.content).hex()}")])
    with refused(ManifestDigestMismatchError, digest="0" * 64, actual=right):
        await wire.commit(draft, [blob.entry("m")], receipt, manifest_digest="0" * 64)
    assert await wire.names_visible() == []
    committed = await wire.commit(draft, [blob.entry("m")], receipt, manifest_digest=right)
    assert committed.version.manifest_digest == right


@pytest.mark.parametrize(
    ("expected", "more"),
    [
        (NameInvalidError, {"aliases": ["v3"]}),
        (NameInvalidError, {"aliases": ["a/b"]}),
        (NameInvalidError, {"tags": ["two  spaces"]}),
        (MetadataInvalidError, {"metadata_json": "[]"}),
        (MetadataInvalidError, {"metadata_json": '{"a": NaN}'}),
        (RequestInvalidError, {"description": "x" * (64 * 1024 + 1)}),
        (RequestInvalidError, {"ttl_seconds": 2**63}),
        (RequestInvalidError, {"request_id": ""}),
        (RequestInvalidError, {"request_id": "x" * 65}),
    ],
    ids=str,
)
async def test_a_wrong_word_beside_the_manifest_publishes_nothing(
    wire: Wire, expected: type[ModelwireError], more: dict[str, object]
) -> None:
    draft, blob, receipt = await prepared(wire)
    with refused(expected):
        await wire.commit(draft, [blob.entry("m")], receipt, **more)
    await nothing_is_visible(wire, draft, blob, receipt)


async def test_a_call_of_no_message_is_refused(wire: Wire) -> None:
    nothing: list[pb.CommitVersionRequest] = []
    with refused(RequestInvalidError):
        await wire.artifacts.CommitVersion(iter(nothing))


async def test_references_need_no_receipt_and_come_back_as_they_were(wire: Wire) -> None:
    draft = await wire.begin("M")
    there = ReferencedContent(uri="s3://bucket/model?x=ü", etag='"abc"', object_version="7")
    committed = await wire.commit(draft, [ManifestEntry(path="m", size=5, referenced=there)], "")
    assert (committed.version.size, committed.version.file_count) == (5, 1)
    assert committed.version.manifest_digest == manifest_digest([("m", "ref:s3://bucket/model?x=ü@7")])
    assert [entry.referenced for entry in await entries_of(wire, "M", 10)] == [there]
    assert await wire.use("M") == ""


async def entries_of(wire: Wire, reference: str, page_size: int, prefix: str = "") -> list[ManifestEntry]:
    """Walks all pages of a manifest."""
    found: list[ManifestEntry] = []
    token = ""
    while True:
        request = pb.ListEntriesRequest(
            reference=wire.ref(reference), path_prefix=prefix, page_size=page_size, page_token=token
        )
        answer = await wire.artifacts.ListEntries(request)
        found += answer.entries
        token = answer.next_page_token
        if not token:
            return found


async def test_50_000_entries_travel_in_pages(wire: Wire) -> None:
    draft = await wire.begin("M")
    blob = await wire.put(draft.token, os.urandom(10))
    receipt = (await wire.seal(draft.token, blob.blob_id)).receipt
    paths = [f"part-{number % 97}/{number}.bin" for number in range(50_000)]

    def messages() -> Iterator[pb.CommitVersionRequest]:
        yield pb.CommitVersionRequest(request_id=request_id(), draft_id=draft.draft_id, receipt=receipt)
        for first in range(0, len(paths), 10_000):
            yield pb.CommitVersionRequest(entries=map(blob.entry, paths[first : first + 10_000]))

    version = (await wire.artifacts.CommitVersion(messages())).version
    assert (version.file_count, version.size) == (50_000, 500_000)
    content = f"blake3:{digest(blob.content).hex()}"
    assert version.manifest_digest == manifest_digest((path, content) for path in paths)
    found = await entries_of(wire, "M", 5000)
    assert [entry.path for entry in found] == sorted(paths)
    assert found[0] == blob.entry(min(paths))
    below = await entries_of(wire, "M", 100, prefix="part-9")
    assert [entry.path for entry in below] == sorted(path for path in paths if path.startswith("part-9/"))


async def test_more_entries_than_allowed_are_refused(wire: Wire) -> None:
    draft, blob, receipt = await prepared(wire)
    entry = blob.entry("m").SerializeToString()
    page = pb.CommitVersionRequest.FromString(b"".join(b"\x52" + bytes([len(entry)]) + entry for _ in range(20_000)))

    def messages() -> Iterator[pb.CommitVersionRequest]:
        yield pb.CommitVersionRequest(request_id=request_id(), draft_id=draft.draft_id, receipt=receipt)
        yield from [page] * (MAX_ENTRIES // 20_000 + 1)

    with refused(ManifestInvalidError, limit=MAX_ENTRIES):
        await wire.artifacts.CommitVersion(messages())
    assert await wire.names_visible() == []


async def test_long_paths_never_make_an_answer_too_large(wire: Wire) -> None:
    draft, blob, receipt = await prepared(wire)
    segment = "ü" * 127
    paths = sorted(f"{segment}/{segment}/{segment}/{number}" for number in range(5000))
    requests = [pb.CommitVersionRequest(request_id=request_id(), draft_id=draft.draft_id, receipt=receipt)]
    pages = [paths[first : first + 2000] for first in range(0, len(paths), 2000)]
    requests += [pb.CommitVersionRequest(entries=map(blob.entry, page)) for page in pages]
    await wire.artifacts.CommitVersion(iter(requests))
    assert [entry.path for entry in await entries_of(wire, "M", 5000)] == paths
    assert len(await entries_of(wire, "M", 5000, prefix=f"{segment}/")) == 5000
    assert await entries_of(wire, "M", 5000, prefix=segment[1:]) == []


async def test_a_commit_that_is_cut_publishes_nothing(wire: Wire) -> None:
    for number in range(10):
        draft = await wire.begin(f"M{number}")
        entries = [ManifestEntry(path=path, referenced=ReferencedContent(uri=f"s3://bucket/{path}")) for path in "ab"]
        call: Any = wire.artifacts.CommitVersion(timeout=30)
        await call.write(pb.CommitVersionRequest(request_id=request_id(), draft_id=draft.draft_id, entries=entries[:1]))
        assert await wire.names_visible() == []  # on the same connection: the first message has arrived
        call.cancel()
        await wire.begin(f"M{number}")
        assert await wire.names_visible() == []
