"""The vectors of this folder hold for modelwire.digests, and for the formulas of docs/protocol.md written out here.

`python -m tests.vectors.test_vectors` writes the files anew, by the formulas alone; see README.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from modelwire import digests
from modelwire._chunking import chunks_of, fixed_pieces
from modelwire.names import check_paths

HERE = Path(__file__).resolve().parent
KIB, MIB = 1 << 10, 1 << 20

CHUNK_SIZES = [1, 2, 64 * KIB, *(border + step for border in (256 * KIB, MIB) for step in (-1, 0, 1)), 2 * MIB - 1, 2 * MIB]
BLOB_SIZES = [0, 1, 2, 64 * KIB, *(border + step for border in (256 * KIB, MIB, 2 * MIB, 4 * MIB) for step in (-1, 0, 1))]
OTHER_CUTS = [(1000, 600), (600, 1000), (1600,), (MIB, MIB), (2 * MIB,), (256 * KIB, 2 * MIB, 1)]


def content(size: int) -> bytes:
    """The content rule of the README: byte i is i % 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cuts content into pieces of the given sizes."""
    assert sum(sizes) == len(data)
    return [data[sum(sizes[:at]) : sum(sizes[: at + 1])] for at in range(len(sizes))]


def every_mib(size: int) -> list[int]:
    """The cut that the README calls fixed."""
    return [min(MIB, size - start) for start in range(0, size, MIB)]


# ── The formulas, once more ───────────────────────────────────────────────────────────────────────────────────────────


def chunk_vector(size: int) -> dict[str, Any]:
    return {"size": size, "chunk_id": blake3(content(size)).hexdigest()}


def blob_vector(sizes: list[int]) -> dict[str, Any]:
    data = content(sum(sizes))
    ids = [blake3(piece).digest() for piece in cut(data, sizes)]
    form = b"modelwire.blob.v1\n"
    for digest, size in zip(ids, sizes, strict=True):
        form += digest + bytes((size >> shift) & 0xFF for shift in range(56, -1, -8))
    return {
        "size": len(data),
        "content_digest": "blake3:" + blake3(data).hexdigest(),
        "chunks": [{"chunk_id": digest.hex(), "size": size} for digest, size in zip(ids, sizes, strict=True)],
        "canonical_form": form.hex(),
        "blob_id": blake3(form).hexdigest(),
    }


def bundle_vector(name: str, blob_ids: list[str]) -> dict[str, Any]:
    distinct = sorted(set(blob_ids))  # lower-case hexadecimal sorts as its bytes do
    form = b"modelwire.bundle.v1\n" + bytes.fromhex("".join(distinct))
    return {
        "name": name,
        "blob_ids": blob_ids,
        "distinct_ascending": distinct,
        "canonical_form": form.hex(),
        "bundle_id": blake3(form).hexdigest(),
    }


def manifest_vector(name: str, entries: list[tuple[str, str]]) -> dict[str, Any]:
    coded = {path.encode("utf-8"): text for path, text in entries}
    form = b"modelwire.manifest.v1\n"
    for path in sorted(coded):
        form += path + b"\x00" + coded[path].encode("utf-8") + b"\x0a"
    return {
        "name": name,
        "entries": [{"path": path, "digest_text": text} for path, text in entries],
        "paths_ascending": [path.hex() for path in sorted(coded)],
        "canonical_form": form.hex(),
        "manifest_digest": blake3(form).hexdigest(),
    }


def all_vectors() -> dict[str, list[dict[str, Any]]]:
    """Every file of the folder by its name."""
    blobs = [blob_vector(every_mib(size)) for size in BLOB_SIZES] + [blob_vector(list(sizes)) for sizes in OTHER_CUTS]
    ids = [blob["blob_id"] for blob in blobs]
    empty, one, mib = (f"blake3:{blake3(content(size)).hexdigest()}" for size in (0, 1, MIB))
    reference = "ref:s3://bucket/key/model.bin@9b2cf535f27731c974343645a3985328"
    return {
        "chunks.json": [chunk_vector(size) for size in CHUNK_SIZES],
        "blobs.json": blobs,
        "bundles.json": [
            bundle_vector("one blob", ids[:1]),
            bundle_vector("sorted", sorted(ids[:3])),
            bundle_vector("unsorted", sorted(ids[:3], reverse=True)),
            bundle_vector("duplicates", [ids[2], ids[0], ids[2], ids[1], ids[0]]),
            bundle_vector("all of blobs.json", ids),
        ],
        "manifests.json": [
            manifest_vector("one file", [("model.bin", one)]),
            manifest_vector("unsorted", [("b.bin", one), ("a.bin", mib), ("Z.bin", empty)]),
            manifest_vector("a slash sorts after a hyphen", [("a/b", one), ("a-b", empty), ("a.b", mib)]),
            manifest_vector("one content twice", [("copy.bin", one), ("model.bin", one)]),
            manifest_vector(
                "bytes of UTF-8 sort otherwise than units of UTF-16",
                [("\U0001f642.bin", one), ("\uff5e.bin", mib), ("가중치/éclair", empty)],
            ),
            manifest_vector("a reference", [("remote/model.bin", reference)]),
            manifest_vector("a reference among files", [("z", empty), ("remote/model.bin", reference), ("a", mib)]),
        ],
    }


def read(name: str) -> list[dict[str, Any]]:
    """The vectors of one file; none when it was not written yet."""
    file = HERE / name
    found: list[dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.exists() else []
    return found


# ── The tests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_content_rule_is_that_of_blake3s_own_vectors() -> None:
    assert content(300) == bytes(i % 251 for i in range(300))
    known = {  # from BLAKE3's test_vectors.json
        0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
        1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    }
    assert {size: digests.chunk_id(content(size)).hex() for size in known} == known


@pytest.mark.parametrize("name", ["blobs.json", "bundles.json", "chunks.json", "manifests.json"])
def test_the_files_are_what_the_formulas_make(name: str) -> None:
    assert read(name) == all_vectors()[name]


def test_every_file_of_the_folder_is_checked() -> None:
    assert {path.name for path in HERE.iterdir() if path.suffix in {".json", ".txt"}} == set(all_vectors())


@pytest.mark.parametrize("vector", read("chunks.json"), ids=lambda vector: str(vector["size"]))
def test_chunk_ids_hold_for_modelwire(vector: dict[str, Any]) -> None:
    data = content(vector["size"])
    assert digests.chunk_id(data).hex() == vector["chunk_id"]
    assert digests.chunk_id(memoryview(data)).hex() == vector["chunk_id"]


@pytest.mark.parametrize("vector", read("blobs.json"), ids=lambda vector: f"{vector['size']}-in-{len(vector['chunks'])}")
def test_blob_ids_and_content_digests_hold_for_modelwire(vector: dict[str, Any]) -> None:
    sizes = [chunk["size"] for chunk in vector["chunks"]]
    data = content(vector["size"])
    recipe = [(digests.chunk_id(piece), len(piece)) for piece in cut(data, sizes)]
    assert [digest.hex() for digest, _ in recipe] == [chunk["chunk_id"] for chunk in vector["chunks"]]
    assert digests.blob_id(recipe).hex() == vector["blob_id"]
    assert digests.content_text(blake3(data).digest()) == vector["content_digest"]
    assert digests.is_content_text(vector["content_digest"])


def test_the_fixed_cut_is_the_one_that_the_client_makes_of_files_up_to_4_mib(tmp_path: Path) -> None:
    for vector in read("blobs.json")[: len(BLOB_SIZES)]:
        sizes = [chunk["size"] for chunk in vector["chunks"]]
        assert list(fixed_pieces(vector["size"])) == sizes
        if vector["size"] <= 4 * MIB:
            file = tmp_path / "file"
            file.write_bytes(content(vector["size"]))
            descriptor = os.open(file, os.O_RDONLY)
            try:
                recipe = [(digests.chunk_id(piece), len(piece)) for piece in chunks_of(descriptor, vector["size"])]
            finally:
                os.close(descriptor)
            assert digests.blob_id(recipe).hex() == vector["blob_id"]


def test_another_cut_is_another_blob_of_the_same_content() -> None:
    by_content: dict[str, set[str]] = {}
    for vector in read("blobs.json"):
        by_content.setdefault(vector["content_digest"], set()).add(vector["blob_id"])
    assert sorted(len(blobs) for blobs in by_content.values())[-2:] == [2, 3]


@pytest.mark.parametrize("vector", read("bundles.json"), ids=lambda vector: str(vector["name"]))
def test_bundle_ids_hold_for_modelwire(vector: dict[str, Any]) -> None:
    assert digests.bundle_id(bytes.fromhex(text) for text in vector["blob_ids"]).hex() == vector["bundle_id"]
    assert digests.bundle_id(bytes.fromhex(text) for text in vector["distinct_ascending"]).hex() == vector["bundle_id"]


@pytest.mark.parametrize("vector", read("manifests.json"), ids=lambda vector: str(vector["name"]))
def test_manifest_digests_hold_for_modelwire(vector: dict[str, Any]) -> None:
    entries = [(entry["path"], entry["digest_text"]) for entry in vector["entries"]]
    assert digests.manifest_digest(entries) == vector["manifest_digest"]
    assert digests.manifest_digest(reversed(entries)) == vector["manifest_digest"]
    check_paths(path for path, _ in entries)


def test_a_reference_is_written_as_the_vectors_write_it() -> None:
    text = digests.reference_text("s3://bucket/key/model.bin", "9b2cf535f27731c974343645a3985328")
    assert {"path": "remote/model.bin", "digest_text": text} in read("manifests.json")[-2]["entries"]
    assert not digests.is_content_text(text)


if __name__ == "__main__":
    for file_name, vectors in all_vectors().items():
        (HERE / file_name).write_text(json.dumps(vectors, indent=2, ensure_ascii=True) + "\n", "utf-8")
