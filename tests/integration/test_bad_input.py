"""What a user may get wrong, and the answer: before any training, and clear."""

import json

import keras
import numpy as np
import pytest
from helpers import refused

from keras_davidnet import (
    ConvBN,
    DavidNet,
    DecoupledWeightDecay,
    PiecewiseLinear,
    PyTorchSGD,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
    ResBlock,
    datasets,
    optimizers,
)

NAN, INF = float("nan"), float("inf")
BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), "uint8")


@pytest.fixture(scope="module")
def labels():
    return np.arange(8)


def net(**arguments):
    return DavidNet(
        **{"width": 1, "input_shape": (8, 8, 3), "augmentation": None}
        | arguments
    )


def compiled(loss=None, **arguments):
    # Eagerly, which saves the time to trace, but on JAX takes longer.
    model = net(**arguments)
    model.compile("sgd", loss=loss, run_eagerly=BACKEND != "jax")
    return model


def with_value(array, value, dtype="float32"):
    array = array.astype(dtype)
    array.flat[-1] = value
    return array


def one_hot(labels, classes=10):
    return np.eye(classes, dtype="float32")[labels]


# What of images and labels is wrong, and what the message says of it.
ARRAYS = {
    "rank": (
        lambda x, y: (x[0], y[:1]),
        r"\(batch, height, width, 3\).*x=uint8 array of shape \(8, 8, 3\)",
    ),
    "channels": (
        lambda x, y: (x[..., :1], y),
        r"width, 3\).*x=uint8 array of shape \(8, 8, 8, 1\)",
    ),
    "channels first": (
        lambda x, y: (np.repeat(x, 3, 1).transpose(0, 3, 1, 2), y),
        r"width, 3\).*x=.*\(8, 3, 24, 8\)",
    ),
    "too small": (
        lambda x, y: (x[:, :7], y),
        r"at least 8 pixels.*x=.*\(8, 7, 8, 3\)",
    ),
    "strings": (
        lambda x, y: (x.astype(str), y),
        "`x` must hold integers or floats.*x=<U",
    ),
    "objects": (
        lambda x, y: (x.astype(object), y),
        "`x` must hold integers or floats.*x=object array",
    ),
    "complex": (
        lambda x, y: (x.astype("complex64"), y),
        "`x` must hold integers or floats.*x=complex64",
    ),
    "booleans": (
        lambda x, y: (x > 9, y),
        "`x` must hold integers or floats.*x=bool",
    ),
    "in 0..1": (
        lambda x, y: (x.astype("float32") / 255, y),
        r"0\.\.255.*x=float32 array of shape.*to 1\.0$",
    ),
    "in -1..1": (
        lambda x, y: (x.astype("float16") / 127.5 - 1, y),
        r"0\.\.255.*x=float16 array of shape.*from -1\.0 to 1\.0$",
    ),
    "0 and 1": (
        lambda x, y: ((x > 99).astype("float32"), y),
        r"0\.\.255.*x=float32 array of shape.*from 0\.0 to 1\.0$",
    ),
    "normalized": (
        lambda x, y: (((x / 255 - 0.5) / 0.25).astype("float32"), y),
        r"0\.\.255.*x=float32 array of shape.*from -2\.0 to 2\.0$",
    ),
    "16 bits": (
        lambda x, y: (257 * x.astype("uint16"), y),
        r"0\.\.255.*x=uint16 array of shape.*to 65535$",
    ),
    "NaN": (
        lambda x, y: (with_value(x, NAN), y),
        "`x` must hold finite numbers.*x=float32.*nan",
    ),
    "infinity": (
        lambda x, y: (with_value(x, -INF), y),
        "`x` must hold finite numbers.*x=float32.*-inf",
    ),
    "nothing": (
        lambda x, y: (x[:0], y[:0]),
        r"`x` must not be empty.*x=uint8 array of shape \(0, 8, 8, 3\)",
    ),
    "fewer labels": (
        lambda x, y: (x, y[:-1]),
        r"as many labels as images.*8 images, y=int64 array of shape \(7,\)",
    ),
    "a label of -1": (
        lambda x, y: (x, y - 1),
        r"integers in 0\.\.9.*y=int64.*from -1 to 6$",
    ),
    "a label of 10": (
        lambda x, y: (x, with_value(y, 10, "uint8")),
        r"integers in 0\.\.9.*y=uint8.*to 10$",
    ),
    "a label of 1.5": (
        lambda x, y: (x, with_value(y, 1.5)),
        r"integers in 0\.\.9.*y=float32",
    ),
    "a label of NaN": (
        lambda x, y: (x, with_value(y, NAN)),
        "`y` must hold finite numbers.*y=float32",
    ),
    "labels of strings": (
        lambda x, y: (x, y.astype(str)),
        "`y` must hold integers or floats.*y=<U",
    ),
    "one-hot labels": (
        lambda x, y: (x, one_hot(y)),
        r"sparse labels.*y=float32 array of shape \(8, 10\)",
    ),
    "no labels": (lambda x, y: (x, None), "sparse labels.*y=None"),
}
ROWS = pytest.mark.parametrize(
    "change, message", ARRAYS.values(), ids=ARRAYS.keys()
)


@pytest.fixture(scope="module")
def model():
    return compiled()


@ROWS
def test_arrays(model, images, labels, change, message):
    x, y = change(images, labels)
    before = model.get_weights()
    refused(lambda: model.fit(x, y, verbose=0), message)
    refused(lambda: model.evaluate(x, y, verbose=0), message)
    refused(
        lambda: model.fit(images, labels, validation_data=(x, y), verbose=0),
        message.replace("`x`", r"`validation_data\[0\]`")
        .replace("`y`", r"`validation_data\[1\]`")
        .replace("x=", r"validation_data\[0\]=")
        .replace("y=", r"validation_data\[1\]="),
    )
    assert model.optimizer.iterations.numpy() == 0
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


SHAPES = ["rank", "channels", "channels first", "too small"]


@pytest.mark.parametrize("name", SHAPES)
def test_images_for_predict(model, images, labels, name):
    x, _ = ARRAYS[name][0](images, labels)
    before = model.predict(images, verbose=0)
    refused(lambda: model.predict(x, verbose=0), "takes images of shape")
    # On JAX Keras would have lost the weights.
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)


def test_validation_data_by_position(model, images, labels):
    data = images, labels + 3
    refused(
        lambda: model.fit(images, labels, 8, 1, 0, None, 0.0, data),
        r"integers in 0\.\.9.*validation_data\[1\]=",
    )
    assert model.optimizer.iterations.numpy() == 0


def batches(x, y):
    """The one batch of a stream, as Keras expects it."""
    return (x,) if y is None else (x, y)


STREAMS = pytest.mark.parametrize(
    "name", [*SHAPES, "booleans", "one-hot labels", "no labels"]
)


def dataset_of_one(x, y):
    tf = pytest.importorskip("tensorflow", reason="tf.data pipelines")
    return tf.data.Dataset.from_tensors(batches(x, y))


def generator_of_one(x, y):
    return (batch for batch in [batches(x, y)])


class PyDataset(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.batch = batches(x, y)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.batch


@STREAMS
@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(dataset_of_one, marks=pytest.mark.extra),
        generator_of_one,
        PyDataset,
    ],
)
def test_types_of_streams(model, images, labels, name, stream):
    change, message = ARRAYS[name]
    x, y = change(images, labels)
    # In the step they have other names and are symbolic.
    message = message.split(".*")[0].replace("`x`", "`images`")
    for call in (model.fit, model.evaluate):
        options = {"shuffle": False} if call == model.fit else {}
        with pytest.raises(ValueError, match=message):
            call(stream(x, y), verbose=0, **options)
    assert model.optimizer.iterations.numpy() == 0


@pytest.mark.extra
def test_batches_of_names(model, images, labels):
    tf = pytest.importorskip("tensorflow", reason="tf.data pipelines")
    # As tfds.load() gives them.
    batch = tf.data.Dataset.from_tensors({"image": images, "label": labels})
    for call in (
        lambda: model.fit(batch, shuffle=False),
        lambda: model.evaluate(batch),
        lambda: model.predict(batch),
    ):
        refused(call, "pair.*as_supervised=True")


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.CategoricalCrossentropy(),
    ],
)
def test_a_loss_of_probabilities(loss):
    refused(lambda: compiled(loss), "returns logits.*from_logits=True")
    # They are right for a net that returns probabilities.
    net(classifier_activation="softmax").compile("sgd", loss)
    compiled(keras.losses.CategoricalCrossentropy(from_logits=True))
    compiled("mse")


def test_labels_that_are_not_an_array(model, images, labels):
    with pytest.raises(TypeError, match="`y` must be an array.*y=.*list"):
        model.fit(images, labels.tolist(), verbose=0)


def test_what_is_right_is_taken(images, labels):
    """Data that look like mistakes and are none."""
    model = compiled()
    for x, y in (
        (np.zeros_like(images, "float32"), labels),
        (np.ones_like(images, "float32"), labels),
        (images.astype("int64"), labels.astype("float64")),
        (images.astype("float16"), labels[:, None].astype("uint8")),
    ):
        model.evaluate(x, y, verbose=0)
    # One dark image of raw pixels in floats is not a reason to refuse it.
    dark = images[:1].astype("float32") % 1 + 0.5
    np.testing.assert_array_equal(
        model.predict(dark, verbose=0),
        keras.ops.convert_to_numpy(model(dark)),
    )
    unit = images.astype("float32") / 255
    normal = DavidNet(
        width=1,
        input_shape=(8, 8, 3),
        mean=(0, 0, 0),
        std=(1 / 255,) * 3,
        augmentation=None,
    )
    normal.compile()
    normal.fit(unit, labels, validation_data=(unit, labels), verbose=0)
    two = compiled(num_classes=2)
    two.fit(images, labels > 3, verbose=0)


@pytest.mark.slow
def test_the_check_changes_no_bit_of_a_run(images, labels):
    weights = []
    for fit in (DavidNet.fit, keras.Model.fit):
        keras.utils.set_random_seed(1)
        model = DavidNet(width=1, input_shape=(8, 8, 3))
        model.compile(
            optimizers.davidnet_optimizer(4, 2),
            jit_compile=BACKEND == "jax",
        )
        fit(model, images, labels, batch_size=2, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


ARGUMENTS = [
    (DavidNet, {"num_classes": 1}),
    (DavidNet, {"num_classes": True}),
    (DavidNet, {"num_classes": 10.0}),
    (DavidNet, {"num_classes": "10"}),
    (DavidNet, {"width": 0}),
    (DavidNet, {"width": 1.5}),
    (DavidNet, {"input_shape": (7, 32, 3)}),
    (DavidNet, {"input_shape": (32, 32)}),
    (DavidNet, {"input_shape": (32, 32, 0)}),
    (DavidNet, {"input_shape": 32}),
    (DavidNet, {"input_shape": (32, 32, None)}),
    (DavidNet, {"input_shape": ("32", 32, 3)}),
    (DavidNet, {"input_shape": (0, 32, 3)}),
    (DavidNet, {"mean": (NAN, 0, 0)}),
    (DavidNet, {"mean": ("a", 0, 0)}),
    (DavidNet, {"mean": (0.5,)}),
    (DavidNet, {"mean": 0.5}),
    (DavidNet, {"std": (0, 1, 1)}),
    (DavidNet, {"std": (INF, 1, 1)}),
    (DavidNet, {"std": 0.5}),
    (DavidNet, {"dropout": 1}),
    (DavidNet, {"dropout": -0.1}),
    (DavidNet, {"dropout": "0.1"}),
    (DavidNet, {"dropout": NAN}),
    (DavidNet, {"logit_scale": -1}),
    (DavidNet, {"logit_scale": INF}),
    (DavidNet, {"label_smoothing": 1}),
    (DavidNet, {"views": "mirror", "include_top": False}),
    (DavidNet, {"views": "all"}),
    (DavidNet, {"views": 2}),
    (DavidNet, {"views": True}),
    (DavidNet, {"views": "mirror_translate", "input_shape": (None, 32, 3)}),
    (DavidNet, {"views": "mirror_translate", "input_shape": (32, None, 3)}),
    (DavidNet, {"augmentation": "crop_3"}),
    (DavidNet, {"augmentation": [1]}),
    (DavidNet, {"augmentation": lambda x: x}),
    (DavidNet, {"augmentation": keras.layers.RandomFlip}),
    (ConvBN, {"filters": 0}),
    (ConvBN, {"filters": 2.0}),
    (ConvBN, {"kernel_size": 0}),
    (ConvBN, {"kernel_size": (3, 3, 3)}),
    (ConvBN, {"strides": -1}),
    (ConvBN, {"padding": "some"}),
    (ConvBN, {"activation": "relux"}),
    (ConvBN, {"kernel_initializer": "he"}),
    (ConvBN, {"momentum": 1.1}),
    (ConvBN, {"epsilon": -1e-5}),
    (ConvBN, {"dropout": 1}),
    (ResBlock, {"filters": -1}),
    (ResBlock, {"pool": "average"}),
    (ResBlock, {"pool": 2}),
    (ResBlock, {"pool": keras.layers.MaxPooling2D}),
    (ResBlock, {"dropout": NAN}),
    (RandomPadCrop, {"padding": 0}),
    (RandomPadCrop, {"padding": 1.5}),
    (RandomPadCrop, {"seed": "one"}),
    (RandomCutout, {"size": 0}),
    (RandomCutout, {"size": None}),
    (RandomHorizontalFlip, {"seed": 1.5}),
    (PiecewiseLinear, {"knots": [], "values": []}),
    (PiecewiseLinear, {"knots": 3, "values": [1]}),
    (PiecewiseLinear, {"knots": ["0", "1"], "values": [1, 1]}),
    (PiecewiseLinear, {"knots": [[0], [1]], "values": [1, 1]}),
    (PiecewiseLinear.from_epochs, {"steps_per_epoch": 0}),
    (PiecewiseLinear.from_epochs, {"steps_per_epoch": 97.0}),
    (PyTorchSGD, {"learning_rate": -0.1}),
    (PyTorchSGD, {"learning_rate": NAN}),
    (PyTorchSGD, {"learning_rate": "fast"}),
    (PyTorchSGD, {"momentum": 1.1}),
    (PyTorchSGD, {"momentum": "0.9"}),
    (PyTorchSGD, {"weight_decay": -1e-4}),
    (PyTorchSGD, {"weight_decay": INF}),
    (optimizers.davidnet_optimizer, {"epochs": 0}),
    (optimizers.davidnet_optimizer, {"epochs": "2"}),
    (optimizers.davidnet_optimizer, {"momentum": -1}),
    (optimizers.davidnet_optimizer, {"weight_decay": NAN}),
    (DecoupledWeightDecay, {"weight_decay": -1}),
    (DecoupledWeightDecay, {"exclude": "bias"}),
    (DecoupledWeightDecay, {"exclude": None}),
]
# Arguments that have no default, or none that is small.
NEEDED = {
    DavidNet: {"width": 1},
    ConvBN: {"filters": 1},
    ResBlock: {"filters": 1},
    PiecewiseLinear.from_epochs: {"knots": [0, 1], "values": [1, 1]},
    DecoupledWeightDecay: {"weight_decay": 0.1},
}


@pytest.mark.parametrize("make, arguments", ARGUMENTS)
def test_arguments(make, arguments):
    with pytest.raises((TypeError, ValueError)) as info:
        make(**{**NEEDED.get(make, {}), **arguments})
    message = str(info.value)
    (name, value), *_ = arguments.items()
    # Keras names identifiers by their kind.
    assert name in message or f"{name.split('_')[-1]} identifier" in message
    assert "Received" in message or "identifier" in message
    assert str(value) in message or repr(value) in message


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 0},
        {"batch_size": 4.0},
        {"batch_size": 9},
        {"images": np.zeros((8, 8, 3))},
        {"images": np.zeros((7, 8, 8, 3))},
        {"images": np.zeros((0, 8, 8, 3))},
        {"images": [[1], [2]]},
        {"labels": np.zeros(7)},
        {"labels": 3},
        {"sample_weight": np.ones(7)},
        {"sample_weight": np.ones((8, 1))},
        {"seed": "one"},
        {"seed": 1.5},
        {"seed": -1},
    ],
)
def test_arguments_of_pipelines(images, labels, change):
    arguments = {"images": images, "labels": labels, "batch_size": 4, **change}
    call = lambda: datasets.make_dataset(**arguments, training=True)  # noqa: E731
    assert next(iter(change)) in refused(call, "", (TypeError, ValueError))


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.full((8, 8, 8, 3), NAN)},
        {"images": np.full((8, 8, 8, 3), "a")},
        {"labels": np.full(8, INF)},
        {"labels": np.full(8, None)},
    ],
)
def test_fit_checks_the_values_of_pipelines(model, images, labels, change):
    arrays = {"images": images[:8], "labels": labels[:8], **change}
    dataset = datasets.make_dataset(**arrays, batch_size=4, training=True)
    refused(lambda: model.fit(dataset, verbose=0), "must hold.*Received: [xy]=")


def test_arguments_of_functions_in_numpys_numbers():
    integer, real = np.int64, np.float32
    for part in (
        optimizers.davidnet_optimizer(
            integer(2), integer(2), peak_learning_rate=real(0.5)
        ),
        PiecewiseLinear.from_epochs([0, 1], [0, 1], integer(2)),
    ):
        json.dumps(part.get_config())
    assert type(DecoupledWeightDecay(real(0.5)).weight_decay) is float


@pytest.mark.parametrize(
    "part",
    [
        ConvBN(1),
        ResBlock(1),
        RandomPadCrop(1),
        RandomCutout(1),
        RandomHorizontalFlip(),
        PiecewiseLinear([0, 1], [0, 1]),
        PyTorchSGD(0.1),
        DavidNet(width=4),
    ],
    ids=lambda part: type(part).__name__,
)
def test_unknown_arguments_of_parts_are_named(part):
    config = {**part.get_config(), "stochastic_depth": 0.1}
    with pytest.raises((TypeError, ValueError), match="stochastic_depth"):
        type(part).from_config(config)
