"""The metadata service as a whole: its database, and the four gRPC services on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelwire.api.metadata.v1 import artifact_service_pb2, lineage_service_pb2, registry_service_pb2, run_service_pb2
from modelwire_server.database import Database
from modelwire_server.metadata.artifact_service import ArtifactServicer
from modelwire_server.metadata.lineage_service import LineageServicer
from modelwire_server.metadata.registry_service import RegistryServicer
from modelwire_server.metadata.run_service import RunServicer
from modelwire_server.rpc.auth import Signer
from modelwire_server.rpc.host import HostedService, hosted_service

_MIGRATIONS = Path(__file__).parent / "migrations"


class Catalog:
    """Keeps names in one database."""

    def __init__(self, database: Database, signer: Signer, blob_addresses: Sequence[str]) -> None:
        self._database, self._signer, self._blob_addresses = database, signer, blob_addresses

    async def open(self) -> None:
        """Migrates the database. To be called once, before any call is served."""
        await self._database.migrate(_MIGRATIONS)

    async def close(self) -> None:
        """Releases the database."""
        await self._database.close()

    def hosted(self) -> list[HostedService]:
        """Returns the services to be hosted."""
        servicers = {
            run_service_pb2.DESCRIPTOR.services_by_name["RunService"]: RunServicer(self._database),
            artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"]: ArtifactServicer(
                self._database, self._signer, self._blob_addresses
            ),
            registry_service_pb2.DESCRIPTOR.services_by_name["RegistryService"]: RegistryServicer(self._database),
            lineage_service_pb2.DESCRIPTOR.services_by_name["LineageService"]: LineageServicer(self._database),
        }
        return [hosted_service(descriptor, servicer) for descriptor, servicer in servicers.items()]
