"""The package as its users type it."""

import importlib.util

import keras
import numpy as np
import pytest

from keras_davidnet import (
    DavidNet,
    DecoupledWeightDecay,
    RandomCutout,
    RandomPadCrop,
    datasets,
    recipes,
)


@pytest.fixture
def stripes(rng):
    """Noisy images of three classes: upright stripes, level ones, none."""
    labels = rng.integers(0, 3, 384)
    wave = 60 * np.sign(np.sin(np.arange(16) * np.pi / 2 + 0.1))
    images = rng.normal(128, 20, (384, 16, 16, 3))
    images[labels == 1] += wave[None, :, None, None]
    images[labels == 2] += wave[None, None, :, None]
    return images.clip(0, 255).astype("uint8"), labels


def net():
    model = DavidNet(
        num_classes=3,
        width=6,
        input_shape=(16, 16, 3),
        augmentation=keras.Sequential(
            [
                RandomPadCrop(2),
                keras.layers.RandomFlip("horizontal"),
                RandomCutout(4),
            ]
        ),
    )
    model.compile(recipes.davidnet_optimizer(8, epochs=10))
    return model


def test_fit_on_arrays_learns(stripes):
    images, labels = stripes
    history = (
        net()
        .fit(
            images[:256],
            labels[:256],
            batch_size=32,
            epochs=10,
            validation_data=(images[256:], labels[256:]),
            callbacks=[DecoupledWeightDecay(5e-3, exclude=["bn"])],
            verbose=0,
        )
        .history
    )
    assert history["val_accuracy"][-1] > 0.95
    assert history["learning_rate"][-1] < history["learning_rate"][1]


def test_fit_on_a_tf_data_pipeline_learns(stripes):
    pytest.importorskip("tensorflow", reason="tf.data pipelines")
    images, labels = stripes
    train_ds = datasets.make_dataset(
        images[:256], labels[:256], batch_size=32, training=True, seed=0
    )
    test_ds = datasets.make_dataset(images[256:], labels[256:], batch_size=100)
    history = (
        net()
        .fit(
            train_ds,
            epochs=10,
            validation_data=test_ds,
            shuffle=False,
            verbose=0,
        )
        .history
    )
    assert history["val_accuracy"][-1] > 0.95


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None,
    reason="TensorFlow is installed",
)
def test_pipelines_without_tensorflow_say_what_to_do():
    with pytest.raises(ImportError, match="pip install tensorflow"):
        datasets.make_dataset(np.zeros((9, 8, 8, 3)), np.zeros(9), 3)
