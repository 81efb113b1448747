"""Tickets and receipts over the wire: each wrong one is refused with its own reason, and nothing becomes visible."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

import jwt
import pytest

from integration.stubs import Blob, Draft, Wire, auth, digest, refused
from modelwire.api.blob.v1 import blob_service_pb2 as pb
from modelwire.errors import (
    BlobNotFoundError,
    BundleNotFoundError,
    DraftNotFoundError,
    ModelwireError,
    ReceiptExpiredError,
    ReceiptInvalidError,
    ReceiptMismatchError,
    TicketError,
    TicketExpiredError,
    TicketInvalidError,
    TicketMissingError,
    TicketScopeError,
)
from modelwire.wire import BLOB_AUDIENCE, METADATA_AUDIENCE
from modelwire_server.rpc.auth import ALGORITHM, TICKET_SECONDS, KeySet, Signer

FOREIGN = Signer(KeySet("k1", {"k1": os.urandom(32)}))
"""Signs with a key that the services do not have, under the id of one that they have."""


def resigned(wire: Wire, **claims: object) -> str:
    """A text signed with the installation's own key, whatever it claims."""
    keys = KeySet.load(wire.data / "keys.json")
    return jwt.encode(claims, keys.keys[keys.active], ALGORITHM, {"kid": keys.active})


def unsigned(wire: Wire) -> str:
    claims = {"aud": BLOB_AUDIENCE, "exp": time.time() + 100, "dom": wire.entity, "act": "write"}
    return jwt.encode(claims, None, "none", {"kid": "k1"})


def tampered(wire: Wire) -> str:
    """A good ticket in which the claims were replaced and the signature kept."""
    head, _, signature = wire.signer.write_ticket(wire.entity)[0].split(".")
    return ".".join((head, wire.signer.write_ticket("somebody-else")[0].split(".")[1], signature))


WRONG: dict[str, tuple[type[TicketError], Callable[[Wire], str]]] = {
    "empty": (TicketMissingError, lambda _: ""),
    "no-jwt": (TicketInvalidError, lambda _: "not a ticket"),
    "forged": (TicketInvalidError, lambda wire: FOREIGN.write_ticket(wire.entity)[0]),
    "unsigned": (TicketInvalidError, unsigned),
    "tampered": (TicketInvalidError, tampered),
    "a-receipt": (TicketInvalidError, lambda wire: wire.signer.receipt(wire.entity, bytes(32))),
    "without-end": (
        TicketInvalidError,
        lambda wire: resigned(wire, aud=BLOB_AUDIENCE, dom=wire.entity, act="write"),
    ),
    "without-domain": (TicketInvalidError, lambda wire: resigned(wire, aud=BLOB_AUDIENCE, exp=time.time() + 9, act="write")),
    "expired": (TicketExpiredError, lambda wire: wire.signer.write_ticket(wire.entity, seconds=0)[0]),
    "long-expired": (TicketExpiredError, lambda wire: wire.signer.write_ticket(wire.entity, seconds=-TICKET_SECONDS)[0]),
}


def rpcs(wire: Wire, blob: Blob, fresh: bytes) -> dict[str, Callable[[str], Awaitable[object]]]:
    """Every RPC of the blob service, to be called with a ticket."""

    async def recipes(token: str) -> object:
        request = pb.GetRecipesRequest(blob_ids=[blob.blob_id])
        return [answer async for answer in wire.blobs.GetRecipes(request, metadata=auth(token))]

    return {
        "GetCapabilities": lambda token: wire.blobs.GetCapabilities(pb.GetCapabilitiesRequest(), metadata=auth(token)),
        "FindMissingChunks": lambda token: wire.missing(token, digest(fresh)),
        "WriteChunks": lambda token: wire.write(token, [(digest(fresh), fresh)]),
        "CommitBlobs": lambda token: wire.commit_blobs(token, blob.recipe * 2),
        "SealBundle": lambda token: wire.seal(token, blob.blob_id),
        "GetRecipes": recipes,
        "ReadBlobs": lambda token: wire.read(token, (blob.blob_id, 0, 0)),
    }


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_ticket_opens_no_rpc_and_nothing_is_stored(wire: Wire, what: str) -> None:
    good = wire.signer.write_ticket(wire.entity)[0]
    blob = await wire.put(good, os.urandom(10))
    fresh = os.urandom(100)
    expected, make = WRONG[what]
    for call in rpcs(wire, blob, fresh).values():
        with refused(expected):
            await call(make(wire))
    assert await wire.missing(good, digest(fresh)) == [digest(fresh)]


async def test_a_call_without_a_bearer_is_told_so(wire: Wire) -> None:
    good = wire.signer.write_ticket(wire.entity)[0]
    for metadata in ((), (("authorization", f"Basic {good}"),), (("authorization", good),)):
        with refused(TicketMissingError):
            await wire.blobs.GetCapabilities(pb.GetCapabilitiesRequest(), metadata=metadata)


async def test_a_ticket_opens_only_what_it_was_made_for(wire: Wire) -> None:
    [blob], read = await wire.bundle([os.urandom(10)])
    write = wire.signer.write_ticket(wire.entity)[0]
    calls = rpcs(wire, blob, os.urandom(100))
    for name in ("FindMissingChunks", "WriteChunks", "CommitBlobs", "SealBundle"):
        with refused(TicketScopeError, needed="write"):
            await calls[name](read)
    for name in ("GetRecipes", "ReadBlobs"):
        with refused(TicketScopeError, needed="read"):
            await calls[name](write)
    for token in (read, write):
        await calls["GetCapabilities"](token)


async def test_a_ticket_for_another_bundle_reads_nothing_of_this_one(wire: Wire) -> None:
    [mine], own = await wire.bundle([os.urandom(10)])
    [other], _ = await wire.bundle([os.urandom(10)])
    assert await wire.read(own, (mine.blob_id, 0, 0))
    # A blob of another bundle and one that never was get the same answer: presence is not told.
    for blob_id in (other.blob_id, bytes(32)):
        with refused(TicketScopeError, needed="read"):
            await wire.read(own, (mine.blob_id, 0, 0), (blob_id, 0, 0))
        with refused(TicketScopeError, needed="read"):
            request = pb.GetRecipesRequest(blob_ids=[mine.blob_id, blob_id])
            _ = [answer async for answer in wire.blobs.GetRecipes(request, metadata=auth(own))]


async def test_another_entity_sees_neither_presence_nor_content(wire: Wire, project: str) -> None:
    content = os.urandom(1000)
    version = await wire.log("M", content)
    bundle_ticket = await wire.use("M")
    blob = (await wire.bundle([content]))[0][0]
    stranger = wire.of(f"stranger-{project}"[:100])
    token = stranger.signer.write_ticket(stranger.entity)[0]
    assert await stranger.missing(token, digest(content)) == [digest(content)]
    answer = await stranger.commit_blobs(token, blob.recipe)
    assert [item.reason for item in answer.rejected] == ["CHUNK_MISSING"]
    with refused(BlobNotFoundError):
        await stranger.seal(token, blob.blob_id)
    sealed = await wire.seal(wire.signer.write_ticket(wire.entity)[0], blob.blob_id)
    with refused(BundleNotFoundError):
        await stranger.read(stranger.signer.read_ticket(stranger.entity, sealed.bundle_id)[0], (blob.blob_id, 0, 0))
    written = await stranger.write(token, [(digest(content), content)])
    assert written.duplicates == 0
    assert await wire.read(bundle_ticket, (blob.blob_id, 0, 0))
    assert version.size == 1000


async def prepared(wire: Wire) -> tuple[Draft, Blob, pb.SealBundleResponse]:
    draft = await wire.begin("M")
    blob = await wire.put(draft.token, os.urandom(10))
    return draft, blob, await wire.seal(draft.token, blob.blob_id)


RECEIPTS: dict[str, tuple[type[ModelwireError], Callable[[Wire, bytes], str]]] = {
    "missing": (ReceiptInvalidError, lambda _, __: ""),
    "no-jwt": (ReceiptInvalidError, lambda _, __: "a receipt"),
    "forged": (ReceiptInvalidError, lambda wire, bundle: FOREIGN.receipt(wire.entity, bundle)),
    "a-write-ticket": (ReceiptInvalidError, lambda wire, _: wire.signer.write_ticket(wire.entity)[0]),
    "a-read-ticket": (ReceiptInvalidError, lambda wire, bundle: wire.signer.read_ticket(wire.entity, bundle)[0]),
    "without-end": (
        ReceiptInvalidError,
        lambda wire, bundle: resigned(wire, aud=METADATA_AUDIENCE, dom=wire.entity, bun=bundle.hex()),
    ),
    "of-another-domain": (ReceiptInvalidError, lambda wire, bundle: wire.signer.receipt("somebody-else", bundle)),
    "expired": (ReceiptExpiredError, lambda wire, bundle: wire.signer.receipt(wire.entity, bundle, seconds=-1)),
    "of-another-bundle": (ReceiptMismatchError, lambda wire, _: wire.signer.receipt(wire.entity, os.urandom(32))),
}


@pytest.mark.parametrize("what", RECEIPTS)
async def test_a_wrong_receipt_publishes_nothing(wire: Wire, what: str) -> None:
    draft, blob, sealed = await prepared(wire)
    expected, make = RECEIPTS[what]
    with refused(expected):
        await wire.commit(draft, [blob.entry("m")], make(wire, sealed.bundle_id))
    assert await wire.names_visible() == []
    committed = await wire.commit(draft, [blob.entry("m")], sealed.receipt)
    assert (committed.created, committed.version.name.version) == (True, 0)


async def test_a_receipt_must_cover_exactly_the_blobs_of_the_manifest(wire: Wire) -> None:
    draft, one, sealed = await prepared(wire)
    two = await wire.put(draft.token, os.urandom(10))
    both = await wire.seal(draft.token, one.blob_id, two.blob_id)
    with refused(ReceiptMismatchError, bundle=both.bundle_id.hex(), actual=sealed.bundle_id.hex()):
        await wire.commit(draft, [one.entry("1"), two.entry("2")], sealed.receipt)
    with refused(ReceiptMismatchError, bundle=sealed.bundle_id.hex(), actual=both.bundle_id.hex()):
        await wire.commit(draft, [one.entry("1")], both.receipt)
    assert await wire.names_visible() == []


async def test_a_draft_that_never_was_cannot_be_committed(wire: Wire) -> None:
    draft, blob, sealed = await prepared(wire)
    with refused(DraftNotFoundError):
        await wire.commit(Draft("0" * 32, draft.token), [blob.entry("m")], sealed.receipt)
    assert await wire.names_visible() == []


async def test_an_open_draft_gets_a_new_ticket(wire: Wire) -> None:
    draft = await wire.begin("M")
    again = await wire.begin("M", draft_id=draft.draft_id)
    assert again.draft_id == draft.draft_id
    assert await wire.missing(again.token, bytes(32)) == [bytes(32)]
