"""What `make demo` runs: both services, a real model logged, used by another process, linked, fine-tuned, its lineage.

Everything lives in a temporary folder and on free ports; nothing is left behind, however the program ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import modelwire

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Weights = dict[str, Floats]

SIDE, HIDDEN, CLASSES = 28, 1024, 10
STOP_SECONDS = 30.0

# Ten digits, five columns by seven rows, as a printer of the eighties had them.
FONT = (
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00010 00100 01000 11111",
    "11111 00010 00100 00010 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)


def make_digits(count: int, seed: int, noise: float) -> tuple[Floats, Labels]:
    """Draws digits three times their size, moves them about, and puts them under noise."""
    rng = np.random.default_rng(seed)
    glyphs = [np.array([[float(dot) for dot in row] for row in text.split()]).repeat(3, 0).repeat(3, 1) for text in FONT]
    labels = rng.integers(0, CLASSES, count)
    images = rng.normal(0.0, noise, (count, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(1, 6), rng.integers(4, 9)
        image[top : top + 21, left : left + 15] += glyphs[label]
    return images.reshape(count, -1).astype(np.float32), labels


def hidden_layer(weights: Weights, images: Floats) -> Floats:
    lit: Floats = np.maximum(images @ weights["hidden.weight"] + weights["hidden.bias"], 0)
    return lit


def predict(weights: Weights, images: Floats) -> Labels:
    scores = hidden_layer(weights, images) @ weights["output.weight"] + weights["output.bias"]
    best: Labels = scores.argmax(axis=1)
    return best


def train(weights: Weights, images: Floats, labels: Labels, epochs: int, rate: float, only: str = "") -> None:
    """Descends the cross-entropy of a two-layer net; with `only`, changes that tensor and no other."""
    rng = np.random.default_rng(0)
    truth = np.eye(CLASSES, dtype=np.float32)[labels]
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(images)), len(images) // 64):
            hidden = hidden_layer(weights, images[batch])
            scores = hidden @ weights["output.weight"] + weights["output.bias"]
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            slope = (odds / odds.sum(axis=1, keepdims=True) - truth[batch]) / len(batch)
            steps = {"output.weight": hidden.T @ slope, "output.bias": slope.sum(axis=0)}
            if not only:
                below = (slope @ weights["output.weight"].T) * (hidden > 0)
                steps |= {"hidden.weight": images[batch].T @ below, "hidden.bias": below.sum(axis=0)}
            for name in [only] if only else steps:
                weights[name] -= rate * steps[name]


def new_weights() -> Weights:
    rng = np.random.default_rng(1)
    return {
        "hidden.weight": rng.normal(0, (2 / SIDE**2) ** 0.5, (SIDE**2, HIDDEN)).astype(np.float32),
        "hidden.bias": np.zeros(HIDDEN, np.float32),
        "output.weight": rng.normal(0, (1 / HIDDEN) ** 0.5, (HIDDEN, CLASSES)).astype(np.float32),
        "output.bias": np.zeros(CLASSES, np.float32),
    }


def accuracy(weights: Weights, images: Floats, labels: Labels) -> float:
    return float((predict(weights, images) == labels).mean())


@contextmanager
def services(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs `modelwire-server all` for the length of the block; ends it by SIGTERM, or by SIGKILL when that is ignored."""
    command = [sys.executable, "-m", "modelwire_server", "all", "--data", str(folder / "data")]
    command += ["--address", "127.0.0.1:0", "--blob-address", "127.0.0.1:0"]
    log = folder / "services.log"
    # In a session of its own: Ctrl-C reaches this program alone, which then stops the services in good order.
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
    try:
        ready = process.stdout.readline().split() if process.stdout else []
        if ready[:2] != ["modelwire", "ready"]:
            raise SystemExit(f"the services did not start:\n{log.read_text()}")
        addresses = dict(word.split("=", 1) for word in ready[2:4])
        os.environ["MODELWIRE_ADDRESS"] = addresses["metadata"]
        print(f"   metadata service at {addresses['metadata']}, blob service at {addresses['blob']}")
        yield process
    finally:
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        finally:  # a second Ctrl-C leaves nothing behind either
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def settings_for(folder: Path) -> None:
    """Points the client, here and in the other processes, at the demo's own folder."""
    for name in list(os.environ):
        if name.startswith(("MODELWIRE_", "WANDB_")):
            del os.environ[name]
    os.environ |= {
        "MODELWIRE_PROJECT": "digits-demo",
        "MODELWIRE_QUIET": "true",
        "MODELWIRE_CONFIG": str(folder / "no-config.toml"),
        "MODELWIRE_CACHE_DIR": str(folder / "cache"),
        "MODELWIRE_ARTIFACT_DIR": str(folder / "artifacts"),
    }


def step(text: str) -> None:
    print(f"\n── {text}", flush=True)


def size(count: int) -> str:
    return f"{count / (1 << 20):.2f} MiB"


def use_in_this_process(reference: str, answer: str) -> None:
    """Is the other process: knows the model by its name only, and writes down what it predicts."""
    with modelwire.init(job_type="predict") as run:
        weights = load_file(run.use_model(reference))
    images, _ = make_digits(1000, seed=7, noise=0.5)
    np.save(answer, predict(weights, images))
    print(f"   process {os.getpid()} predicted 1000 digits with {reference}", flush=True)


def show(folder: Path) -> None:
    model = folder / "digits.safetensors"
    test_images, test_labels = make_digits(1000, seed=7, noise=0.5)

    step("Train a two-layer net on digits under noise")
    weights = new_weights()
    train(weights, *make_digits(8000, seed=6, noise=0.5), epochs=6, rate=0.1)
    print(f"   accuracy on 1000 digits not seen before: {accuracy(weights, test_images, test_labels):.1%}")
    save_file(weights, model)

    step("Log it")
    with modelwire.init(job_type="train", config={"hidden": HIDDEN, "rate": 0.1}) as run:
        version = run.log_model(model, name="digits-net")
        chunks, sent = version.stats.sent_chunks, version.stats.sent_bytes
        print(f"   {version.qualified_name}: {size(version.size)}, sent {size(sent)} in {chunks} chunks")

    step("Use it from another process")
    answer = folder / "answer.npy"
    subprocess.run([sys.executable, __file__, "use", "digits-net:latest", str(answer)], check=True)
    if not np.array_equal(np.load(answer), predict(weights, test_images)):
        raise SystemExit("the other process predicted something else")
    print("   the predictions are the same")

    step("Link it into the registry")
    with modelwire.init(job_type="release") as run:
        link = run.link_model(model, registered_model_name="Digits", name="digits-net", aliases=["production"])
        print(f"   {link.source_qualified_name} is {link.qualified_name}, aliases {', '.join(link.aliases)}")

    step("Fine-tune one tensor for more noise, and log again")
    noisy_images, noisy_labels = make_digits(1000, seed=8, noise=0.9)
    with modelwire.init(job_type="fine-tune") as run:
        weights = load_file(run.use_model("model-registry/Digits:production"))
        before = accuracy(weights, noisy_images, noisy_labels)
        train(weights, *make_digits(4000, seed=9, noise=0.9), epochs=10, rate=0.02, only="output.weight")
        after = accuracy(weights, noisy_images, noisy_labels)
        print(f"   accuracy under more noise: {before:.1%} before, {after:.1%} after")
        save_file(weights, model)
        version = run.log_model(model, name="digits-net")
        sent, there = version.stats.sent_bytes, version.stats.deduplicated_bytes
        print(f"   {version.qualified_name}: sent {size(sent)}, {size(there)} were there already")

    step("modelwire lineage model-registry/Digits:production")
    command = [sys.executable, "-m", "modelwire", "lineage", "model-registry/Digits:production"]
    lineage = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print("".join(f"   {line}" for line in lineage.splitlines(keepends=True)), end="", flush=True)


def be_interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, be_interrupted)
    try:
        with tempfile.TemporaryDirectory(prefix="modelwire-demo-") as name:
            folder = Path(name)
            settings_for(folder)
            step("Start both services")
            with services(folder) as process:
                show(folder)
                step("Stop the services with SIGTERM")
            print(f"   exit code {process.returncode}")
            return 0 if process.returncode == 0 else 1
    except KeyboardInterrupt:
        print("\ninterrupted; the services are stopped and the folder is removed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    if sys.argv[1:2] == ["use"]:
        use_in_this_process(*sys.argv[2:])
    else:
        sys.exit(main())
