"""The example that trains on a folder of images."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest
from helpers import write_folder

from keras_davidnet import Airbench

for package in ("matplotlib", "sklearn", "PIL"):
    pytest.importorskip(package)

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "train_folder.py"


@pytest.mark.slow
def test_learns_saves_and_predicts(rng, tmp_path):
    # Bright upper or lower halves, in noise.
    images = rng.integers(0, 128, (2, 40, 14, 12, 3), "uint8")
    images[0, :, :7] += 127
    images[1, :, 7:] += 127
    write_folder(tmp_path / "halves", {"upper": images[0], "lower": images[1]})
    file = tmp_path / "halves" / "upper" / "0.png"
    run = subprocess.run(
        [
            *(sys.executable, EXAMPLE, "halves", "--image-size", "12"),
            *("--predict", file, "--output", "output"),
        ],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=True,
    )
    # The classes are in alphabetical order.
    report = run.stdout.split("Accuracy on ")[1]
    accuracy, lower, upper, *_ = report.splitlines()
    assert accuracy == "16 images held out: 100.0%"
    assert lower.split() == ["100.0%", "of", "8", "lower"]
    assert upper.split() == ["100.0%", "of", "8", "upper"]
    first, second = run.stdout.splitlines()[-2:]
    assert first.split()[1] == "upper" and second.split()[1] == "lower"
    for name in ("confusion.png", "mistakes.png"):
        assert (tmp_path / "output" / name).stat().st_size > 1000
    model = keras.saving.load_model(tmp_path / "output" / "model.keras")
    assert isinstance(model, Airbench)
    assert list(model.class_names) == ["lower", "upper"]
    assert model.input_shape == (None, 12, 12, 3)
