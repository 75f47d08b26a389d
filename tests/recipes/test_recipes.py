import functools
import json
import pathlib
import pickle

import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference

from keras_davidnet import Airbench, optimizers, recipes


def rate(optimizer, step):
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)


@pytest.mark.parametrize(
    "epochs, steps_per_epoch, peak_epoch",
    [(24, 97, 5), (5, 97, 1), (10, 3, 2), (1, 100, 0.2), (3, 10, 0.6)],
)
def test_davidnet_rate(epochs, steps_per_epoch, peak_epoch):
    optimizer = optimizers.davidnet_optimizer(steps_per_epoch, epochs)
    last = epochs * steps_per_epoch
    top = peak_epoch * steps_per_epoch
    for step in range(0, last + 1, max(1, last // 50)):
        np.testing.assert_allclose(
            rate(optimizer, step),
            np.interp(step, [0, top, last], [0, 0.4, 0]),
            rtol=1e-5,
        )


def test_warmup_moves_the_peak():
    optimizer = optimizers.davidnet_optimizer(10, epochs=6, warmup=0.45)
    for step in range(61):
        np.testing.assert_allclose(
            rate(optimizer, step),
            np.interp(step, [0, 27, 60], [0, 0.4, 0]),
            rtol=1e-5,
        )


def test_defaults_are_the_published_numbers():
    optimizer = optimizers.davidnet_optimizer()
    assert rate(optimizer, 5 * 97) == np.float32(0.4)
    assert rate(optimizer, 24 * 97) == 0
    assert optimizer.momentum == 0.9
    assert optimizer.nesterov
    assert optimizer.coupled_weight_decay == 5e-4


@pytest.mark.parametrize("epochs, sizes", [(4, [9, 9, 12, 16]), (1.5, [9, 12])])
@pytest.mark.slow
def test_image_sizes_follow_the_length(rng, epochs, sizes):
    class Sizes(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.training_size)

    seen = []
    recipe = recipes.get("davidnet").replace(
        width=1,
        input_shape=(16, 16, 3),
        batch_size=8,
        epochs=epochs,
        image_sizes={0.75: 16, 0: 9, 0.4: 12},
    )
    images = rng.integers(0, 256, (8, 16, 16, 3), "uint8")
    recipe.fit(images, np.arange(8), callbacks=[Sizes()], verbose=0)
    assert seen == [(size, size) for size in sizes]


def test_two_thirds_of_nine_epochs_are_six():
    (resizing,) = recipes.get("cpu94").callbacks()
    assert resizing.sizes == {0: 28, 6: 32}


def test_arguments_of_fit(rng, tmp_path):
    """A split, weights and a checkpoint, as `keras.Model.fit` has them."""
    recipe = recipes.get("davidnet").replace(
        width=1, input_shape=(8, 8, 3), batch_size=4, epochs=1, views="mirror"
    )
    images = rng.integers(0, 256, (11, 8, 8, 3), "uint8")
    labels, weights = np.arange(11) % 10, np.linspace(0, 2, 11)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "net.keras")
    fit = functools.partial(recipe.fit, seed=0, verbose=0)
    model = fit(
        images,
        labels,
        sample_weight=weights,
        # 11 * 0.8 is rounded down, as in Keras.
        validation_split=0.2,
        callbacks=[checkpoint],
    )
    saved = keras.saving.load_model(tmp_path / "net.keras")
    assert saved.views == model.views == "mirror"
    # The same by a stock loss on the net's logits.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.views = None
    logits = model.predict(images[8:], verbose=0)
    np.testing.assert_allclose(
        model.history.history["val_loss"],
        [loss(labels[8:], logits, sample_weight=weights[8:])],
        rtol=1e-4,
    )
    plain = fit(images, labels, sample_weight=np.ones(11)).get_weights()
    for one, other in zip(
        plain, fit(images, labels).get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_images_of_another_size_than_the_last(rng):
    x, y = rng.integers(0, 256, (32, 16, 16, 3), "uint8"), np.arange(32) % 2
    recipe = recipes.get("cpu94").replace(
        widths=(1, 1, 1), num_classes=2, batch_size=16
    )
    for shape in ((32, 32, 3), (None, None, 3)):
        with pytest.raises(ValueError, match=r"image_sizes.*\(16, 16\)"):
            recipe.replace(input_shape=shape).fit(x, y)


def test_pickled_recipes_are_equal():
    for name in recipes.names():
        recipe = recipes.get(name)
        assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_bad_image_sizes():
    with pytest.raises(ValueError, match="image_sizes.*Received"):
        recipes.get("davidnet").replace(image_sizes={1: 32})


def test_arguments_of_a_new_optimizer():
    recipe = recipes.get("airbench94_muon").replace(
        make_optimizer=optimizers.airbench_sgd_optimizer, learning_rate=10.0
    )
    assert recipe.optimizer_arguments["learning_rate"] == 10
    with pytest.raises(ValueError, match="no part of that name"):
        recipe.replace(filters_momentum=0.5)


@pytest.mark.parametrize(
    "recipe, measured",
    [
        pytest.param(recipe, result, id=f"{recipe.name}, {result.hardware}")
        for recipe in map(recipes.get, recipes.names())
        for result in recipe.measured
    ],
)
def test_measured_is_what_the_runs_gave(recipe, measured):
    root = pathlib.Path(__file__).parents[2]
    folder = root / measured.source.removesuffix(".md")
    if (folder / recipe.name).is_dir():
        folder /= recipe.name
    runs = [json.loads(p.read_text()) for p in folder.glob("seed-*.json")]
    assert len(runs) == measured.runs
    views = recipe.net_arguments.get("views", "plain")
    accuracy = [run["accuracy"][views] for run in runs]
    plain = [run["accuracy"]["plain"] for run in runs]
    assert round(float(np.mean(accuracy)), 4) == measured.accuracy
    if measured.std is not None:
        assert round(float(np.std(accuracy, ddof=1)), 4) == measured.std
    if measured.one_view_accuracy is not None:
        assert round(float(np.mean(plain)), 4) == measured.one_view_accuracy
    if measured.seconds is not None:
        # Of a run that had the machine nearly to itself.
        alone = folder.with_name(f"{folder.name}-alone.json")
        if alone.exists():
            runs = [json.loads(alone.read_text())]
        seconds = [round(run["seconds"]["training"]) for run in runs]
        assert measured.seconds in seconds


def test_equals_the_summed_loss_of_the_published_code(rng):
    # dawn.py sums the loss over the batch, divides the rate by the batch size
    # and multiplies the decay by it.
    batch_size, steps, peak = 16, 50, 0.4
    x = rng.normal(size=(steps, batch_size, 5))
    y = rng.normal(size=(steps, batch_size, 1))
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(1, use_bias=False)]
    )
    w, v = model.get_weights()[0].astype("float64"), 0
    optimizer = optimizers.davidnet_optimizer(
        steps // 5, epochs=5, peak_learning_rate=peak
    )
    model.compile(optimizer, "mse")
    model.fit(
        x.reshape(-1, 5),
        y.reshape(-1, 1),
        batch_size=batch_size,
        shuffle=False,
        verbose=0,
    )
    for step in range(steps):
        summed_gradient = 2 * x[step].T @ (x[step] @ w - y[step])
        now = np.interp(step, [0, steps / 5, steps], [0, peak, 0])
        w, v = reference.sgd_step(
            w, v, summed_gradient, now / batch_size, decay=5e-4 * batch_size
        )
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"steps_per_epoch": 0},
        {"peak_learning_rate": -1.0},
        {"warmup": 0},
        {"warmup": 1.0},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="Received"):
        optimizers.davidnet_optimizer(**arguments)


def test_nets_share_no_layer():
    activation = keras.layers.PReLU()
    recipe = recipes.get("airbench94_muon").replace(
        widths=(2, 2, 2), group_activation=activation
    )
    one, other = recipe.model(), recipe.model()
    one.group1.activation.set_weights(
        [weight + 1 for weight in one.group1.activation.get_weights()]
    )
    assert not np.any(other.group1.activation.get_weights())


def test_numbers_and_lists_of_other_libraries():
    recipe = recipes.get("davidnet").replace(
        epochs=np.int64(3),
        input_shape=(16, 16, 3),
        image_sizes={0: [9, np.int64(9)], 0.5: [16, 16]},
    )
    sizes = json.dumps([recipe.epochs, recipe.image_sizes])
    assert sizes == '[3, {"0": [9, 9], "0.5": [16, 16]}]'
    recipe.callbacks()  # They check the last size.


def test_whole_mappings_and_single_arguments():
    given = {"dropout": 0.1}
    recipe = recipes.get("davidnet_tf")
    for names in (("width", "net_arguments"), ("net_arguments", "width")):
        values = {"width": 16, "net_arguments": given}
        changed = recipe.replace(**{name: values[name] for name in names})
        assert changed.net_arguments == {"dropout": 0.1, "width": 16}
    assert given == {"dropout": 0.1}


def test_a_recipe_is_ones_own():
    recipe = recipes.get("davidnet")
    recipe.net_arguments["width"] = 1
    assert "width" not in recipes.get("davidnet").net_arguments
    assert len({recipes.get("davidnet"), recipes.get("davidnet")}) == 1


def test_sizes_end_at_those_of_the_nets_class():
    class Large(Airbench):
        def __init__(self, input_shape=(64, 64, 3), **kwargs):
            super().__init__(input_shape=input_shape, **kwargs)

    recipe = recipes.get("cpu94").replace(net=Large)
    with pytest.raises(ValueError, match=r"images of \(64, 64\)"):
        recipe.callbacks()
    recipe.replace(image_sizes={0: 56, 2 / 3: 64}).callbacks()


def test_an_order_that_is_not_the_recipes(rng):
    images = rng.integers(0, 256, (16, 8, 8, 3), "uint8")
    with pytest.raises(ValueError, match="Received: shuffle=False"):
        recipes.get("davidnet").fit(images, np.arange(16) % 10, shuffle=False)
