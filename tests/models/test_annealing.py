"""The rate of a default `compile()`, and the warning about one's own."""

import warnings

import keras
import numpy as np
import pytest

from keras_davidnet import (
    Airbench,
    DavidNet,
    PiecewiseLinear,
    PyTorchSGD,
    Resume,
    WhitenedDavidNet,
    optimizers,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), "uint8")
LABELS = np.arange(12) % 3
STEPS = 3


def net():
    model = DavidNet(num_classes=3, width=1, dropout=0, augmentation=None)
    model.compile()
    return model


def rates(model, epochs, **kwargs):
    """The rate of the last step of each epoch of three steps."""
    history = model.fit(
        IMAGES, LABELS, batch_size=4, epochs=epochs, verbose=0, **kwargs
    )
    return history.history["learning_rate"]


def triangle(epochs, first=0):
    """The published one: up for a fifth of the epochs, then down to zero."""
    peak = (epochs + 1) // 5
    steps = STEPS * np.arange(first + 1, epochs + 1) - 1
    return np.interp(steps, STEPS * np.array([0, peak, epochs]), [0, 0.4, 0])


def test_the_rate_ends_with_fit_whatever_its_length():
    for epochs in (4, 9):
        np.testing.assert_allclose(rates(net(), epochs), triangle(epochs))


def test_the_rate_ends_within_an_epoch():
    # 2.5 epochs of three steps: a step that is begun is made.
    np.testing.assert_allclose(
        rates(net(), 2.5), np.interp([2, 5, 7], [0, 1.5, 8], [0, 0.4, 0])
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer, expected",
    [
        (lambda steps: keras.optimizers.Adam(1e-3), [1e-3, 1e-3]),
        # The half cosine of six steps, at the third and the sixth.
        (
            lambda steps: keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(0.1, steps)
            ),
            0.05 * (1 + np.cos(np.pi * np.array([2, 5]) / 6)),
        ),
    ],
)
def test_a_family_with_another_optimizer(optimizer, expected):
    class Family(DavidNet):
        @staticmethod
        def default_optimizer(steps_per_epoch=97, epochs=12, batch_size=512):
            return optimizer(steps_per_epoch * epochs)

    model = Family(num_classes=3, width=1, dropout=0, augmentation=None)
    model.compile()
    np.testing.assert_allclose(rates(model, 2), expected, rtol=1e-5)


def test_each_fit_is_annealed():
    model = net()
    for epochs in (4, 6):
        np.testing.assert_allclose(rates(model, epochs), triangle(epochs))
    assert model.optimizer.iterations == 10 * STEPS
    assert float(model.optimizer.learning_rate) == 0


@pytest.mark.slow
def test_a_loaded_model_is_annealed(tmp_path):
    model = net()
    rates(model, 4)
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert float(loaded.optimizer.learning_rate) == 0
    # Either from the beginning or from where it was.
    np.testing.assert_allclose(
        rates(loaded, 9, initial_epoch=4), triangle(9, first=4)
    )
    np.testing.assert_allclose(rates(loaded, 5), triangle(5))


@pytest.mark.slow
def test_a_resumed_fit_is_annealed(tmp_path):
    resume = Resume(tmp_path / "state.npz")

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rates(net(), 8, callbacks=[resume, Stop()])
    resumed = rates(net(), 8, callbacks=[resume])
    np.testing.assert_allclose(resumed, triangle(8))


@pytest.mark.parametrize(
    ("cls", "arguments", "group"),
    [
        (Airbench, {"widths": (2, 3, 4)}, "head"),
        (WhitenedDavidNet, {"width": 1, "groups": 2}, "kernels"),
    ],
)
@pytest.mark.slow
def test_a_head_on_a_frozen_body_is_annealed(cls, arguments, group):
    images = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    model = cls(3, input_shape=(10, 10, 3), augmentation=None, **arguments)
    model.adapt(images)
    for layer in model.body:
        layer.trainable = False
    model.compile()
    head = model.linear.get_weights()
    body = [w.numpy() for layer in model.body for w in layer.weights]
    fits = [
        model.fit(images, LABELS, batch_size=4, epochs=4.5, verbose=0).history
        for _ in range(2)
    ]
    first, again = (fit[f"learning_rate_{group}"] for fit in fits)
    # The groups that are frozen make no steps, and the second `fit` has to
    # begin where the first ended.
    np.testing.assert_allclose(first, again, rtol=1e-6)
    assert first[-1] < first[0]
    assert not np.array_equal(head, model.linear.get_weights())
    after = [w.numpy() for layer in model.body for w in layer.weights]
    for one, other in zip(body, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_data_of_unknown_length():
    def batches():
        while True:
            yield IMAGES[:4], LABELS[:4]

    with pytest.raises(ValueError, match="Received: steps_per_epoch=None"):
        net().fit(batches(), epochs=4, shuffle=False, verbose=0)
    history = net().fit(
        batches(), epochs=4, steps_per_epoch=3, shuffle=False, verbose=0
    )
    np.testing.assert_allclose(history.history["learning_rate"], triangle(4))


@pytest.mark.slow
def test_compiled_anew_with_its_own_optimizer_and_loss():
    """As KerasTuner does to change the metrics."""
    model = net()
    top = keras.metrics.SparseTopKCategoricalAccuracy(3)
    model.compile(model.optimizer, model.loss, metrics=["accuracy", top])
    np.testing.assert_allclose(rates(model, 4), triangle(4))
    # There are but three classes.
    assert model.evaluate(IMAGES, LABELS, verbose=0)[2] == 1


@pytest.mark.slow
def test_validation_split():
    history = net().fit(
        IMAGES, LABELS, batch_size=2, epochs=4, validation_split=0.5, verbose=0
    )
    np.testing.assert_allclose(history.history["learning_rate"], triangle(4))


@pytest.mark.slow
def test_another_rate_given_later_is_the_users():
    model = net()
    model.optimizer.learning_rate = PiecewiseLinear([0, 1], [0.25, 0.25])
    assert rates(model, 2) == [0.25, 0.25]


@pytest.mark.parametrize(
    "epochs, effect", [(6, "to its end"), (3, "change nothing")]
)
def test_a_rate_that_ends_elsewhere_warns_once(epochs, effect):
    model = net()
    model.compile(optimizers.davidnet_optimizer(STEPS, epochs))
    with pytest.warns(UserWarning, match=f"fit.. ends at step 12.*{effect}"):
        rates(model, 4)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The learning rate's last knot")
        rates(model, 4)


@pytest.mark.slow
def test_a_rate_that_stays_above_zero_does_not_warn():
    model = net()
    model.compile(keras.optimizers.SGD(PiecewiseLinear([0, STEPS], [0.0, 0.1])))
    rates(model, 4)


class BySize(DavidNet):
    """Its learning rate tells the size of the batches."""

    @staticmethod
    def default_optimizer(steps_per_epoch=1, epochs=1, batch_size=512):
        steps = steps_per_epoch * epochs
        return PyTorchSGD(PiecewiseLinear([0, steps], [1 / batch_size] * 2))


@pytest.mark.parametrize(
    "size, fit",
    [
        (6, {"steps_per_epoch": 2}),
        (8, {"steps_per_epoch": 1, "validation_split": 1 / 3}),
        (12, {"batch_size": 500}),
    ],
)
def test_the_rate_follows_the_batches_that_keras_makes(size, fit):
    model = BySize(3, width=1, input_shape=(8, 8, 3), augmentation=None)
    model.compile()
    history = model.fit(IMAGES, LABELS, verbose=0, **fit).history
    assert history["learning_rate"] == pytest.approx([1 / size])
