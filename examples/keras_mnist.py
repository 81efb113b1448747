"""Trains a Keras model on scikit-learn's digits, logs it as MNIST, and has another process predict with it.

make setup && .venv/bin/python -m pip install keras jax scikit-learn
.venv/bin/modelwire serve &
.venv/bin/python examples/keras_mnist.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import modelwire as wandb


def digits() -> Any:
    """Returns training images, test images, training labels and test labels; images of 8 by 8 in 0 to 1."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    return train_test_split(images, labels, test_size=0.25, random_state=0)


def train_and_log(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    train_images, test_images, train_labels, test_labels = digits()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    config = {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "epochs": 10}
    with wandb.init(project="mnist-experiments", job_type="train", config=config) as run:
        model.fit(train_images, train_labels, epochs=config["epochs"], batch_size=32, verbose=0)
        _, accuracy = model.evaluate(test_images, test_labels, verbose=0)
        print(f"accuracy {accuracy:.3f}")
        model.save(folder / "model.keras")
        version = run.log_model(folder / "model.keras", name="MNIST")
        print(f"logged {version.qualified_name}, {version.size} bytes")

    answer = folder / "answer.npy"
    subprocess.run([sys.executable, __file__, "predict", str(answer)], check=True)
    if not np.array_equal(np.load(answer), model.predict(test_images, verbose=0)):
        sys.exit("the second process predicted something else")
    print("the second process predicted exactly the same")


def use_and_predict(answer: str) -> None:
    _, test_images, _, _ = digits()
    with wandb.init(project="mnist-experiments", job_type="predict") as run:
        path = run.use_model("MNIST:latest")
        model = keras.saving.load_model(path)
    np.save(answer, model.predict(test_images, verbose=0))
    print(f"loaded {path.name} in process {os.getpid()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["predict"]:
        use_and_predict(sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            train_and_log(Path(scratch))
