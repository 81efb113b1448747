"""The command line: one file per verb."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines say nothing that our errors do not

from modelwire.cli.main import main

__all__ = ["main"]
