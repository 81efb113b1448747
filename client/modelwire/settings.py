"""Where settings come from: keyword > environment > config file > default.

Every environment variable is `MODELWIRE_` and the field's name in capitals; the same name with `WANDB_` is honoured when
ours is unset. The config file is `config.toml` in the user's config folder, or what `MODELWIRE_CONFIG` names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path, user_config_path
from pydantic import AliasChoices, AliasGenerator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import Annotated  # noqa: UP035 - pydantic reads it at run time

from modelwire.errors import SettingsError
from modelwire.names import check_address

_PREFIXES = ("MODELWIRE_", "WANDB_")


def _variables(field: str) -> AliasChoices:
    return AliasChoices(field, f"MODELWIRE_{field.upper()}", f"WANDB_{field.upper()}")


class _Environment(EnvSettingsSource):
    """Reads prefixed variables alone: a bare `project` in somebody's environment means something else."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name: value for name, value in super()._load_env_vars().items() if name.startswith(_PREFIXES)}


class Settings(BaseSettings):
    """Holds everything that a client can be told."""

    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=_variables),
        frozen=True,
        extra="ignore",
        case_sensitive=True,
        env_ignore_empty=True,
    )

    address: str = Field("127.0.0.1:7700", description="host:port of the metadata service.")
    entity: str = Field("default", description="Who the work belongs to.")
    project: str = Field("uncategorized", description="The piece of work.")
    api_key: str | None = Field(None, description="Key of the caller; not needed without access control.")
    dir: Path = Field(Path(), description="Folder below which runs keep their local files.")
    cache_dir: Path = Field(user_cache_path("modelwire"), description="Folder of the content cache.")
    artifact_dir: Path = Field(Path("artifacts"), description="Folder below which use_model puts files.")
    run_id: str | None = Field(None, description="Id of the run to begin or take up.")
    name: str | None = Field(None, description="Name of the run that people see.")
    tags: Annotated[tuple[str, ...], NoDecode] = Field((), description="Tags of the run, separated by commas.")
    group: str | None = Field(None, description="Group of the run.")
    job_type: str | None = Field(None, description="Kind of work that the run does.")
    quiet: bool = Field(False, description="Whether to print nothing.")
    mode: Literal["online"] = Field("online", description="Whether calls go to the services; there is no other mode yet.")
    timeout: float = Field(60.0, gt=0, le=86_400, allow_inf_nan=False, description="Seconds for one call to a service.")

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        return check_address(value)

    @field_validator("tags", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(tag.strip() for tag in value.split(",") if tag.strip()) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Puts the sources in their order."""
        file = os.environ.get("MODELWIRE_CONFIG") or user_config_path("modelwire") / "config.toml"
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls, Path(file))

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """Reads the settings; keywords that are None count as not given.

        Raises:
            SettingsError: One of them has no usable value.
        """
        try:
            return cls(**{key: value for key, value in given.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            raise SettingsError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except ValueError as error:
            raise SettingsError(f"the config file cannot be read: {error}") from None
