"""What users see is whole: exported names, blocking twins, a client call for every RPC, settings with words to them."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from types import ModuleType
from typing import Any

import pytest

import modelwire
from modelwire import _blobs, _catalog, client
from modelwire.api.blob.v1 import blob_service_pb2
from modelwire.api.metadata.v1 import artifact_service_pb2, lineage_service_pb2, registry_service_pb2, run_service_pb2

CALLS = [f"{verb}_{what}" for verb in ("link", "log", "use") for what in ("artifact", "model")]
TWINS = [
    (modelwire.AsyncClient, modelwire.Client),
    (modelwire.AsyncRun, modelwire.Run),
    (modelwire.AsyncModelVersion, modelwire.ModelVersion),
]

# Of the asyncio client alone: what runs and versions are made of.
INNER = {"catalog", "scan", "upload", "fetch"}

SERVICES: dict[ModuleType, list[Any]] = {
    _catalog: [artifact_service_pb2, lineage_service_pb2, registry_service_pb2, run_service_pb2],
    _blobs: [blob_service_pb2],
}
RPCS = [
    (module, method.name)
    for module, files in SERVICES.items()
    for file in files
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def members(cls: type) -> dict[str, Any]:
    """The public methods and properties of a class, inherited ones included."""
    found = {name: value for base in reversed(cls.__mro__[:-1]) for name, value in vars(base).items() if name[0] != "_"}
    return {name: value for name, value in found.items() if callable(value) or isinstance(value, property)}


def signature(function: Any) -> list[tuple[str, Any, Any, str]]:
    """Name, kind, default and type of every parameter, and the answer's type, in the words of the blocking classes."""
    found = inspect.signature(function)
    told = [(one.name, one.kind, one.default, _blocking(one.annotation)) for one in found.parameters.values()]
    return [*told, ("return", None, None, _blocking(found.return_annotation))]


def _blocking(annotation: Any) -> str:
    return str(annotation).replace("Async", "")


@pytest.mark.parametrize("name", modelwire.__all__)
def test_every_exported_name_exists_and_is_documented(name: str) -> None:
    value = getattr(modelwire, name)
    text = value.__doc__ or ""
    assert text.strip()
    assert not text.startswith(f"{name}(")  # what a dataclass writes itself


def test_the_exported_names_are_sorted_and_shown() -> None:
    assert modelwire.__all__ == sorted(set(modelwire.__all__))
    assert dir(modelwire) == modelwire.__all__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = modelwire.no_such_name


@pytest.mark.parametrize(("source", "twin"), TWINS, ids=[twin.__name__ for _, twin in TWINS])
def test_a_blocking_class_has_the_calls_of_its_source(source: type, twin: type) -> None:
    wanted, given = members(source), members(twin)
    assert set(wanted) - set(given) - INNER == set()
    for name in sorted(set(wanted) - INNER):
        asked, got = wanted[name], given[name]
        assert isinstance(asked, property) == isinstance(got, property), name
        if not isinstance(asked, property):
            assert signature(got) == signature(asked), name
            assert not inspect.iscoroutinefunction(got), name


@pytest.mark.parametrize(("source", "twin"), TWINS, ids=[twin.__name__ for _, twin in TWINS])
def test_a_blocking_class_has_no_call_that_its_source_lacks(source: type, twin: type) -> None:
    made = inspect.getsource(source.__init__)  # type: ignore[misc]
    extra = set(members(twin)) - set(members(source))
    assert {name for name in extra if f"self.{name} = " not in made} == set()


def test_the_two_clients_are_made_alike() -> None:
    assert signature(modelwire.Client.__init__) == signature(modelwire.AsyncClient.__init__)


@pytest.mark.parametrize("name", ["finish", *CALLS])
def test_a_function_of_the_module_is_the_method_of_the_active_run(name: str) -> None:
    of_run = [part for part in signature(getattr(modelwire.Run, name)) if part[0] != "self"]
    assert signature(getattr(modelwire, name)) == of_run


def test_init_takes_what_a_client_takes_to_make_a_run_a_folder_and_a_mode() -> None:
    of_client = [part for part in signature(modelwire.Client.run) if part[0] != "self"]
    own = signature(modelwire.init)
    assert [part for part in own if part[0] not in {"dir", "mode"}] == of_client
    assert {"dir", "mode"} <= {name for name, *_ in own}


@pytest.mark.parametrize("cls", [cls for pair in TWINS for cls in pair], ids=lambda cls: str(cls.__name__))
def test_every_public_method_has_a_docstring(cls: type) -> None:
    assert [name for name, value in members(cls).items() if not (value.__doc__ or "").strip()] == []
    assert (cls.__doc__ or "").strip()


def test_every_public_function_of_the_blocking_module_has_a_docstring() -> None:
    functions = inspect.getmembers(client, inspect.isfunction)
    own = {name: value for name, value in functions if value.__module__ == client.__name__ and not name.startswith("_")}
    assert set(own) == {"init", "active_run", "finish", *CALLS}
    assert [name for name, value in own.items() if not (value.__doc__ or "").strip()] == []


# ── RPC ⇄ client call ─────────────────────────────────────────────────────────────────────────────────────────────────


def calls(tree: ast.AST) -> Counter[str]:
    """How often each RPC is named: as an attribute of a stub, or as the end of a path "/service/Rpc"."""
    names = Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
            names[str(node.values[-1].value).removeprefix("/")] += 1
    return names


@pytest.mark.parametrize(("module", "rpc"), RPCS, ids=[rpc for _, rpc in RPCS])
def test_every_rpc_has_exactly_one_call_in_the_client(module: ModuleType, rpc: str) -> None:
    assert calls(ast.parse(inspect.getsource(module)))[rpc] == 1


def test_every_method_of_the_catalog_is_one_rpc() -> None:
    rpcs = {rpc for module, rpc in RPCS if module is _catalog}
    (cls,) = [node for node in ast.parse(inspect.getsource(_catalog)).body if getattr(node, "name", "") == "Catalog"]
    assert isinstance(cls, ast.ClassDef)
    methods = {node.name: set(calls(node)) & rpcs for node in cls.body if isinstance(node, ast.AsyncFunctionDef)}
    assert methods
    for name, made in methods.items():
        assert {"".join(part.capitalize() for part in name.split("_"))} == made


# ── Settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_setting_has_a_description_that_is_a_sentence() -> None:
    described = {name: field.description or "" for name, field in modelwire.Settings.model_fields.items()}
    assert len(described) > 10
    assert [name for name, text in described.items() if not (text[:1].isupper() and text.endswith("."))] == ["address"]
    assert described["address"] == "host:port of the metadata service."
