"""What a tuner and `search` are given: it works as in Keras, or is named."""

import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference
from searches import MARKS, keras_tuner, narrow

from keras_davidnet import Resume, datasets

pytestmark = MARKS


@pytest.fixture
def data(rng):
    return rng.integers(0, 256, (32, 8, 8, 3), "uint8"), np.arange(32) % 2


@pytest.fixture
def search(data, tmp_path):
    """A search of one trial of two epochs; gives the tuner."""

    def run(*args, tuner=None, space=None, **kwargs):
        one = keras_tuner.RandomSearch(
            narrow(
                **{
                    "peak_learning_rate": 0.1,
                    "warmup": 0.25,
                    "decay": "coupled",
                    "weight_decay": 1e-3,
                    "label_smoothing": 0.0,
                    "epochs": 2,
                    **(space or {}),
                }
            ),
            objective="val_loss",
            directory=tmp_path,
            **{"max_trials": 1, **(tuner or {})},
        )
        if not kwargs.keys() & {"validation_split", "validation_data"}:
            kwargs["validation_data"] = data
        one.search(*(args or data), verbose=0, **kwargs)
        return one

    return run


class Seen(keras.callbacks.Callback):
    """What a trial was: KerasTuner copies callbacks, but not their class."""

    def on_train_begin(self, logs=None):
        Seen.params, Seen.logs = self.params, []
        Seen.optimizer = self.model.optimizer

    def on_epoch_end(self, epoch, logs):
        Seen.logs.append(dict(logs))


def cross_entropy(model, x, y):
    """The mean over the images, by NumPy."""
    logits = model.predict(x, verbose=0).astype("float64")
    log_p = reference.log_softmax(logits)
    return -np.mean(log_p[np.arange(len(y)), y])


@pytest.mark.parametrize("smoothing", [0.0, (0.1, 0.2)])
@pytest.mark.slow
def test_metrics_of_the_tuner(search, data, smoothing):
    top = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")
    tuner = search(
        tuner={"metrics": ["accuracy", top]},
        space={"label_smoothing": smoothing},
        callbacks=[Seen()],
    )
    assert {"accuracy", "top", "val_top"} <= Seen.logs[-1].keys()
    (model,) = tuner.get_best_models()
    logs = model.evaluate(*data, verbose=0, return_dict=True)
    assert logs.keys() == {"loss", "accuracy", "top"}
    # There are but two classes.
    assert logs["top"] == 1
    assert logs["loss"] == pytest.approx(cross_entropy(model, *data), rel=1e-4)
    # The rate is the trial's own all the same: the last of four steps.
    assert Seen.logs[-1]["learning_rate"] == pytest.approx(0.1 / 3, rel=1e-4)


@pytest.mark.slow
def test_loss_of_the_tuner(search, data):
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, name="x"
    )
    tuner = search(tuner={"loss": loss}, callbacks=[Seen()])
    (model,) = tuner.get_best_models()
    assert model.loss is loss
    value, _ = model.evaluate(*data, verbose=0)
    assert value == pytest.approx(cross_entropy(model, *data), rel=1e-4)
    assert Seen.logs[-1]["learning_rate"] == pytest.approx(0.1 / 3, rel=1e-4)


@pytest.mark.parametrize("given", ["adam", keras.optimizers.Adam(0.002)])
@pytest.mark.slow
def test_optimizer_of_the_tuner(search, given):
    search(tuner={"optimizer": given}, callbacks=[Seen()])
    assert isinstance(Seen.optimizer, keras.optimizers.Adam)
    rate = 0.001 if given == "adam" else 0.002
    assert [logs["learning_rate"] for logs in Seen.logs] == [
        pytest.approx(rate)
    ] * 2


@pytest.mark.parametrize("positional", [False, True])
@pytest.mark.slow
def test_batch_size_and_epochs_of_search(search, data, positional):
    if positional:
        search(*data, 8, 3, callbacks=[Seen()])
    else:
        search(batch_size=8, epochs=3, callbacks=[Seen()])
    assert Seen.params["steps"] == 4
    assert Seen.params["epochs"] == 3
    assert float(Seen.optimizer.learning_rate) == 0


@pytest.mark.slow
def test_validation_split(search, data):
    x, y = data
    tuner = search(validation_split=0.25, callbacks=[Seen()], batch_size=12)
    assert Seen.params["steps"] == 2
    (model,) = tuner.get_best_models()
    (trial,) = tuner.oracle.get_best_trials()
    expected = cross_entropy(model, x[24:], y[24:])
    assert trial.score == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_class_weight(search, data):
    """A class without weight has no say: the other is all that is learned."""
    x, y = data
    search(class_weight={0: 0.0, 1: 1.0}, callbacks=[Seen()], epochs=20)
    assert Seen.logs[-1]["loss"] < 0.3
    assert Seen.logs[-1]["val_accuracy"] == 0.5


@pytest.mark.slow
def test_sample_weight(search):
    half = {"validation_split": 0.5, "callbacks": [Seen()]}
    search(sample_weight=np.repeat([0.0, 1.0], 16), **half)
    assert [logs["loss"] for logs in Seen.logs] == [0, 0]
    assert Seen.logs[0]["val_loss"] > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"shuffle": False}, "Received: .*shuffle=False"),
        ({"callbacks": [Resume("state.npz")]}, "Received: callbacks with Res"),
        ({"steps_per_epoch": 5}, "Received: steps_per_epoch=5"),
        ({"validation_split": 2}, "Received: validation_split=2"),
        ({"no_such": 1}, "no_such"),
        ({"batch_size": 64}, "batch_size=64"),
        ({"space": {"width": [0]}}, "Received: width=0"),
        (
            {"space": {"augmentation": ["crap"]}},
            "Received: augmentation='crap'",
        ),
    ],
)
def test_what_ends_a_search(search, arguments, message):
    with pytest.raises(keras_tuner.errors.FatalError, match=message):
        search(**{"callbacks": [Seen()], **arguments})


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss, smoothing, message",
    [
        ("sparse_categorical_crossentropy", 0.0, "from_logits=True"),
        (keras.losses.MeanSquaredError(), (0.1, 0.2), "label_smoothing=0.1"),
    ],
)
def test_a_loss_of_the_tuner_that_no_trial_takes(
    search, loss, smoothing, message
):
    # KerasTuner compiles the model, and goes on until its third failure.
    with pytest.raises(RuntimeError, match=message):
        search(
            tuner={"loss": loss, "max_trials": 3},
            space={
                "label_smoothing": smoothing,
                "peak_learning_rate": (0.1, 1),
            },
        )


@pytest.mark.slow
def test_data_that_end_a_search(search, data):
    x, y = data
    for given, message in (
        ([datasets.make_dataset(x, y, 16)], "Received: y=NoneType"),
        ([x / 255, y], "on another scale"),
        ([x, y + 1], "Received: y="),
    ):
        with pytest.raises(keras_tuner.errors.FatalError, match=message):
            search(*given)
