"""DavidNet without its top: taken from a trained net, frozen, thawed."""

import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference

from keras_davidnet import (
    ConvBN,
    DavidNet,
    ImageClassifier,
    PyTorchSGD,
    RandomPadCrop,
    ResBlock,
    datasets,
    optimizers,
)

# Off where that can be: it is slow to compile.
XLA = keras.backend.backend() == "jax"


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 16, 16, 3), "uint8")
    return images, rng.integers(0, 10, 12)


@pytest.mark.parametrize("name", ["normalization", "pool", "linear"])
def test_the_shell_takes_no_layer_of_the_body(name):
    class Family(DavidNet):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            setattr(self, name, keras.layers.Conv2D(4, 1))

    expected = f"`{name}`.*another name.*Received: a Family"
    with pytest.raises(ValueError, match=expected):
        Family(width=1)


@pytest.fixture(scope="module")
def trained(batch):
    """A net whose statistics of batches are no longer 0 and 1."""
    model = DavidNet(
        width=2,
        input_shape=(16, 16, 3),
        augmentation=RandomPadCrop(4),
        dropout=0.5,
    )
    model.compile(optimizers.davidnet_optimizer(3, epochs=2), jit_compile=XLA)
    model.fit(*batch, batch_size=4, epochs=2, verbose=0)
    return model


def body_of(trained, path):
    save = trained.save if path.suffix == ".keras" else trained.save_weights
    save(path)
    config = {**trained.get_config(), "include_top": False}
    backbone = DavidNet.from_config(config)
    backbone.load_weights(path)
    return backbone


def with_head(backbone):
    images = keras.Input((16, 16, 3), dtype="uint8")
    h = keras.layers.GlobalMaxPooling2D()(backbone(images))
    model = keras.Model(images, keras.layers.Dense(10, use_bias=False)(h))
    compile_(model)
    return model


def compile_(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Decay too would be seen on weights that ought to stay.
    optimizer = PyTorchSGD(0.1, momentum=0.9, weight_decay=5e-4)
    model.compile(optimizer, loss, jit_compile=XLA)


def changed_by_fit(model, batch):
    """For each weight of the body, whether it changes; and for the head."""
    before = model.get_weights()
    model.fit(*batch, batch_size=4, verbose=0)
    *body, head = [
        not np.array_equal(one, other)
        for one, other in zip(before, model.get_weights(), strict=True)
    ]
    return body, head


def numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("file", ["net.keras", "net.weights.h5"])
def test_frozen_net_under_its_own_head_is_the_trained_net(
    trained, batch, tmp_path, file
):
    images, _ = batch
    backbone = body_of(trained, tmp_path / file)
    backbone.trainable = False
    model = with_head(backbone)
    (kernel,) = trained.linear.get_weights()
    model.layers[-1].set_weights([0.125 * kernel])
    expected = reference.davidnet(
        images, trained, datasets.CIFAR10_MEAN, datasets.CIFAR10_STD
    )
    np.testing.assert_allclose(
        model.predict(images, verbose=0), expected, rtol=1e-4, atol=1e-5
    )


def test_frozen_net_normalises_as_in_inference():
    """Whatever the batch; dropout and augmentation are another matter."""
    net = DavidNet(width=2, include_top=False, augmentation=None, dropout=0)
    images = np.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3) % 251
    in_training = numpy(net(images, training=True))
    net.trainable = False
    in_inference = numpy(net(images))
    assert np.abs(in_training - in_inference).max() > 0.1
    np.testing.assert_array_equal(
        numpy(net(images, training=True)), in_inference
    )


@pytest.mark.parametrize("arguments", [{"augmentation": None}, {"dropout": 0}])
def test_frozen_net_still_drops_and_augments(batch, arguments):
    images, _ = batch
    net = DavidNet(width=2, include_top=False, **arguments)
    net.trainable = False
    one, other = (numpy(net(images, training=True)) for _ in range(2))
    assert np.abs(one - other).max() > 0.01


def test_freezing_holds_every_bit_until_thawed(trained, batch, tmp_path):
    backbone = body_of(trained, tmp_path / "net.keras")
    backbone.trainable = False
    model = with_head(backbone)
    body, head = changed_by_fit(model, batch)
    assert not any(body) and head

    # Frozen in the file, too.
    model.save(tmp_path / "frozen.keras")
    loaded = keras.saving.load_model(tmp_path / "frozen.keras")
    body, head = changed_by_fit(loaded, batch)
    assert not any(body) and head

    loaded.get_layer(backbone.name).trainable = True
    compile_(loaded)
    body, head = changed_by_fit(loaded, batch)
    assert all(body) and head


@keras.saving.register_keras_serializable("test")
class PlainNet(ImageClassifier):
    """Its blocks are made without `trainable`."""

    default_optimizer = staticmethod(optimizers.davidnet_optimizer)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.body = [ConvBN(2), ConvBN(4)]


@pytest.mark.parametrize(
    "layer",
    [
        lambda: ConvBN(2, trainable=False),
        lambda: ResBlock(2, residual=True, trainable=False),
        lambda: DavidNet(width=2, trainable=False),
        lambda: ConvBN(2, activation=keras.layers.PReLU(), trainable=False),
        lambda: ResBlock(2, pool=keras.layers.Conv2D(2, 3), trainable=False),
        lambda: PlainNet(input_shape=(16, 16, 3), trainable=False),
    ],
    ids=["ConvBN", "ResBlock", "DavidNet", "PReLU", "pool", "family"],
)
def test_made_frozen(layer):
    images = keras.Input((16, 16, 3))
    net = layer()
    assert keras.Model(images, net(images)).trainable_weights == []
    net.trainable = True
    assert len(net.trainable_weights) > 0


def test_a_frozen_family_loads_frozen(tmp_path):
    net = PlainNet(input_shape=(8, 8, 3))
    net.trainable = False
    net.body[1].trainable = True
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert not loaded.body[0].trainable and not loaded.body[0].trainable_weights
    assert loaded.body[1].trainable
