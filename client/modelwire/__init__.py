"""modelwire: logs, uses and links models from programs.

    import modelwire

    run = modelwire.init(project="mnist-experiments")
    run.log_model("./model.safetensors", name="MNIST")
    path = run.use_model("MNIST:latest")
    run.link_model(path, registered_model_name="Digits")
    run.finish()

`modelwire.AsyncClient` is the asyncio form of the same, and its source.
"""

from modelwire import errors
from modelwire.async_client import AsyncClient
from modelwire.async_run import AsyncRun
from modelwire.async_version import AsyncModelVersion
from modelwire.client import Client, ModelVersion, Run, active_run, finish, init, link_model, log_model, use_model
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
    "link_model",
    "log_model",
    "use_model",
]
