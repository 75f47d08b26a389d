"""Short runs, to be made on one device and on several.

    python distributed_runs.py FOLDER replicas         # TensorFlow
    python distributed_runs.py FOLDER devices          # JAX, one process
    python distributed_runs.py FOLDER process ID PORT  # JAX, two of them

writes what each training ended with to FOLDER.  `test_distribution.py` starts
these, for devices have to be declared before a backend starts.
"""

import contextlib
import pathlib
import sys

import keras
import numpy as np
from helpers import floats

from keras_davidnet import (
    DavidNet,
    DecoupledWeightDecay,
    Lookahead,
    PiecewiseLinear,
    PyTorchSGD,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
    Resume,
    datasets,
)

BATCH, STEPS, SIZE, CLASSES, DEVICES = 16, 5, 16, 3, 2

TRAININGS = {
    "mean, coupled decay": {},
    "averages of the net": {"averaged": True},
    "sum, decoupled decay, augmentation": {
        "reduction": "sum",
        "decay": 0.1,
        "augmented": True,
    },
}


def batches(number, count):
    """The share of process `number` in five batches, and in three to validate.

    A seed shuffles them, so an order that slipped by an epoch would show.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS * BATCH, SIZE, SIZE, 3), "uint8")
    labels = rng.integers(0, CLASSES, STEPS * BATCH)
    test = images[: 3 * BATCH], labels[: 3 * BATCH]
    return (
        datasets.make_dataset(
            images, labels, BATCH, training=True, seed=0
        ).shard(count, number),
        datasets.make_dataset(*test, BATCH).shard(count, number),
    )


def train(
    reduction=None,
    decay=None,
    augmented=False,
    averaged=False,
    process=(0, 1),
    epochs=2,
    state=None,
):
    """Epochs of five steps; `process` is its number and how many there are.

    In float64: in float32 two nets part at the first unit that rounding puts
    on the other side of zero.  Returns weights and logs, by name.
    """
    with floats("float64"):
        keras.utils.set_random_seed(1)
        layers = [RandomPadCrop(4), RandomHorizontalFlip(), RandomCutout(8)]
        model = DavidNet(
            CLASSES,
            width=2,
            input_shape=(SIZE, SIZE, 3),
            dropout=0,
            augmentation=keras.Sequential(layers) if augmented else None,
            name="net",
        )
        # The published formulation: the rate over the batch, the decay times
        # it.
        scale = BATCH if reduction == "sum" else 1
        optimizer = PyTorchSGD(
            PiecewiseLinear([0, 2, 10], [0, 0.1 / scale, 0]),
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-3 * scale,
        )
        model.compile(
            Lookahead(optimizer, sync_period=3) if averaged else optimizer,
            reduction
            and keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction=reduction
            ),
            jit_compile=keras.backend.backend() == "jax",
        )
        train_ds, test_ds = batches(*process)
        callbacks = [DecoupledWeightDecay(decay * scale)] if decay else []
        if state is not None:
            callbacks.append(Resume(state, train_ds))
        history = model.fit(
            train_ds,
            epochs=epochs,
            validation_data=test_ds,
            callbacks=callbacks,
            verbose=0,
        ).history
        weights = {v.path: keras.ops.convert_to_numpy(v) for v in model.weights}
        return {**weights, **history}


def train_all(folder, scope=contextlib.nullcontext, **kwargs):
    for name, training in TRAININGS.items():
        with scope():
            results = train(**training, **kwargs)
        np.savez(f"{folder}/{name}.npz", **results)
    # The last one again, in two runs.
    for epochs in (1, 2):
        with scope():
            results = train(
                **training,
                **kwargs,
                epochs=epochs,
                state=f"{folder}/state.npz",
            )
    np.savez(f"{folder}/resumed.npz", **results)


def replicas(folder):
    import tensorflow as tf

    from keras_davidnet.layers.fast_layers import (
        FastBatchNormalization,
        FastDropout,
    )

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * DEVICES,
    )
    # Before anything else is asked of TensorFlow.
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        model = DavidNet(width=1)
    try:
        model.compile()
    except ValueError as error:
        pathlib.Path(folder, "multi_worker.txt").write_text(str(error))

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    train_all(folder, strategy.scope)

    with strategy.scope():
        dropout = FastDropout(0.5)
        norm = FastBatchNormalization(momentum=0.9, epsilon=1e-5)
        norm.build((None, 5, 7, 3))

    @tf.function
    def drop():
        ones = tf.ones((100, 100))
        return strategy.run(lambda: dropout(ones, training=True))

    @tf.function
    def normalize(images):
        return strategy.run(lambda x: norm(x, training=True), [images])

    images = np.random.default_rng(0).normal(3, 2, (8, 5, 7, 3))
    shares = tf.split(tf.cast(images, "float32"), DEVICES)
    outputs = normalize(
        strategy.experimental_distribute_values_from_function(
            lambda context: shares[context.replica_id_in_sync_group]
        )
    )
    np.savez(
        f"{folder}/layers.npz",
        masks=[strategy.experimental_local_results(drop()) for _ in range(4)],
        images=images,
        outputs=np.concatenate(strategy.experimental_local_results(outputs)),
        weights=norm.get_weights(),
    )


def devices(folder):
    distribution = keras.distribution.DataParallel()
    train_all(folder, distribution.scope)


def process(folder, number, port):
    number = int(number)
    keras.distribution.initialize(f"127.0.0.1:{port}", DEVICES, number)
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    train_all(folder, distribution.scope, process=(number, DEVICES))


if __name__ == "__main__":
    folder, kind, *arguments = sys.argv[1:]
    pathlib.Path(folder).mkdir(exist_ok=True)
    {"replicas": replicas, "devices": devices, "process": process}[kind](
        folder, *arguments
    )
