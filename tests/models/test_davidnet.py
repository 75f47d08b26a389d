import keras
import numpy as np
import pytest
from helpers import floats
from plain import numpy_davidnet as reference

import keras_davidnet
from keras_davidnet import (
    DavidNet,
    RandomHorizontalFlip,
    RandomPadCrop,
    datasets,
    optimizers,
)

BACKEND = keras.backend.backend()


@pytest.fixture
def batch(rng):
    images = rng.integers(0, 256, (8, 16, 16, 3)).astype("uint8")
    return images, rng.integers(0, 10, 8)


def plain_net(**arguments):
    """Small, and without anything random."""
    arguments = {"width": 2, "augmentation": None, "dropout": 0, **arguments}
    return DavidNet(**arguments)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_size_of_the_published_net():
    model = DavidNet()
    sizes = [np.prod(w.shape) for w in model.trainable_weights]
    assert sum(sizes) == 6_573_120


def test_layer_names_are_the_checkpoint_format():
    assert [layer.name for layer in plain_net().layers] == [
        "normalization",
        "prep",
        "layer1",
        "layer2",
        "layer3",
        "pool",
        "linear",
    ]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (9, 13)])
def test_logits_equal_numpys(rng, training, size):
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    model = plain_net(width=3, mean=mean, std=std)
    images = rng.integers(0, 256, (6, *size, 3)).astype("uint8")
    expected = reference.davidnet(images, model, mean, std, training)
    np.testing.assert_allclose(
        numpy(model(images, training=training)), expected, rtol=1e-4, atol=1e-5
    )


def test_floats_in_0_to_255_equal_uint8(batch):
    images, _ = batch
    model = plain_net()
    np.testing.assert_array_equal(
        model.predict(images.astype("float32"), verbose=0),
        model.predict(images, verbose=0),
    )


def test_flip_averaging(batch):
    images, _ = batch
    model = plain_net()
    with_tta = plain_net(views="mirror")
    with_tta.set_weights(model.get_weights())
    both = [model.predict(x, verbose=0) for x in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(
        with_tta.predict(images, verbose=0),
        (both[0] + both[1]) / 2,
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        numpy(with_tta(images, training=True)),
        numpy(model(images, training=True)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_augmentation_sees_normalised_images_in_training_only(batch):
    images, _ = batch
    # A layer that takes no `training`, and mirrors the pixels at the mean.
    negative = plain_net(augmentation=keras.layers.Rescaling(-1.0))
    model = plain_net()
    negative.set_weights(model.get_weights())
    np.testing.assert_array_equal(numpy(negative(images)), numpy(model(images)))
    mirrored = 2 * 255 * np.float32(datasets.CIFAR10_MEAN) - images
    np.testing.assert_allclose(
        numpy(negative(images, training=True)),
        numpy(model(mirrored, training=True)),
        rtol=1e-3,
        atol=1e-4,
    )


def test_default_augmentation_crops_and_flips():
    crop, flip = DavidNet(width=2).augmentation.layers
    assert isinstance(crop, RandomPadCrop) and crop.padding == 4
    assert isinstance(flip, RandomHorizontalFlip)


def test_steps_without_arguments_are_the_recipe(batch):
    images, labels = batch
    model = plain_net(label_smoothing=0.3)
    # Far from uniform, or smoothing would not show.
    model.linear.set_weights([100 * w for w in model.linear.get_weights()])
    model.compile()

    def expected(logits, targets):
        log_p = reference.log_softmax(logits)
        accuracy = (logits.argmax(-1) == labels).mean()
        return -(targets * log_p).sum(-1).mean(), accuracy

    one_hot = np.eye(10)[labels]
    statistics = datasets.CIFAR10_MEAN, datasets.CIFAR10_STD
    logits = reference.davidnet(images, model, *statistics, training=True)
    loss, accuracy = expected(logits, 0.7 * one_hot + 0.3 / 10)
    logs = model.fit(images, labels[:, None], batch_size=8, verbose=0).history
    assert logs.keys() == {"loss", "accuracy", "learning_rate"}
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-4)
    np.testing.assert_allclose(logs["accuracy"], accuracy)

    logits = model.predict(images, verbose=0)
    loss, accuracy = expected(logits, one_hot)
    test_loss, test_accuracy = model.evaluate(images, labels, verbose=0)
    np.testing.assert_allclose(test_loss, loss, rtol=1e-4)
    np.testing.assert_allclose(test_accuracy, accuracy)


def test_every_part_of_compile_can_be_given(batch):
    images, labels = batch
    model = plain_net()
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.TopKCategoricalAccuracy(3, name="top3")],
    )
    history = model.fit(
        images, np.eye(10)[labels], verbose=0, validation_split=0.5
    ).history
    assert history.keys() == {
        "loss",
        "top3",
        "learning_rate",
        "val_loss",
        "val_top3",
    }
    np.testing.assert_allclose(history["learning_rate"], 1e-3, rtol=1e-6)


def test_optimizers_of_several_rates_are_all_logged(batch):
    model = plain_net()
    model.compile(
        keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(
                keras.optimizers.SGD(0.25, name="rest"),
                {".*beta": keras.optimizers.SGD(0.5, name="bias")},
            )
        ),
        run_eagerly=True,
    )
    history = model.fit(*batch, verbose=0).history
    assert history["learning_rate_rest"] == [0.25]
    assert history["learning_rate_bias"] == [0.5]
    assert "learning_rate" not in history


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="JAX always compiles with XLA, torch never"
)
@pytest.mark.slow
def test_xla_gives_the_same_weights(batch):
    images, labels = batch
    weights = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        # TensorFlow draws other numbers under XLA; here nothing is random.
        model = plain_net()
        model.compile(
            optimizers.davidnet_optimizer(4, 1), jit_compile=jit_compile
        )
        model.fit(images, labels, batch_size=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_own_loss_with_a_sparse_metric_and_weights(batch):
    images, labels = batch
    model = plain_net()
    model.compile(metrics=[keras.metrics.SparseTopKCategoricalAccuracy(10)])
    weights = np.array([0, 0, 0, 0, 0, 0, 0, 8.0])
    result = model.evaluate(
        images,
        labels[:, None],
        sample_weight=weights,
        verbose=0,
        return_dict=True,
    )
    log_p = reference.log_softmax(model.predict(images, verbose=0))
    np.testing.assert_allclose(result["loss"], -log_p[7, labels[7]], rtol=1e-4)
    assert result["sparse_top_k_categorical_accuracy"] == 1


@pytest.mark.skipif(
    BACKEND == "torch", reason="torch's trainer takes one step an execution"
)
# Two executions of four steps, and three steps whose last batch is smaller.
@pytest.mark.parametrize(
    ("batch_size", "steps_per_execution"), [(1, 4), (3, 4)]
)
@pytest.mark.slow
def test_several_steps_per_execution(batch, batch_size, steps_per_execution):
    results = []
    for steps in 1, steps_per_execution:
        # In float64: XLA may round a loop otherwise, and training magnifies it.
        with floats("float64"):
            keras.utils.set_random_seed(0)
            model = plain_net(augmentation="crop_flip", dropout=0.1)
            model.compile(steps_per_execution=steps)
            history = model.fit(
                *batch,
                batch_size=batch_size,
                epochs=2,
                shuffle=False,
                verbose=0,
            ).history
            results.append((history, model.get_weights()))
    (history, weights), (other_history, other_weights) = results
    assert history.keys() == other_history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(
            values, other_history[name], rtol=1e-6, err_msg=name
        )
    for one, other in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_config_round_trip():
    arguments = {
        "num_classes": 7,
        "width": 3,
        "input_shape": (24, None, 1),
        "mean": (0.3,),
        "std": (0.2,),
        "dropout": 0.1,
        "logit_scale": 0.2,
        "label_smoothing": 0.05,
        "views": "mirror",
        "name": "net",
    }
    model = DavidNet(
        augmentation=RandomPadCrop(2, seed=5, name="crop"),
        dtype="mixed_bfloat16",
        **arguments,
    )
    again = DavidNet.from_config(model.get_config())
    assert again.get_config() == {**model.get_config(), **arguments}
    assert again.augmentation.padding == 2
    for sublayer in again._flatten_layers(include_self=False):
        name = "mixed_bfloat16"
        if sublayer.name in ("normalization", "crop"):
            name = "float32"
        assert sublayer.dtype_policy.name == name


@pytest.mark.parametrize(
    "shape", [(8, 32, 32), (8, 32, 32, 1), (8, 7, 32, 3), (8, 3, 32, 32)]
)
def test_bad_images(shape):
    with pytest.raises(ValueError, match="takes images of shape"):
        plain_net()(np.zeros(shape, "uint8"))


def test_bad_labels(batch):
    images, labels = batch
    model = plain_net()
    model.compile(run_eagerly=True)
    with pytest.raises(ValueError, match=r"y=.* of shape \(8, 10\)"):
        model.evaluate(images, np.eye(10)[labels], verbose=0)
    with pytest.raises(ValueError, match="y=None"):
        model.fit(images, verbose=0)


def test_bad_compile():
    with pytest.raises(ValueError, match="label_smoothing=0.1"):
        plain_net(label_smoothing=0.1).compile(loss="mse")
    with pytest.raises(ValueError, match="include_top=False"):
        plain_net(include_top=False).compile()
    with pytest.raises(TypeError, match="positional"):
        # Keras would take the metrics for loss weights.
        plain_net().compile("sgd", "mse", ["accuracy"])


def test_version():
    import importlib.metadata

    installed = importlib.metadata.version("keras-davidnet")
    assert keras_davidnet.__version__ == installed
