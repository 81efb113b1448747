"""Both services as a client in another language sees them: the generated stubs, and nothing of our own client."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from blake3 import blake3

from modelwire.api.blob.v1 import blob_service_pb2 as blob_pb
from modelwire.api.blob.v1 import blob_service_pb2_grpc as blob_grpc
from modelwire.api.metadata.v1 import artifact_service_pb2 as artifact_pb
from modelwire.api.metadata.v1 import artifact_service_pb2_grpc as artifact_grpc
from modelwire.api.metadata.v1 import lineage_service_pb2_grpc as lineage_grpc
from modelwire.api.metadata.v1 import registry_service_pb2_grpc as registry_grpc
from modelwire.api.metadata.v1 import resources_pb2, run_service_pb2
from modelwire.api.metadata.v1 import run_service_pb2_grpc as run_grpc
from modelwire.errors import ModelwireError
from modelwire.wire import STATUS_DETAILS_KEY, decode_error
from modelwire_server.rpc.auth import KeySet, Signer
from modelwire_server.testing import RunningServices

Auth = tuple[tuple[str, str], ...]


def request_id() -> str:
    """A request id that was never used."""
    return uuid.uuid4().hex


def auth(token: str) -> Auth:
    """The metadata of a call under a ticket."""
    return (("authorization", f"Bearer {token}"),)


def digest(data: bytes) -> bytes:
    """BLAKE3-256, as any writer computes it."""
    return blake3(data).digest()


def decoded(error: grpc.aio.AioRpcError) -> ModelwireError:
    """The error that a service raised, read from the status details."""
    trailer: Any = tuple(error.trailing_metadata() or ())
    details = next((value for key, value in trailer if key == STATUS_DETAILS_KEY), None)
    return decode_error(error.code().name, error.details() or "", details).error


@contextmanager
def refused(expected: type[ModelwireError], **facts: object) -> Iterator[None]:
    """Passes when the block ends in a status with the code, the reason and the facts of `expected`."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield
    error = decoded(raised.value)
    assert (type(error), raised.value.code().name) == (expected, expected.code), f"{raised.value.code()}: {error!r}"
    assert {key: error.facts.get(key) for key in facts} == {key: str(value) for key, value in facts.items()}


@dataclass(frozen=True)
class Blob:
    """A file that was written: its entry's digests, and its recipe."""

    blob_id: bytes
    content: bytes
    recipe: list[tuple[bytes, int]]

    def entry(self, path: str) -> resources_pb2.ManifestEntry:
        """Its entry in a manifest."""
        stored = resources_pb2.StoredContent(content_digest=f"blake3:{digest(self.content).hex()}", blob_id=self.blob_id)
        return resources_pb2.ManifestEntry(path=path, size=len(self.content), stored=stored)


@dataclass(frozen=True)
class Draft:
    """An open draft with its ticket."""

    draft_id: str
    token: str


class Wire:
    """Makes calls with generated code, in one project of one entity."""

    def __init__(self, names: grpc.aio.Channel, bytes_: grpc.aio.Channel, data: Path, project: str, entity: str) -> None:
        self.names, self.bytes, self.data, self.project, self.entity = names, bytes_, data, project, entity
        self.blobs: blob_grpc.BlobServiceAsyncStub = blob_grpc.BlobServiceStub(bytes_)  # type: ignore[assignment]
        self.artifacts: artifact_grpc.ArtifactServiceAsyncStub = artifact_grpc.ArtifactServiceStub(names)  # type: ignore[assignment]
        self.runs: run_grpc.RunServiceAsyncStub = run_grpc.RunServiceStub(names)  # type: ignore[assignment]
        self.registry: registry_grpc.RegistryServiceAsyncStub = registry_grpc.RegistryServiceStub(names)  # type: ignore[assignment]
        self.lineage: lineage_grpc.LineageServiceAsyncStub = lineage_grpc.LineageServiceStub(names)  # type: ignore[assignment]

    def of(self, entity: str) -> Wire:
        """The same connection, for another entity."""
        return Wire(self.names, self.bytes, self.data, self.project, entity)

    @property
    def signer(self) -> Signer:
        """Signs as the services do, with the key of their data folder."""
        return Signer(KeySet.load(self.data / "keys.json"))

    def ref(self, text: str) -> resources_pb2.Reference:
        """A reference in this project."""
        return resources_pb2.Reference(text=text, default_entity=self.entity, default_project=self.project)

    def run_name(self, run_id: str) -> resources_pb2.RunName:
        """A run's name in this project."""
        return resources_pb2.RunName(entity=self.entity, project=self.project, run_id=run_id)

    # ── Bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, token: str, *messages: Sequence[tuple[bytes, bytes]]) -> blob_pb.WriteChunksResponse:
        """Makes one WriteChunks call of messages of (digest, data)."""
        requests = [blob_pb.WriteChunksRequest(chunks=[_chunk(one) for one in message]) for message in messages]
        return await self.blobs.WriteChunks(iter(requests), metadata=auth(token))

    async def missing(self, token: str, *digests: bytes) -> list[bytes]:
        """Asks which chunks are missing."""
        request = blob_pb.FindMissingChunksRequest(digests=digests)
        return list((await self.blobs.FindMissingChunks(request, metadata=auth(token))).missing)

    async def commit_blobs(self, token: str, *recipes: Sequence[tuple[bytes, int]]) -> blob_pb.CommitBlobsResponse:
        """Commits recipes, in parts of 4096 chunks."""
        requests = []
        for recipe in recipes:
            for first in range(0, max(1, len(recipe)), 4096):
                refs = [blob_pb.ChunkRef(digest=one, size=size) for one, size in recipe[first : first + 4096]]
                part = blob_pb.Recipe(chunks=refs, continues=first + 4096 < len(recipe))
                requests.append(blob_pb.CommitBlobsRequest(recipes=[part]))
        return await self.blobs.CommitBlobs(iter(requests), metadata=auth(token))

    async def put(self, token: str, *chunks: bytes) -> Blob:
        """Writes one blob of the given chunks, from first to last by hand."""
        pairs = [(digest(chunk), chunk) for chunk in chunks]
        many = 1 if any(len(chunk) > 4096 for chunk in chunks) else 512
        messages = [pairs[first : first + many] for first in range(0, len(pairs), many)]
        for first in range(0, len(messages), 16):
            await self.write(token, *messages[first : first + 16])
        recipe = [(one, len(data)) for one, data in pairs]
        answer = await self.commit_blobs(token, recipe)
        assert not answer.rejected
        assert answer.blobs[0].size == sum(map(len, chunks))
        return Blob(answer.blobs[0].blob_id, b"".join(chunks), recipe)

    async def seal(self, token: str, *blob_ids: bytes) -> blob_pb.SealBundleResponse:
        """Seals a bundle."""
        request = blob_pb.SealBundleRequest(blob_ids=blob_ids)
        return await self.blobs.SealBundle(iter([request]), metadata=auth(token))

    async def bundle(self, *contents: Sequence[bytes]) -> tuple[list[Blob], str]:
        """Writes and seals blobs, each given by its chunks; returns them and a ticket to read the bundle."""
        token = self.signer.write_ticket(self.entity)[0]
        blobs = [await self.put(token, *chunks) for chunks in contents]
        sealed = await self.seal(token, *(blob.blob_id for blob in blobs))
        return blobs, self.signer.read_ticket(self.entity, sealed.bundle_id)[0]

    async def read(
        self, token: str, *ranges: tuple[bytes, int, int], whole_chunks: bool = False
    ) -> list[blob_pb.ReadBlobsResponse]:
        """Reads ranges of (blob id, offset, length); returns the messages."""
        wanted = [blob_pb.BlobRange(blob_id=one, offset=offset, length=length) for one, offset, length in ranges]
        request = blob_pb.ReadBlobsRequest(ranges=wanted, whole_chunks=whole_chunks)
        return [message async for message in self.blobs.ReadBlobs(request, metadata=auth(token))]

    # ── Names ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self, artifact: str, type_: str = "model", run: str = "", **more: Any) -> Draft:
        """Opens a draft."""
        request = artifact_pb.BeginVersionRequest(
            request_id=request_id(), entity=self.entity, project=self.project, artifact=artifact, type=type_, **more
        )
        if run:
            request.run.CopyFrom(self.run_name(run))
        answer = await self.artifacts.BeginVersion(request)
        return Draft(answer.draft_id, answer.ticket.token)

    async def commit(
        self, draft: Draft, entries: Iterable[resources_pb2.ManifestEntry], receipt: str, **more: Any
    ) -> artifact_pb.CommitVersionResponse:
        """Commits a draft in one message."""
        more.setdefault("request_id", request_id())
        request = artifact_pb.CommitVersionRequest(draft_id=draft.draft_id, receipt=receipt, entries=entries, **more)
        return await self.artifacts.CommitVersion(iter([request]))

    async def log(
        self,
        artifact: str,
        content: bytes | Mapping[str, bytes],
        type_: str = "model",
        run: str = "",
        **more: Any,
    ) -> resources_pb2.Version:
        """Logs files of one chunk each, from first to last by hand; one file is called "model"."""
        draft = await self.begin(artifact, type_, run)
        files = content if isinstance(content, Mapping) else {"model": content}
        blobs = {path: await self.put(draft.token, *([data] if data else [])) for path, data in files.items()}
        sealed = await self.seal(draft.token, *(blob.blob_id for blob in blobs.values()))
        entries = [blob.entry(path) for path, blob in blobs.items()]
        return (await self.commit(draft, entries, sealed.receipt, **more)).version

    async def version(self, text: str) -> resources_pb2.Version:
        """Gets a version."""
        return (await self.artifacts.GetVersion(artifact_pb.GetVersionRequest(reference=self.ref(text)))).version

    async def start_run(self, run_id: str, **more: Any) -> resources_pb2.Run:
        """Creates a run."""
        request = run_service_pb2.CreateRunRequest(request_id=request_id(), name=self.run_name(run_id), **more)
        return (await self.runs.CreateRun(request)).run

    async def use(self, text: str, run: str = "") -> str:
        """Uses a version; returns the ticket to read it."""
        request = artifact_pb.UseVersionRequest(request_id=request_id(), reference=self.ref(text))
        if run:
            request.run.CopyFrom(self.run_name(run))
        return (await self.artifacts.UseVersion(request)).ticket.token

    async def names_visible(self) -> list[str]:
        """The artifacts of this project; an entity or project that never came into being has none."""
        request = artifact_pb.ListArtifactsRequest(entity=self.entity, project=self.project)
        return [artifact.name for artifact in (await self.artifacts.ListArtifacts(request)).artifacts]


def _chunk(pair: tuple[bytes, bytes]) -> blob_pb.Chunk:
    return blob_pb.Chunk(digest=pair[0], data=pair[1])


@asynccontextmanager
async def connected(running: RunningServices, project: str, entity: str = "default") -> AsyncIterator[Wire]:
    """Opens a channel to each service, without any option: gRPC's defaults must do."""
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(grpc.aio.insecure_channel(running.address))
        bytes_ = await stack.enter_async_context(grpc.aio.insecure_channel(running.blob_address))
        yield Wire(names, bytes_, running.data, project, entity)
