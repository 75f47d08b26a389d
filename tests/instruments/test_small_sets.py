"""The script that measures recipes on small sets."""

import json
import sys

import keras
import numpy as np
import pytest

pytest.importorskip("sklearn")

import small_sets  # noqa: E402


@pytest.fixture
def trained(monkeypatch):
    """Nets that predict one class, in place of training; and the calls."""
    calls = []

    class Model:
        dtype_policy = keras.DTypePolicy("mixed_bfloat16")

        def predict(self, x, **_):
            return np.eye(10)[np.zeros(len(x), int)]

    def train(name, on_digits, train, seed):
        calls.append((name, on_digits, train[0].shape, seed))
        return Model(), {"batch_size": 48, "epochs": 8}

    monkeypatch.setattr(small_sets, "train_recipe", train)
    return calls


def test_a_row_is_measured_once(monkeypatch, trained, tmp_path):
    output = tmp_path / "rows" / "rows.jsonl"

    def main(*methods):
        arguments = ["--sets", "digits", "--methods", *methods]
        monkeypatch.setattr(
            sys, "argv", ["small_sets.py", *arguments, "--output", str(output)]
        )
        small_sets.main()
        return [json.loads(line) for line in output.read_text().splitlines()]

    (row,) = main("cpu94")
    assert trained == [("cpu94", True, (1437, 32, 32, 1), 0)]
    assert row["test_images"] == 360 and row["classes"] == 10
    assert row["precision"] == "mixed_bfloat16"
    _, (_, labels) = small_sets.digits(None)
    assert row["accuracy"] == np.mean(labels == 0)
    rows = main("cpu94", "airbench94_muon")
    assert [row["method"] for row in rows] == ["cpu94", "airbench94_muon"]
    assert len(trained) == 2


def test_a_large_net_trains_as_long_as_the_recipe(monkeypatch, rng):
    def net(input_shape, classes, **_):
        flatten = keras.layers.Flatten()
        images = keras.Input(input_shape)
        return keras.Model(images, keras.layers.Dense(classes)(flatten(images)))

    monkeypatch.setitem(small_sets.LARGE_NETS, "MobileNetV2", net)
    train = rng.integers(0, 256, (256, 8, 8, 3), "uint8"), np.arange(256) % 3
    model, settings = small_sets.train_large_net(
        "MobileNetV2", train, 0, {"cpu_seconds": 2}
    )
    assert settings["batch_size"] == 128
    assert settings["epochs"] == int(model.optimizer.iterations) / 2
    # The last step began shortly before the rate was zero.
    assert 0 <= float(model.optimizer.learning_rate) < 5e-4
    assert model.output_shape == (None, 3)


def test_subsets(rng):
    x, y = rng.normal(size=(40, 2)), rng.integers(0, 4, 40)
    some, labels = small_sets.first_of_each(x, y, 3, 2)
    assert np.bincount(labels).tolist() == [3, 3]
    for label in (0, 1):
        np.testing.assert_array_equal(some[labels == label], x[y == label][:3])
    (x_train, _), (x_test, _) = small_sets.split(x, y, 10)
    assert len(x_test) == 10
    rows = np.concatenate([x_train, x_test])
    np.testing.assert_array_equal(np.sort(rows[:, 0]), np.sort(x[:, 0]))


def test_images(rng):
    x = rng.integers(0, 256, (2, 32, 32, 3), "uint8")
    assert small_sets.scaled(x, 48).shape == (2, 48, 48, 3)
    luma = small_sets.gray(np.full((1, 2, 2, 3), 7, "uint8"))
    assert luma.shape == (1, 2, 2, 1) and (luma == 7).all()
