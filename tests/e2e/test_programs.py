"""The programs as users start them."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from command_line import CommandLine
from modelwire_server.testing import ServerProcess

ROOT = Path(__file__).resolve().parents[2]


def test_serve_says_when_it_is_ready_and_ends_with_code_0(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelwire", "serve", "--data", "store", "--address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--blob-address", "127.0.0.1:0"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("modelwire ready metadata=127.0.0.1:")
    address = line.split("metadata=")[1].split()[0]
    (tmp_path / "model.bin").write_bytes(b"x")
    CommandLine(address, tmp_path)("log", "model.bin", "-n", "M")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 0
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"blob", "metadata", "keys.json"}
    assert (tmp_path / "store" / "keys.json").stat().st_mode & 0o777 == 0o600


def test_a_terminal_shows_a_bar_and_a_pipe_shows_none(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(os.urandom(5_000_000))
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "modelwire", "log", "model.bin", "-n", "M"]
    environment = {**cli.environment, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=theirs, check=False)
    os.close(theirs)
    shown = os.read(mine, 1 << 16).decode()
    os.close(mine)
    assert done.returncode == 0
    assert "log M" in shown
    assert "MB/s" in shown
    assert cli("log", "model.bin", "-n", "N").err == ""


def test_a_data_folder_is_used_by_one_service_at_a_time(server: ServerProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelwire_server", "all", "--data", str(server.data), "--address", "127.0.0.1:0"]
    second = subprocess.run(
        [*command, "--blob-address", "127.0.0.1:0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 1
    assert second.stderr.strip().splitlines()[-1].startswith("error: the data folder")


def test_a_port_in_use_is_an_error_of_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "modelwire_server", "blob", "--data", str(tmp_path / "data"), "--address", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"error: cannot listen on {address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_logs_uses_links_and_lists(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"content")
    logged = cli("log", "model.bin", "--name", "MNIST", "--project", "p", "--alias", "best", "--json").json
    assert (logged["qualified_name"], logged["created"], logged["sent_bytes"]) == ("default/p/MNIST:v0", True, 7)
    used = cli("use", "MNIST:best", "--project", "p", "--json").json
    assert (used["version"], used["qualified_name"]) == ("v0", "default/p/MNIST:v0")
    assert Path(used["path"]).read_bytes() == b"content"
    assert cli("use", "p/MNIST").out.strip() == used["path"]
    linked = cli("link", "p/MNIST:best", "Digits", "--alias", "production", "--json").json
    assert (linked["name"], linked["aliases"]) == ("Digits:v0", ["latest", "production"])
    assert cli("link", "model.bin", "Digits", "-n", "other", "-p", "p", "--json").json["name"] == "Digits:v1"
    assert [one["name"] for one in cli("ls", "-p", "p", "--json").json] == ["MNIST", "other"]
    assert [one["name"] for one in cli("ls", "registry", "--json").json] == ["Digits"]
    assert [one["name"] for one in cli("ls", "registry/Digits", "--json").json] == ["Digits:v1", "Digits:v0"]
    assert [one["name"] for one in cli("ls", "p/MNIST", "--json").json] == ["MNIST:v0"]
    shown = cli("show", "registry/Digits:production", "--json").json
    assert (shown["source_qualified_name"], shown["files"][0]["path"]) == ("default/p/MNIST:v0", "model.bin")
    graph = cli("lineage", "p/MNIST", "--json").json
    assert {edge["kind"] for edge in graph["edges"]} == {"logged", "used", "linked"}
    tree = cli("lineage", "p/MNIST").out
    assert "linked as default/model-registry/Digits:v0" in tree


def test_what_the_command_line_prints_for_people(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"content")
    out = cli("log", "model.bin", "-n", "MNIST").out
    assert out == "logged default/uncategorized/MNIST:v0  (1 file, 7 B; 7 B sent, 0 B there already)\n"
    assert cli("log", "model.bin", "-n", "MNIST").out.startswith("unchanged: default/uncategorized/MNIST:v0")
    assert cli("ls").out == "MNIST  model  1 version\n"
    assert "content" not in cli("show", "MNIST").err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["use", "MNITS"], 1, "did you mean 'MNIST'?"),
        (["use", "a/b/c/d"], 2, "cannot be read"),
        (["log", "missing"], 1, "No such file or directory"),
        (["log", "model.bin", "-n", "no/slash"], 2, "is not allowed"),
        (["frobnicate"], 2, "No such command"),
        (["log"], 2, "Missing argument"),
    ],
)
def test_failures_are_one_clear_sentence(cli: CommandLine, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    (tmp_path / "model.bin").write_bytes(b"content")
    cli("log", "model.bin", "-n", "MNIST")
    ran = cli(*arguments, code=code)
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_service_that_is_down_is_said_within_seconds(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ran = CommandLine(address, tmp_path)("ls", code=1)
    assert f"cannot reach the metadata service at {address}; is it running?" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_the_blocking_calls_work_as_in_the_guide(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(os.urandom(100_000))
    program = """
import modelwire as wandb
run = wandb.init(entity="charlie", project="mnist-experiments", config={"loss": "categorical_crossentropy"})
run.log_model(path="./model.h5", name="MNIST")
path = run.use_model("MNIST:latest")
run.link_model(path=path, registered_model_name="Digits")
assert run.config["loss"] == "categorical_crossentropy"
run.finish()
with wandb.init(project="mnist-experiments", entity="charlie") as run:
    print(wandb.use_model("model-registry/Digits"))
"""
    out = cli.python(program).out
    assert out.strip().endswith("model.h5")
    assert (tmp_path / "artifacts" / "MNIST:v0" / "model.h5").read_bytes() == (tmp_path / "model.h5").read_bytes()


def test_init_takes_the_mode_and_refuses_those_that_are_not_there_yet(cli: CommandLine) -> None:
    program = "import modelwire; modelwire.init(project='p', mode='online').finish(); modelwire.init(mode='offline')"
    with pytest.raises(AssertionError, match="SettingsError: setting mode"):
        cli.python(program)


def test_a_forgotten_run_is_finished_at_exit(cli: CommandLine) -> None:
    cli.python("import modelwire; modelwire.init(project='p', id='forgotten')")
    out = cli.python("import modelwire; print(modelwire.Client(project='p').run_info('forgotten').state)").out
    assert out == "finished\n"


def test_a_program_that_dies_leaves_a_failed_run(cli: CommandLine) -> None:
    program = "import modelwire; modelwire.init(project='p', id='dying'); raise ZeroDivisionError"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        cli.python(program)
    out = cli.python("import modelwire; print(modelwire.Client(project='p').run_info('dying').state)").out
    assert out == "failed\n"


def test_a_bare_install_is_a_client_and_says_what_a_service_needs(server: ServerProcess, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
    subprocess.run(install, check=True, timeout=200)
    (tmp_path / "model.bin").write_bytes(b"content")
    environment = {**os.environ, "MODELWIRE_ADDRESS": server.addresses["metadata"]}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        program = [str(tmp_path / "venv" / "bin" / command[0]), *command[1:]]
        return subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)

    logged = run("modelwire", "log", "model.bin", "-n", "M")
    assert logged.returncode == 0, logged.stderr
    assert run("modelwire", "use", "M").stdout.strip().endswith("model.bin")
    for command in (("modelwire", "serve"), ("modelwire-server", "all"), ("python", "-m", "modelwire_server", "blob")):
        refused = run(*command)
        assert refused.returncode == 1
        assert refused.stderr.strip().endswith("pip install 'modelwire[server]'")
        assert len(refused.stderr.splitlines()) == 1
