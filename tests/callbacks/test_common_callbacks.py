"""The callbacks that people use, with DavidNet and decoupled decay.

Each with `DecoupledWeightDecay` at eight steps an execution, against runs by
stock Keras optimizers, one step at a time.
"""

import csv
import functools

import keras
import numpy as np
import pytest

from keras_davidnet import DavidNet, DecoupledWeightDecay

BACKEND = keras.backend.backend()
EPOCHS, RATE, DECAY = 2, 1e-2, 0.3

# torch's trainer takes one step an execution.
STEPS = 1 if BACKEND == "torch" else 8
pytestmark = pytest.mark.slow


@functools.cache
def data():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (16, 8, 8, 3), "uint8"), np.arange(16) % 10


def net(optimizer, steps=STEPS):
    """The same net each time, with nothing random."""
    keras.utils.set_random_seed(0)
    model = DavidNet(
        width=1, input_shape=(8, 8, 3), augmentation=None, dropout=0
    )
    model.compile(
        optimizer, steps_per_execution=steps, jit_compile=BACKEND == "jax"
    )
    return model


def fit(model, callbacks=(), epochs=EPOCHS, **arguments):
    """Eight steps per epoch."""
    return model.fit(
        *data(),
        batch_size=2,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **arguments,
    ).history


@functools.cache
def reference(epochs=EPOCHS):
    """Weights and logs of a run by stock Keras's decay."""
    model = net(sgd(weight_decay=DECAY), steps=1)
    history = fit(model, epochs=epochs)
    return model.get_weights(), history


def sgd(**arguments):
    return keras.optimizers.SGD(RATE, momentum=0.9, **arguments)


def assert_weights(weights, expected):
    # Eight steps in one program are rounded otherwise than one by one.
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=5e-5)


def test_model_checkpoint(tmp_path):
    model = net(sgd())
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    fit(model, [checkpoint, DecoupledWeightDecay(DECAY)])
    assert_weights(model.get_weights(), reference()[0])
    for epoch in range(1, EPOCHS + 1):
        saved = keras.saving.load_model(tmp_path / f"{epoch}.keras")
        assert_weights(saved.get_weights(), reference(epoch)[0])
        assert saved.optimizer.iterations.numpy() == 8 * epoch
    np.testing.assert_array_equal(
        saved.predict(data()[0], verbose=0), model.predict(data()[0], verbose=0)
    )


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_backup_and_restore(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        fit(net(sgd()), [backup(), Interrupt(), DecoupledWeightDecay(DECAY)])
    # As another process would have it: a new model, of other weights.
    model = net(sgd())
    model.set_weights([0 * w for w in model.get_weights()])
    history = fit(model, [backup(), DecoupledWeightDecay(DECAY)])
    assert len(history["loss"]) == EPOCHS - 1
    assert model.optimizer.iterations.numpy() == 8 * EPOCHS
    assert_weights(model.get_weights(), reference()[0])


def test_early_stopping():
    stop = keras.callbacks.EarlyStopping(
        # After the first epoch nothing is so much better.
        "loss",
        min_delta=1e9,
        patience=1,
        restore_best_weights=True,
    )
    model = net(sgd())
    history = fit(model, [stop, DecoupledWeightDecay(DECAY)], epochs=4)
    assert len(history["loss"]) == 2 and stop.stopped_epoch == 1
    assert_weights(model.get_weights(), reference(epochs=1)[0])


def test_csv_logger(tmp_path):
    model = net(sgd())
    path = tmp_path / "log.csv"
    history = fit(
        model, [keras.callbacks.CSVLogger(path), DecoupledWeightDecay(DECAY)]
    )
    with open(path) as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    for name in ("loss", "accuracy", "learning_rate"):
        values = [float(row[name]) for row in rows]
        np.testing.assert_allclose(values, history[name], rtol=1e-6)
        np.testing.assert_allclose(values, reference()[1][name], rtol=1e-4)


@pytest.mark.extra
def test_tensorboard(tmp_path):
    tf = pytest.importorskip("tensorflow", reason="it writes the event files")
    reason = "the package that reads the event files"
    pytest.importorskip("tensorboard", reason=reason)
    from tensorboard.backend.event_processing import event_accumulator

    history = fit(
        net(sgd()),
        [keras.callbacks.TensorBoard(tmp_path), DecoupledWeightDecay(DECAY)],
        validation_data=data(),
    )
    for folder, prefix, names in (
        ("train", "", ("loss", "accuracy", "learning_rate")),
        ("validation", "val_", ("loss", "accuracy")),
    ):
        events = event_accumulator.EventAccumulator(str(tmp_path / folder))
        events.Reload()
        for name in names:
            points = events.Tensors(f"epoch_{name}")
            assert [point.step for point in points] == [0, 1]
            values = [tf.make_ndarray(p.tensor_proto) for p in points]
            np.testing.assert_allclose(values, history[prefix + name])


def test_terminate_on_nan():
    model = net(sgd())
    # In the third batch.
    weights = np.where(np.arange(16) == 4, np.nan, 1.0)
    history = fit(
        model,
        [keras.callbacks.TerminateOnNaN(), DecoupledWeightDecay(DECAY)],
        epochs=4,
        sample_weight=weights,
    )
    assert len(history["loss"]) == 1
    # It looks once an execution.
    assert model.optimizer.iterations.numpy() == max(3, STEPS)


class Weights(keras.callbacks.Callback):
    """Keeps the trainable weights after every batch."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(
            [
                keras.ops.convert_to_numpy(w)
                for w in self.model.trainable_weights
            ]
        )


@functools.cache
def averages():
    """The moving averages by NumPy, of a run, one step at a time."""
    weights = Weights()
    fit(net(sgd(weight_decay=DECAY), steps=1), [weights], epochs=1)
    average, *later = weights.kept
    for step in later:
        average = [
            0.5 * a + 0.5 * w for a, w in zip(average, step, strict=True)
        ]
    return average


def test_swap_ema_weights_in_a_part_of_an_epoch():
    def weights(callbacks):
        model = net(keras.optimizers.SGD(RATE, use_ema=True), steps=1)
        fit(model, callbacks, epochs=1.5)
        return model.get_weights()

    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    # Keras itself gives the net the average when `fit` ends.
    for one, other in zip(weights([swap]), weights([]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_swap_ema_weights():
    model = net(sgd(use_ema=True, ema_momentum=0.5))
    swap = keras.callbacks.SwapEMAWeights()
    history = fit(
        model,
        [swap, DecoupledWeightDecay(DECAY)],
        epochs=1,
        validation_data=data(),
    )
    # Keras ends with the averages in the weights; in the epochs' evaluations
    # they come and go by the callback.
    assert_weights(
        [keras.ops.convert_to_numpy(w) for w in model.trainable_weights],
        averages(),
    )
    loss, accuracy = model.evaluate(*data(), verbose=0)
    np.testing.assert_allclose(history["val_loss"], loss, rtol=1e-4)
    np.testing.assert_allclose(history["val_accuracy"], accuracy)
    # Batch statistics are those of the last step, not averaged once more.
    whole = net(sgd())
    whole.set_weights(reference(epochs=1)[0])
    assert_weights(
        [keras.ops.convert_to_numpy(w) for w in model.non_trainable_weights],
        [keras.ops.convert_to_numpy(w) for w in whole.non_trainable_weights],
    )


def test_methods_of_a_users_callback_are_the_users():
    class Average(keras.callbacks.Callback):
        def restore(self):
            raise AssertionError("Called.")

        on_data = restore

    fit(net("sgd"), [Average()], epochs=1)
