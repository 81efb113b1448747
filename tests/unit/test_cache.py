"""The content cache gives out right content only, stays within its size, and cleans up after crashes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from modelwire._cache import _STALE_SECONDS, SHARE_OF_FREE_DISK, ContentCache, locked


def put(cache: ContentCache, content: bytes, used: int | None = None) -> Path:
    """Takes content into a cache; `used` is when it was used last."""
    digest = blake3(content).digest()
    part = cache.own / f"{digest.hex()}.part"
    part.write_bytes(content)
    with part.open("rb") as file:
        path = Path(cache.add(str(part), file.fileno(), digest))
    if used is not None:
        os.utime(path, (used, used))
    return path


def has(cache: ContentCache, content: bytes) -> bool:
    return cache.find(blake3(content).digest(), len(content)) is not None


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ContentCache]:
    made = ContentCache(tmp_path / "cache", max_size=1000)
    yield made
    made.close()


def open_and_close(root: Path) -> int:
    """Opens a cache as another process would; returns its size."""
    other = ContentCache(root)
    other.close()
    return other.max_size


def left(cache: ContentCache) -> set[str]:
    """What lies among the incoming, without what an open cache keeps there."""
    return {path.name for path in cache.incoming.iterdir()} - {cache.own.name}


def test_content_is_found_under_its_digest_read_only(cache: ContentCache) -> None:
    path = put(cache, b"content")
    digest = blake3(b"content").digest()
    assert cache.find(digest, 7) == path
    assert path.relative_to(cache.incoming.parent).parts == ("content", digest.hex()[:2], digest.hex())
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert left(cache) == set()


def test_what_was_never_added_is_not_found(cache: ContentCache) -> None:
    assert cache.find(b"\0" * 32, 0) is None


@pytest.mark.parametrize("wrong", [b"CONTENT", b"conten", b"content and more", b""])
def test_wrong_content_is_thrown_away_and_never_given_out(cache: ContentCache, wrong: bytes) -> None:
    path = put(cache, b"content")
    path.chmod(0o644)
    path.write_bytes(wrong)
    assert not has(cache, b"content")
    assert not path.exists()
    put(cache, b"content")
    assert has(cache, b"content")


def test_a_link_under_a_digests_name_is_not_followed(cache: ContentCache, tmp_path: Path) -> None:
    path = put(cache, b"content")
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"content")
    path.symlink_to(tmp_path / "elsewhere")
    assert not has(cache, b"content")


def test_content_may_be_added_twice(cache: ContentCache) -> None:
    assert put(cache, b"content") == put(cache, b"content")
    assert has(cache, b"content")


def test_the_least_recently_used_goes_first(cache: ContentCache) -> None:
    contents = [bytes([number]) * 300 for number in range(5)]
    for used, content in zip([50, 10, 40, 20, 30], contents, strict=True):
        put(cache, content, used)
    assert cache.shrink() == 600
    assert [has(cache, content) for content in contents] == [True, False, True, False, True]
    assert cache.shrink() == 0


def test_finding_is_using(cache: ContentCache) -> None:
    for used, content in enumerate([b"a" * 400, b"b" * 400, b"c" * 400]):
        put(cache, content, used)
    assert has(cache, b"a" * 400)
    assert cache.shrink() == 400
    assert [has(cache, char * 400) for char in (b"a", b"b", b"c")] == [True, False, True]


def test_content_larger_than_the_whole_cache_goes_too(cache: ContentCache) -> None:
    put(cache, b"x" * 5000)
    assert cache.shrink() == 5000
    assert not has(cache, b"x" * 5000)


def test_the_size_is_a_share_of_the_free_disk_by_default(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free * SHARE_OF_FREE_DISK
    assert 0.5 * free < open_and_close(tmp_path / "cache") < 1.5 * free
    assert SHARE_OF_FREE_DISK == 0.2


# ── Parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_part(cache: ContentCache, name: str, age: float) -> Path:
    part = cache.incoming / f"{name}.part"
    part.write_bytes(b"half")
    now = part.stat().st_mtime
    os.utime(part, (now - age, now - age))
    return part


def test_opening_removes_old_parts_and_keeps_young_ones(cache: ContentCache) -> None:
    old, young = make_part(cache, "old", _STALE_SECONDS + 60), make_part(cache, "young", _STALE_SECONDS - 60)
    open_and_close(cache.incoming.parent)
    assert (old.exists(), young.exists()) == (False, True)
    assert left(cache) == {"young.part"}


def test_opening_keeps_an_old_part_that_somebody_holds(cache: ContentCache) -> None:
    part = make_part(cache, "held", _STALE_SECONDS + 60)
    with locked(part):
        open_and_close(cache.incoming.parent)
        assert part.exists()
    open_and_close(cache.incoming.parent)
    assert not part.exists()


def test_a_link_among_the_parts_is_passed_over(cache: ContentCache, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    os.utime(tmp_path / "victim", (1, 1))
    (cache.incoming / "planted.part").symlink_to(tmp_path / "victim")
    open_and_close(cache.incoming.parent)
    assert (tmp_path / "victim").read_text() == "untouched"


# ── Locks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_part_is_made_for_its_owner_alone_and_can_be_written(tmp_path: Path) -> None:
    with locked(tmp_path / "x.part") as descriptor:
        os.write(descriptor, b"content")
    assert (tmp_path / "x.part").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "x.part").stat().st_mode) == 0o600


def test_a_held_part_is_refused_to_everybody_else(tmp_path: Path) -> None:
    with locked(tmp_path / "x.part"), pytest.raises(BlockingIOError), locked(tmp_path / "x.part"):
        pass
    with locked(tmp_path / "x.part"):
        pass


def test_an_error_in_the_block_lets_go_of_the_part(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "x.part"):
        raise KeyError
    with locked(tmp_path / "x.part"):
        pass


HOLDER = """
import sys
from pathlib import Path
from modelwire._cache import ContentCache, locked
with locked(Path(sys.argv[1]) / "x.part"):
    own = ContentCache(Path(sys.argv[1]) / "cache").own
    (own / "small").write_text("half")
    print(own, flush=True)
    input()
"""


def test_locks_end_with_the_process_that_held_them(cache: ContentCache, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        own = Path(holder.stdout.readline().strip())
        with pytest.raises(BlockingIOError), locked(tmp_path / "x.part"):
            pass
        open_and_close(cache.incoming.parent)
        assert (own / "small").exists()  # its process lives
        holder.kill()
        holder.wait(30)
    with locked(tmp_path / "x.part"):
        pass
    open_and_close(cache.incoming.parent)
    assert not own.exists()


def test_closing_removes_the_folder_of_the_process_and_no_others(cache: ContentCache) -> None:
    (cache.own / "small").write_text("half")
    open_and_close(cache.incoming.parent)
    assert (cache.own / "small").exists()
    assert left(cache) == set()


def test_a_part_that_was_finished_is_begun_anew(tmp_path: Path) -> None:
    part, done = tmp_path / "x.part", tmp_path / "done"
    with locked(part) as descriptor:
        os.write(descriptor, b"first")
        part.rename(done)
        with locked(part) as other:
            os.write(other, b"second")
    assert (done.read_bytes(), part.read_bytes()) == (b"first", b"second")


def test_of_many_that_want_a_part_one_has_it_at_a_time(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        had = 0
        for _ in range(200):
            with suppress(BlockingIOError), locked(part):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)
                had += 1
                if number % 2:
                    part.unlink()  # finished: the next one begins anew
        return had

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) > 0
    assert max(most) == 1
