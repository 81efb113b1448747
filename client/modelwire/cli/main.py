"""The program `modelwire`: its verbs, and what happens when one of them fails.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from modelwire.cli.lineage import lineage
from modelwire.cli.link import link
from modelwire.cli.log import log
from modelwire.cli.ls import ls
from modelwire.cli.serve import serve
from modelwire.cli.show import show
from modelwire.cli.use import use
from modelwire.errors import InvalidError, ModelwireError, SettingsError, TargetPathError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Logs, uses and links models. The metadata service is found by MODELWIRE_ADDRESS.",
)
for verb in (log, use, link, ls, show, lineage):
    app.command()(verb)
app.command(context_settings={"ignore_unknown_options": False})(serve)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"modelwire {version('modelwire')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Takes the options that stand before a verb."""


def main() -> None:
    """Runs the program; every failure ends in one line that says what was wrong."""
    try:
        app()
    except SystemExit as end:  # typer ends the process itself, on Ctrl-C without a word
        if end.code == INTERRUPTED:
            _end("interrupted; what has arrived is kept, repeat the command to go on", INTERRUPTED)
        raise
    except (InvalidError, SettingsError, TargetPathError) as error:
        _end(f"error: {error}", WRONG_USAGE)
    except ModelwireError as error:
        _end(f"error: {error}", FAILED)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _end(f"error: {what}", FAILED)


def _end(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(code) from None
