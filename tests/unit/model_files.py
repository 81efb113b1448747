"""Writes small model files of the kinds whose headers say where to cut, right and hostile ones; reads folders back."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from modelwire._chunking import chunks_of

KIB, MIB = 1 << 10, 1 << 20


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes without structure, the same for the same seed."""
    return np.random.default_rng(seed).bytes(size)


def everything(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its bytes; None for a folder."""
    return {str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))}


def cut_up(path: Path) -> list[bytes]:
    """The chunks that a file is cut into."""
    with closing(path.open("rb")) as file:
        return [bytes(chunk) for chunk in chunks_of(file.fileno(), os.fstat(file.fileno()).st_size)]


def borders_of(chunks: Sequence[bytes]) -> set[int]:
    """The offsets at which chunks begin."""
    ends = np.cumsum([len(chunk) for chunk in chunks]).tolist()
    return {0, *ends[:-1]}


def write_safetensors(path: Path, tensors: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
    """Writes a file with the safetensors library; returns where each tensor lies in the file."""
    safetensors.numpy.save_file({name: np.frombuffer(data, np.uint8) for name, data in tensors.items()}, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return {
        name: (8 + length + header[name]["data_offsets"][0], 8 + length + header[name]["data_offsets"][1]) for name in tensors
    }


def safetensors_bytes(header: Any, body: bytes, *, length: int | None = None) -> bytes:
    """A safetensors file with a header that no library would write."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_bytes(
    tensors: Mapping[str, bytes], *, alignment: int = 32, pairs: Sequence[bytes] = (), offsets: Sequence[int] | None = None
) -> tuple[bytes, dict[str, int]]:
    """A GGUF file of version 3; returns it with the offset of each tensor in it."""
    said = [gguf_text("general.alignment") + struct.pack("<II", 4, alignment), *pairs]
    places, at = [], 0
    for data in tensors.values():
        places.append(at)
        at += -(-len(data) // alignment) * alignment
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(said)) + b"".join(said)
    for (name, data), place in zip(tensors.items(), offsets or places, strict=True):
        head += gguf_text(name) + struct.pack("<IQIQ", 1, len(data), 24, place)
    start = -(-len(head) // alignment) * alignment
    out = bytearray(head.ljust(start, b"\0"))
    for data in tensors.values():
        out += data.ljust(-(-len(data) // alignment) * alignment, b"\0")
    return bytes(out), {name: start + place for name, place in zip(tensors, places, strict=True)}


def zip_bytes(entries: Mapping[str, bytes]) -> tuple[bytes, dict[str, int]]:
    """A zip file without compression, as torch and numpy write it; returns it with the offset of each entry's data."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    whole = out.getvalue()
    return whole, {name: whole.index(data) for name, data in entries.items()}
