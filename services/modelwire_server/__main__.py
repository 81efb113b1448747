"""The program `modelwire-server metadata | blob | all`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from modelwire.errors import SettingsError
from modelwire.memory import keep_large_buffers

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines say nothing that ours do not

INSTALL_HINT = "the modelwire services need more packages than the client: pip install 'modelwire[server]'"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Runs the services of modelwire.")

Data = Annotated[Path, typer.Option(envvar="MODELWIRE_DATA", help="Folder that keeps everything the services store.")]
Address = Annotated[
    str, typer.Option(envvar="MODELWIRE_SERVE_ADDRESS", help="host:port to listen on; port 0 takes a free one.")
]
BlobAddress = Annotated[str, typer.Option(envvar="MODELWIRE_SERVE_BLOB_ADDRESS", help="host:port of the blob service.")]
Announce = Annotated[
    str | None, typer.Option(help="host:port of the blob service as clients reach it, when that is not where it listens.")
]

Ready = AbstractAsyncContextManager[str]


@app.command()
def metadata(
    data: Data = Path("modelwire-data"),
    address: Address = "127.0.0.1:7700",
    blob_address: BlobAddress = "127.0.0.1:7701",
) -> None:
    """Runs the metadata service; --blob-address is what its tickets tell clients."""
    from modelwire_server.embedded import serve_metadata  # noqa: PLC0415 - see main()

    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        async with serve_metadata(data, address, [blob_address]) as host:
            yield f"metadata={host.address} data={data}"

    _run(serving)


@app.command()
def blob(data: Data = Path("modelwire-data"), address: Address = "127.0.0.1:7701") -> None:
    """Runs the blob service."""
    from modelwire_server.embedded import serve_blob  # noqa: PLC0415 - see main()

    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        async with serve_blob(data, address) as host:
            yield f"blob={host.address} data={data}"

    _run(serving)


@app.command(name="all")
def both(
    data: Data = Path("modelwire-data"),
    address: Address = "127.0.0.1:7700",
    blob_address: BlobAddress = "127.0.0.1:7701",
    announce_blob_address: Announce = None,
) -> None:
    """Runs both services in one process."""
    from modelwire_server.embedded import serve_all  # noqa: PLC0415 - see main()

    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        async with serve_all(data, address, blob_address, announce_blob_address) as (names, bytes_):
            yield f"metadata={names.address} blob={bytes_.address} data={data}"

    _run(serving)


def _run(serving: Callable[[], Ready]) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    keep_large_buffers()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        _runner()(_until_told(serving))
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _runner() -> Callable[[Awaitable[None]], object]:
    try:
        import uvloop  # noqa: PLC0415 - an extra, used when it is there
    except ModuleNotFoundError:
        return asyncio.run  # type: ignore[return-value]
    return uvloop.run  # type: ignore[return-value]


async def _until_told(serving: Callable[[], Ready]) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, told.set)
    async with serving() as what:
        # What is loaded now stays: a full collection that walks it again and again holds the loop for 80 ms each time.
        gc.collect()
        gc.freeze()
        print(f"modelwire ready {what}", flush=True)
        await told.wait()
        logging.getLogger(__name__).info("draining: calls under way may end, new ones are refused")
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(one)  # a second signal ends the process at once


def main() -> None:
    """Runs the program. The services' own packages are imported late, so that their absence gets one clear sentence."""
    try:
        import modelwire_server.embedded  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"modelwire", "modelwire_server"}:
            raise
        print(f"error: {INSTALL_HINT}", file=sys.stderr)
        raise SystemExit(1) from None
    app()


if __name__ == "__main__":
    main()
