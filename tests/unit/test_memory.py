"""The C allocator keeps large buffers, unless the user or the system has other plans. Each case in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

glibc = pytest.mark.skipif(
    not (hasattr(os, "confstr") and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")), reason="only glibc has mallopt"
)

FAULTS = """
import resource, sys
from modelwire.memory import keep_large_buffers
took = keep_large_buffers() if sys.argv[1] == "keep" else None

def work():
    for _ in range(20):
        buffers = [bytearray(1 << 20) for _ in range(16)]
        del buffers

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(program: str, *arguments: str, **environment: str) -> str:
    """What a program prints in a process of its own."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@glibc
def test_freed_buffers_of_a_mib_are_used_again_without_fresh_pages() -> None:
    took, faults = run(FAULTS, "keep").split()
    assert took == "True"
    assert int(faults) < 100
    assert int(run(FAULTS, "leave").split()[1]) > 20 * 100  # a MiB is up to 256 pages


@glibc
def test_it_may_be_asked_for_twice() -> None:
    assert run("from modelwire.memory import keep_large_buffers as k; print(k(), k(1 << 20))") == "True True"


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_the_users_own_settings_of_the_allocator_are_kept(name: str) -> None:
    assert run("from modelwire.memory import keep_large_buffers as k; print(k())", **{name: "1000000"}) == "False"


def test_a_c_library_without_mallopt_is_left_alone() -> None:
    program = """
import ctypes

class Library:
    def __getattr__(self, name):
        raise AttributeError(name)

ctypes.CDLL = lambda _: Library()
from modelwire.memory import keep_large_buffers
print(keep_large_buffers())
"""
    assert run(program) == "False"
