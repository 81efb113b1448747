"""Logs a model and links it to a registered model: python examples/link.py [path] [registered model] [alias]."""

import sys

import modelwire as wandb

defaults = ["./model.safetensors", "Digits", "production"]
path, registered_model, alias, *_ = [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]]

run = wandb.init(project="mnist-experiments")
link = run.link_model(path=path, registered_model_name=registered_model, name="MNIST", aliases=[alias])
print(f"linked {link.source_qualified_name} as {link.qualified_name} ({', '.join(link.aliases)})")
run.finish()
