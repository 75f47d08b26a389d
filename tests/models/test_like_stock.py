"""What a stock Keras model does with a net's body, the net does too."""

import keras
import numpy as np
import pytest

from keras_davidnet import DavidNet, PyTorchSGD

BACKEND = keras.backend.backend()
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), "uint8")
LABELS = np.arange(8)
LOGITS_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(**arguments):
    arguments = {"width": 1, "input_shape": (8, 8, 3)} | arguments
    return DavidNet(**{"augmentation": None, "dropout": 0} | arguments)


def stock(body):
    images = keras.Input((8, 8, 3), dtype="uint8")
    return keras.Model(images, body(images))


class Stream(keras.utils.PyDataset):
    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return IMAGES, self.labels[index]


# Torch raises the error of one_hot; the others give NaN.
@pytest.mark.parametrize("wrong", [-1, 10, 89])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.slow
def test_a_label_out_of_range_has_no_loss_of_zero(wrong, smoothing):
    model = net(label_smoothing=smoothing)
    model.compile()
    labels = np.where(LABELS == 3, wrong, LABELS)

    def losses():
        # After a batch that is right, too.
        stream = Stream([LABELS, labels])
        yield from model.fit(stream, verbose=0).history["loss"]
        yield model.evaluate(Stream([labels]), verbose=0)[0]
        yield model.train_on_batch(IMAGES, labels)[0]
        yield model.test_on_batch(IMAGES, labels)[0]

    if BACKEND == "torch" and wrong > 0:
        with pytest.raises(RuntimeError, match="Class values"):
            next(losses())
    else:
        assert np.isnan(list(losses())).all()


@pytest.mark.parametrize("metrics", [None, [], ["accuracy", "mae"]])
@pytest.mark.slow
def test_what_train_on_batch_returns(metrics):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    labels = keras.utils.to_categorical(LABELS, 10)
    model, body = net(), net()
    model.set_weights(body.get_weights())
    expected = stock(body)
    # A jitted step costs time; JAX has no other.
    options = {"run_eagerly": BACKEND != "jax"}
    model.compile(PyTorchSGD(0.1), loss, metrics=metrics, **options)
    names = ["accuracy"] if metrics is None else metrics
    expected.compile(PyTorchSGD(0.1), loss, metrics=names, **options)
    for name in ("test_on_batch", "train_on_batch", "evaluate"):
        kwargs = {"verbose": 0} if name == "evaluate" else {}
        ours, theirs = (
            getattr(one, name)(IMAGES, labels, **kwargs)
            for one in (model, expected)
        )
        assert np.shape(ours) == np.shape(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    ours, theirs = (
        one.train_on_batch(IMAGES, labels, return_dict=True)
        for one in (model, expected)
    )
    assert ours.keys() == theirs.keys()
    history = model.fit(IMAGES, labels, verbose=0).history
    assert history["learning_rate"] == [np.float32(0.1)]


@pytest.mark.parametrize("thaw", [True, False])
def test_what_is_frozen_may_change_after_compile(thaw):
    model = net()
    model.prep.trainable = not thaw
    model.compile(PyTorchSGD(0.1), LOGITS_LOSS, run_eagerly=BACKEND != "jax")
    model.prep.trainable = thaw
    kernel, head = model.prep.conv.kernel, model.linear.kernel
    before = [keras.ops.convert_to_numpy(w) for w in (kernel, head)]
    model.fit(IMAGES, LABELS, verbose=0)
    moved = [
        np.abs(keras.ops.convert_to_numpy(w) - old).max() > 0
        for w, old in zip((kernel, head), before, strict=True)
    ]
    assert moved == [thaw, True]


def test_an_optimizer_compiled_twice(tmp_path):
    model = net(dtype="mixed_float16", width=2)
    model.compile(PyTorchSGD(0.1))
    model.train_on_batch(IMAGES, LABELS)
    count = len(model.optimizer.variables)
    model.compile(model.optimizer)
    model.train_on_batch(IMAGES, LABELS)
    model.save(tmp_path / "twice.keras")
    assert len(model.optimizer.variables) == count
    # A warning, an error here, says that the optimizer's state was left out.
    optimizer = keras.saving.load_model(tmp_path / "twice.keras").optimizer
    assert len(optimizer.variables) == count


class MixUp(DavidNet):
    """As keras.io's guides do it."""

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        y = keras.ops.one_hot(keras.ops.cast(y, "int32"), self.num_classes)
        y = 0.7 * y + 0.3 * keras.ops.flip(y, 0)
        return super().compute_loss(x, y, y_pred, *args, **kwargs)


@pytest.mark.slow
def test_labels_made_in_the_step():
    model = MixUp(width=1, input_shape=(8, 8, 3), augmentation=None, dropout=0)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(PyTorchSGD(0.0), loss, metrics=[])
    logits = model(IMAGES, training=True)
    logits = keras.ops.convert_to_numpy(logits).astype("float64")
    rows = np.eye(10)[LABELS]
    rows = 0.7 * rows + 0.3 * rows[::-1]
    log_sums = np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(rows * (logits - log_sums)).sum(axis=1).mean()
    history = model.fit(IMAGES, LABELS, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-4)


def test_labels_of_one_column_and_of_none():
    model = net()
    model.compile()
    column = LABELS[:, None]
    one, two, three = (
        model.evaluate(IMAGES, labels, verbose=0)
        for labels in (column, LABELS, column)
    )
    assert one == two == three


def test_labels_in_a_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"label": LABELS})
    model = net()
    model.compile()
    assert model.evaluate(IMAGES, frame, verbose=0) == model.evaluate(
        IMAGES, LABELS, verbose=0
    )
