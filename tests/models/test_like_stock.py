"""What a stock Keras model does with a net's body, the net does too."""

import abc

import keras
import numpy as np
import pytest

from keras_davidnet import CELU, DavidNet, ExponentialAverage, PyTorchSGD

BACKEND = keras.backend.backend()
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), "uint8")
LABELS = np.arange(8)


def net(**arguments):
    arguments = {"width": 1, "input_shape": (8, 8, 3)} | arguments
    return DavidNet(**{"augmentation": None, "dropout": 0} | arguments)


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


def test_log_probabilities():
    model = net(classifier_activation="log_softmax")
    model.compile()
    outputs = keras.ops.convert_to_numpy(model(IMAGES))
    expected = -outputs[np.arange(len(LABELS)), LABELS].mean()
    assert float(model.loss(LABELS, outputs)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="takes probabilities"):
        model.compile(loss="sparse_categorical_crossentropy")


def test_an_abstract_family():
    class Family(DavidNet, abc.ABC):
        @abc.abstractmethod
        def describe(self):
            """Left to subclasses."""

    class Other(Family):
        def describe(self):
            return "other"

    assert Other(width=1).built
    with pytest.raises(TypeError, match="abstract"):
        Family(width=1)


def test_a_subclass_with_outputs_of_its_own():
    class Embedding(DavidNet):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.project = keras.layers.Dense(3)

        def call(self, images, training=False):
            return {"e": self.project(super().call(images, training=training))}

    images = keras.Input((8, 8, 3))
    model = keras.Model(
        images, Embedding(width=1, input_shape=(8, 8, 3))(images)
    )
    assert model.predict(IMAGES, verbose=0)["e"].shape == (8, 3)


def test_logits_are_float32_in_any_precision():
    model = net(dtype="mixed_bfloat16")
    logits = model(keras.Input((8, 8, 3)))
    assert logits.dtype == "float32" and logits.shape == (None, 10)
    body = net(dtype="mixed_bfloat16", include_top=False)
    assert body(keras.Input((8, 8, 3))).dtype == "bfloat16"


def test_the_loss_in_a_loop_of_ones_own():
    model = net(label_smoothing=0.2)
    model.compile()
    logits = keras.ops.convert_to_numpy(model(IMAGES))
    before = float(model.loss(LABELS, logits))
    model.evaluate(IMAGES, LABELS, verbose=0)
    assert float(model.loss(LABELS, logits)) == before


def test_celu_passes_masks_on():
    words = np.array([[1, 2, 0], [3, 0, 0]])
    means = []
    for activation in (keras.layers.Activation("celu"), CELU()):
        layers = [
            keras.Input((3,)),
            keras.layers.Embedding(4, 2, mask_zero=True),
            activation,
            keras.layers.GlobalAveragePooling1D(),
        ]
        keras.utils.set_random_seed(0)
        model = keras.Sequential(layers)
        means.append(model.predict(words, verbose=0))
    np.testing.assert_allclose(*means, rtol=1e-6, atol=1e-7)


def test_an_average_that_made_no_step():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(ExponentialAverage("sgd"), "mse")
    weights = model.get_weights()
    model.fit(np.ones((2, 2)), np.ones(2), epochs=1, initial_epoch=1, verbose=0)
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
