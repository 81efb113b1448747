"""Keyword, then MODELWIRE_ variable, then WANDB_ variable, then config file, then default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelwire.errors import SettingsError
from modelwire.settings import Settings

Sources = dict[str, Any]

# A field, with four values that differ from each other and from the default, as texts of the environment.
SAMPLES = {
    "address": ("a:1", "b:2", "c:3", "d:4"),
    "entity": ("kay", "mode", "wan", "fil"),
    "project": ("kay", "mode", "wan", "fil"),
    "api_key": ("kay", "mode", "wan", "fil"),
    "dir": ("/k", "/m", "/w", "/f"),
    "cache_dir": ("/k", "/m", "/w", "/f"),
    "artifact_dir": ("/k", "/m", "/w", "/f"),
    "run_id": ("kay", "mode", "wan", "fil"),
    "name": ("kay", "mode", "wan", "fil"),
    "tags": ("k,1", "m,2", "w,3", "f,4"),
    "group": ("kay", "mode", "wan", "fil"),
    "job_type": ("kay", "mode", "wan", "fil"),
    "timeout": ("1.5", "2.5", "3.5", "4.5"),
}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Takes away what the shared fixtures set, so that defaults show."""
    for name in ("MODELWIRE_CACHE_DIR", "MODELWIRE_ARTIFACT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELWIRE_CONFIG", str(tmp_path / "config.toml"))


def value(field: str, text: str) -> Any:
    """What a setting holds when its text came from anywhere."""
    kinds: dict[str, Any] = {"timeout": float, "tags": lambda tags: tuple(tags.split(",")), "dir": Path}
    return kinds.get("dir" if field.endswith("dir") else field, str)(text)


def test_the_samples_are_all_settings_but_the_switches() -> None:
    assert set(SAMPLES) | {"mode", "quiet"} == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("address", "http://127.0.0.1:7700"),
        ("address", "127.0.0.1"),
        ("address", "127.0.0.1:99999"),
        ("timeout", "inf"),
        ("timeout", "0"),
        ("mode", "offline"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(field: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MODELWIRE_{field.upper()}", text)
    with pytest.raises(SettingsError, match=field):
        Settings.load()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWIRE_ADDRESS", "")
    assert Settings.load().address == "127.0.0.1:7700"


@pytest.mark.parametrize("field", SAMPLES)
def test_each_source_goes_before_the_next(field: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keyword, own, foreign, file = SAMPLES[field]
    default = getattr(Settings.load(), field)
    (tmp_path / "config.toml").write_text(f'{field} = "{file}"\n' if field != "timeout" else f"timeout = {file}\n")
    assert getattr(Settings.load(), field) == value(field, file) != default
    monkeypatch.setenv(f"WANDB_{field.upper()}", foreign)
    assert getattr(Settings.load(), field) == value(field, foreign)
    monkeypatch.setenv(f"MODELWIRE_{field.upper()}", own)
    assert getattr(Settings.load(), field) == value(field, own)
    assert getattr(Settings.load(**{field: keyword}), field) == value(field, keyword)
    assert getattr(Settings.load(**{field: None}), field) == value(field, own)


def test_the_defaults_are_those_of_the_documentation() -> None:
    found = Settings.load()
    assert (found.address, found.entity, found.project) == ("127.0.0.1:7700", "default", "uncategorized")
    assert (found.artifact_dir, found.dir, found.timeout, found.quiet) == (Path("artifacts"), Path(), 60.0, False)
    assert (found.run_id, found.name, found.tags, found.group, found.job_type, found.api_key) == (
        None,
        None,
        (),
        None,
        None,
        None,
    )


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_a_variable_that_is_called_like_the_field_alone_means_nothing(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = getattr(Settings.load(), field)
    monkeypatch.setenv(field, "7")
    assert getattr(Settings.load(), field) == default
    monkeypatch.delenv(field)
    monkeypatch.setenv(field.upper(), "7")
    assert getattr(Settings.load(), field) == default


@pytest.mark.parametrize(("text", "quiet"), [("1", True), ("true", True), ("True", True), ("0", False), ("false", False)])
def test_quiet_is_a_switch(text: str, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWIRE_QUIET", text)
    assert Settings.load().quiet is quiet


def test_tags_are_separated_by_commas_or_given_as_a_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELWIRE_TAGS", " a , two words,,b ")
    assert Settings.load().tags == ("a", "two words", "b")
    assert Settings.load(tags=["x", "y"]).tags == ("x", "y")
    assert Settings.load(tags=()).tags == ()
    monkeypatch.delenv("MODELWIRE_TAGS")
    (tmp_path / "config.toml").write_text('tags = ["p", "q"]\n')
    assert Settings.load().tags == ("p", "q")


@pytest.mark.parametrize(
    ("field", "bad"), [("timeout", "soon"), ("timeout", "0"), ("timeout", "-1"), ("timeout", "nan"), ("quiet", "perhaps")]
)
@pytest.mark.parametrize("source", ["keyword", "MODELWIRE", "WANDB", "file"])
def test_a_bad_value_is_refused_with_the_name_of_its_field(
    field: str, bad: str, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: Sources = {}
    if source == "keyword":
        given = {field: bad}
    elif source == "file":
        (tmp_path / "config.toml").write_text(f'{field} = "{bad}"\n')
    else:
        monkeypatch.setenv(f"{source}_{field.upper()}", bad)
    with pytest.raises(SettingsError, match=rf"(?i)setting \w*{field}\b"):
        Settings.load(**given)


def test_several_bad_values_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWIRE_TIMEOUT", "soon")
    monkeypatch.setenv("MODELWIRE_QUIET", "perhaps")
    with pytest.raises(SettingsError) as refusal:
        Settings.load()
    assert isinstance(refusal.value, ValueError)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["not = [toml", "\0", "= 5"])
def test_a_config_file_that_is_not_toml_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(SettingsError, match="config file"):
        Settings.load()


def test_a_config_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b'entity = "\xff\xfe"\n')
    with pytest.raises(SettingsError, match="config file"):
        Settings.load()


def test_what_a_config_file_says_beyond_the_settings_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('entity = "me"\nsomething_newer = 3\n[table]\nx = 1\n')
    assert Settings.load().entity == "me"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().entity = "other"
