"""The .proto files keep the rules of docs/protocol.md, and never change what they said once.

`baseline.json` holds every field, enum value and RPC that was ever declared. After adding to the contract, run
`python -m tests.contract.test_protos` in the root of the repository: it adds what is new, and refuses to touch what is
there. Nothing is taken out of the baseline: who stops using a field leaves it declared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "proto"
BASELINE = Path(__file__).with_name("baseline.json")
METADATA_PACKAGE = "modelwire.api.metadata.v1"

FILES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


@cache
def described() -> dict[str, FileDescriptorProto]:
    """The .proto files as protoc reads them, comments included."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        flags = ["-m", "grpc_tools.protoc", f"-I{PROTOS}", "--include_source_info", f"--descriptor_set_out={out}"]
        # The tools bring the well-known types themselves.
        done = subprocess.run([sys.executable, *flags, *FILES], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = FileDescriptorSet.FromString(out.read_bytes())
    return {file.name: file for file in found.file}


def messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto, tuple[int, ...]]]:
    """(full name, message, path in the source info) of every message that a person wrote."""

    def below(name: str, message: DescriptorProto, path: tuple[int, ...]) -> Iterator[Any]:
        if not message.options.map_entry:
            yield f"{name}.{message.name}", message, path
            for at, inner in enumerate(message.nested_type):
                yield from below(f"{name}.{message.name}", inner, (*path, 3, at))

    for at, message in enumerate(file.message_type):
        yield from below(file.package, message, (4, at))


def enums(file: FileDescriptorProto) -> Iterator[tuple[str, EnumDescriptorProto, tuple[int, ...]]]:
    """(full name, enum, path in the source info) of every enum."""
    for at, enum in enumerate(file.enum_type):
        yield f"{file.package}.{enum.name}", enum, (5, at)
    for name, message, path in messages(file):
        for at, enum in enumerate(message.enum_type):
            yield f"{name}.{enum.name}", enum, (*path, 4, at)


def services() -> Iterator[tuple[str, ServiceDescriptorProto]]:
    """(package, service) of every service."""
    for file in described().values():
        for service in file.service:
            yield file.package, service


def rpcs() -> list[tuple[str, MethodDescriptorProto]]:
    """(package, RPC) of every service."""
    return [(package, rpc) for package, service in services() for rpc in service.method]


@cache
def message_called(full_name: str) -> DescriptorProto:
    """The message of that name, which may begin with a dot."""
    return {name: message for file in described().values() for name, message, _ in messages(file)}[full_name.lstrip(".")]


def field_names(full_name: str) -> set[str]:
    return {field.name for field in message_called(full_name).field}


def declarations(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, path in the source info) of everything that must have a comment."""
    yield file.name, (12,)  # the comment above `syntax` is the file's
    for at, service in enumerate(file.service):
        yield service.name, (6, at)
        yield from ((f"{service.name}.{rpc.name}", (6, at, 2, one)) for one, rpc in enumerate(service.method))
    for name, message, path in messages(file):
        yield name, path
        yield from ((f"{name}.{field.name}", (*path, 2, at)) for at, field in enumerate(message.field))
        synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
        yield from ((f"{name}.{one.name}", (*path, 8, at)) for at, one in enumerate(message.oneof_decl) if at not in synthetic)
    for name, enum, path in enums(file):
        yield name, path
        yield from ((f"{name}.{value.name}", (*path, 2, at)) for at, value in enumerate(enum.value))


@pytest.mark.parametrize("name", FILES)
def test_every_declaration_has_a_comment(name: str) -> None:
    file = described()[name]
    comments = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
    assert len(dict(declarations(file))) > 5
    assert [what for what, path in declarations(file) if not comments.get(path)] == []


def test_every_rpc_has_request_and_response_messages_of_its_own() -> None:
    used = [kind for _, rpc in rpcs() for kind in (rpc.input_type, rpc.output_type)]
    assert sorted(used) == sorted(set(used))
    expected = [f".{package}.{rpc.name}{end}" for package, rpc in rpcs() for end in ("Request", "Response")]
    assert used == expected


def test_every_service_is_called_one() -> None:
    assert [service.name for _, service in services() if not service.name.endswith("Service")] == []
    assert len(list(services())) == 5


def test_every_list_is_paged() -> None:
    lists = [rpc for _, rpc in rpcs() if rpc.name.startswith("List")]
    assert len(lists) >= 8
    unpaged = [
        rpc.name
        for rpc in lists
        if not {"page_size", "page_token"} <= field_names(rpc.input_type)
        or "next_page_token" not in field_names(rpc.output_type)
    ]
    assert unpaged == []


def test_every_mutation_of_the_metadata_services_has_a_request_id() -> None:
    mutations = [rpc for package, rpc in rpcs() if package == METADATA_PACKAGE and not rpc.name.startswith(("Get", "List"))]
    assert {"CommitVersion", "UseVersion", "SetAliases", "FinishRun", "LinkVersion"} <= {rpc.name for rpc in mutations}
    first_fields = {rpc.name: message_called(rpc.input_type).field[0] for rpc in mutations}
    wrong = [name for name, field in first_fields.items() if (field.name, field.number) != ("request_id", 1)]
    assert wrong == []


def test_every_enum_begins_with_a_value_that_means_unspecified() -> None:
    firsts = {name: enum.value[0] for file in described().values() for name, enum, _ in enums(file)}
    assert [name for name, value in firsts.items() if value.number or not value.name.endswith("_UNSPECIFIED")] == []


# ── The baseline ──────────────────────────────────────────────────────────────────────────────────────────────────────


def current() -> dict[str, dict[str, list[Any]]]:
    """What a program that speaks the protocol relies on: names, numbers, types, labels."""
    found: dict[str, dict[str, list[Any]]] = {}
    for file in described().values():
        for name, message, _ in messages(file):
            oneofs = [one.name for one in message.oneof_decl]
            found[name] = {field.name: [field.number, *_kind(field, oneofs)] for field in message.field}
            for entry in message.nested_type:
                if entry.options.map_entry:
                    found[f"{name}.{entry.name}"] = {field.name: [field.number, *_kind(field, [])] for field in entry.field}
        for name, enum, _ in enums(file):
            found[name] = {value.name: [value.number] for value in enum.value}
        for service in file.service:
            found[f"{file.package}.{service.name}"] = {
                rpc.name: [rpc.input_type, rpc.output_type, rpc.client_streaming, rpc.server_streaming]
                for rpc in service.method
            }
    return found


def _kind(field: FieldDescriptorProto, oneofs: list[str]) -> list[str]:
    kind = field.type_name or FieldDescriptorProto.Type.Name(field.type)
    label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    presence = "" if field.proto3_optional or not field.HasField("oneof_index") else f"oneof {oneofs[field.oneof_index]}"
    return [kind, "explicit" if field.proto3_optional else label, presence]


def recorded() -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    return found


def breaks(old: dict[str, dict[str, list[Any]]], new: dict[str, dict[str, list[Any]]]) -> list[str]:
    """What of the old contract the new one does not keep."""
    return [
        f"{owner}.{name}: {said} became {new.get(owner, {}).get(name)}"
        for owner, parts in old.items()
        for name, said in parts.items()
        if new.get(owner, {}).get(name) != said
    ] + [f"{owner} vanished" for owner in old if owner not in new]


def test_nothing_that_was_declared_once_has_changed_or_vanished() -> None:
    assert breaks(recorded(), current()) == []


def test_the_baseline_knows_everything_that_is_declared() -> None:
    assert breaks(current(), recorded()) == [], "new in the contract: run `python -m tests.contract.test_protos`"


def test_a_change_a_loss_and_nothing_else_break_the_baseline() -> None:
    old = {"a.M": {"x": [1, "TYPE_STRING", "optional", ""], "y": [2, "TYPE_BYTES", "optional", ""]}, "a.N": {}}
    assert breaks(old, old | {"a.New": {"z": [1]}}) == []
    assert breaks(old, old | {"a.M": {"x": [3, "TYPE_STRING", "optional", ""], "y": old["a.M"]["y"]}}) != []
    assert breaks(old, old | {"a.M": {"x": old["a.M"]["x"]}}) != []
    assert breaks(old, {"a.M": old["a.M"]}) == ["a.N vanished"]


# ── The generated code ────────────────────────────────────────────────────────────────────────────────────────────────


def _plain(file: FileDescriptorProto) -> FileDescriptorProto:
    """A file's description without what the code generator leaves out."""
    plain = FileDescriptorProto()
    plain.CopyFrom(file)
    plain.ClearField("source_code_info")
    parts: list[DescriptorProto] = list(plain.message_type)
    while parts:
        message = parts.pop()
        parts += message.nested_type
        for field in message.field:
            field.ClearField("json_name")
    return plain


@pytest.mark.parametrize("name", FILES)
def test_the_generated_code_says_what_the_proto_file_says(name: str) -> None:
    module = import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    generated = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(generated)
    assert _plain(generated) == _plain(described()[name])


if __name__ == "__main__":
    if lost := breaks(recorded(), current()):
        sys.exit("the contract may be added to, never changed:\n" + "\n".join(lost))
    BASELINE.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
