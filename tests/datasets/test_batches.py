"""The plan of the data, and the batches over it."""

import os
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from keras import ops

from keras_davidnet import DavidNet, Resume
from keras_davidnet.datasets import Batches, EpochPlan, SyncEpoch, make_dataset

N, SIZE, SEED = 40, 16, 3


def order(epoch, n=N, size=SIZE, seed=SEED):
    """The definition, in NumPy."""
    rng = np.random.default_rng((seed, epoch))
    return rng.permutation(n)[: n // size * size].reshape(-1, size)


@pytest.fixture
def pairs():
    """Images that carry their own number, which is their label too."""
    labels = np.arange(N)
    images = np.zeros((N, 8, 8, 3), "uint8")
    images[:, 0, 0, 0] = labels
    return images, labels


def train_ds(pairs, **kwargs):
    return make_dataset(*pairs, SIZE, training=True, seed=SEED, **kwargs)


def shown(dataset):
    """The labels of the batches, of shape `(steps, batch_size)`."""
    return np.array([np.asarray(labels) for _, labels in dataset])


def test_order_matches_numpy():
    plan = EpochPlan(N, SIZE, SEED)
    for epoch in (0, 1, 7):
        np.testing.assert_array_equal(plan.indices(epoch), order(epoch))
    assert plan.epoch == 0
    keras.utils.set_random_seed(1)
    drawn = EpochPlan(N, SIZE).seed
    np.random.seed(1)
    assert drawn == EpochPlan(N, SIZE).seed != SEED


def subset_order(epoch, subset):
    """The definition, in NumPy: image by image."""
    rng = np.random.default_rng((SEED, epoch))
    kept = [i for i in rng.permutation(N) if subset[i]]
    return np.array(kept[: len(kept) // SIZE * SIZE]).reshape(-1, SIZE)


def test_subset(pairs, rng):
    subset = rng.random(N) < 0.9
    subset[0] = True
    dataset = train_ds(pairs, alternating_flip=True, subset=subset)
    whole = EpochPlan(N, SIZE, SEED, alternating_flip=True)
    assert len(dataset) == subset.sum() // SIZE == 2
    for epoch in (0, 5):
        dataset.plan.epoch = epoch
        np.testing.assert_array_equal(
            shown(dataset), subset_order(epoch, subset)
        )
        np.testing.assert_array_equal(
            dataset.plan.flipped(epoch), whole.flipped(epoch)
        )
    half = dataset.map(lambda x, y: (x, y * 2)).shard(2, 1)
    np.testing.assert_array_equal(
        shown(half), subset_order(5, subset)[:, 8:] * 2
    )
    # Leaving one image out moves those after it, and no other.
    less = subset.copy()
    less[0] = False
    before, after = (
        EpochPlan(N, SIZE, SEED, subset=s).indices(1).ravel()
        for s in (subset, less)
    )
    before = before[before != 0]
    np.testing.assert_array_equal(before, after[: len(before)])
    # What is done to the array later does not matter.
    subset[:] = False
    assert dataset.plan.subset.any()


@pytest.mark.parametrize(
    "subset, message",
    [
        (np.ones(N - 1, bool), r"shape \(40,\).*shape \(39,\)"),
        (np.ones(N, int), "booleans.*int64"),
        (range(20), "booleans.*int64"),
        (np.arange(N) < SIZE - 1, "15 images, batch_size=16"),
    ],
)
def test_bad_subset(pairs, subset, message):
    with pytest.raises(ValueError, match=message):
        train_ds(pairs, subset=subset)
    with pytest.raises(ValueError, match="images.subset.*training=False"):
        make_dataset(*pairs, SIZE, subset=np.ones(N, bool))


def test_batches_of_an_epoch(pairs):
    dataset = train_ds(pairs)
    assert len(dataset) == 2
    for epoch in (0, 5):
        dataset.plan.epoch = epoch
        for i, (images, labels) in enumerate(dataset):
            np.testing.assert_array_equal(labels, order(epoch)[i])
            np.testing.assert_array_equal(images, pairs[0][labels])
            assert images.dtype == "uint8"
    np.testing.assert_array_equal(dataset[-1][1], order(5)[1])
    with pytest.raises(IndexError):
        dataset[2]


def test_evaluation_keeps_order_and_tail(pairs):
    dataset = make_dataset(*pairs, SIZE)
    assert len(dataset) == 3 and dataset.plan is None
    for i, (images, labels) in enumerate(dataset):
        rows = slice(i * SIZE, (i + 1) * SIZE)
        np.testing.assert_array_equal(images, pairs[0][rows])
        np.testing.assert_array_equal(labels, pairs[1][rows])


def test_alternating_flip():
    n = 2000
    plan = EpochPlan(n, SIZE, SEED, alternating_flip=True)
    first = plan.flipped(0)
    assert first.shape == (n,) and first.dtype == bool
    # Within four deviations of a half, and of what the order has no part in.
    assert abs(first.mean() - 0.5) < 4 * 0.5 / n**0.5
    shuffled = first[plan.indices(0).ravel()]
    assert abs((shuffled[::2] == shuffled[1::2]).mean() - 0.5) < 0.07
    early = plan.indices(0).ravel()[: n // 2]
    assert abs(first[early].mean() - 0.5) < 4 * 0.5 / (n / 2) ** 0.5
    for epoch in range(4):
        np.testing.assert_array_equal(
            plan.flipped(epoch), first if epoch % 2 == 0 else ~first
        )
    other = EpochPlan(n, SIZE, SEED + 1, alternating_flip=True).flipped(0)
    assert 0.4 < (first == other).mean() < 0.6
    assert not EpochPlan(n, SIZE, SEED).flipped(1).any()


def test_flagged_images_are_flipped(rng):
    images = rng.integers(0, 256, (N, 8, 9, 3), "uint8")
    dataset = train_ds((images, np.arange(N)), alternating_flip=True)
    counts = []
    for epoch in range(2):
        dataset.plan.epoch = epoch
        flags = dataset.plan.flipped(epoch)
        for batch, labels in dataset:
            for image, label in zip(batch, labels, strict=True):
                expected = images[label]
                if flags[label]:
                    expected = np.fliplr(expected)
                np.testing.assert_array_equal(image, expected)
        counts.append(flags.sum())
    assert sum(counts) == N and min(counts) > 0


def test_map_and_shard(pairs):
    dataset = train_ds(pairs)
    mapped = dataset.map(lambda images, labels: (images + 1, labels * 2))
    halves = [mapped.shard(2, i) for i in range(2)]
    # Of the whole batch, where it comes first.
    reversed_ = dataset.map(lambda *batch: tuple(x[::-1] for x in batch))
    for view in (mapped, *halves, reversed_):
        assert view.plan is dataset.plan and len(view) == len(dataset)
    dataset.plan.epoch = 4
    np.testing.assert_array_equal(shown(mapped), order(4) * 2)
    np.testing.assert_array_equal(mapped[1][0], dataset[1][0] + 1)
    for half, part in zip(halves, (slice(8), slice(8, 16)), strict=True):
        np.testing.assert_array_equal(shown(half), order(4)[:, part] * 2)
        np.testing.assert_array_equal(half[1][0], mapped[1][0][part])
    np.testing.assert_array_equal(
        shown(reversed_.shard(2, 0)), order(4)[:, ::-1][:, :8]
    )
    np.testing.assert_array_equal(shown(dataset), order(4))


@pytest.mark.parametrize(
    "num_shards, index, message",
    [
        (3, 0, r"num_shards=3, .*\(16, 16\)"),
        (2, 2, "num_shards=2, index=2"),
        (2, -1, "index=-1"),
        (0, 0, "num_shards=0"),
    ],
)
def test_bad_shards(pairs, num_shards, index, message):
    with pytest.raises(ValueError, match=f"Received: .*{message}"):
        train_ds(pairs).shard(num_shards, index)


def test_a_last_batch_that_does_not_split(pairs):
    # 40 images: the last batch has 8 of them.
    with pytest.raises(ValueError, match=r"num_shards=16, .*\(16, 8\)"):
        make_dataset(*pairs, SIZE).shard(16, 0)


def test_plan_of_other_data(pairs):
    with pytest.raises(ValueError, match="Received: plan for"):
        Batches(*pairs, SIZE, EpochPlan(N, SIZE + 1))


class Seen(keras.metrics.Metric):
    """The labels of all batches that a model was given, in their order."""

    def __init__(self):
        super().__init__(name="seen")
        self.rows = self.add_weight(
            shape=(64, SIZE), initializer="zeros", dtype="int32"
        )
        self.count = self.add_weight(initializer="zeros", dtype="int32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        row = ops.cast(ops.reshape(y_true, (1, SIZE)), "int32")
        places = ops.arange(64)[:, None] == self.count
        self.rows.assign(ops.where(places, row, ops.copy(self.rows)))
        self.count.assign(self.count + 1)

    def result(self):
        return ops.cast(self.count, "float32")

    def reset_state(self):
        """Keras resets metrics after every epoch."""

    def pop(self):
        rows = ops.convert_to_numpy(self.rows)[: int(self.count)]
        self.count.assign(0)
        return rows


def own(**kwargs):
    model = DavidNet(N, width=1, dropout=0, **kwargs)
    model.compile(metrics=[Seen()])
    return model


def stock():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(N),
        ]
    )
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[Seen()],
    )
    return model


def seen(model):
    return next(
        metric.pop()
        for metric in model._compile_metrics.metrics
        if isinstance(metric, Seen)
    )


def assert_seen(model, *epochs):
    np.testing.assert_array_equal(seen(model), np.concatenate(epochs))


def test_fit_shows_the_epoch_that_it_is_in(pairs):
    dataset, model = train_ds(pairs), own()
    held_out = make_dataset(pairs[0][:32], pairs[1][:32], SIZE)
    # What was looked at, or stood there before, does not matter.
    next(iter(dataset)), dataset[1], list(dataset)
    assert dataset.plan.epoch == 0
    model.fit(dataset, epochs=2, validation_data=held_out, verbose=0)
    plain = np.arange(32).reshape(2, SIZE)
    assert_seen(model, order(0), plain, order(1), plain)
    assert dataset.plan.epoch == 1
    model.fit(dataset, initial_epoch=5, epochs=7, verbose=0)
    assert_seen(model, order(5), order(6))


def test_batches_without_a_plan_keep_their_order(pairs):
    images, labels = (part[:32] for part in pairs)
    model = own()
    # A warning that they are not shuffled would be an error.
    model.fit(make_dataset(images, labels, SIZE), verbose=0)
    assert_seen(model, labels.reshape(2, SIZE))


def test_a_loop_of_single_epochs_warns(pairs):
    dataset, model = train_ds(pairs), own()
    model.fit(dataset, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="initial_epoch=e"):
        model.fit(dataset, epochs=1, verbose=0)
    # A warning would be an error.
    model.fit(dataset, initial_epoch=1, epochs=2, verbose=0)


@pytest.mark.parametrize("steps", [None, 2])
def test_neither_views_nor_validation_move_the_plan(pairs, steps):
    dataset, model = train_ds(pairs), own()
    view = dataset.map(lambda images, labels: (images, labels)).shard(1, 0)
    model.fit(
        view,
        epochs=3,
        steps_per_epoch=steps,
        validation_data=dataset,
        verbose=0,
    )
    assert_seen(model, *(order(epoch // 2) for epoch in range(6)))
    assert dataset.plan.epoch == 2
    model.evaluate(dataset, verbose=0)
    model.predict(dataset.map(lambda images, labels: (images,)), verbose=0)
    assert dataset.plan.epoch == 2


@pytest.mark.parametrize("name", ["SyncEpoch", "Resume"])
def test_a_stock_model_sees_the_epoch_that_a_callback_sets(
    pairs, tmp_path, name
):
    dataset, model = train_ds(pairs), stock()
    dataset.plan.epoch = 9
    if name == "Resume":
        callback = Resume(tmp_path / "state.npz", dataset)
    else:
        callback = SyncEpoch(dataset)
    fit = {"shuffle": False, "callbacks": [callback], "verbose": 0}
    model.fit(dataset, epochs=1, **fit)
    dataset.plan.epoch = 9
    model.fit(dataset, initial_epoch=1, epochs=3, **fit)
    assert_seen(model, order(0), order(1), order(2))
    model.evaluate(dataset, verbose=0)
    assert dataset.plan.epoch == 2


def test_sync_epoch_needs_a_plan(pairs):
    for batches in (make_dataset(*pairs, SIZE), pairs):
        with pytest.raises(TypeError, match="training=True.*Received: batche"):
            SyncEpoch(batches)


def test_a_stock_model_alone_sees_one_order(pairs):
    dataset, model = train_ds(pairs), stock()
    model.fit(dataset, epochs=2, shuffle=False, verbose=0)
    assert_seen(model, order(0), order(0))


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="Keras itself is on it"
)
def test_without_tensorflow():
    program = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = staticmethod(
    lambda name, *rest: (
        None if name.partition(".")[0] == "tensorflow" else find(name, *rest)
    )
)
import numpy as np
from keras_davidnet import DavidNet, datasets
x, y = np.zeros((16, 8, 8, 3), "uint8"), np.arange(16) % 3
dataset = datasets.make_dataset(x, y, 8, training=True, alternating_flip=True)
model = DavidNet(3, width=1)
model.compile()
model.fit(dataset, validation_data=datasets.make_dataset(x, y, 5), verbose=0)
"""
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.extra
def test_tf_dataset_is_the_same_batches(pairs):
    tf = pytest.importorskip("tensorflow", reason="tf.data")
    dataset = train_ds(pairs, alternating_flip=True)
    fast = dataset.tf_dataset()
    assert len(fast) == len(dataset)
    assert fast.element_spec[0].shape == (SIZE, 8, 8, 3)
    for epoch in (0, 3):
        dataset.plan.epoch = epoch
        for one, other in zip(fast, dataset, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)
    tail = make_dataset(*pairs, SIZE).tf_dataset()
    assert tail.element_spec[1] == tf.TensorSpec((None,), tf.int64)
    assert np.concatenate([y for _, y in tail]).tolist() == list(range(N))


@pytest.mark.extra
def test_an_iterator_ends_at_once(pairs):
    # An epoch of fit ends when its iterator does, and TensorFlow's autotuning
    # often held that back for up to a minute.
    tf = pytest.importorskip("tensorflow", reason="tf.data")
    work = tf.ones((2000, 2000))

    @tf.function
    def step(iterator):
        element = iterator.get_next_as_optional().get_value()
        return element, tf.linalg.matmul(work, work)

    dataset = make_dataset(*pairs, batch_size=1).tf_dataset().repeat()
    for _ in range(6):
        iterator = iter(dataset)
        begin = time.perf_counter()
        while time.perf_counter() < begin + 0.4:
            step(iterator)
        end = time.perf_counter()
        del iterator
        assert time.perf_counter() < end + 0.1


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_nothing_beside_the_batches(pairs, name):
    with pytest.raises(ValueError, match="sample_weight.*beside batches"):
        own().fit(make_dataset(*pairs, SIZE), **{name: np.ones(N)})
