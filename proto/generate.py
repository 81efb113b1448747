"""Generates `modelwire.api` from the .proto files.

Runs under the pinned tools of `make proto` (proto/requirements.txt), never under the product's own environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def main(out: Path) -> int:
    """Writes messages, services and their mypy stubs below `out`; returns protoc's exit code."""
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    flags = [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
    flags += [f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"]
    code = int(protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *flags, *files]))
    for folder in {(out / name).parent for name in files}:
        for package in (folder, *folder.parents):
            if package in {out, out / "modelwire"}:
                break
            (package / "__init__.py").touch()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
