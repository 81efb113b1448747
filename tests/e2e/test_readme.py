"""The snippets of the documents, run for real."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from command_line import CommandLine

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def snippets(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


ALL = [
    pytest.param(snippet, id=f"{document.relative_to(ROOT)}-{number}")
    for document in DOCUMENTS
    for number, snippet in enumerate(snippets(document), 1)
]


@pytest.mark.parametrize("snippet", ALL)
def test_every_python_snippet_runs(snippet: str, cli: CommandLine) -> None:
    (cli.folder / "model.safetensors").write_bytes(bytes(range(251)) * 10_000)
    (cli.folder / "snippet.py").write_text(snippet)
    ran = cli._run([sys.executable, "-W", "error", "snippet.py"], None)
    assert ran.code == 0, ran.err


def test_both_forms_of_the_three_calls_do_the_same(cli: CommandLine) -> None:
    (cli.folder / "model.safetensors").write_bytes(bytes(range(251)) * 10_000)
    blocking, asynchronous = snippets(ROOT / "README.md")
    for program in (blocking, asynchronous):
        cli.python(program)
        (version,) = cli("ls", "mnist-experiments/MNIST", "--json").json
        (link,) = cli("ls", "registry/Digits", "--json").json
        assert (version["name"], version["aliases"]) == ("MNIST:v0", ["latest", "best"])
        assert (link["name"], link["aliases"]) == ("Digits:v0", ["latest", "production"])
        assert link["source_qualified_name"] == version["qualified_name"]
    states = [cli("show", "mnist-experiments/MNIST", "--json").json["used_by"]]
    assert [len(runs) for runs in states] == [2]


def test_the_client_of_another_language_logs_and_uses(cli: CommandLine) -> None:
    (program,) = snippets(ROOT / "docs" / "protocol.md")
    assert cli.python(program).out.splitlines() == ["logged MNIST:v0", "used weights.bin, 3500000 bytes"]
    path = Path(cli("use", "elsewhere/MNIST").out.strip())
    assert (cli.folder / path).read_bytes() == bytes(range(250)) * 14_000


def test_the_pack_store_snippet_is_a_whole_test(cli: CommandLine) -> None:
    program = snippets(ROOT / "docs" / "extending.md")[0]
    (cli.folder / "test_store.py").write_text(program)
    ran = cli._run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_store.py"], None)
    assert ran.code == 0, ran.out
    assert " passed" in ran.out


def test_the_commands_of_the_readme_work_in_their_order(cli: CommandLine) -> None:
    (cli.folder / "model.safetensors").write_bytes(b"weights")
    section = (ROOT / "README.md").read_text().split("## The command line")[1].split("\n## ")[0]
    commands = re.findall(r"^    modelwire ([^#\n]+)(?:# also: (.*))?$", section, re.MULTILINE)
    assert len(commands) == 6
    for command, also in commands:
        for line in (command, *filter(None, also.split(", "))):
            assert cli(*line.split()).out, line
            if not line.startswith(("log", "link")):
                assert cli(*line.split(), "--json").json
