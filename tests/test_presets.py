"""The trained nets in the package."""

import os
import shutil

import keras
import numpy as np
import pytest

from keras_davidnet import (
    Airbench,
    DavidNet,
    ImageClassifier,
    datasets,
    presets,
    recipes,
)

NAMES = presets.list()
each = pytest.mark.parametrize("name", NAMES)


def same_weights(layer, other):
    for ours, theirs in zip(
        layer.get_weights(), other.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@each
def test_is_the_net_of_its_recipe(name):
    net, recipe = recipes.load(name), recipes.get(presets.info(name)["recipe"])
    assert type(net) is recipe.net
    expected = recipe.model()
    assert net.views == expected.views
    assert net.count_params() == expected.count_params()
    assert net.dtype_policy.name == "float32"


@each
def test_info(name):
    info = presets.info(name)
    assert name == f"{info['recipe']}_cifar{len(info['class_names'])}"
    assert info["dataset"] == recipes.get(info["recipe"]).measured[0].dataset
    run, file = info["accuracy"]["run"], info["accuracy"]["file"]
    assert run.keys() == file.keys()
    for views in run:
        # The run computed in another precision.
        assert abs(run[views] - file[views]) < 2e-3
    # One run is within three standard deviations of the mean of all.
    measured = recipes.get(presets.info(name)["recipe"]).measured[0]
    views = (
        recipes.get(presets.info(name)["recipe"]).net_arguments.get("views")
        or "plain"
    )
    assert abs(run[views] - measured.accuracy) < 3 * (measured.std or 1e-4)


def test_a_folder_does_not_hide_a_preset(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    name = "airbench94_muon_cifar10"
    net = DavidNet(2, width=1, input_shape=(8, 8, 3))
    net.save_to_preset(name)
    assert type(presets.load(name)) is Airbench
    assert type(presets.load(f"./{name}")) is DavidNet


def test_a_damaged_file(monkeypatch, tmp_path):
    name = "airbench94_muon_cifar10"
    for suffix in (".json", ".keras"):
        shutil.copy(presets._FOLDER / (name + suffix), tmp_path)
    file = tmp_path / f"{name}.keras"
    file.write_bytes(file.read_bytes()[:-1] + b"0")
    monkeypatch.setattr(presets, "_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="install keras_davidnet again"):
        presets.load(name)


@each
def test_accuracy_on_test_images(name):
    """Set CIFAR10_NPZ and CIFAR100_NPZ to the paths of the data."""
    _, data = name.rsplit("_", 1)
    path = os.environ.get(f"{data.upper()}_NPZ")
    if not path:
        pytest.skip(f"{data.upper()}_NPZ names no data.")
    _, (x, y) = getattr(datasets, f"load_{data}")(path)
    logits = recipes.load(name).predict(x[:1000], verbose=0)
    accuracy = np.mean(logits.argmax(1) == y[:1000].ravel())
    views = (
        recipes.get(presets.info(name)["recipe"]).net_arguments.get("views")
        or "plain"
    )
    expected = presets.info(name)["accuracy"]["file"][views]
    error = (expected * (1 - expected) / 1000) ** 0.5
    assert abs(accuracy - expected) < 3 * error


def test_classes(rng):
    net = Airbench.from_preset("airbench94_muon_cifar10")
    assert (
        type(ImageClassifier.from_preset("airbench94_muon_cifar10")) is Airbench
    )
    images = rng.integers(0, 256, (2, 32, 32, 3), "uint8")
    logits = keras.ops.convert_to_numpy(net(images))
    loaded = recipes.load("airbench94_muon_cifar10")(images)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded), logits)
    with pytest.raises(ValueError, match="of a trained DavidNet. Received"):
        DavidNet.from_preset("airbench94_muon_cifar10")


@pytest.mark.parametrize("load", [recipes.load, Airbench.from_preset])
def test_an_unknown_name_gives_those_that_exist(load):
    with pytest.raises(
        ValueError, match="'airbench94_muon_cifar10'.*Received.*'no'"
    ):
        load("no")


@each
def test_another_head(name):
    net = recipes.load(name)
    other = type(net).from_preset(name, num_classes=4)
    assert other.compute_output_shape((1, 32, 32, 3)) == (1, 4)
    for layer, source in zip(other.body, net.body, strict=True):
        same_weights(layer, source)


def test_a_backbone(rng):
    net = Airbench.from_preset("airbench94_muon_cifar10", views=None)
    backbone = Airbench.from_preset(
        "airbench94_muon_cifar10", include_top=False
    )
    images = rng.integers(0, 256, (2, 32, 32, 3), "uint8")
    features = keras.ops.convert_to_numpy(backbone(images)).max((1, 2))
    logits = features @ net.linear.get_weights()[0] * net.logit_scale
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(net(images)), logits, rtol=1e-4, atol=1e-5
    )


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError):
        Airbench.from_preset("airbench94_muon_cifar10", widths=(64, 256, 512))


def test_a_folder(tmp_path, rng):
    net = DavidNet(3, width=2, views="mirror")
    net.compile()
    images = rng.integers(0, 256, (4, 32, 32, 3), "uint8")
    net.fit(images, rng.integers(0, 3, 4), verbose=0)
    folder = tmp_path / "net"
    net.save_to_preset(folder)
    expected = net.predict(images, verbose=0)
    for load in (DavidNet.from_preset, recipes.load, keras.saving.load_model):
        loaded = load(folder)
        assert type(loaded) is DavidNet and not loaded.compiled
        np.testing.assert_array_equal(
            loaded.predict(images, verbose=0), expected
        )
    same_weights(
        DavidNet.from_preset(folder, num_classes=5).body[-1], net.body[-1]
    )
    card = (folder / "README.md").read_text()
    assert "A `DavidNet`" in card and "the logits of 3 classes" in card
    with pytest.raises(ValueError, match="new or empty. Received"):
        net.save_to_preset(folder)


def test_the_folder_of_a_backbone(tmp_path):
    net = DavidNet(3, width=2, include_top=False)
    net.save_to_preset(tmp_path)
    headed = DavidNet.from_preset(tmp_path, include_top=True)
    assert headed.compute_output_shape(headed.input_shape) == (None, 3)
    same_weights(headed.body[-1], net.body[-1])


def test_as_many_classes_have_their_names():
    name = "airbench94_muon_cifar10"
    net = Airbench.from_preset(name, num_classes=10)
    assert net.class_names == recipes.load(name).class_names is not None


def test_the_card_of_probabilities(tmp_path):
    net = DavidNet(3, width=2, classifier_activation="softmax")
    net.save_to_preset(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "the outputs (softmax) of 3 classes" in card


def test_layers_of_a_subclass(tmp_path):
    @keras.saving.register_keras_serializable("test")
    class WithScale(DavidNet):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.scale = keras.layers.Dense(3, kernel_initializer="normal")

        def call(self, images, training=False):
            return self.scale(super().call(images, training))

    net = WithScale(3, width=2)
    net.save_to_preset(tmp_path)
    same_weights(WithScale.from_preset(tmp_path).scale, net.scale)
