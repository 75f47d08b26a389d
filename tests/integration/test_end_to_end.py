"""The package as its users type it."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference

from keras_davidnet import (
    ConvBN,
    DavidNet,
    DecoupledWeightDecay,
    PiecewiseLinear,
    PyTorchSGD,
    PyTorchUniform,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
    ResBlock,
    datasets,
    optimizers,
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
                RandomHorizontalFlip(),
                RandomCutout(4),
            ]
        ),
    )
    model.compile(optimizers.davidnet_optimizer(8, epochs=10))
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


def test_fit_on_batches_learns(stripes):
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
            verbose=0,
        )
        .history
    )
    assert history["val_accuracy"][-1] > 0.95


def composed_net(dtype):
    """Every public class that a DavidNet does not use, in one model."""
    images = keras.Input((16, 16, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 128, offset=-1, dtype=dtype)(images)
    x = RandomCutout(4, dtype=dtype)(RandomPadCrop(2, dtype=dtype)(x))
    x = ConvBN(4, 5, strides=2, activation="gelu", dtype=dtype)(x)
    pool = keras.layers.AveragePooling2D(2, dtype=dtype)
    x = ResBlock(4, residual=True, pool=pool, dtype=dtype)(x)
    x = keras.layers.Flatten(dtype=dtype)(x)
    x = keras.layers.Dense(3, kernel_initializer=PyTorchUniform(), dtype=dtype)(
        x
    )
    model = keras.Model(images, x)
    optimizer = PyTorchSGD(
        PiecewiseLinear([0, 3, 9], [0.01, 0.1, 0.0]),
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-3,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


LOAD = """
import sys
import keras, numpy as np, keras_davidnet
folder, *names = sys.argv[1:]
images, labels = (np.load(f"{folder}/{n}.npy") for n in ("images", "labels"))
for name in names:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    score = model.evaluate(images, labels, verbose=0, return_dict=True)
    np.savez(
        f"{folder}/{name}.npz",
        predictions=model.predict(images, verbose=0),
        score=score["loss"],
        rate=keras.ops.convert_to_numpy(model.optimizer.learning_rate),
        config=repr(model.optimizer.get_config()),
        **{f"v{i}": v.numpy() for i, v in enumerate(model.optimizer.variables)},
    )
"""


@pytest.mark.slow
def test_saved_models_in_another_process(stripes, tmp_path):
    images, labels = (array[:16] for array in stripes)
    models = {}
    for dtype in ("float32", "mixed_float16"):
        models[f"davidnet-{dtype}"] = DavidNet(
            num_classes=3, width=2, dtype=dtype, label_smoothing=0.1
        )
        models[f"davidnet-{dtype}"].compile()
        models[f"composed-{dtype}"] = composed_net(dtype)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    for name, model in models.items():
        model.fit(images, labels, batch_size=8, verbose=0)
        model.save(tmp_path / f"{name}.keras")
    subprocess.run([sys.executable, "-c", LOAD, tmp_path, *models], check=True)
    for name, model in models.items():
        loaded = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(
            loaded["predictions"], model.predict(images, verbose=0)
        )
        score = model.evaluate(images, labels, verbose=0, return_dict=True)
        assert loaded["score"] == score["loss"]
        rate = keras.ops.convert_to_numpy(model.optimizer.learning_rate)
        assert loaded["rate"] == rate
        assert str(loaded["config"]) == repr(model.optimizer.get_config())
        for i, variable in enumerate(model.optimizer.variables):
            np.testing.assert_array_equal(loaded[f"v{i}"], variable.numpy())


@pytest.mark.parametrize("name", ["davidnet_0.1.0", "davidnet_2e36a9a"])
def test_a_file_of_an_earlier_version_still_loads(name):
    """Written by saved/write.py; the second by a later commit, with `tta`."""
    saved = pathlib.Path(__file__).parents[1] / "saved"
    model = keras.saving.load_model(saved / f"{name}.keras")
    expected = np.load(saved / f"{name}.npz")
    np.testing.assert_allclose(
        model.predict(expected["images"], verbose=0),
        expected["predictions"],
        rtol=1e-3,
        atol=1e-5,
    )
    assert model.optimizer.iterations.numpy() == 2
    assert isinstance(model.optimizer, PyTorchSGD)


@pytest.mark.parametrize(
    "name", ["airbench", "bag_of_tricks", "davidnet_frozen"]
)
def test_a_file_of_each_net_still_loads(name):
    path = pathlib.Path(__file__).parents[1] / "saved" / f"{name}_76316e1"
    model = keras.saving.load_model(f"{path}.keras")
    expected = np.load(f"{path}.npz")
    np.testing.assert_allclose(
        model.predict(expected["images"], verbose=0),
        expected["predictions"],
        rtol=1e-3,
        atol=1e-5,
    )
    assert model.optimizer.iterations.numpy() == 4
    frozen = name == "davidnet_frozen"
    assert model.body[1].trainable
    assert model.body[0].trainable is not frozen


def test_a_file_in_hdf5_loads(rng, tmp_path):
    images = rng.integers(0, 256, (4, 8, 8, 3), "uint8")
    model = DavidNet(width=1, input_shape=(8, 8, 3))
    model.compile()
    model.fit(images, np.arange(4), verbose=0)
    keras.saving.save_model(model, tmp_path / "net.h5")
    # Keras asks for the class of each layer of others.
    loaded = keras.saving.load_model(
        tmp_path / "net.h5", custom_objects={"DavidNet": DavidNet}
    )
    loss, other = (
        net.evaluate(images, np.arange(4), verbose=0)[0]
        for net in (model, loaded)
    )
    assert other == pytest.approx(loss, rel=1e-6)


def test_a_file_with_a_loss_of_probabilities_loads(rng, tmp_path):
    """0.1.0 took such a loss; `compile` refuses it now."""
    images = rng.integers(0, 256, (2, 8, 8, 3), "uint8")
    model = DavidNet(width=1, input_shape=(8, 8, 3))
    keras.Model.compile(model, "sgd", "sparse_categorical_crossentropy")
    model.save(tmp_path / "net.keras")
    with pytest.warns(UserWarning, match="own loss .*from_logits=True"):
        loaded = keras.saving.load_model(tmp_path / "net.keras")
    logits = loaded.predict(images, verbose=0)
    np.testing.assert_array_equal(logits, model.predict(images, verbose=0))
    log_p = reference.log_softmax(logits)
    loss, _ = loaded.evaluate(images, np.arange(2), verbose=0)
    assert loss == pytest.approx(-(log_p[0, 0] + log_p[1, 1]) / 2, rel=1e-4)


@pytest.mark.slow
def test_a_seed_gives_the_same_bits(rng):
    # Everything random is on, and the batches are so large that threads share
    # them: with Keras's own batch normalization TensorFlow fails mostly.
    images = rng.integers(0, 256, (1024, 32, 32, 3), "uint8")
    labels = rng.integers(0, 10, 1024)
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        model = DavidNet(width=16)
        model.compile(optimizers.davidnet_optimizer(2, epochs=2))
        model.fit(images, labels, batch_size=512, epochs=2, verbose=0)
        runs.append(model.get_weights())
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
