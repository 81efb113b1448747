"""Files are cut where their tensors lie, or by their content, and always come together again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pyfastcdc import FastCDC

from modelwire._chunking import SMALL, ShortFileError, chunks_of, fixed_pieces, tensor_pieces
from modelwire._containers import tensor_borders
from modelwire.wire import Limits
from unit.model_files import KIB, MIB, borders_of, cut_up, gguf_bytes, gguf_text, noise, write_safetensors, zip_bytes

MAX_CHUNK = Limits().max_chunk_size


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """(descriptor, size) of a file."""
    with path.open("rb") as file:
        yield file.fileno(), os.fstat(file.fileno()).st_size


def borders(path: Path) -> list[int] | None:
    with opened(path) as (descriptor, size):
        return tensor_borders(descriptor, size)


def check_cut(path: Path) -> list[bytes]:
    """Cuts a file; the chunks are its bytes again and within the limits."""
    chunks = cut_up(path)
    assert b"".join(chunks) == path.read_bytes()
    assert all(1 <= len(chunk) <= MAX_CHUNK for chunk in chunks)
    return chunks


@pytest.mark.parametrize("size", [0, 1, SMALL, MIB - 1, MIB, MIB + 1, 4 * MIB - 1, 4 * MIB])
def test_a_file_up_to_4_mib_is_cut_every_mib(size: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(noise(size))
    whole, rest = divmod(size, MIB)
    assert [len(chunk) for chunk in check_cut(tmp_path / "f")] == [MIB] * whole + [rest] * bool(rest)


@pytest.mark.parametrize("size", [4 * MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 19 * MIB + 12345])
def test_a_larger_file_is_cut_by_its_content(size: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(noise(size))
    chunks = check_cut(tmp_path / "f")
    assert all(len(chunk) >= SMALL for chunk in chunks[:-1])
    assert {len(chunk) for chunk in chunks} != {MIB}


@pytest.mark.parametrize("content", ["noise", "zeros", "a pattern"])
def test_the_cut_by_content_does_not_see_the_borders_of_the_blocks_it_reads(content: str, tmp_path: Path) -> None:
    size = 40 * MIB
    data = {"noise": noise(size), "zeros": bytes(size), "a pattern": (noise(5000) * (size // 5000 + 1))[:size]}[content]
    (tmp_path / "f").write_bytes(data)
    at_once = [chunk.length for chunk in FastCDC(MIB, min_size=256 * KIB, max_size=2 * MIB).cut_buf(data)]
    assert [len(chunk) for chunk in check_cut(tmp_path / "f")] == at_once


def test_an_insertion_near_the_start_changes_few_chunks(tmp_path: Path) -> None:
    data = noise(40 * MIB)
    (tmp_path / "before").write_bytes(data)
    (tmp_path / "after").write_bytes(data[:1000] + b"inserted" + data[1000:])
    before, after = cut_up(tmp_path / "before"), check_cut(tmp_path / "after")
    assert len(set(after) - set(before)) <= 3
    assert sum(len(chunk) for chunk in set(after) & set(before)) > 35 * MIB


def test_a_file_that_became_shorter_is_an_error_not_a_shorter_copy(tmp_path: Path) -> None:
    for size in (1000, 6 * MIB):
        (tmp_path / "f").write_bytes(noise(size))
        with opened(tmp_path / "f") as (descriptor, _), pytest.raises(ShortFileError):
            list(chunks_of(descriptor, size + 1))


def test_reading_moves_no_position_and_needs_none(tmp_path: Path) -> None:
    data, _ = zip_bytes({"a": noise(2 * MIB)})
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file:
        file.seek(77)
        assert b"".join(chunks_of(file.fileno(), len(data))) == data
        assert file.tell() == 77


# ── Containers of tensors ─────────────────────────────────────────────────────────────────────────────────────────────


def test_safetensors_are_cut_where_tensors_begin_and_end(tmp_path: Path) -> None:
    tensors = {f"layer.{n}": noise(size, n) for n, size in enumerate([300 * KIB, 3 * MIB + 5, 700 * KIB, MIB, 2 * MIB])}
    places = write_safetensors(tmp_path / "m.safetensors", tensors)
    chunks = check_cut(tmp_path / "m.safetensors")
    assert {place for start, end in places.values() for place in (start, end)} - {sum(map(len, chunks))} <= borders_of(chunks)
    for name, data in tensors.items():
        pieces = [data[at : at + MIB] for at in range(0, len(data), MIB)]
        assert set(pieces) <= set(chunks), name


def test_changing_one_tensor_changes_that_tensors_chunks_and_nothing_else(tmp_path: Path) -> None:
    tensors = {f"layer.{n}": noise(1500 * KIB, n) for n in range(6)}
    write_safetensors(tmp_path / "a.safetensors", tensors)
    changed = bytearray(tensors["layer.3"])
    changed[MIB + 5] ^= 1
    write_safetensors(tmp_path / "b.safetensors", tensors | {"layer.3": bytes(changed)})
    fresh = set(check_cut(tmp_path / "b.safetensors")) - set(cut_up(tmp_path / "a.safetensors"))
    assert fresh == {bytes(changed[MIB:])}


def test_a_tensor_is_found_again_wherever_it_moves(tmp_path: Path) -> None:
    tensors = {f"t{n}": noise(MIB + 300 * KIB, n) for n in range(4)}
    write_safetensors(tmp_path / "a.safetensors", tensors)
    write_safetensors(tmp_path / "b.safetensors", {"aaa": noise(777_777, 99), **tensors})
    kept = set(cut_up(tmp_path / "b.safetensors")) & set(cut_up(tmp_path / "a.safetensors"))
    assert sum(map(len, kept)) >= sum(map(len, tensors.values()))


def test_small_tensors_share_chunks(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "m.safetensors", {f"bias.{n:03}": noise(10_000, n) for n in range(500)})
    chunks = check_cut(tmp_path / "m.safetensors")
    assert len(chunks) <= 2 + 2 * 5_000_000 // MIB
    assert all(len(chunk) <= MIB for chunk in chunks)


def test_gguf_is_cut_where_tensors_begin(tmp_path: Path) -> None:
    tensors = {f"blk.{n}.weight": noise(size, n) for n, size in enumerate([2 * MIB + 7, 300 * KIB + 1, 1_000_001])}
    values = [
        gguf_text("general.name") + b"\x08\0\0\0" + gguf_text("a model"),
        gguf_text("tokens") + b"\x09\0\0\0\x08\0\0\0" + (2).to_bytes(8, "little") + gguf_text("a") + gguf_text("b"),
        gguf_text("scores") + b"\x09\0\0\0\x06\0\0\0" + (3).to_bytes(8, "little") + b"\0" * 12,
        gguf_text("flag") + b"\x07\0\0\0\x01",
    ]
    for alignment in (32, 4096):
        data, places = gguf_bytes(tensors, alignment=alignment, pairs=values)
        (tmp_path / "m.gguf").write_bytes(data)
        assert set(places.values()) <= borders_of(check_cut(tmp_path / "m.gguf"))
        assert borders(tmp_path / "m.gguf") == sorted(places.values())


def test_a_zip_is_cut_between_headers_and_data(tmp_path: Path) -> None:
    entries = {f"data/{n}": noise(size, n) for n, size in enumerate([MIB + 1, 2 * MIB, 400 * KIB])}
    data, places = zip_bytes(entries)
    (tmp_path / "m.pt").write_bytes(data)
    chunks = check_cut(tmp_path / "m.pt")
    assert set(places.values()) <= set(borders(tmp_path / "m.pt") or ())
    assert {entries["data/1"][:MIB], entries["data/1"][MIB:], entries["data/2"]} <= set(chunks)


def test_an_npz_that_numpy_wrote_keeps_its_arrays_chunks_when_one_changes(tmp_path: Path) -> None:
    arrays = {f"w{n}": np.frombuffer(noise(2 * MIB, n), np.uint8) for n in range(4)}
    np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
    arrays["w1"] = np.frombuffer(noise(3 * MIB, 77), np.uint8)
    np.savez(tmp_path / "b.npz", allow_pickle=False, **arrays)
    kept = set(check_cut(tmp_path / "a.npz")) & set(check_cut(tmp_path / "b.npz"))
    assert sum(map(len, kept)) > 5 * MIB


# ── Pieces ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("size", "cuts", "pieces"),
    [
        (10, [], [10]),
        (10, [4], [10]),
        (3 * MIB, [MIB], [MIB, MIB, MIB]),
        (MIB + SMALL, [10, MIB], [10, MIB - 10, SMALL]),
        (2 * SMALL, [SMALL], [SMALL, SMALL]),
        (6 * (SMALL - 1), [n * (SMALL - 1) for n in range(1, 6)], [4 * (SMALL - 1), 2 * (SMALL - 1)]),
        (2 * MIB + 5, [5], [5, MIB, MIB]),
    ],
)
def test_small_neighbours_are_grouped_and_large_tensors_are_cut_every_mib(
    size: int, cuts: list[int], pieces: list[int]
) -> None:
    assert list(tensor_pieces(size, cuts)) == pieces


def test_fixed_pieces_are_a_mib_each() -> None:
    assert [list(fixed_pieces(size)) for size in (0, 1, MIB, 2 * MIB + 3)] == [[], [1], [MIB], [MIB, MIB, 3]]
