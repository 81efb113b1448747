"""Ctrl-C at any time: a short message, no half file, no process left, and the next try goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelwire_server.testing import ServerProcess, wait_until

MIB = 1 << 20


def start(server: ServerProcess, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts `modelwire` in a process group of its own, as a terminal does."""
    environment = {**os.environ, "MODELWIRE_ADDRESS": server.addresses["metadata"]}
    command: Sequence[str] = [sys.executable, "-m", "modelwire", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def interrupt(process: subprocess.Popen[str]) -> str:
    """Presses Ctrl-C; returns what the program said."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    return err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file that takes a moment to move."""
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(128 * MIB))
    return path


def packed(server: ServerProcess) -> int:
    """Bytes in the blob service's packs."""
    return sum(pack.stat().st_size for pack in server.data.glob("blob/packs/*/*.pack"))


def test_ctrl_c_during_an_upload_ends_it_and_the_next_one_goes_on(server: ServerProcess, tmp_path: Path, model: Path) -> None:
    process = start(server, tmp_path, "log", model.name, "-n", "M", "-p", "p")
    wait_until(lambda: packed(server) > 30 * MIB)
    os.kill(server.pid, signal.SIGSTOP)  # the service hangs: the client must end all the same
    try:
        assert "interrupted" in interrupt(process)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    again = start(server, tmp_path, "log", model.name, "-n", "M", "-p", "p", "--json")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert '"qualified_name": "default/p/M:v0"' in out
    assert f'"sent_bytes": {128 * MIB}' not in out


def test_ctrl_c_during_a_download_leaves_no_file_under_its_final_name(
    server: ServerProcess, tmp_path: Path, model: Path
) -> None:
    logged = start(server, tmp_path, "log", model.name, "-n", "M", "-p", "p")
    assert logged.communicate(timeout=60)[1] == ""
    process = start(server, tmp_path, "use", "M", "-p", "p")
    cache, target = tmp_path / "cache", tmp_path / "artifacts" / "M:v0" / "model.bin"
    wait_until(lambda: any(part.stat().st_blocks for part in cache.glob("incoming/*.part")) or target.exists())
    os.kill(server.pid, signal.SIGSTOP)
    try:
        if not target.exists():
            assert "interrupted" in interrupt(process)
            assert not target.exists()
            assert not list(cache.glob("content/*/*"))
        else:  # a very fast machine: nothing was left to interrupt
            process.communicate(timeout=30)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    again = start(server, tmp_path, "use", "M", "-p", "p")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert Path(out.strip()).read_bytes() == model.read_bytes()
    assert not list(cache.glob("incoming/*.part"))


def test_ctrl_c_ends_the_services_with_code_0(server: ServerProcess) -> None:
    assert server._end(signal.SIGINT) == 0


def test_ctrl_c_in_a_blocking_program_is_a_keyboard_interrupt(server: ServerProcess, tmp_path: Path, model: Path) -> None:
    program = (
        "import modelwire, sys\n"
        "run = modelwire.init(project='p')\n"
        "try:\n"
        "    run.log_model('model.bin', name='M')\n"
        "except KeyboardInterrupt:\n"
        "    print('caught')\n"
        "run.finish(exit_code=1)\n"
    )
    environment = {**os.environ, "MODELWIRE_ADDRESS": server.addresses["metadata"], "MODELWIRE_QUIET": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: packed(server) > 30 * MIB)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "caught\n", "")
