"""Each part in each use, against stock layers of the same arithmetic."""

import functools
import warnings

import keras
import numpy as np
import pytest
from keras.layers import Activation, Add, BatchNormalization, Conv2D, Dense

from keras_davidnet import (
    CELU,
    Airbench,
    ConvBN,
    ConvGroup,
    CoupledSGD,
    DavidNet,
    ExponentialAverage,
    GhostBatchNormalization,
    GhostBlock,
    GroupedOptimizer,
    ImageClassifier,
    Lookahead,
    PyTorchSGD,
    ResBlock,
    WhitenedDavidNet,
    WhiteningConv2D,
    datasets,
)

BACKEND = keras.backend.backend()
# The second batch is smaller.  Of fewer pixels in a batch, normalization makes
# a thousandfold of rounding.
N, BATCH, SIZE, CLASSES = 12, 8, 16, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (N, SIZE, SIZE, 3), "uint8")
LABELS = np.arange(N) % CLASSES
WEIGHTS = np.linspace(0, 2, N)


# Stock layers of the same arithmetic: each takes and returns a tensor.


@keras.saving.register_keras_serializable("contract")
def celu(x):
    return keras.activations.celu(x, alpha=0.3)


@keras.saving.register_keras_serializable("contract")
class Whitening(Conv2D):
    def add_weight(self, *args, name, **kwargs):
        kwargs["trainable"] = name != "kernel"
        return super().add_weight(*args, name=name, **kwargs)


def conv(filters, size=3):
    return Conv2D(filters, size, padding="same", use_bias=False)


def conv_bn(x, filters):
    return keras.layers.ReLU()(
        BatchNormalization(momentum=0.9, epsilon=1e-5)(conv(filters)(x))
    )


def pool(x):
    return keras.layers.MaxPooling2D(2)(x)


def res_block(x, filters, residual=True):
    h = pool(conv_bn(x, filters))
    return Add()([h, conv_bn(conv_bn(h, filters), filters)]) if residual else h


def conv_group(x, filters):
    def norm(x):
        return BatchNormalization(momentum=0.6, epsilon=1e-12, scale=False)(x)

    h = Activation("gelu")(norm(pool(conv(filters)(x))))
    x = Activation("gelu")(norm(conv(filters)(h)))
    return Activation("gelu")(Add()([norm(conv(filters)(x)), h]))


def ghost_block(x, filters, size=3, pools=True, residual=True):
    def norm(x):
        x = BatchNormalization(momentum=0.9, epsilon=1e-5, scale=False)(x)
        return Activation(celu)(x)

    x = conv(filters, size)(x)
    h = norm(pool(x) if pools else x)
    if not residual:
        return h
    return Add()([h, norm(conv(filters)(norm(conv(filters)(h))))])


def davidnet(x):
    x = res_block(conv_bn(x, 2), 4)
    return res_block(res_block(x, 8, residual=False), 16)


def airbench(x):
    x = Activation("gelu")(Whitening(24, 2)(x))
    return functools.reduce(conv_group, (2, 3, 4), x)


def whitened_davidnet(x):
    x = Whitening(27, 3, padding="same", use_bias=False)(x)
    x = ghost_block(ghost_block(x, 2, 1, False, False), 4)
    return ghost_block(ghost_block(x, 8, residual=False), 16)


# Our part, and the stock one.
LAYERS = {
    "conv_bn": (lambda: [ConvBN(4, dropout=0)], lambda x: conv_bn(x, 4)),
    "res_block": (
        lambda: [ResBlock(4, residual=True, dropout=0)],
        lambda x: res_block(x, 4),
    ),
    "conv_group": (
        lambda: [ConvGroup(4, residual=True)],
        lambda x: conv_group(x, 4),
    ),
    "ghost_block": (
        lambda: [GhostBlock(4, residual=True, groups=1)],
        lambda x: ghost_block(x, 4),
    ),
    "ghost_batch_norm": (
        lambda: [GhostBatchNormalization(1), CELU(0.3)],
        lambda x: Activation(celu)(
            BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        ),
    ),
    "whitening": (lambda: [WhiteningConv2D(2)], lambda x: Whitening(24, 2)(x)),
}
NETS = {
    "davidnet": (lambda new: new(DavidNet, width=2, dropout=0), davidnet),
    "airbench": (
        lambda new: new(Airbench, widths=(2, 3, 4), residual=True),
        airbench,
    ),
    "whitened_davidnet": (
        lambda new: new(WhitenedDavidNet, width=2, groups=1),
        whitened_davidnet,
    ),
}


def sgd(name="sgd"):
    return keras.optimizers.SGD(0.01, momentum=0.9, name=name)


def grouped(stock):
    pattern, members = ".*kernel", (sgd(), keras.optimizers.SGD(0.005))
    if not stock:
        return GroupedOptimizer(members[0], {pattern: members[1]})
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(members[0], {pattern: members[1]})
    )


# Our optimizer, and a stock one that makes the same steps.
OPTIMIZERS = {
    "sgd": (sgd, sgd),
    "pytorch_sgd": (lambda: PyTorchSGD(0.01, momentum=0.9), sgd),
    "coupled_sgd": (lambda: CoupledSGD(0.01, momentum=0.9), sgd),
    "grouped": (lambda: grouped(False), lambda: grouped(True)),
    "lookahead": (lambda: Lookahead(sgd(), 1, 0.0), sgd),
    "average": (
        lambda: ExponentialAverage(grouped(False), 1, 0.0),
        lambda: grouped(True),
    ),
}


def make(part):
    """Our model and the stock one, of the same weights."""
    if part in NETS:
        ours = NETS[part][0](
            lambda cls, **arguments: cls(
                CLASSES,
                input_shape=(SIZE, SIZE, 3),
                augmentation=None,
                label_smoothing=0,
                logit_scale=1,
                **arguments,
            )
        )
        ours.adapt(IMAGES)
        inputs = keras.Input((SIZE, SIZE, 3))
        mean, std = np.array([datasets.CIFAR10_MEAN, datasets.CIFAR10_STD])
        x = keras.layers.Rescaling(
            (1 / std / 255).tolist(), (-mean / std).tolist()
        )(inputs)
        x = keras.layers.GlobalMaxPooling2D()(NETS[part][1](x))
        stock = keras.Model(inputs, Dense(CLASSES, use_bias=False)(x))
    else:
        layers = LAYERS[part][0]()
        if part == "whitening":
            layers[0].adapt(IMAGES / 255)

        def ours_of(x):
            return functools.reduce(lambda x, layer: layer(x), layers, x)

        ours, stock = (in_a_model(body) for body in (ours_of, LAYERS[part][1]))
    for one, other in zip(aligned(ours, stock), stock.weights, strict=True):
        # A copy: JAX gives away the arrays that it trains.
        other.assign(np.array(one))
    return ours, stock


def in_a_model(body):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = body(keras.layers.Rescaling(1 / 255)(inputs))
    x = Dense(CLASSES)(keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


def aligned(model, reference):
    """The weights of a model in the order of those of the reference."""
    left = list(model.weights)
    return [
        left.pop(next(i for i, v in enumerate(left) if v.shape == w.shape))
        for w in reference.weights
    ]


# What is done with a model.  Each use returns the model that is left, and
# numbers; `path` is a file or folder that it may make.


def compile_(model, optimizer, metrics=("accuracy",)):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        optimizer,
        loss,
        metrics=list(metrics),
        weighted_metrics=[],
        # A step that runs a few times is traced for longer than it runs.  On
        # JAX compiled steps have faults of their own; one of our nets will do.
        run_eagerly=BACKEND != "jax" or not isinstance(model, DavidNet),
    )


def fit(model, *data, epochs=1, **kwargs):
    kwargs.setdefault("batch_size", BATCH)
    history = model.fit(
        *(data or (IMAGES, LABELS)),
        epochs=epochs,
        shuffle=False,
        verbose=0,
        **kwargs,
    ).history
    # Ours has the rate without a callback, too.
    return {k: v for k, v in history.items() if "learning_rate" not in k}


def fit_and_evaluate(model, path, optimizer):
    compile_(model, optimizer())
    history = fit(model, epochs=2, validation_data=(IMAGES, LABELS, WEIGHTS))
    return model, [
        history,
        model.evaluate(IMAGES, LABELS, sample_weight=WEIGHTS, verbose=0),
        model.predict(IMAGES, batch_size=BATCH, verbose=0),
    ]


def single_batches(model, path, optimizer):
    compile_(model, optimizer())
    return model, [
        model.train_on_batch(
            IMAGES[:BATCH], LABELS[:BATCH], class_weight={0: 3.0}
        ),
        model.train_on_batch(IMAGES, LABELS, sample_weight=WEIGHTS),
        model.test_on_batch(IMAGES, LABELS),
        model.predict_on_batch(IMAGES),
    ]


def weighted(model, path, optimizer):
    compile_(model, optimizer())
    first = fit(model, class_weight={0: 3.0})
    return model, [first, fit(model, sample_weight=WEIGHTS)]


class Stream(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(BATCH * index, BATCH * index + BATCH)
        return IMAGES[rows], LABELS[rows]


def streamed(model, path, optimizer):
    compile_(model, optimizer())
    return model, [
        fit(model, Stream(), epochs=2, batch_size=None),
        model.evaluate(Stream(), verbose=0),
    ]


def batched(model, path, optimizer):
    """`make_dataset`'s batches for ours, the same arrays for the stock one."""
    if not isinstance(model, ImageClassifier):
        return weighted(model, path, optimizer)
    compile_(model, optimizer())
    batches = functools.partial(datasets.make_dataset, IMAGES, LABELS, BATCH)
    first = fit(model, batches(), batch_size=None, class_weight={0: 3.0})
    again = batches(sample_weight=WEIGHTS)
    return model, [first, fit(model, again, batch_size=None)]


def saved(model, path, optimizer):
    compile_(model, optimizer())
    first = fit(model)
    model.save(f"{path}.keras")
    model = keras.saving.load_model(f"{path}.keras")
    compile_(model, model.optimizer)
    return model, [first, fit(model)]


def checkpoint(model, path, optimizer):
    """Saved within an epoch by a callback, then trained to its end."""
    compile_(model, optimizer())
    callback = keras.callbacks.ModelCheckpoint(f"{path}.keras", save_freq=1)
    fit(model, IMAGES[:BATCH], LABELS[:BATCH], callbacks=[callback])
    model = keras.saving.load_model(f"{path}.keras")
    compile_(model, model.optimizer)
    return model, [fit(model)]


def weights_of_another(model, path, optimizer):
    """Weights into a net with an optimizer of another kind."""
    compile_(model, optimizer())
    fit(model)
    model.save_weights(f"{path}.weights.h5")
    model = keras.models.clone_model(model)
    compile_(model, keras.optimizers.RMSprop(1e-3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping variable loading")
        model.load_weights(f"{path}.weights.h5")
    return model, [fit(model)]


def cloned(model, path, optimizer):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    compile_(copy, optimizer())
    return copy, [fit(copy)]


def frozen_body(model, path, optimizer):
    for layer in model.layers:
        layer.trainable = isinstance(layer, Dense)
    compile_(model, sgd())
    return model, [fit(model, epochs=2)]


def thawed(model, path, optimizer):
    """Both before and after `compile`."""
    model.trainable = False
    model.trainable = True
    model.layers[-1].trainable = False
    compile_(model, optimizer())
    model.layers[-1].trainable = True
    return model, [fit(model)]


def nested(model, path, optimizer):
    inputs = keras.Input((SIZE, SIZE, 3))
    outer = keras.Model(inputs, keras.layers.Rescaling(2.0)(model(inputs)))
    compile_(outer, optimizer())
    return model, [fit(outer, epochs=2)]


class OwnStep:
    """As Keras's guides "Customizing what happens in `fit`" have it."""

    if BACKEND == "tensorflow":

        def train_step(self, data):
            import tensorflow as tf

            with tf.GradientTape() as tape:
                outputs = self(data[0], training=True)
                loss = self.compute_loss(y=data[1], y_pred=outputs)
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return self.compute_metrics(*data, outputs)

    elif BACKEND == "jax":

        def train_step(self, state, data):
            import jax

            def loss_of(trained, others):
                outputs, others = self.stateless_call(
                    trained, others, data[0], training=True
                )
                return self.compute_loss(y=data[1], y_pred=outputs), others

            trained, others, optimizer, metrics = state
            (loss, others), gradients = jax.value_and_grad(
                loss_of, has_aux=True
            )(trained, others)
            trained, optimizer = self.optimizer.stateless_apply(
                optimizer, gradients, trained
            )
            return {"loss": loss}, (trained, others, optimizer, metrics)

    else:

        def train_step(self, data):
            import torch

            self.zero_grad()
            outputs = self(data[0], training=True)
            loss = self.compute_loss(y=data[1], y_pred=outputs)
            loss.backward()
            weights = self.trainable_weights
            with torch.no_grad():
                self.optimizer.apply([w.value.grad for w in weights], weights)
            return {"loss": loss.detach()}


def own_step(model, path, optimizer):
    model.__class__ = type("Own", (OwnStep, type(model)), {})
    compile_(model, optimizer(), metrics=[])
    fit(model, epochs=2)
    return model, [model.predict(IMAGES, verbose=0)]


def built_by_hand(model, path, optimizer):
    optimizer = optimizer()
    optimizer.build(model.trainable_variables)
    compile_(model, optimizer)
    return model, [fit(model, epochs=2)]


def interrupted(model, path, optimizer):
    """A fit that is broken off leaves nothing to the next but its steps."""

    def stop(batch, logs):
        raise KeyboardInterrupt

    compile_(model, optimizer())
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[callback])
    return model, [fit(model)]


def rates(model, path, optimizer):
    compile_(model, optimizer())
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate),
        keras.callbacks.ReduceLROnPlateau(
            "loss", patience=1, min_delta=1e9, factor=0.1
        ),
    ]
    return model, [fit(model, epochs=3, callbacks=callbacks)]


def best_weights(model, path, optimizer):
    compile_(model, optimizer())
    callbacks = [
        keras.callbacks.BackupAndRestore(path),
        keras.callbacks.EarlyStopping(
            "loss", patience=1, min_delta=1e9, restore_best_weights=True
        ),
    ]
    return model, [fit(model, epochs=4, callbacks=callbacks)]


LAYER_USES = (
    fit_and_evaluate,
    single_batches,
    saved,
    cloned,
    frozen_body,
    thawed,
    nested,
)
OPTIMIZER_USES = (
    saved,
    checkpoint,
    weights_of_another,
    own_step,
    built_by_hand,
    interrupted,
    rates,
)
NET_USES = (*LAYER_USES, weights_of_another, weighted, streamed, batched)
CASES = [
    *((part, "sgd", use) for part in LAYERS for use in LAYER_USES),
    *((part, "sgd", use) for part in NETS for use in NET_USES),
    # What the shell of the nets does alone: one net is enough.
    *(
        ("davidnet", "sgd", use)
        for use in (*OPTIMIZER_USES, best_weights)
        if use not in NET_USES
    ),
    # Kinds of SGD: what may differ is what is saved and the steps.
    *(
        ("davidnet", optimizer, use)
        for optimizer in ("pytorch_sgd", "coupled_sgd")
        for use in (saved, weights_of_another)
    ),
    # Not PyTorchSGD: Keras's velocity holds the rate, and once that changes its
    # step is another.
    ("davidnet", "coupled_sgd", rates),
    *(
        ("davidnet", optimizer, use)
        for optimizer in ("grouped", "lookahead", "average")
        for use in OPTIMIZER_USES
    ),
]
if keras.backend.backend() == "jax":
    # The layer does not learn that the model around it was given weights, and
    # asks for `adapt`.
    CASES.remove(("whitening", "sgd", cloned))
QUICK = [
    *((part, "sgd", fit_and_evaluate) for part in ("conv_bn", *NETS)),
    *(("davidnet", "average", use) for use in (built_by_hand, rates)),
    ("davidnet", "sgd", batched),
]


@pytest.mark.parametrize(
    "part, optimizer, use",
    [
        pytest.param(
            part,
            optimizer,
            use,
            marks=() if (part, optimizer, use) in QUICK else pytest.mark.slow,
            id=f"{part}-{optimizer}-{use.__name__}",
        )
        for part, optimizer, use in CASES
    ],
)
def test_as_stock(part, optimizer, use, tmp_path):
    results = [
        use(model, tmp_path / name, make_optimizer)
        for model, name, make_optimizer in zip(
            make(part), ("ours", "stock"), OPTIMIZERS[optimizer], strict=True
        )
    ]
    (ours, numbers), (stock, expected) = results
    keras.tree.map_structure(
        functools.partial(np.testing.assert_allclose, rtol=1e-2, atol=1e-3),
        numbers,
        expected,
    )
    for one, other in zip(aligned(ours, stock), stock.weights, strict=True):
        np.testing.assert_allclose(
            *map(keras.ops.convert_to_numpy, (one, other)),
            rtol=1e-2,
            atol=1e-3,
            err_msg=other.path,
        )
