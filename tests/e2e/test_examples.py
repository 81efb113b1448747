"""The examples, run as a reader would run them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from command_line import CommandLine

EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO = [sys.executable, "-W", "error", str(EXAMPLES / "demo.py")]
WAIT = 120


def run_example(cli: CommandLine, name: str, *arguments: str) -> str:
    """Runs an example in the folder of `cli`, against its services; returns what it printed."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    ran = cli._run(command, {"MODELWIRE_ARTIFACT_DIR": str(cli.folder / "artifacts")})
    assert ran.code == 0, f"{name}: exit {ran.code}\n{ran.out}\n{ran.err}"
    return ran.out


def test_the_three_scripts_of_the_guide_work_with_their_defaults(cli: CommandLine) -> None:
    model = cli.folder / "model.safetensors"
    model.write_bytes(os.urandom(1_500_000))
    assert "logged default/mnist-experiments/MNIST:v0: 1500000 bytes sent" in run_example(cli, "log.py")
    used = run_example(cli, "use.py")
    path = Path(used.removeprefix("MNIST:latest is at ").strip())
    assert path == cli.folder / "artifacts" / "MNIST:v0" / "model.safetensors"
    assert path.read_bytes() == model.read_bytes()
    linked = run_example(cli, "link.py")
    assert "linked default/mnist-experiments/MNIST:v0 as default/model-registry/Digits:v0 (latest, production)" in linked


def test_the_three_scripts_of_the_guide_take_their_parameters(cli: CommandLine) -> None:
    (cli.folder / "folder").mkdir()
    (cli.folder / "folder" / "weights.bin").write_bytes(b"weights")
    assert "mnist-experiments/Other:v0" in run_example(cli, "log.py", "folder", "Other")
    used = run_example(cli, "use.py", "mnist-experiments/Other:v0")
    assert Path(used.split(" is at ")[1].strip()).read_bytes() == b"weights"
    linked = run_example(cli, "link.py", "folder", "Letters", "champion")
    assert "as default/model-registry/Letters:v0 (latest, champion)" in linked


def test_the_three_calls_work_in_asyncio_form(cli: CommandLine) -> None:
    (cli.folder / "model.safetensors").write_bytes(os.urandom(2_000_000))
    out = run_example(cli, "async_three_calls.py")
    assert "logged default/mnist-experiments/MNIST:v0" in out
    assert "linked default/mnist-experiments/MNIST:v0 as default/model-registry/Digits:v0" in out


def test_the_demo_shows_a_model_from_its_training_to_its_lineage(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(DEMO, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    out = done.stdout
    assert float(found(r"not seen before: ([\d.]+)%", out)) > 95
    assert float(found(r"v0: .*, sent ([\d.]+) MiB", out)) > 3
    assert "the predictions are the same" in out
    assert "digits-net:v0 is default/model-registry/Digits:v0, aliases latest, production" in out
    assert float(found(r"v1: sent ([\d.]+) MiB", out)) < 0.1
    assert re.search(r"Digits:v0 \[latest, production\]\n.*link to default/digits-demo/digits-net:v0", out)
    assert "logged default/digits-demo/digits-net:v1" in out
    assert "exit code 0" in out
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "moment"),
    [
        (signal.SIGINT, "blob service at"),
        (signal.SIGINT, "not seen before"),
        (signal.SIGINT, "MiB in"),
        (signal.SIGTERM, "the predictions are the same"),
    ],
)
def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path, how: signal.Signals, moment: str) -> None:
    with started_demo(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if moment in line:
                break
        children = psutil.Process(demo.pid).children(recursive=True)
        assert children, "the services were not running yet"
        demo.send_signal(how)
        _, errors = demo.communicate(timeout=WAIT)
    assert demo.returncode == 130
    assert errors == "\ninterrupted; the services are stopped and the folder is removed\n"
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list(tmp_path.iterdir()) == []


@contextmanager
def started_demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(DEMO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with demo:
        try:
            yield demo
        finally:
            if demo.poll() is None:
                demo.terminate()


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, f"{pattern} is not in\n{text}"
    return match[1]
