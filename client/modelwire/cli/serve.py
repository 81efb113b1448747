"""modelwire serve."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

_SERVER = "modelwire_server"


def serve(
    data: Annotated[Path, typer.Option(help="Folder that keeps everything.")] = Path("modelwire-data"),
    address: Annotated[
        str, typer.Option(help="host:port of the metadata service; port 0 takes a free one.")
    ] = "127.0.0.1:7700",
    blob_address: Annotated[
        str, typer.Option(help="host:port of the blob service; port 0 takes a free one.")
    ] = "127.0.0.1:7701",
) -> None:
    """Runs both services on embedded storage, until SIGTERM or Ctrl-C."""
    if find_spec(_SERVER) is None:
        print("error: the services are not installed: pip install 'modelwire[server]'", file=sys.stderr)
        raise typer.Exit(1)
    # The services take this process's place, so that signals reach them; the client never imports them.
    places = ["--data", str(data), "--address", address, "--blob-address", blob_address]
    sys.stdout.flush()
    # -P: a token.py in the folder where the user happens to stand is not ours to run.
    os.execv(sys.executable, [sys.executable, "-P", "-m", _SERVER, "all", *places])  # noqa: S606 - our own program, no shell
