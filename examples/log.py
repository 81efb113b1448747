"""Logs a model: python examples/log.py [path] [name]."""

import sys

import modelwire as wandb

path, name, *_ = [*sys.argv[1:], *["./model.safetensors", "MNIST"][len(sys.argv) - 1 :]]

run = wandb.init(project="mnist-experiments", config={"loss": "categorical_crossentropy"})
model = run.log_model(path=path, name=name)
print(f"logged {model.qualified_name}: {model.stats.sent_bytes} bytes sent, {model.stats.deduplicated_bytes} there already")
run.finish()
