"""The face of the registry on the wire."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from modelwire.api.metadata.v1 import registry_service_pb2 as pb
from modelwire.names import DEFAULT_ENTITY, REGISTRY_PROJECT, check_artifact_name
from modelwire_server.database import Database
from modelwire_server.metadata import convert, registry, versions
from modelwire_server.metadata.collections import get_collection, list_members
from modelwire_server.metadata.records import Page
from modelwire_server.metadata.references import CollectionName
from modelwire_server.metadata.requests import Requests, body_digest
from modelwire_server.rpc.errors import Context
from modelwire_server.rpc.paging import PageToken, page_size

DEFAULT_PAGE, MAX_PAGE = 50, 1000


class RegistryServicer:
    """Answers the RPCs of `modelwire.api.metadata.v1.RegistryService`; registry_service.proto says what each promises."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._requests = Requests(database)

    async def LinkVersion(self, request: pb.LinkVersionRequest, context: Context) -> pb.LinkVersionResponse:
        """Links a version to a registered model."""

        async def work(connection: AsyncConnection) -> pb.LinkVersionResponse:
            link, created = await registry.link(
                connection,
                convert.reference(request.reference),
                request.entity,
                request.registered_model,
                list(request.aliases),
                convert.optional_run(request.run, request.HasField("run")),
                require_model=request.require_model,
            )
            return pb.LinkVersionResponse(link=convert.version_message(link), created=created)

        return await self._requests.once("LinkVersion", request.request_id, body_digest(request), pb.LinkVersionResponse, work)

    async def UnlinkVersion(self, request: pb.UnlinkVersionRequest, context: Context) -> pb.UnlinkVersionResponse:
        """Removes a link."""

        async def work(connection: AsyncConnection) -> pb.UnlinkVersionResponse:
            name = convert.reference(request.link)
            link = await registry.unlink(connection, name, delete_aliases=request.delete_aliases)
            return pb.UnlinkVersionResponse(link=convert.version_message(link))

        return await self._requests.once(
            "UnlinkVersion", request.request_id, body_digest(request), pb.UnlinkVersionResponse, work
        )

    async def SetLinkAliases(self, request: pb.SetLinkAliasesRequest, context: Context) -> pb.SetLinkAliasesResponse:
        """Gives aliases to a link and takes aliases from it."""
        expected = convert.expected_number(request.expected_current, request.HasField("expected_current"))

        async def work(connection: AsyncConnection) -> pb.SetLinkAliasesResponse:
            link = await registry.set_link_aliases(
                connection, convert.reference(request.link), list(request.add), list(request.remove), expected
            )
            return pb.SetLinkAliasesResponse(link=convert.version_message(link))

        return await self._requests.once(
            "SetLinkAliases", request.request_id, body_digest(request), pb.SetLinkAliasesResponse, work
        )

    async def ListRegisteredModels(
        self, request: pb.ListRegisteredModelsRequest, context: Context
    ) -> pb.ListRegisteredModelsResponse:
        """Lists registered models."""
        entity = request.entity or DEFAULT_ENTITY
        token = PageToken("registered models", entity, request.name_contains)
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        page = Page(size, token.read(request.page_token, str))
        async with self._database.read() as connection:
            found = await registry.list_models(connection, entity, request.name_contains, page)
        following = token.write(found[-1].name.name) if len(found) == size else ""
        models = map(convert.registered_model_message, found)
        return pb.ListRegisteredModelsResponse(registered_models=models, next_page_token=following)

    async def GetRegisteredModel(
        self, request: pb.GetRegisteredModelRequest, context: Context
    ) -> pb.GetRegisteredModelResponse:
        """Gives one registered model."""
        async with self._database.read() as connection:
            found = await get_collection(connection, _name(request.entity, request.name))
        return pb.GetRegisteredModelResponse(registered_model=convert.registered_model_message(found))

    async def UpdateRegisteredModel(
        self, request: pb.UpdateRegisteredModelRequest, context: Context
    ) -> pb.UpdateRegisteredModelResponse:
        """Changes the fields of a registered model that are set."""

        async def work(connection: AsyncConnection) -> pb.UpdateRegisteredModelResponse:
            model = await registry.change_model(
                connection,
                _name(request.entity, request.name),
                request.description if request.HasField("description") else None,
                list(request.tags.tags) if request.HasField("tags") else None,
            )
            return pb.UpdateRegisteredModelResponse(registered_model=convert.registered_model_message(model))

        return await self._requests.once(
            "UpdateRegisteredModel", request.request_id, body_digest(request), pb.UpdateRegisteredModelResponse, work
        )

    async def DeleteRegisteredModel(
        self, request: pb.DeleteRegisteredModelRequest, context: Context
    ) -> pb.DeleteRegisteredModelResponse:
        """Deletes a registered model with its links."""

        async def work(connection: AsyncConnection) -> pb.DeleteRegisteredModelResponse:
            name = _name(request.entity, request.name)
            count = await versions.remove_collection(connection, name, delete_aliases=request.delete_aliases)
            return pb.DeleteRegisteredModelResponse(removed_links=count)

        return await self._requests.once(
            "DeleteRegisteredModel", request.request_id, body_digest(request), pb.DeleteRegisteredModelResponse, work
        )

    async def ListLinks(self, request: pb.ListLinksRequest, context: Context) -> pb.ListLinksResponse:
        """Lists the links of a registered model."""
        name = _name(request.entity, request.registered_model)
        token = PageToken("links", str(name), request.oldest_first)
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        page = Page(size, token.read(request.page_token, int), request.oldest_first)
        async with self._database.read() as connection:
            found = await list_members(connection, name, page)
        following = token.write(found[-1].name.number) if len(found) == size else ""
        return pb.ListLinksResponse(links=map(convert.version_message, found), next_page_token=following)


def _name(entity: str, name: str) -> CollectionName:
    check_artifact_name(name, "registered model name")
    return CollectionName(entity or DEFAULT_ENTITY, REGISTRY_PROJECT, name)
