"""The example that needs heavy packages: `make test-examples` runs it, `make test` does not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from command_line import CommandLine

EXAMPLE = Path(__file__).parents[2] / "examples" / "keras_mnist.py"

pytestmark = pytest.mark.examples


def test_a_keras_model_predicts_exactly_the_same_in_a_second_process(cli: CommandLine) -> None:
    ran = cli._run([sys.executable, str(EXAMPLE)], {"KERAS_BACKEND": "jax"})
    assert ran.code == 0, f"{ran.out}\n{ran.err}"
    accuracy = re.search(r"accuracy ([\d.]+)", ran.out)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.9
    assert "logged default/mnist-experiments/MNIST:v0" in ran.out
    assert "loaded model.keras in process" in ran.out
    assert "the second process predicted exactly the same" in ran.out
    (version,) = cli("ls", "MNIST", "--project", "mnist-experiments", "--json").json
    assert version["aliases"] == ["latest"]
    shown = cli("show", "MNIST:v0", "--project", "mnist-experiments", "--json").json
    assert [entry["path"] for entry in shown["files"]] == ["model.keras"]
    assert len(shown["used_by"]) == 1
