"""Uses a model: python examples/use.py [reference]."""

import sys

import modelwire as wandb

reference = sys.argv[1] if len(sys.argv) > 1 else "MNIST:latest"

run = wandb.init(project="mnist-experiments")
path = run.use_model(reference)
print(f"{reference} is at {path}")
run.finish()
