"""The documents, held against the code that they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from google.protobuf.descriptor import ServiceDescriptor
from typer.core import TyperGroup

import modelwire_server.__main__
from modelwire.api.blob.v1 import blob_service_pb2
from modelwire.api.common.v1.errors_pb2 import ErrorReason
from modelwire.api.metadata.v1 import artifact_service_pb2, lineage_service_pb2, registry_service_pb2, run_service_pb2
from modelwire.errors import BY_REASON
from modelwire.settings import Settings
from modelwire.wire import Limits

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
CONTRACTS = (blob_service_pb2, run_service_pb2, artifact_service_pb2, registry_service_pb2, lineage_service_pb2)


def text(name: str) -> str:
    return (ROOT / name).read_text()


def table(name: str, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with the cell `first`, in code marks or not."""
    found: list[list[str]] = []
    inside = False
    for line in text(name).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and not line.startswith("|---"):
            found.append(cells)
    assert found, f"{name} has no table that begins with {first!r}"
    return found


def code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


def services() -> list[ServiceDescriptor]:
    return [service for contract in CONTRACTS for service in contract.DESCRIPTOR.services_by_name.values()]


# ── Settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_setting_is_documented_with_its_variables_and_default() -> None:
    documented = {cells[0]: cells[1:] for cells in table("docs/settings.md", "field")}
    expected = {}
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}".removesuffix(".0")
        shown = "none" if field.default in (None, ()) else code(default)
        if name == "cache_dir":
            shown = "the platform's cache folder"
        expected[code(name)] = [code(f"MODELWIRE_{name.upper()}", f"WANDB_{name.upper()}"), shown, field.description]
    assert documented == expected


@pytest.mark.parametrize("prefix", ["MODELWIRE_", "WANDB_"])
def test_every_documented_variable_is_read(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"address": "host:1", "mode": "online", "quiet": "true", "timeout": "7", "tags": "a, b"}
    for name in Settings.model_fields:
        for other in ("MODELWIRE_", "WANDB_"):
            monkeypatch.delenv(f"{other}{name.upper()}", raising=False)
        monkeypatch.setenv(f"{prefix}{name.upper()}", given.get(name, f"value-of-{name}"))
    expected = {name: f"value-of-{name}" for name in Settings.model_fields}
    expected |= {"address": "host:1", "mode": "online", "quiet": "True", "timeout": "7.0", "tags": "('a', 'b')"}
    assert {name: str(value) for name, value in Settings.load()} == expected


def test_no_variable_without_a_prefix_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings.load()
    for name in Settings.model_fields:
        monkeypatch.setenv(name, "1")
        monkeypatch.setenv(name.upper(), "1")
    assert Settings.load() == before


def test_a_keyword_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text('address = "file:1"\nentity = "file"\nproject = "file"\ngroup = "file"\n')
    monkeypatch.setenv("MODELWIRE_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("WANDB_ENTITY", "wandb")
    monkeypatch.setenv("WANDB_PROJECT", "wandb")
    monkeypatch.setenv("MODELWIRE_PROJECT", "ours")
    monkeypatch.setenv("MODELWIRE_GROUP", "ours")
    settings = Settings.load(group="keyword")
    assert (settings.address, settings.entity, settings.project, settings.group) == ("file:1", "wandb", "ours", "keyword")


def test_every_option_of_the_services_is_documented() -> None:
    documented = {cells[0]: (cells[1], cells[3]) for cells in table("docs/settings.md", "option")}
    program = typer.main.get_command(modelwire_server.__main__.app)
    assert isinstance(program, TyperGroup)
    variables: dict[str, str] = {}
    commands: dict[str, list[str]] = {}
    for name, command in program.commands.items():
        for option in command.params:
            commands.setdefault(option.opts[0], []).append(name)
            variables[option.opts[0]] = code(str(option.envvar)) if option.envvar else "none"
    assert documented == {code(option): (variables[option], code(*names)) for option, names in commands.items()}


# ── The protocol ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_rpc_is_documented() -> None:
    documented = {"BlobService": [cells[0] for cells in table("docs/protocol.md", "RPC")]}
    for service, rpcs in table("docs/protocol.md", "service"):
        documented[service] = re.sub(r" \([^)]*\)", "", rpcs).split(", ")
    assert documented == {service.name: [method.name for method in service.methods] for service in services()}


def test_the_kind_of_every_blob_rpc_is_documented() -> None:
    kinds = {(False, False): "unary", (True, False): "client stream", (False, True): "server stream"}
    documented = {cells[0]: cells[1] for cells in table("docs/protocol.md", "RPC")}
    methods = blob_service_pb2.DESCRIPTOR.services_by_name["BlobService"].methods
    assert documented == {one.name: kinds[one.client_streaming, one.server_streaming] for one in methods}


def test_every_reason_is_documented_with_its_code_and_class() -> None:
    documented = {cells[0]: cells[1:] for cells in table("docs/protocol.md", "reason")}
    expected = {}
    for reason in ErrorReason.keys()[1:]:
        error = BY_REASON[reason]
        builtins = [base.__name__ for base in error.__mro__ if base.__module__ == "builtins"]
        also = [name for name in builtins if name not in {"Exception", "BaseException", "object"}]
        expected[code(reason)] = [error.code, code(error.__name__), code(*also)]
    assert documented == expected


def test_the_documented_limits_are_those_announced() -> None:
    documented = {cells[0].strip("`"): int(cells[1]) for cells in table("docs/protocol.md", "field")}
    assert documented == vars(Limits())


# ── Everything ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_files_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_file_that_is_named_exists(document: Path) -> None:
    files = [
        f"/{path.relative_to(ROOT)}"
        for top in ("benchmarks", "client", "services", "tests", "examples")
        for path in ROOT.glob(f"{top}/**/*.py")
    ]
    named = re.findall(r"`([\w./]+\.py)`", document.read_text())
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE)
    named = re.findall(r"(?:^    |`)make ([a-z-]+)", document.read_text(), re.MULTILINE)
    assert [name for name in named if name not in targets] == []


def test_the_index_lists_every_decision() -> None:
    listed = re.findall(r"\]\((\d{4}-[^)]+)\)", text("docs/adr/README.md"))
    assert listed == sorted(path.name for path in ROOT.glob("docs/adr/0*.md"))


def test_the_data_folder_is_documented_as_the_services_lay_it_out() -> None:
    described = (ROOT / "services/modelwire_server/embedded.py").read_text().split('"""')[1]
    page = text("docs/architecture.md")
    assert [line for line in described.splitlines()[2:] if line and line not in page] == []
