"""Runs: their config, summary and ends, as the server sees them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import modelwire
from command_line import CommandLine
from modelwire.errors import ConfigLockedError, MetadataInvalidError, RunExistsError, RunNotFoundError, UsageError


async def test_config_and_summary_are_dictionaries_that_the_server_has(client: modelwire.AsyncClient) -> None:
    async with client.run(id="values01", config={"lr": 0.1, "layers": (1, 2)}) as run:
        run.config.batch = 32
        run.config.update(epochs=3)
        run.summary["accuracy"] = np.float32(0.5)
        run.summary.update({"loss": math.nan, "curve": np.arange(3)})
        assert run.config["lr"] == run.config.lr == 0.1
        assert "missing" not in run.config
        with pytest.raises(AttributeError, match="missing"):
            _ = run.config.missing
    info = await client.run_info("values01")
    assert info.config == {"lr": 0.1, "layers": [1, 2], "batch": 32, "epochs": 3}
    assert info.summary == {"accuracy": 0.5, "loss": None, "curve": [0, 1, 2]}


async def test_a_config_value_is_changed_only_on_purpose(client: modelwire.AsyncClient) -> None:
    async with client.run(config={"lr": 0.1}) as run:
        run.config.lr = 0.1
        with pytest.raises(ConfigLockedError, match="allow_val_change"):
            run.config.lr = 0.2
        run.config.update({"lr": 0.2}, allow_val_change=True)
        assert run.config.lr == 0.2


@pytest.mark.parametrize("value", [math.inf, object(), b"bytes", {1: "key"}])
async def test_what_json_cannot_say_is_refused(client: modelwire.AsyncClient, value: object) -> None:
    async with client.run() as run:
        with pytest.raises(MetadataInvalidError, match="value"):
            run.summary["value"] = value
        assert dict(run.summary) == {}


async def test_name_notes_and_tags_can_be_changed(client: modelwire.AsyncClient) -> None:
    async with client.run(tags=["old"], notes="n") as run:
        info = await run.update(name="renamed", tags=["한글", "two words"])
    assert (info.name, info.tags, info.notes) == ("renamed", ("한글", "two words"), "n")


async def test_a_run_is_taken_up_again_as_the_policy_says(client: modelwire.AsyncClient) -> None:
    with pytest.raises(RunNotFoundError):
        await client.run(id="again001", resume="must").start()
    async with client.run(id="again001", config={"a": 1}) as run:
        assert not run.info.resumed
    with pytest.raises(RunExistsError):
        await client.run(id="again001", resume="never").start()
    async with client.run(id="again001", config={"b": 2}, resume="allow") as run:
        assert run.info.resumed
        assert dict(run.config) == {"a": 1, "b": 2}
        assert run.info.state == "running"


async def test_nothing_is_logged_under_a_run_that_has_not_begun_or_has_ended(client: modelwire.AsyncClient) -> None:
    run = client.run()
    with pytest.raises(UsageError, match="not begun"):
        _ = run.config
    async with run:
        pass
    with pytest.raises(UsageError, match="ended"):
        await run.use_model("M")
    await run.finish()


def test_the_blocking_run_sends_every_change_at_once(cli: CommandLine) -> None:
    out = cli.python("""
import modelwire
run = modelwire.init(project="p", id="blocking", config={"lr": 1})
run.summary["accuracy"] = 0.9
run.config.update(lr=2, allow_val_change=True)
info = modelwire.Client(project="p").run_info("blocking")
print(info.state, info.config, info.summary)
""").out
    assert out == "running {'lr': 2} {'accuracy': 0.9}\n"
