"""What a user of airbench may get wrong, and the answer before any step."""

import keras
import numpy as np
import pytest
from helpers import refused

from keras_davidnet import Airbench, Muon, optimizers

SHAPE = (9, 9, 3)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (8, *SHAPE), "uint8")


LABELS = np.arange(8)


def net(**arguments):
    return Airbench(
        **{
            "widths": (2, 3, 4),
            "input_shape": SHAPE,
            "augmentation": None,
        }
        | arguments
    )


def assert_untrained(model, before):
    assert int(model.optimizer.iterations.numpy()) == 0
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def nan_in(images):
    images = images.astype("float32")
    images[-1, -1, -1, -1] = np.nan
    return images


BAD_IMAGES = {
    "too few": lambda x: x[:1, :3, :3],
    "constant": lambda x: np.full_like(x, 7),
    "other channels": lambda x: x[..., :2],
    "NaN": nan_in,
    "rank": lambda x: x[0],
    "in 0..1": lambda x: (x / 255).astype("float32"),
}


@pytest.mark.parametrize("change", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_images_that_cannot_be_adapted_to(images, change):
    model = net()
    before = model.get_weights()
    refused(lambda: model.adapt(change(images)), "`?images`?.*images=")
    assert not model.whiten.adapted
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


CALLS = {
    "fit": lambda m, x: m.fit(x, LABELS, verbose=0),
    "train_on_batch": lambda m, x: m.train_on_batch(x, LABELS),
    "generator": lambda m, x: m.fit(
        (batch for batch in [(x, LABELS)]),
        steps_per_epoch=1,
        shuffle=False,
        verbose=0,
    ),
}


# Keras says so of an optimizer that was saved before its first step.
@pytest.mark.filterwarnings("ignore:Skipping variable loading:UserWarning")
@pytest.mark.filterwarnings("ignore:A total of:UserWarning")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "saved", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_net_never_adapted_is_not_trained(images, tmp_path, saved, call):
    model = net()
    model.compile(optimizers.airbench_optimizer(1, 1, 8))
    if saved:
        model.save(tmp_path / "net.keras")
        model = keras.saving.load_model(tmp_path / "net.keras")
    before = model.get_weights()
    refused(lambda: call(model, images), r"adapt")
    assert_untrained(model, before)
    # Then it is.
    model.adapt(images)
    call(model, images)
    assert int(model.optimizer.iterations.numpy()) == 1


@pytest.mark.slow
def test_a_net_loaded_from_an_adapted_one_is_trained(images, tmp_path):
    model = net()
    model.adapt(images)
    model.save_weights(tmp_path / "net.weights.h5")
    other = net()
    other.load_weights(tmp_path / "net.weights.h5")
    other.compile()
    other.fit(images, LABELS, verbose=0)
    assert int(other.optimizer.iterations.numpy()) == 1


def test_muon_needs_kernels(images):
    model = net()
    model.adapt(images)
    model.compile(Muon())
    refused(lambda: model.fit(images, LABELS, verbose=0), "convolution")
    assert model.optimizer.iterations == 0
    dense = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(2, name="odd_one")]
    )
    dense.compile(Muon(), "mse")
    refused(
        lambda: dense.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0),
        "convolution.*Received: .*odd_one",
    )


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"widths": (2, 3)}, ValueError, r"`widths`.*widths=\(2, 3\)"),
        ({"widths": (2, 3, 0)}, ValueError, r"widths.*0"),
        ({"widths": 8}, (TypeError, ValueError), "widths.*8"),
        ({"input_shape": (8, 9, 3)}, ValueError, r"input_shape=\(8, 9, 3\)"),
        ({"momentum": 2.0}, ValueError, "momentum=2.0"),
    ],
)
def test_bad_arguments(arguments, error, message):
    refused(lambda: net(**arguments), message, error)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps_per_epoch": 0},
        {"epochs": 0},
        {"batch_size": 0},
        {"bias_learning_rate": 0},
        {"head_learning_rate": 0},
        {"whitening_epochs": 0},
    ],
)
def test_bad_arguments_of_the_recipe(arguments):
    ((name, value),) = arguments.items()
    # An optimizer names its own argument.
    name = name.removeprefix("filters_").removeprefix("sgd_")
    refused(
        lambda: optimizers.airbench_optimizer(**arguments), f"{name}={value}"
    )
