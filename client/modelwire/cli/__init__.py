"""The command line: one file per verb."""

from modelwire.cli.main import main

__all__ = ["main"]
