"""The log of each training image, against NumPy."""

import keras
import numpy as np
import pytest

from keras_davidnet import DavidNet, ExampleLog, Resume, _backend, recipes
from keras_davidnet.datasets import make_dataset

N, SIZE, CLASSES, EPOCHS = 23, 8, 3, 3
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (N, 8, 8, 3), "uint8")
Y = RNG.integers(0, CLASSES, N)
SUBSET = np.arange(N) != 4


def net(**kwargs):
    model = DavidNet(
        CLASSES,
        width=1,
        dropout=0,
        input_shape=(8, 8, 3),
        augmentation=None,
        **kwargs,
    )
    model.compile(keras.optimizers.SGD(0.5))
    return model


def batches(**kwargs):
    return make_dataset(X, Y, SIZE, training=True, seed=0, **kwargs)


def expected():
    """Margin and correctness, image by image, in a loop of one's own."""
    keras.utils.set_random_seed(0)
    model, dataset = net(), batches(subset=SUBSET)
    margin = np.full((EPOCHS, N), np.nan)
    correct = margin.copy()
    for epoch in range(EPOCHS):
        for rows in dataset.plan.indices(epoch):
            copy = net()
            copy.set_weights(model.get_weights())
            logits = keras.ops.convert_to_numpy(copy(X[rows], training=True))
            p = np.exp(logits.astype("float64"))
            p /= p.sum(-1, keepdims=True)
            for i, image in enumerate(rows):
                own = p[i, Y[image]]
                margin[epoch, image] = np.log(own / (1 - own))
                correct[epoch, image] = p[i].argmax() == Y[image]
            model.train_on_batch(X[rows], Y[rows])
    return margin, correct, model


def assert_close(log, margin, correct):
    np.testing.assert_allclose(log.margin, margin, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(log.correct, correct)


@pytest.fixture(scope="module")
def reference():
    return expected()


@pytest.mark.slow
def test_log_matches_numpy(reference):
    margin, correct, trained = reference
    keras.utils.set_random_seed(0)
    log, model = ExampleLog(), net()
    names = [metric.name for metric in model.metrics]
    history = model.fit(
        batches(subset=SUBSET),
        epochs=EPOCHS,
        validation_data=(X, Y),
        callbacks=[log],
        verbose=0,
    ).history
    assert_close(log, margin, correct)
    assert np.isnan(log.margin[:, 4]).all()
    assert (~np.isnan(log.margin)).sum(1).tolist() == [2 * SIZE] * EPOCHS
    p = 1 / (1 + np.exp(-margin))
    np.testing.assert_allclose(log.loss, -np.log(p), rtol=1e-3)
    # The means are what `fit` reports.
    np.testing.assert_allclose(
        np.nanmean(log.loss, 1), history["loss"], rtol=1e-4
    )
    np.testing.assert_allclose(
        np.nanmean(log.correct, 1), history["accuracy"], rtol=1e-6
    )
    # The run is that without it, and the model is as it was.
    for one, other in zip(model.weights, trained.weights, strict=True):
        one, other = map(keras.ops.convert_to_numpy, (one, other))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert [metric.name for metric in model.metrics] == names
    before = log.margin.copy()
    model.fit(batches(), verbose=0)
    np.testing.assert_array_equal(log.margin, before)


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras's torch has no steps_per_execution",
)
def test_several_steps_at_once(reference):
    keras.utils.set_random_seed(0)
    model, log = net(), ExampleLog()
    model.compile(keras.optimizers.SGD(0.5), steps_per_execution=2)
    model.fit(batches(subset=SUBSET), epochs=EPOCHS, callbacks=[log], verbose=0)
    assert_close(log, *reference[:2])


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_resume(reference, tmp_path, first):
    def fit(epochs):
        keras.utils.set_random_seed(0)
        log, resume = ExampleLog(), Resume(tmp_path / "state.npz")
        net().fit(
            batches(subset=SUBSET),
            epochs=epochs,
            callbacks=[log, resume] if first else [resume, log],
            verbose=0,
        )
        return log

    fit(2)
    log = fit(EPOCHS)
    assert_close(log, *reference[:2])
    # The run is finished: no epoch is trained.
    np.testing.assert_array_equal(fit(EPOCHS).margin, log.margin)
    with pytest.raises(ValueError, match="example_logs: 1, not None"):
        net().fit(
            batches(subset=SUBSET),
            epochs=4,
            callbacks=[Resume(tmp_path / "state.npz")],
        )


@pytest.mark.slow
def test_part_of_an_epoch():
    log = ExampleLog()
    recipe = recipes.get("davidnet").replace(
        width=1,
        num_classes=CLASSES,
        input_shape=(8, 8, 3),
        batch_size=SIZE,
        epochs=1.5,
    )
    recipe.fit(X, Y, callbacks=[log], verbose=0)
    assert (~np.isnan(log.margin)).sum(1).tolist() == [2 * SIZE, SIZE]


def test_measures():
    log = ExampleLog()
    nan = np.nan
    margin = [[1, 1, -1, nan, 1], [-1, -1, -1, nan, nan], [3, -2, -2, nan, -1]]
    margin = np.array(margin, "float32")
    correct = np.where(np.isnan(margin), nan, margin > 0)
    log.set_state(np.stack([margin, correct]))
    np.testing.assert_array_equal(
        log.forgetting_events(), [1, 1, np.inf, nan, 1]
    )
    np.testing.assert_allclose(
        log.mean_margin(), [1, -2 / 3, -4 / 3, nan, 0], rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["arrays", "mapped", "sharded", "unshuffled"])
def test_other_data(kind):
    dataset = {
        "arrays": (X, Y),
        "mapped": (batches().map(lambda *batch: batch),),
        "sharded": (batches().shard(2, 0),),
        "unshuffled": (make_dataset(X, Y, SIZE),),
    }[kind]
    with pytest.raises(ValueError, match="ExampleLog needs data.*Received"):
        net().fit(*dataset, callbacks=[ExampleLog()])


def test_two_logs():
    with pytest.raises(ValueError, match="one ExampleLog.*Received"):
        net().fit(batches(), callbacks=[ExampleLog(), ExampleLog()])


def test_labels_that_are_not_sparse():
    model = DavidNet(CLASSES, width=1, input_shape=X.shape[1:])
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    dataset = make_dataset(X, np.eye(CLASSES)[Y], SIZE, training=True)
    with pytest.raises(ValueError, match="ExampleLog needs sparse labels"):
        model.fit(dataset, callbacks=[ExampleLog()], verbose=0)


@pytest.mark.slow
def test_evaluate_within_an_epoch(reference):
    class Evaluate(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.evaluate(X, Y, verbose=0)

    keras.utils.set_random_seed(0)
    log = ExampleLog()
    net().fit(
        batches(subset=SUBSET),
        epochs=EPOCHS,
        callbacks=[log, Evaluate()],
        verbose=0,
    )
    assert_close(log, *reference[:2])


def test_other_models():
    model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match="models of this package"):
        model.fit(X, Y, callbacks=[ExampleLog()], verbose=0)
    with pytest.raises(ValueError, match="needs logits.*softmax"):
        net(classifier_activation="softmax").fit(
            batches(), callbacks=[ExampleLog()], verbose=0
        )


def test_several_replicas(monkeypatch):
    monkeypatch.setattr(_backend, "replica", lambda: (0, 2))
    model = net()
    with pytest.raises(ValueError, match="strategy of several.*2 replicas"):
        model.fit(batches(), callbacks=[ExampleLog()], verbose=0)
    assert model.example_log is None
