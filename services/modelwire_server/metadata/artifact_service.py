"""The face of artifacts and versions on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from blake3 import blake3
from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.api.metadata.v1 import artifact_service_pb2 as pb
from modelwire.api.metadata.v1 import resources_pb2
from modelwire.errors import ManifestInvalidError, RequestInvalidError
from modelwire.names import DEFAULT_ENTITY, DEFAULT_PROJECT, MAX_ENTRIES
from modelwire_server.database import Database
from modelwire_server.metadata import convert, versions
from modelwire_server.metadata.collections import list_collections, list_members
from modelwire_server.metadata.lookup import find_member
from modelwire_server.metadata.manifests import Manifest, list_entries
from modelwire_server.metadata.records import Entry, Page, VersionRecord
from modelwire_server.metadata.requests import Requests, body_digest
from modelwire_server.metadata.tables import collections
from modelwire_server.metadata.versions import Description, Draft, NewVersion
from modelwire_server.rpc.auth import Signer
from modelwire_server.rpc.errors import Context
from modelwire_server.rpc.paging import PageToken, page_size

DEFAULT_PAGE, MAX_PAGE = 50, 1000
DEFAULT_ENTRIES, MAX_ENTRIES_PAGE = 1000, 5000
MAX_ENTRY_BYTES = 2 << 20
"""Bytes of entries in one answer, with room to the limit of a message for long paths."""


class ArtifactServicer:
    """Answers the RPCs of `modelwire.api.metadata.v1.ArtifactService`; artifact_service.proto says what each promises."""

    def __init__(self, database: Database, signer: Signer, blob_addresses: Sequence[str]) -> None:
        self._database, self._signer, self._blob_addresses = database, signer, blob_addresses
        self._requests = Requests(database)

    async def BeginVersion(self, request: pb.BeginVersionRequest, context: Context) -> pb.BeginVersionResponse:
        """Opens a draft and gives a ticket to write its bytes."""
        new = NewVersion(
            request.entity,
            request.project,
            request.artifact,
            request.type,
            convert.optional_run(request.run, request.HasField("run")),
            request.manifest_digest,
        )

        async def work(connection: AsyncConnection) -> pb.BeginVersionResponse:
            found: Draft | VersionRecord
            if request.draft_id:
                found = await versions.reopen(connection, request.draft_id)
            else:
                found = await versions.begin(connection, new)
            if isinstance(found, VersionRecord):
                return pb.BeginVersionResponse(existing=convert.version_message(found))
            token, end = self._signer.write_ticket(found.domain)
            ticket = convert.ticket_message(token, self._blob_addresses, end)
            return pb.BeginVersionResponse(draft_id=found.id, ticket=ticket)

        return await self._requests.once(
            "BeginVersion", request.request_id, body_digest(request), pb.BeginVersionResponse, work
        )

    async def CommitVersion(
        self, request_iterator: AsyncIterator[pb.CommitVersionRequest], context: Context
    ) -> pb.CommitVersionResponse:
        """Publishes a draft."""
        first, entries, body = await _receive(request_iterator)
        manifest = await asyncio.to_thread(Manifest, entries)
        description = Description(first.description, first.metadata_json, list(first.tags), first.ttl_seconds)

        async def work(connection: AsyncConnection) -> pb.CommitVersionResponse:
            receipt = self._signer.check_receipt(first.receipt) if first.receipt else None
            version, created = await versions.commit(
                connection,
                first.draft_id,
                manifest,
                (receipt.domain, receipt.bundle) if receipt else None,
                description,
                list(first.aliases),
                first.manifest_digest,
            )
            return pb.CommitVersionResponse(version=convert.version_message(version), created=created)

        return await self._requests.once("CommitVersion", first.request_id, body, pb.CommitVersionResponse, work)

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        """Gives the version that a reference names."""
        async with self._database.read() as connection:
            version = await find_member(connection, convert.reference(request.reference))
        return pb.GetVersionResponse(version=convert.version_message(version))

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        """Lists the versions of an artifact."""
        name = convert.collection_reference(request.artifact)
        token = PageToken("versions", str(name), sorted(request.tags), request.oldest_first)
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        page = Page(size, token.read(request.page_token, int), request.oldest_first)
        async with self._database.read() as connection:
            found = await list_members(connection, name, page, list(request.tags))
        following = token.write(found[-1].name.number) if len(found) == size else ""
        return pb.ListVersionsResponse(versions=map(convert.version_message, found), next_page_token=following)

    async def ListArtifacts(self, request: pb.ListArtifactsRequest, context: Context) -> pb.ListArtifactsResponse:
        """Lists the artifacts of a project."""
        entity, project = request.entity or DEFAULT_ENTITY, request.project or DEFAULT_PROJECT
        token = PageToken("artifacts", entity, project, request.type)
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        page = Page(size, token.read(request.page_token, str))
        conditions = [collections.c.type == request.type] if request.type else []
        async with self._database.read() as connection:
            found = await list_collections(connection, entity, project, page, *conditions)
        following = token.write(found[-1].name.name) if len(found) == size else ""
        return pb.ListArtifactsResponse(artifacts=map(convert.artifact_message, found), next_page_token=following)

    async def UpdateVersion(self, request: pb.UpdateVersionRequest, context: Context) -> pb.UpdateVersionResponse:
        """Changes the fields of a version that are set."""
        changes = Description(
            request.description if request.HasField("description") else None,
            request.metadata_json if request.HasField("metadata_json") else None,
            list(request.tags.tags) if request.HasField("tags") else None,
            request.ttl_seconds if request.HasField("ttl_seconds") else None,
        )

        async def work(connection: AsyncConnection) -> pb.UpdateVersionResponse:
            version = await versions.change(connection, convert.reference(request.reference), changes)
            return pb.UpdateVersionResponse(version=convert.version_message(version))

        return await self._requests.once(
            "UpdateVersion", request.request_id, body_digest(request), pb.UpdateVersionResponse, work
        )

    async def SetAliases(self, request: pb.SetAliasesRequest, context: Context) -> pb.SetAliasesResponse:
        """Gives aliases to a version and takes aliases from it."""
        expected = convert.expected_number(request.expected_current, request.HasField("expected_current"))

        async def work(connection: AsyncConnection) -> pb.SetAliasesResponse:
            version = await versions.set_aliases(
                connection, convert.reference(request.reference), list(request.add), list(request.remove), expected
            )
            return pb.SetAliasesResponse(version=convert.version_message(version))

        return await self._requests.once("SetAliases", request.request_id, body_digest(request), pb.SetAliasesResponse, work)

    async def DeleteVersion(self, request: pb.DeleteVersionRequest, context: Context) -> pb.DeleteVersionResponse:
        """Deletes a version."""

        async def work(connection: AsyncConnection) -> pb.DeleteVersionResponse:
            name = convert.reference(request.reference)
            version = await versions.remove(connection, name, delete_aliases=request.delete_aliases)
            return pb.DeleteVersionResponse(version=convert.version_message(version))

        return await self._requests.once(
            "DeleteVersion", request.request_id, body_digest(request), pb.DeleteVersionResponse, work
        )

    async def DeleteArtifact(self, request: pb.DeleteArtifactRequest, context: Context) -> pb.DeleteArtifactResponse:
        """Deletes an artifact with all its versions."""

        async def work(connection: AsyncConnection) -> pb.DeleteArtifactResponse:
            name = convert.collection_reference(request.artifact)
            count = await versions.remove_collection(connection, name, delete_aliases=request.delete_aliases)
            return pb.DeleteArtifactResponse(deleted_versions=count)

        return await self._requests.once(
            "DeleteArtifact", request.request_id, body_digest(request), pb.DeleteArtifactResponse, work
        )

    async def UseVersion(self, request: pb.UseVersionRequest, context: Context) -> pb.UseVersionResponse:
        """Resolves a reference, records the input, and gives a ticket to read."""

        async def work(connection: AsyncConnection) -> pb.UseVersionResponse:
            version = await versions.use(
                connection,
                convert.reference(request.reference),
                convert.optional_run(request.run, request.HasField("run")),
                require_model=request.require_model,
                type_=request.type,
            )
            return pb.UseVersionResponse(version=convert.version_message(version), ticket=self._read_ticket(version))

        return await self._requests.once("UseVersion", request.request_id, body_digest(request), pb.UseVersionResponse, work)

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        """Lists the entries of a version."""
        size = page_size(request.page_size, DEFAULT_ENTRIES, MAX_ENTRIES_PAGE)
        async with self._database.read() as connection:
            version = await find_member(connection, convert.reference(request.reference))
            token = PageToken("entries", version.version_id, request.path_prefix)
            page = Page(size, token.read(request.page_token, str))
            found = await list_entries(connection, version.version_id, request.path_prefix, page)
        messages: list[resources_pb2.ManifestEntry] = []
        total = 0
        for message in map(convert.entry_message, found):
            total += message.ByteSize()
            if messages and total > MAX_ENTRY_BYTES:
                break
            messages.append(message)
        more = len(messages) < len(found) or len(found) == size
        following = token.write(messages[-1].path) if messages and more else ""
        return pb.ListEntriesResponse(entries=messages, next_page_token=following)

    def _read_ticket(self, version: VersionRecord) -> resources_pb2.Ticket | None:
        if version.bundle is None:
            return None
        token, end = self._signer.read_ticket(version.domain, version.bundle)
        return convert.ticket_message(token, self._blob_addresses, end)


async def _receive(
    requests: AsyncIterator[pb.CommitVersionRequest],
) -> tuple[pb.CommitVersionRequest, list[Entry], bytes]:
    """Takes in a whole CommitVersion call: its first message, all its entries, and the digest of it all."""
    first: pb.CommitVersionRequest | None = None
    entries: list[Entry] = []
    body = blake3()
    async for request in requests:
        first = first or request
        body.update(body_digest(request))
        entries += convert.entries(request.entries)
        if len(entries) > MAX_ENTRIES:
            raise ManifestInvalidError(f"a version holds at most {MAX_ENTRIES} entries", limit=MAX_ENTRIES)
    if first is None:
        raise RequestInvalidError("CommitVersion needs at least one message", field="draft_id")
    return first, entries, body.digest()
