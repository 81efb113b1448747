"""modelwire: logs, uses and links models from programs.

    import modelwire

    run = modelwire.init(project="mnist-experiments")
    run.log_model("./model.safetensors", name="MNIST")
    path = run.use_model("MNIST:latest")
    run.link_model(path, registered_model_name="Digits")
    run.finish()

`modelwire.AsyncClient` is the asyncio form of the same, and its source.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelwire import errors
    from modelwire.artifact import Artifact
    from modelwire.async_client import AsyncClient
    from modelwire.async_run import AsyncRun
    from modelwire.async_version import AsyncModelVersion
    from modelwire.client import (
        Client,
        ModelVersion,
        Run,
        active_run,
        finish,
        init,
        link_artifact,
        link_model,
        log_artifact,
        log_model,
        use_artifact,
        use_model,
    )
    from modelwire.errors import ModelwireError
    from modelwire.settings import Settings
    from modelwire.types import (
        ArtifactInfo,
        Entry,
        Lineage,
        LineageEdge,
        LineageNode,
        PlaceInfo,
        RegisteredModelInfo,
        RunInfo,
        TransferStats,
        VersionInfo,
    )

__all__ = [
    "Artifact",
    "ArtifactInfo",
    "AsyncClient",
    "AsyncModelVersion",
    "AsyncRun",
    "Client",
    "Entry",
    "Lineage",
    "LineageEdge",
    "LineageNode",
    "ModelVersion",
    "ModelwireError",
    "PlaceInfo",
    "RegisteredModelInfo",
    "Run",
    "RunInfo",
    "Settings",
    "TransferStats",
    "VersionInfo",
    "active_run",
    "errors",
    "finish",
    "init",
    "link_artifact",
    "link_model",
    "log_artifact",
    "log_model",
    "use_artifact",
    "use_model",
]

_HOMES = {
    "async_client": ("AsyncClient",),
    "async_run": ("AsyncRun",),
    "async_version": ("AsyncModelVersion",),
    "client": (
        "Client",
        "ModelVersion",
        "Run",
        "active_run",
        "finish",
        "init",
        "link_artifact",
        "link_model",
        "log_artifact",
        "log_model",
        "use_artifact",
        "use_model",
    ),
    "artifact": ("Artifact",),
    "errors": ("ModelwireError",),
    "settings": ("Settings",),
    "types": (
        "ArtifactInfo",
        "Entry",
        "Lineage",
        "LineageEdge",
        "LineageNode",
        "PlaceInfo",
        "RegisteredModelInfo",
        "RunInfo",
        "TransferStats",
        "VersionInfo",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, when it is: the services need the contract alone, and never load the client."""
    if name == "errors":
        return import_module("modelwire.errors")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'modelwire' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"modelwire.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
