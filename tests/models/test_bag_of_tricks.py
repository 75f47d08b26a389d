"""The net, its parts and its training against plain PyTorch and NumPy."""

import keras
import numpy as np
import pytest
from helpers import (
    assert_equal,
    filters_last,
    floats,
    for_torch,
    give,
    normalized,
    numbers_in,
    pixels,
    restored,
)

from keras_davidnet import (
    CELU,
    GhostBatchNormalization,
    WhitenedDavidNet,
    WhiteningConv2D,
    optimizers,
    recipes,
)
from keras_davidnet.datasets import make_dataset
from keras_davidnet.optimizers.leaves import leaf_optimizers

torch = pytest.importorskip("torch", reason="PyTorch is what we compare with")
from plain import numpy_airbench, pytorch_bag_of_tricks  # noqa: E402

# Pixels of 0..255, minus 127.5, over 64: exact in float32.
MEAN, STD = (0.5,) * 3, (64 / 255,) * 3
WIDTH, GROUPS, BATCH, STEPS_PER_EPOCH, EPOCHS = 3, 4, 24, 2, 10
SMALL = {"width": WIDTH, "groups": GROUPS, "input_shape": (17, 19, 3)}


def numbers_of(theirs):
    """The PyTorch net's arrays by Keras's names, and as Keras has them."""
    found = {}
    for name, tensor in theirs.state_dict().items():
        *layers, leaf = name.split(".")
        array = tensor.numpy().copy()
        if leaf in ("means", "vars"):
            leaf = {"means": "moving_mean", "vars": "moving_variance"}[leaf]
            array = array.mean(0)
        elif leaf == "bias":
            leaf = "beta"
        else:
            leaf, array = "kernel", filters_last(array)
        found["/".join([*layers, leaf])] = array
    return found


def both_nets(rng, **arguments):
    """Both nets with the same random numbers, the whitening included."""
    arguments = SMALL | arguments
    ours = WhitenedDavidNet(mean=MEAN, std=STD, augmentation=None, **arguments)
    images = pixels(rng, 100)
    ours.adapt(images)
    torch.manual_seed(0)
    theirs = pytorch_bag_of_tricks.Net(arguments["width"], arguments["groups"])
    kernel = pytorch_bag_of_tricks.whitening_kernel(
        numpy_airbench.patches(normalized(images), 3)
    )
    theirs.whiten.weight.data.copy_(torch.tensor(kernel.reshape(27, 3, 3, 3)))
    for module in theirs.modules():
        if isinstance(module, pytorch_bag_of_tricks.GhostBatchNorm):
            torch.nn.init.normal_(module.bias, std=0.2)
    theirs.to(getattr(torch, keras.config.floatx()))
    # Statistics near those of images: far from them all logits are alike.
    with torch.no_grad():
        for _ in range(3):
            theirs(for_torch(pixels(rng, 32)))
    give(ours, numbers_of(theirs))
    return ours, theirs


@pytest.mark.parametrize(
    "height, width, filters, groups",
    [(32, 32, 16, 16), (33, 47, 2, 4), (8, 8, 3, 1)],
)
def test_logits(rng, height, width, filters, groups):
    ours, theirs = both_nets(
        rng, width=filters, groups=groups, input_shape=(height, width, 3)
    )
    images = pixels(rng, 32, height, width)
    for training in (False, True):
        with torch.no_grad():
            expected = theirs.train(training)(for_torch(images)).numpy()
        logits = keras.ops.convert_to_numpy(ours(images, training=training))
        assert_equal({"logits": logits}, {"logits": expected}, 1e-4)
    # The step in training moved the statistics.
    assert_equal(numbers_in(ours), numbers_of(theirs), 1e-5)
    # In inference any number of images will do.
    with torch.no_grad():
        expected = theirs.eval()(for_torch(images[:5])).numpy()
    logits = keras.ops.convert_to_numpy(ours(images[:5]))
    assert_equal({"logits": logits}, {"logits": expected}, 1e-4)


def test_size_of_the_published_net():
    model = WhitenedDavidNet()
    theirs = pytorch_bag_of_tricks.Net()
    count = sum(p.numel() for p in theirs.parameters())
    assert count == 6_571_609
    statistics = sum(
        a.size for name, a in numbers_in(model).items() if "moving" in name
    )
    assert model.count_params() - statistics == count


def test_kernels_start_as_pytorchs():
    model = WhitenedDavidNet()
    for name, kernel in numbers_in(model).items():
        if not name.endswith("kernel") or name.startswith("whiten"):
            continue
        limit = np.prod(kernel.shape[:-1]) ** -0.5
        assert 0.95 * limit < np.abs(kernel).max() <= limit * 1.0001, name
        np.testing.assert_allclose(kernel.std(), limit / 3**0.5, rtol=0.1)


# In float64: over the steps rounding grows a thousandfold.
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:When fit\\(\\) ends the net has its average"
)
def test_twenty_steps_of_fit(rng):
    with floats("float64"):
        ours, theirs = both_nets(rng)
        n = STEPS_PER_EPOCH * EPOCHS * BATCH
        images, labels = pixels(rng, n), rng.integers(0, 10, n)
        # Some classes can be told apart.
        images[labels < 3, :4] //= 2
        before = numbers_of(theirs)
        optimizer = optimizers.bag_of_tricks_optimizer(STEPS_PER_EPOCH, EPOCHS)
        # The source's, however few the steps.
        optimizer.momentum = 0.99**5
        ours.compile(optimizer)
        ours.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0)
        batches = zip(
            for_torch(images).split(BATCH),
            torch.tensor(labels).split(BATCH),
            strict=True,
        )
        pytorch_bag_of_tricks.train(theirs, batches, STEPS_PER_EPOCH, EPOCHS)
        after = numbers_of(theirs)
        # All but the whitening's kernel moved.
        for name, array in after.items():
            moved = np.abs(array - before[name]).max()
            if name == "whiten/kernel":
                assert moved == 0
            else:
                assert moved > 1e-3 * np.abs(array).max(), name
        assert_equal(numbers_in(ours), after, 1e-4)


def test_the_recipes_numbers():
    model = WhitenedDavidNet(width=1)
    grouped = recipes.get("bag_of_tricks").optimizer(steps_per_epoch=97)
    grouped.build(model.trainable_variables)
    found = {o.name: o for o in leaf_optimizers(grouped)}
    names = {
        name: [v.path.split("/", 1)[1] for v in o._trainable_variables]
        for name, o in found.items()
    }
    assert len(names["biases"]) == 8
    assert all(n.endswith("beta") for n in names["biases"])
    # Eight convolutions and the head; the whitening is frozen.
    assert len(names["kernels"]) == 9
    assert all(n.endswith("kernel") for n in names["kernels"])
    for name, factor, decay in (
        ("kernels", 1, 5e-4),
        ("biases", 64, 7.8125e-6),
    ):
        inner = found[name]
        assert inner.momentum == 0.9 and inner.nesterov
        np.testing.assert_allclose(inner.coupled_weight_decay, decay)
        for step in (0, 1, 192, 193, 194, 500, 774, 775, 776, 969):
            expected = pytorch_bag_of_tricks.rate(step + 1, 97)
            np.testing.assert_allclose(
                float(inner._learning_rate(step)),
                factor * expected,
                rtol=1e-5,
                err_msg=f"{name} at step {step}",
            )


@pytest.mark.parametrize("steps, epochs", [(97, 10), (5, 10), (200, 10)])
def test_the_average_follows_the_length(steps, epochs):
    optimizer = optimizers.bag_of_tricks_optimizer(steps, epochs)
    # What is left of the first weights: in the source, and at most.
    share = optimizer.momentum ** (steps * epochs / 5)
    np.testing.assert_allclose(
        min(share, 0.99**970), 0.99 ** max(970, 10 * steps)
    )
    assert optimizer.momentum <= 0.99**5
    assert (optimizer.momentum == 0.99**5) == (steps >= 97)


def test_a_default_compile_has_the_average_of_its_length(rng):
    model = WhitenedDavidNet(augmentation=None, **SMALL)
    images, labels = pixels(rng, 8), rng.integers(0, 10, 8)
    model.adapt(images)
    model.compile()
    model.fit(images, labels, batch_size=4, epochs=2, verbose=0)
    assert model.optimizer.momentum == 0.99 ** (5 * 970 / 4)


@pytest.mark.parametrize("epochs, flat", [(1, 0.2), (5, 1), (20, 2), (80, 2)])
def test_the_rate_follows_the_length(epochs, flat):
    grouped = optimizers.bag_of_tricks_optimizer(100, epochs)
    schedule = grouped.inner_optimizer.default._learning_rate
    steps = np.linspace(0, 100 * epochs - 1, 30).astype(int)
    np.testing.assert_allclose(
        [float(schedule(int(step))) for step in steps],
        np.interp(
            (steps + 1) / 100, [0, epochs / 5, epochs - flat], [0, 1, 0.1]
        ),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"steps_per_epoch": 0},
        {"peak_learning_rate": -1.0},
        {"weight_decay": -1.0},
        {"bias_factor": 0},
    ],
)
def test_bad_arguments_of_the_optimizer(arguments):
    with pytest.raises(ValueError, match="Received"):
        optimizers.bag_of_tricks_optimizer(**arguments)


@pytest.mark.parametrize("alpha", [0.075, 0.3, 1.0])
def test_celu(rng, alpha):
    x = rng.normal(size=(5, 7)).astype("float32")
    layer = CELU.from_config(CELU(alpha).get_config())
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer(x)),
        torch.nn.functional.celu(torch.tensor(x), alpha),
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="Received: alpha=-1"):
        CELU(-1)


def test_whitening_is_the_published_one(rng):
    images = normalized(pixels(rng, 300)).astype("float32")
    layer = WhiteningConv2D(
        3, epsilon=1e-2, padding="same", negatives=False, use_bias=False
    )
    layer.adapt(images)
    assert not layer.trainable_variables
    expected = pytorch_bag_of_tricks.whitening_kernel(
        numpy_airbench.patches(images, 3)
    )
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    assert kernel.shape == (3, 3, 3, 27)
    found = kernel.transpose(3, 2, 0, 1).reshape(27, 27)
    # An eigenvector's sign means nothing.
    signs = np.sign((found * expected).sum(1, keepdims=True))
    np.testing.assert_allclose(
        signs * found, expected, atol=1e-3 * np.abs(expected).max()
    )
    outputs = keras.ops.convert_to_numpy(layer(images))
    assert outputs.shape == layer.compute_output_shape(images.shape)
    assert outputs.shape == (*images.shape[:3], 27)
    theirs = torch.nn.functional.conv2d(
        torch.tensor(images.transpose(0, 3, 1, 2)),
        torch.tensor(kernel.transpose(3, 2, 0, 1)),
        padding=1,
    )
    np.testing.assert_allclose(outputs, theirs.permute(0, 2, 3, 1), atol=1e-3)


def test_config_round_trip():
    arguments = {
        "num_classes": 7,
        "width": 2,
        "groups": 3,
        "alpha": 0.5,
        "input_shape": (None, 40, 2),
        "mean": (0.1, 0.2),
        "std": (0.3, 0.4),
        "logit_scale": 1 / 9,
        "label_smoothing": 0.1,
        "views": "mirror",
        "name": "net",
    }
    model = WhitenedDavidNet(**arguments)
    net = restored(model, arguments)
    for layer in net._flatten_layers():
        if isinstance(layer, GhostBatchNormalization):
            assert layer.groups == 3
        if isinstance(layer, CELU):
            assert layer.alpha == 0.5


@pytest.mark.slow
def test_recipe_fits_saves_and_loads(rng, tmp_path):
    recipe = recipes.get("bag_of_tricks").replace(
        epochs=2, batch_size=16, groups=4, width=2, input_shape=(17, 19, 3)
    )
    # The last batch of six is dropped.
    images, labels = pixels(rng, 38), rng.integers(0, 10, 38)
    model = recipe.fit(
        images, labels, validation_data=(images, labels), seed=0, verbose=0
    )
    assert model.optimizer.iterations == 4
    assert np.isfinite(model.history.history["val_loss"]).all()
    assert model.views == "mirror"
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert loaded.whiten.adapted
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0),
        model.predict(images, verbose=0),
        atol=1e-6,
    )
    for theirs, ours in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(theirs),
            keras.ops.convert_to_numpy(ours),
        )
    loaded.fit(images[:32], labels[:32], batch_size=16, verbose=0)


def test_recipe_adapts_on_ten_thousand_images(rng):
    model = WhitenedDavidNet(width=1, input_shape=(8, 8, 3))
    images = pixels(rng, 10_001)
    kernels = []
    for count in (10_000, 10_001):
        model.adapt(images[:count])
        kernels.append(model.whiten.get_weights()[0])
    np.testing.assert_array_equal(*kernels)
    model.adapt(images[:9_999])
    assert (model.whiten.get_weights()[0] != kernels[0]).any()


def test_it_wants_to_be_adapted(rng):
    model = WhitenedDavidNet(**SMALL)
    model.compile()
    with pytest.raises(ValueError, match="adapt"):
        model.fit(pixels(rng, 8), rng.integers(0, 10, 8), verbose=0)


@pytest.mark.slow
def test_a_stream_whose_batch_does_not_divide_into_groups(rng):
    images, labels = pixels(rng, 22), rng.integers(0, 10, 22)

    class Stream(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return images[: 16 - 10 * index], labels[: 16 - 10 * index]

    model = WhitenedDavidNet(**SMALL)
    model.adapt(images)
    model.compile("sgd")
    # TensorFlow learns the last size in the step.
    with pytest.raises(ValueError, match="multiple of groups=4"):
        model.fit(Stream(), verbose=0)


@pytest.mark.slow
def test_batches_that_do_not_divide_into_groups(rng):
    model = WhitenedDavidNet(**SMALL)
    images, labels = pixels(rng, 22), rng.integers(0, 10, 22)
    model.adapt(images)
    model.compile()
    message = "multiple of groups=4.*make_dataset.*Received: a batch of {}"
    for data, size, last in (
        ((images, labels), 6, 6),
        ((images, labels), 16, 6),
        ((make_dataset(images, labels, 6, training=True),), None, 6),
        ((make_dataset(images, labels, 16),), None, 6),
    ):
        with pytest.raises(ValueError, match=message.format(last)):
            model.fit(*data, batch_size=size, verbose=0)
    assert model.optimizer.iterations == 0

    model.compile("sgd")
    # Of 22 images these train on 20, on one batch of 16, and on all in a net
    # whose groups are frozen.
    model.fit(images, labels, batch_size=4, validation_split=0.05, verbose=0)
    model.fit(make_dataset(images, labels, 16, training=True), verbose=0)
    assert model.optimizer.iterations == 6
    for layer in model.body:
        layer.trainable = False
    model.compile("sgd")
    model.fit(images, labels, batch_size=16, verbose=0)
