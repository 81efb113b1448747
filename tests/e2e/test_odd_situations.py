"""Situations that are rare one by one and certain to come: odd folders, forks, races, damage, wrong addresses."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import modelwire
from command_line import CommandLine
from modelwire._cache import ContentCache
from modelwire.errors import DataDamagedError, EntryNotFoundError, UsageError
from modelwire_server.blob.chunk_store import ChunkStore
from modelwire_server.blob.recipes import RecipePart
from modelwire_server.blob.stores.memory import MemoryPackStore
from modelwire_server.database import Database
from modelwire_server.testing import RunningServices, ServerProcess

MIB = 1 << 20


def test_a_module_in_the_users_folder_is_not_run_by_serve(tmp_path: Path) -> None:
    (tmp_path / "token.py").write_text("raise SystemExit('shadowed')")
    modelwire_program = str(Path(sys.executable).with_name("modelwire"))
    command = [modelwire_program, "serve", "--data", "store", "--address", "127.0.0.1:0", "--blob-address", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("modelwire ready")
        process.terminate()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1", "http://127.0.0.1:1"])
def test_an_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelwire_server", "blob", "--data", str(tmp_path / "data"), "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "it must be host:port" in done.stderr
    ran = CommandLine(address, tmp_path)("ls", code=2)
    assert "it must be host:port" in ran.err


def test_many_processes_open_one_cache_at_once(tmp_path: Path) -> None:
    program = (
        "from modelwire._cache import ContentCache; from pathlib import Path\n"
        "for _ in range(150):\n"
        "    cache = ContentCache(Path('cache')); assert cache.own.is_dir(); cache.close()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) for _ in range(3)]
    assert [process.wait(100) for process in processes] == [0, 0, 0]
    assert not list((tmp_path / "cache" / "incoming").glob("*.process"))


async def test_a_version_that_does_not_fit_the_cache_goes_past_it(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    for number in range(4):
        (source / f"{number}.bin").write_bytes(os.urandom(5 * MIB))
    client._session._cache = ContentCache(tmp_path / "cache", max_size=12 * MIB)
    client._session._cache_opened = True
    async with client.run() as run:
        await run.log_model(source, name="M")
        path = await run.use_model("M")
    for number in range(4):
        assert (path / f"{number}.bin").read_bytes() == (source / f"{number}.bin").read_bytes()
    assert list((tmp_path / "cache").rglob("*.part")) == []
    assert sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file()) <= 12 * MIB


async def test_a_run_or_client_that_has_ended_says_so(services: RunningServices, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")
    client = modelwire.AsyncClient(services.address, project="ended")
    run = client.run()
    await run.start()
    await run.finish()
    await client.close()
    for call in (
        run.log_model(tmp_path / "m"),
        run.link_model(tmp_path / "m", "R"),
        run.log_artifact(tmp_path / "m", "a", "b"),
    ):
        with pytest.raises(UsageError, match="ended"):
            await call
    with pytest.raises(UsageError, match="closed"):
        await client.artifact("m")


async def test_a_prefix_that_matches_nothing_is_an_error(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")
    async with client.run() as run:
        version = await run.log_model(tmp_path / "m", name="M")
    with pytest.raises(EntryNotFoundError, match="nowhere"):
        await version.download(path_prefix="nowhere")


async def test_one_upload_mends_everything_that_one_use_found_damaged(own_services: RunningServices, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(20 * MIB))
    async with modelwire.AsyncClient(own_services.address, project="p") as client, client.run() as run:
        await run.log_model(source, name="M")
        for pack in (own_services.data / "blob" / "packs").glob("*/*.pack"):
            with pack.open("r+b") as file:
                for offset in range(0, pack.stat().st_size, 2 * MIB):
                    file.seek(offset)
                    byte = file.read(1)
                    file.seek(offset)
                    file.write(bytes([byte[0] ^ 1]))
        with pytest.raises(DataDamagedError, match=r"model\.bin"):
            await run.use_model("M")
        again = await run.log_model(source, name="M")
        assert (again.created, again.stats.sent_bytes > 9 * MIB) == (False, True)
        assert (await run.use_model("M")).read_bytes() == source.read_bytes()


async def test_a_recipe_of_a_million_chunks_is_taken_in_pieces(tmp_path: Path) -> None:
    store = ChunkStore(MemoryPackStore(), Database(tmp_path / "index.db"))
    await store.open()
    try:
        from modelwire.digests import chunk_id  # noqa: PLC0415
        from modelwire.wire import ChunkFrame  # noqa: PLC0415

        data = b"x" * 1000
        digest = chunk_id(data)

        async def chunks() -> AsyncIterator[list[ChunkFrame]]:
            yield [ChunkFrame(digest, data)]

        async def recipe() -> AsyncIterator[list[RecipePart]]:
            for number in range(256):
                yield [RecipePart([(digest, 1000)] * 4096, begins=number == 0)]

        await store.write_chunks("default", chunks())
        [blob] = await store.commit_blobs("default", recipe())
        assert (blob.error, blob.size) == (None, 256 * 4096 * 1000)
        found = await store.index.page_at(1, 4096 * 1000 * 200 + 5)
        assert (found[0], len(found[1])) == (4096 * 1000 * 200, 4096)
    finally:
        await store.close()


def test_a_forked_child_leaves_the_parents_run_alone(cli: CommandLine) -> None:
    program = """
import os, sys, warnings
import modelwire
run = modelwire.init(project="p", id="parent")
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    try:
        run.use_model("M")
    except modelwire.errors.UsageError as error:
        print("forked" in str(error), flush=True)
    sys.exit(0)
os.waitpid(child, 0)
run.finish()
print(modelwire.Client(project="p").run_info("parent").state)
"""
    ran = cli.python(program)
    assert ran.out == "True\nfinished\n"
    assert "could not be finished" not in ran.err


def test_the_version_is_shown(server: ServerProcess, cli: CommandLine) -> None:
    assert cli("--version").out.startswith("modelwire 0.")


async def test_many_tasks_and_one_client_use_one_model(client: modelwire.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(30 * MIB))
    async with client.run() as run:
        await run.log_model(source, name="M")
        version = await client.artifact("M")
        paths = await asyncio.gather(*(version.download(tmp_path / f"out{number}") for number in range(8)))
    assert all(path.read_bytes() == source.read_bytes() for path in paths)
