"""Many writers at once: nobody is lost, no number is left out, nothing is recorded twice."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc.aio

import modelwire
from integration.stubs import Draft, Wire, connected, decoded, request_id
from modelwire.api.metadata.v1 import artifact_service_pb2 as pb
from modelwire.api.metadata.v1 import registry_service_pb2 as registry_pb
from modelwire.errors import AliasMovedError
from modelwire_server.testing import RunningServices, ServerProcess

PROCESSES = 20


def start_logging(server: ServerProcess, folder: Path, project: str, number: int) -> subprocess.Popen[str]:
    """Starts a process that logs a file of its own."""
    (folder / f"{number}.bin").write_bytes(os.urandom(300_000))
    command = [sys.executable, "-W", "error", "-m", "modelwire", "log", f"{number}.bin", "--name", "M", "--json"]
    environment = {**os.environ, "MODELWIRE_ADDRESS": server.addresses["metadata"], "MODELWIRE_PROJECT": project}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


async def test_20_processes_log_to_one_artifact_at_once(server: ServerProcess, tmp_path: Path, project: str) -> None:
    processes = [start_logging(server, tmp_path, project, number) for number in range(PROCESSES)]
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, timeout=240) for process in processes))
    assert [(process.returncode, err) for process, (_, err) in zip(processes, outputs, strict=True)] == [(0, "")] * PROCESSES
    answers = [json.loads(out) for out, _ in outputs]
    assert sorted(answer["version"] for answer in answers) == sorted(f"v{number}" for number in range(PROCESSES))
    assert all(answer["created"] for answer in answers)
    running = RunningServices(server.addresses["metadata"], server.addresses["blob"], server.data)
    async with connected(running, project) as wire:
        listed = (await wire.artifacts.ListVersions(pb.ListVersionsRequest(artifact=wire.ref("M")))).versions
        assert [version.name.version for version in listed] == list(reversed(range(PROCESSES)))
        assert [list(version.aliases) for version in listed] == [["latest"]] + [[]] * (PROCESSES - 1)
        assert len({version.logged_by.run_id for version in listed}) == PROCESSES


def moves(data: Path, alias: str) -> list[tuple[int | None, int | None]]:
    """Every move of an alias in the order it was made: from, to."""
    connection = sqlite3.connect(data / "metadata" / "catalog.db")
    try:
        rows = connection.execute("SELECT from_number, to_number FROM alias_moves WHERE name = ? ORDER BY id", (alias,))
        return rows.fetchall()
    finally:
        connection.close()


def giving(wire: Wire, number: int, **more: str) -> pb.SetAliasesRequest:
    return pb.SetAliasesRequest(request_id=request_id(), reference=wire.ref(f"M:v{number}"), add=["best"], **more)


async def test_an_alias_that_many_move_at_once_is_at_one_place(own_wire: Wire) -> None:
    for number in range(5):
        await own_wire.log("M", bytes([number]))
    await asyncio.gather(*(own_wire.artifacts.SetAliases(giving(own_wire, number % 5)) for number in range(60)))
    versions = (await own_wire.artifacts.ListVersions(pb.ListVersionsRequest(artifact=own_wire.ref("M")))).versions
    [holder] = [version.name.version for version in versions if "best" in version.aliases]
    made = moves(own_wire.data, "best")
    assert made[0][0] is None
    assert [to for _, to in made[:-1]] == [come_from for come_from, _ in made[1:]]
    assert made[-1][1] == holder


async def test_of_many_that_expect_the_same_place_one_moves_the_alias(wire: Wire) -> None:
    for number in range(11):
        await wire.log("M", bytes([number]), aliases=["best"] if number == 0 else [])

    async def attempt(number: int) -> type[Exception] | int:
        try:
            return (await wire.artifacts.SetAliases(giving(wire, number, expected_current="v0"))).version.name.version
        except grpc.aio.AioRpcError as error:
            return type(decoded(error))

    results = await asyncio.gather(*(attempt(number) for number in range(1, 11)))
    counted = Counter(results)
    assert counted.pop(AliasMovedError) == 9
    [(winner, _)] = counted.items()
    assert (await wire.version("M:best")).name.version == winner


async def test_the_same_content_logged_by_many_at_once_is_one_version(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(2_000_000))

    async def log() -> modelwire.AsyncModelVersion:
        async with client.run() as run:
            return await run.log_model(source, name="M")

    versions = await asyncio.gather(*(log() for _ in range(10)))
    assert {version.name for version in versions} == {"M:v0"}
    assert sum(bool(version.created) for version in versions) == 1
    assert [version.name for version in await client.artifacts("M")] == ["M:v0"]


async def test_drafts_committed_at_once_are_numbered_without_a_gap(wire: Wire) -> None:
    contents = [os.urandom(10) for _ in range(20)] * 2
    versions = await asyncio.gather(*(wire.log("M", content) for content in contents))
    assert sorted(version.name.version for version in versions) == sorted([*range(20), *range(20)])
    by_content = dict(zip(contents, versions, strict=True))
    assert all(by_content[content].id == version.id for content, version in zip(contents, versions, strict=True))


async def test_one_request_sent_many_times_at_once_is_done_once(wire: Wire) -> None:
    draft = await wire.begin("M")
    blob = await wire.put(draft.token, b"a")
    receipt = (await wire.seal(draft.token, blob.blob_id)).receipt
    own = request_id()

    async def commit() -> pb.CommitVersionResponse:
        return await wire.commit(Draft(draft.draft_id, ""), [blob.entry("m")], receipt, request_id=own)

    first, *others = await asyncio.gather(*(commit() for _ in range(10)))
    assert first.created
    assert others == [first] * 9


async def test_a_version_linked_by_many_at_once_has_one_link(wire: Wire) -> None:
    await wire.log("M", b"a")
    model = f"R-{wire.project}"
    requests = [
        registry_pb.LinkVersionRequest(request_id=request_id(), reference=wire.ref("M"), registered_model=model)
        for _ in range(10)
    ]
    answers = await asyncio.gather(*(wire.registry.LinkVersion(request) for request in requests))
    assert sorted(answer.created for answer in answers) == [False] * 9 + [True]
    assert {answer.link.name.version for answer in answers} == {0}


async def test_the_same_chunk_sent_by_many_at_once_is_stored_once(own_wire: Wire) -> None:
    token = own_wire.signer.write_ticket(own_wire.entity)[0]
    content = os.urandom(100_000)
    blobs = await asyncio.gather(*(own_wire.put(token, content) for _ in range(10)))
    assert len({blob.blob_id for blob in blobs}) == 1
    connection = sqlite3.connect(own_wire.data / "blob" / "index.db")
    try:
        assert connection.execute("SELECT count(*), sum(size) FROM chunks").fetchone() == (1, 100_000)
    finally:
        connection.close()
